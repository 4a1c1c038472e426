"""The page about a finished run."""

import pandas as pd
import pytest
import synthetic

from segtrail.errors import ArtifactError
from segtrail.studies import cells, claims, published
from segtrail.studies.evidence import page


def test_the_page_shows_what_was_computed_and_nothing_else(tmp_path):
    study = synthetic.study()
    absent = {"brain": "no data root is set for brats17"}
    run = synthetic.run(study, absent=absent)
    folder = tmp_path / synthetic.NAME
    folder.mkdir()
    members, subjects = synthetic.members(study), synthetic.subjects(study)
    measures = synthetic.measures(study)
    measures = measures[measures["cohort"] != "brain"]
    printed = published.read(synthetic.CONFIG / "published" / f"{synthetic.NAME}.csv")
    cells.compute(run, synthetic.NAME, printed, measures, members, subjects).to_csv(
        folder / "cells.csv", index=False
    )
    claims.compute(run, synthetic.NAME, printed, measures).to_csv(folder / "claims.csv", index=False)
    members.to_parquet(folder / "members.parquet")
    subjects.to_parquet(folder / "subjects.parquet")
    for member in members.itertuples():
        times = tmp_path / "benchmarks" / synthetic.NAME / member.cohort
        times.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"s": [60.0]}).to_csv(
            times / f"train_{member.model}_{int(member.member):03d}.tsv", sep="\t", index=False
        )
    text = page(run, synthetic.NAME, tmp_path)
    assert "Heart (L_CE)" in text
    assert "Brain (L_CE)" not in text.split("## Members")[1].split("## Claims")[0]
    count = (members["cohort"] == "heart") & (members["model"] == "ce")
    assert f"| heart | ce | {count.sum()} |" in text


def test_an_unfinished_run_is_told(tmp_path):
    run = synthetic.run(synthetic.study())
    with pytest.raises(ArtifactError, match="run the workflow first"):
        page(run, synthetic.NAME, tmp_path)
