"""Where artifacts lie and which subjects a job handles."""

import json
from pathlib import Path
from typing import Any

import pytest

from segtrail.config import load_run
from segtrail.errors import ConfigError
from segtrail.layout import Layout

ROOT = Path(__file__).parents[1]


def layout_of(results: Path, split: dict) -> Layout:
    """The heart cohort on a phantom of eight patients, with this split."""
    overrides = {"mehrtash2020": {"cohorts": {"heart": {"split": split}}}}
    values = {"run": "test", "scale": "smoke", "studies": ["mehrtash2020"], "cohorts": ["heart"]}
    return Layout(load_run({**values, "overrides": overrides}, ROOT / "config"), results)


@pytest.mark.parametrize(
    ("split", "named"),
    [
        ({"folds": {"k": 4, "test": 0}}, "no part val"),
        ({"list": "ids.json"}, "no part train, test"),
    ],
)
def test_a_split_without_one_of_its_parts_is_told(tmp_path, monkeypatch, split, named):
    monkeypatch.chdir(tmp_path)
    Path("ids.json").write_text(json.dumps({"val": ["patient001"]}))
    with pytest.raises(ConfigError, match=named):
        layout_of(tmp_path, {"parts": None, **split}).split("mehrtash2020", "heart")


def test_folds_divide_the_patients_that_the_cohort_selects(tmp_path):
    layout = layout_of(tmp_path, {"parts": None, "folds": {"k": 4, "test": 0, "val": 1}})
    parts = layout.split("mehrtash2020", "heart")
    assert {part: len(members) for part, members in parts.items()} == {"train": 4, "val": 2, "test": 2}
    assert all(subject.endswith("_ED") for members in parts.values() for _, subject in members)


def jungo(**more: Any) -> Layout:
    return Layout(
        load_run({"run": "test", "scale": "demo", "studies": ["jungo2019"], **more}, ROOT / "config")
    )


def test_cross_validated_members_choose_their_weights_on_the_fold_that_they_have_not_seen():
    layout, place = jungo(), ("jungo2019", "brats", "cv")
    parts, folds = layout.split(*place[:2]), layout.held_out(*place)
    everybody = sorted([*parts["train"], *parts["val"]])
    assert sorted(key for fold in folds for key in fold) == everybody
    for member, fold in zip(layout.members(*place), folds, strict=True):
        used = layout.trained_on(*place, member)
        assert used["val"] == fold
        assert sorted([*used["train"], *fold]) == everybody
    assert layout.predicted(*place) == ["train", "val"]


def test_members_of_an_ensemble_leave_out_a_fold_and_choose_their_weights_on_the_validation_part():
    layout, place = jungo(), ("jungo2019", "isic", "ensemble")
    parts, folds = layout.split(*place[:2]), layout.held_out(*place)
    assert sorted(key for fold in folds for key in fold) == parts["train"]
    for member, fold in zip(layout.members(*place), folds, strict=True):
        used = layout.trained_on(*place, member)
        assert used["val"] == parts["val"]
        assert used["train"] == [key for key in parts["train"] if key not in fold]
        assert fold
    # Without folds a member sees everything.
    whole = layout.trained_on("jungo2019", "isic", "baseline", "000")
    assert whole == {"train": parts["train"], "val": parts["val"]}
    assert layout.held_out("jungo2019", "isic", "baseline") == []


def test_maps_are_kept_where_a_figure_shows_them():
    assert not jungo().keeps_maps("jungo2019", "brats", "baseline")
    heart = layout_of(Path("results"), {})
    kept = {
        name for name in heart.posteriors("mehrtash2020") if heart.keeps_maps("mehrtash2020", "heart", name)
    }
    shown = [heart.shown("mehrtash2020", name) for name in heart.run.studies["mehrtash2020"].figures]
    assert kept == {name for one in shown for names in one.values() for name in names}
    assert kept


def test_a_posterior_has_one_range_in_each_part():
    more = {"title": "again", "model": "aleatoric", "kind": "aleatoric"}
    both = {"predictors": {"again": {**more, "rescale": {"over": "validation"}}}}
    layout = jungo(overrides={"jungo2019": both})
    assert layout.range_part("jungo2019", "brats", "aleatoric", "val") == "val"
    with pytest.raises(ConfigError, match="share a posterior") as told:
        layout.range_part("jungo2019", "brats", "aleatoric", "test_000")
    for named in ("again", "aleatoric", "test and val"):
        assert named in str(told.value)


def test_a_sensitivity_run_has_a_tree_of_its_own(tmp_path):
    plain, other = jungo(), jungo(sensitivity="equal_epochs")
    assert "sensitivity" not in plain.kind
    assert other.kind == plain.kind | {"sensitivity": "equal_epochs"}
    Layout(plain.run, tmp_path).claim_tree()
    with pytest.raises(ConfigError, match="holds another kind of run"):
        Layout(other.run, tmp_path).claim_tree()
