"""The list of all jobs; tests/workflow/test_plan.py holds it equal to the workflow's graph."""

from pathlib import Path
from typing import Any

import pytest

from segtrail.config import load_run, merged
from segtrail.layout import Layout
from segtrail.runs.jobs import jobs

ROOT = Path(__file__).parents[2]
POPULATION = {"recipe": [{"step": "z_score", "over": "population"}]}


def smoke(**overrides: Any) -> Layout:
    values = {"run": "test", "scale": "smoke", "studies": ["mehrtash2020"], "cohorts": ["heart"]}
    return Layout(load_run(merged(values, {"overrides": {"mehrtash2020": overrides}}), ROOT / "config"))


@pytest.mark.parametrize("overrides", [{}, {"cohorts": {"heart": POPULATION}}])
def test_each_job_has_its_own_name_and_comes_after_those_that_it_waits_for(overrides):
    seen: set[str] = set()
    for job in jobs(smoke(**overrides)):
        assert job.name not in seen
        assert seen.issuperset(job.after), job
        seen.add(job.name)


def test_a_recipe_with_statistics_of_the_training_part_has_a_job_that_preprocessing_waits_for():
    named = {job.name: job for job in jobs(smoke(cohorts={"heart": POPULATION}))}
    assert named["mehrtash2020/heart/population"].after == ("phantom_acdc",)
    waiting = [name for name, job in named.items() if "mehrtash2020/heart/population" in job.after]
    assert waiting == [f"mehrtash2020/heart/preprocess_{chunk}" for chunk in ("train", "val", "test_000")]


def test_one_more_member_is_one_more_job():
    few, more = (jobs(smoke(models={"ce": {"members": members}})) for members in (2, 3))
    assert {job.name for job in more} - {job.name for job in few} == {"mehrtash2020/heart/train_ce_002"}


def test_a_figure_waits_only_for_the_scans_and_maps_that_it_shows():
    named = {job.name: job for job in jobs(smoke())}
    assert named["mehrtash2020/figure_2"].after == ("mehrtash2020/collect",)
    chunk = "mehrtash2020/heart/{}_test_000"
    # One heart, by every method.
    assert named["mehrtash2020/figure_S2"].after == (
        "mehrtash2020/collect",
        *(
            chunk.format(name)
            for name in ("preprocess", "measure_ce", "measure_ce_dropout_mc", "measure_dice")
        ),
        chunk.format("measure_dice_dropout_mc"),
    )
    # Figure 3 shows cases of the prostate alone, which this run leaves out; its points are measures.
    assert named["mehrtash2020/figure_3"].after == ("mehrtash2020/collect",)


def test_a_study_without_tables_has_no_job_for_them():
    with_tables, without = (
        {job.name for job in jobs(smoke(**patch))} for patch in ({}, {"tables": [], "claims": []})
    )
    assert with_tables - without == {"mehrtash2020/tables"}
