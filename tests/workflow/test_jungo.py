"""Jungo 2019 through the workflow: its folds, error networks and ranges, small, on phantoms."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from segtrail.config import read_yaml
from segtrail.files import read_json
from segtrail.runs.jobs import TABLE_FORMATS
from segtrail.runs.status import status

from .conftest import JUNGO, ROOT, Clone, change_one_voxel

# One worker makes the fixture once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("jungo")]

STUDY = Path("results/smoke/jungo2019")
# What reads rows of measures, whatever they are.
RESULTS = {"cells", "audit", "claims", "tables_jungo2019", "figure", "report"}


def test_every_printed_number_has_a_cell_with_a_value(finished_jungo):
    wanted = pd.read_csv(ROOT / "config/published/jungo2019.csv")
    cells = pd.read_csv(finished_jungo.folder / STUDY / "cells.csv")
    assert len(cells) == 68
    keys = ["table", "row", "column"]
    assert cells[keys].equals(wanted[keys])
    assert cells["reproduced"].notna().all()
    assert (cells["n"] > 0).all()
    assert set(cells["verdict"]) == {"phantom, not comparable"}
    # Every number of Table 1 is printed with its rank.
    assert cells.loc[cells["table"] == "Table 1", ["published_rank", "rank"]].notna().all(axis=None)
    others = pd.read_csv(finished_jungo.folder / STUDY / "unprinted.csv")
    assert len(others) == 32
    assert others["reproduced"].notna().all()


def test_tables_figures_claims_and_page_are_there_and_marked_as_phantom(finished_jungo):
    study, content = finished_jungo.folder / STUDY, finished_jungo.layout.run.studies["jungo2019"]
    assert content.figures
    assert content.claims
    for name in content.figures:
        for suffix in ("svg", "png"):
            assert (study / "figures" / f"{name}.{suffix}").stat().st_size > 2000
    for table in content.tables:
        for suffix in TABLE_FORMATS:
            assert "phantom" in (study / f"tables/{table.slug}.{suffix}").read_text(encoding="utf-8").lower()
    claims = pd.read_csv(study / "claims.csv")
    assert set(claims["claim"]) == {claim.id for claim in content.claims}
    assert "phantom" in (study.parent / "report.html").read_text(encoding="utf-8").lower()


def test_a_finished_run_is_done_right_and_has_nothing_to_do(finished_jungo):
    assert {job.state for job in status(finished_jungo.layout).jobs} == {"done"}
    assert finished_jungo.jobs(*JUNGO) == {}
    command = [str(Path(sys.executable).with_name("segtrail")), "verify", "--run", "smoke", "--json"]
    told = subprocess.run(
        command, cwd=finished_jungo.folder, capture_output=True, text=True, check=False
    ).stdout
    assert {one["state"] for one in json.loads(told)["artifacts"]} == {"right"}
    assert not list(finished_jungo.folder.glob("results/smoke/scratch/*/*/posteriors/*/*"))


def test_changing_one_voxel_reruns_exactly_what_descends_from_it(jungo):
    split = read_json(jungo.folder / STUDY / "brats/split.json")
    _, subject = split["train"][0]
    change_one_voxel(next((jungo.folder / "results/smoke/data/brats18/phantom").rglob(f"{subject}_t1.nii*")))
    figures = len(jungo.layout.run.studies["jungo2019"].figures)
    of_brats = {"preprocess": 1, "train": 9, "predictions": 1, "range": 2, "sample": 16, "measure": 16}
    after = dict.fromkeys(RESULTS - {"figure"}, 1) | {"figure": figures, "collect": 1, "all": 1}
    assert jungo.jobs(*JUNGO) == {"index": 1, **of_brats, **after}


def configs(clone: Clone, run: str) -> dict[str, dict]:
    """job → the values of the configuration that it should be made from."""
    folder = clone.folder / "results" / run / "keys"
    return {str(path.relative_to(folder)): read_json(path)["config"] for path in folder.rglob("*.json")}


@pytest.mark.parametrize("name", list(read_yaml(ROOT / "config/studies/jungo2019.yaml")["sensitivity"]))
def test_a_sensitivity_run_is_another_run_and_changes_what_it_says(jungo, name):
    refused = jungo.snakemake(*JUNGO, f"sensitivity={name}", check=False)
    assert refused.returncode != 0
    assert "holds another kind of run" in refused.stderr
    jungo.jobs("--config", f"run={name}", "scale=smoke", "studies=[jungo2019]", f"sensitivity={name}")
    assert read_json(jungo.folder / "results" / name / "run.json")["sensitivity"] == name
    before, after = configs(jungo, "smoke"), configs(jungo, name)
    changed = {job.removesuffix(".json") for job in before if before[job] != after.get(job)}
    made = {job for job in changed if job.count("/") == 2}
    assert (
        made
        == {
            "equal_epochs": {
                f"jungo2019/brats/train_{model}_000"
                for model in ("baseline", "center", "aleatoric", "aux_segm")
            },
            "validation_thresholds": set(),
            "subject_sigma": {
                f"jungo2019/{cohort}/{step}"
                for cohort, chunk in (("brats", "val"), ("brats", "test_000"), ("isic", "test_000"))
                for step in (f"measure_aleatoric_{chunk}", f"range_aleatoric_{chunk.split('_')[0]}")
            },
        }[name]
    )
    assert {"report", "jungo2019/cells", "jungo2019/claims"} <= changed


def test_a_sensitivity_run_that_the_study_does_not_have_is_an_error(clone):
    refused = clone.snakemake("--dry-run", *JUNGO, "sensitivity=equal_epoch", check=False)
    assert refused.returncode != 0
    for named in ("sensitivity = 'equal_epoch'", "jungo2019", "equal_epochs", "subject_sigma"):
        assert named in refused.stderr
    assert "Traceback" not in refused.stderr
