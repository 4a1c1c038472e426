"""The page about a finished run."""

import pandas as pd
import pytest
import synthetic
import synthetic_jungo

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
    computed = cells.compute(run, synthetic.NAME, printed, measures, members, subjects)
    computed.to_csv(folder / "cells.csv", index=False)
    computed.iloc[:0].to_csv(folder / "unprinted.csv", index=False)
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


def test_the_page_shows_ranks_and_what_is_not_in_print(tmp_path):
    study = synthetic_jungo.study()
    run = synthetic_jungo.run(study)
    folder = tmp_path / synthetic_jungo.NAME
    synthetic_jungo.write(folder, study, 4)
    printed = synthetic.CONFIG / "published" / f"{synthetic_jungo.NAME}.csv"
    files = {name: folder / f"{name}.parquet" for name in ("measures", "reliability", "errors")}
    others = {name: folder / f"{name}.parquet" for name in ("members", "subjects")}
    cells.write_cells(
        run,
        synthetic_jungo.NAME,
        **files,
        **others,
        published=printed,
        out=folder / "cells.csv",
        unprinted=folder / "unprinted.csv",
    )
    claims.write_claims(run, synthetic_jungo.NAME, **files, published=printed, out=folder / "claims.csv")
    for cohort in study.cohorts:
        times = tmp_path / "benchmarks" / synthetic_jungo.NAME / cohort
        times.mkdir(parents=True)
        for name in study.models:
            for member in range(study.model(cohort, name).members):
                (times / f"train_{name}_{member:03d}.tsv").write_text("s\n60\n", encoding="utf-8")
    text = page(run, synthetic_jungo.NAME, tmp_path)
    (line,) = (one for one in text.splitlines() if one.startswith("| ensemble | published |"))
    assert line.startswith("| ensemble | published | 0.919 r2 | 0.433 r1 |")
    assert line.endswith("| 15 |")
    supplement = text.split("Suppl table")[1]
    assert "| center+MC | reproduced |" in supplement
    assert "published" not in supplement.split("## ")[0]


def test_an_unfinished_run_is_told(tmp_path):
    run = synthetic.run(synthetic.study())
    with pytest.raises(ArtifactError, match="run the workflow first"):
        page(run, synthetic.NAME, tmp_path)
