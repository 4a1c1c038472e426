"""Where artifacts lie and which subjects a job handles."""

import json
from pathlib import Path

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
