"""The list of all jobs; tests/workflow/test_plan.py holds it equal to the workflow's graph."""

from pathlib import Path
from typing import Any

import pytest

from segtrail.config import load_run, merged, read_yaml
from segtrail.layout import Layout
from segtrail.runs.jobs import jobs

ROOT = Path(__file__).parents[2]
JUNGO = {"run": "test", "scale": "smoke", "studies": ["jungo2019"]}
BRATS = "jungo2019/brats"
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


def jungo(**overrides: Any) -> dict[str, Any]:
    values = JUNGO | {"overrides": {"jungo2019": overrides}}
    return {job.name: job for job in jobs(Layout(load_run(values, ROOT / "config")))}


def test_an_error_network_on_features_is_trained_after_the_member_whose_errors_it_learns():
    after = jungo()[f"{BRATS}/train_aux_feat_000"].after
    assert after == (f"{BRATS}/preprocess_train", f"{BRATS}/preprocess_val", f"{BRATS}/train_baseline_000")


def test_an_error_network_on_segmentations_waits_for_those_of_all_cross_validated_members():
    named = jungo()
    both = {f"{BRATS}/preprocess_train", f"{BRATS}/preprocess_val"}
    assert set(named[f"{BRATS}/train_aux_segm_000"].after) == {*both, f"{BRATS}/predictions_cv"}
    members = {f"{BRATS}/train_cv_{member}" for member in ("000", "001")}
    assert set(named[f"{BRATS}/predictions_cv"].after) == {*both, *members}
    # On ISIC the folds are those of the training part alone.
    members = {name.replace("brats", "isic") for name in members}
    assert set(named["jungo2019/isic/predictions_cv"].after) == {"jungo2019/isic/preprocess_train", *members}
    assert not [name for name in named if "predictions" in name and not name.endswith("_cv")]


def test_the_order_of_models_in_the_yaml_does_not_matter():
    study = read_yaml(ROOT / "config/studies/jungo2019.yaml")
    backwards = {name: study["models"][name] for name in reversed(study["models"])}
    layout = Layout(load_run(JUNGO, ROOT / "config"))
    models = layout.run.studies["jungo2019"].models
    before = {job.name: job for job in jobs(layout)}
    for name in backwards:
        models[name] = models.pop(name)
    assert list(models) == list(backwards)
    seen: set[str] = set()
    for job in jobs(Layout(layout.run)):
        assert set(before[job.name].after) == set(job.after)
        assert seen.issuperset(job.after), job
        seen.add(job.name)


def test_errors_are_told_of_the_segmentation_member_too():
    after = jungo()[f"{BRATS}/sample_aux_segm_test_000"].after
    assert set(after) == {
        *(f"{BRATS}/train_{model}_000" for model in ("aux_segm", "baseline")),
        f"{BRATS}/preprocess_test_000",
    }


def test_what_is_rescaled_over_a_part_is_measured_once_all_of_the_part_is_sampled():
    chunk: dict[str, Any] = {"cohorts": {"brats": {"chunk": 1}}}
    samples = {
        part: {f"{BRATS}/sample_aleatoric_{chunk}" for chunk in chunks}
        for part, chunks in {"val": ["val"], "test": ["test_000", "test_001"]}.items()
    }
    named = jungo(**chunk)
    for part, wanted in samples.items():
        assert set(named[f"{BRATS}/range_aleatoric_{part}"].after) == wanted
    assert f"{BRATS}/range_aleatoric_test" in named[f"{BRATS}/measure_aleatoric_test_001"].after
    assert f"{BRATS}/range_aleatoric_val" in named[f"{BRATS}/measure_aleatoric_val"].after
    # The other uncertainties are rescaled by the subject alone.
    assert not [name for name in named if "/range_aux" in name]
    chunk["cohorts"]["isic"] = {"measured": ["val", "test"]}
    by_val = jungo(**chunk, predictors={"aleatoric": {"rescale": {"over": "validation"}}})
    assert f"{BRATS}/range_aleatoric_test" not in by_val
    assert f"{BRATS}/range_aleatoric_val" in by_val[f"{BRATS}/measure_aleatoric_test_001"].after


def test_the_validation_part_is_measured_where_the_cohort_asks_for_it():
    named = jungo(cohorts={"isic": {"measured": ["test"]}})
    assert f"{BRATS}/measure_baseline_val" in named
    assert "jungo2019/isic/measure_baseline_val" not in named
    assert "jungo2019/isic/measure_baseline_test_000" in named
    assert "jungo2019/isic/measure_baseline_val" in jungo(cohorts={"isic": {"measured": ["val", "test"]}})
