"""What a user writes is checked at start-up, and errors name the key, the value and what is allowed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from segtrail.config import load_run, merged, read_yaml
from segtrail.config.describe import markdown
from segtrail.errors import ConfigError

ROOT = Path(__file__).parents[2]
MC_DROPOUT = {"title": "twice", "model": "ce_dropout", "kind": "mc_dropout", "samples": 7}
BASE: dict[str, Any] = {"run": "r", "scale": "demo", "studies": ["mehrtash2020"]}


def load(**changes: Any):
    return load_run({**BASE, **changes}, ROOT / "config")


@pytest.mark.parametrize("scale", ["smoke", "demo", "paper"])
def test_every_scale_of_every_study_is_valid(scale):
    studies = [path.stem for path in (ROOT / "config" / "studies").glob("*.yaml")]
    run = load(scale=scale, studies=studies)
    assert run.phantom
    assert set(run.studies) == set(studies)


def test_the_paper_scale_is_the_printed_protocol():
    study = load(scale="paper").studies["mehrtash2020"]
    assert study.model("heart", "ce").members == 100
    assert study.model("heart", "dice").segment_weights == {2: 3}
    assert study.model("prostate", "ce").training.batch_size == 16
    assert study.model("brain", "ce").training.batch_size == 32
    assert study.predictor("brain", "ce_ensemble").draws == 10
    assert study.predictor("heart", "ce_ensemble").draws == 50
    assert study.predictor("heart", "dice_mcdo").samples == 50
    assert study.model("prostate3d", "dice").members == 10
    assert study.model("prostate3d", "dice").dims == 3


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"scal": "demo"}, ["scal", "scale", "studies"]),
        ({"scale": "huge"}, ["scale", "huge", "demo, paper, smoke"]),
        ({"studies": ["mehrtash"]}, ["studies", "mehrtash", "mehrtash2020"]),
        ({"data": {"adc": None}}, ["data.adc", "acdc"]),
        ({"data": {"acdc": "/no/such/folder"}}, ["data.acdc", "/no/such/folder", "null"]),
        ({"cohorts": ["hart"]}, ["cohorts", "hart", "heart"]),
        ({"seed": "one"}, ["seed", "one"]),
        ({"on_bad_subject": "ignore"}, ["on_bad_subject", "ignore", "stop", "exclude"]),
        ({"overrides": {"mehrtash2020": {"models": {"ce": {"trainin": {}}}}}}, ["trainin", "training"]),
        (
            {"overrides": {"mehrtash2020": {"models": {"ce": {"training": {"epochs": 0}}}}}},
            ["models.ce.training.epochs", "0", "greater than 0"],
        ),
        (
            {"overrides": {"mehrtash2020": {"predictors": {"ce": {"model": "xent"}}}}},
            ["predictors.ce.model", "xent", "ce_dropout"],
        ),
        (
            {"overrides": {"mehrtash2020": {"cohorts": {"heart": {"datasets": ["mri"]}}}}},
            ["cohorts.heart.datasets", "mri", "acdc"],
        ),
        (
            {"overrides": {"mehrtash2020": {"cohorts": {"heart": {"channels": ["cin"]}}}}},
            ["cohorts.heart.channels", "'cin'", "acdc: cine"],
        ),
        (
            {"overrides": {"mehrtash2020": {"cohorts": {"brain": {"mask": {"channel": "T2"}}}}}},
            ["cohorts.brain.mask.channel", "'T2'", "brats17: t1, t1ce, t2, flair"],
        ),
        (
            {"overrides": {"mehrtash2020": {"models": {"ce": {"members": 1}}}}},
            ["ce_ensemble", "members"],
        ),
        (
            {"scale": "paper", "overrides": {"mehrtash2020": {"predictors": {"more": MC_DROPOUT}}}},
            ["predictors.more", "samples 7", "ce_dropout has 50"],
        ),
        (
            {
                "overrides": {
                    "mehrtash2020": {"cohorts": {"heart": {"models": {"ce_dropout": {"dropout": None}}}}}
                }
            },
            ["mc_dropout needs a model with `dropout`", "heart trains ce_dropout without"],
        ),
        (
            {"overrides": {"mehrtash2020": {"predictors": {"once-more": MC_DROPOUT}}}},
            ["predictors.once-more", "[A-Za-z0-9_]+"],
        ),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(changes, named):
    with pytest.raises(ConfigError) as caught:
        load(**changes)
    for text in named:
        assert text in str(caught.value)


def test_a_real_root_leaves_out_the_cohorts_without_one(tmp_path):
    run = load(data={"acdc": str(tmp_path)})
    assert not run.phantom
    assert set(run.studies["mehrtash2020"].cohorts) == {"heart"}
    assert set(run.absent["mehrtash2020"]) == {"brain", "prostate", "prostate3d"}
    assert "brats17" in run.absent["mehrtash2020"]["brain"]


def test_cohorts_are_those_of_any_study_of_the_run(tmp_path):
    config = shutil.copytree(ROOT / "config", tmp_path / "config")
    path = config / "studies" / "mehrtash2020.yaml"
    second = path.read_text(encoding="utf-8").replace("\n  brain:\n", "\n  head:\n")
    values = yaml.safe_load(second)
    values |= {"tables": [], "claims": [], "figures": {}, "scales": {"smoke": {}}}
    (config / "studies" / "other.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    base = read_yaml(config / "config.yaml") | {"scale": "smoke", "studies": ["mehrtash2020", "other"]}
    run = load_run(base | {"cohorts": ["brain", "head"]}, config)
    assert {name: set(study.cohorts) for name, study in run.studies.items()} == {
        "mehrtash2020": {"brain"},
        "other": {"head"},
    }
    with pytest.raises(ConfigError, match="hart"):
        load_run(base | {"cohorts": ["brain", "hart"]}, config)


def test_roots_that_serve_no_cohort_are_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no cohort of mehrtash2020 can be computed"):
        load(data={"isic17": str(tmp_path)})


def test_a_study_that_no_cohort_of_can_be_computed_is_left_out_beside_another(tmp_path):
    run = load(studies=["mehrtash2020", "jungo2019"], data={"acdc": str(tmp_path)})
    assert set(run.studies) == {"mehrtash2020"}
    assert set(run.absent["jungo2019"]) == {"brats", "isic"}
    assert set(run.datasets) == {"acdc"}
    with pytest.raises(ConfigError, match=r"(?s)no cohort of mehrtash2020.*no cohort of jungo2019"):
        load(studies=["mehrtash2020", "jungo2019"], data={"isic17": str(tmp_path)}, cohorts=["heart"])


def test_a_sensitivity_run_is_laid_over_the_scale_and_under_the_overrides():
    base = {"studies": ["jungo2019"], "sensitivity": "equal_epochs", "scale": "demo"}
    study = load(**base).studies["jungo2019"]
    assert {study.model("brats", name).training.epochs for name in ("baseline", "ensemble")} == {12}
    fewer = {"cohorts": {"brats": {"models": {"baseline": {"training": {"epochs": 3}}}}}}
    study = load(**base, overrides={"jungo2019": fewer}).studies["jungo2019"]
    assert study.model("brats", "baseline").training.epochs == 3
    plain = load(**base | {"sensitivity": None}).studies["jungo2019"]
    assert plain.model("brats", "baseline").training.epochs == 6


def test_a_sensitivity_run_that_a_study_does_not_have_is_an_error_naming_those_it_has():
    with pytest.raises(ConfigError) as told:
        load(studies=["jungo2019"], sensitivity="equal_epoch")
    for named in ("equal_epoch", "equal_epochs, validation_thresholds, subject_sigma", "jungo2019.yaml"):
        assert named in str(told.value)
    with pytest.raises(ConfigError, match="which mehrtash2020 does not have"):
        load(studies=["jungo2019", "mehrtash2020"], sensitivity="equal_epochs")


@pytest.mark.parametrize("name", ["equal_epochs", "validation_thresholds", "subject_sigma"])
@pytest.mark.parametrize("scale", ["smoke", "demo", "paper"])
def test_every_sensitivity_run_is_valid_and_another_study(scale, name):
    plain, other = (load(studies=["jungo2019"], scale=scale, sensitivity=one) for one in (None, name))
    assert plain.studies != other.studies
    assert other.reported_by()["sensitivity"] == name


def test_members_are_not_chosen_on_what_they_are_trained_on():
    folds = {"k": 3, "of": ["train", "val"], "held_out": "unused"}
    with pytest.raises(ConfigError, match="held_out unused"):
        load(studies=["jungo2019"], overrides={"jungo2019": {"models": {"ensemble": {"folds": folds}}}})


def test_a_list_of_folds_in_another_place_makes_no_other_member():
    one, other, longer = (
        load(studies=["jungo2019"], overrides={"jungo2019": {"models": {"ensemble": {"folds": folds}}}})
        .studies["jungo2019"]
        .model("isic", "ensemble")
        for folds in ({"list": "/a/folds.json"}, {"list": "/b/folds.json"}, {"held_out": "validation"})
    )
    assert one.folds != other.folds
    assert one.trained_by() == other.trained_by()
    assert one.trained_by() != longer.trained_by()


def test_merged_replaces_lists_and_merges_mappings():
    base = {"a": {"b": [1, 2], "c": 3}, "d": 4}
    assert merged(base, {"a": {"b": [9]}}) == {"a": {"b": [9], "c": 3}, "d": 4}
    assert base == {"a": {"b": [1, 2], "c": 3}, "d": 4}


def test_the_documentation_of_the_configuration_is_up_to_date():
    written = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert written == markdown(), "run: python -m segtrail.config.describe > docs/config.md"


def test_two_entries_of_one_name_are_refused(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("rows:\n  Heart: {a: 1}\n  Heart: {a: 2}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"(?s)a second 'Heart'.*line 3"):
        read_yaml(path)
    path.write_text("base: &base {a: 1, b: 1}\nother: {<<: *base, a: 2}\n", encoding="utf-8")
    assert read_yaml(path)["other"] == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"cohorts": {"isic": {"measured": ["val"]}}}, "test, which tables report"),
        ({"cohorts": {"isic": {"measured": ["train", "test"]}}}, "train, on which members have been trained"),
        ({"cohorts": {"isic": {"models": {"cv": {"training": {"epochs_share": 2}}}}}}, "epochs_share"),
    ],
)
def test_what_would_only_show_after_the_training_is_refused_at_the_start(patch, said):
    with pytest.raises(ConfigError, match=said):
        load(studies=["jungo2019"], overrides={"jungo2019": patch})
