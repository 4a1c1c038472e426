"""Records follow a scan's content, and what the layout and the data set's YAML say about it."""

from dataclasses import replace
from pathlib import Path

import pytest
import scans

from segtrail.config import Dataset
from segtrail.data.records import problems, refresh
from segtrail.data.subject import Listing
from segtrail.files import read_json

DATASET = Dataset(
    title="test",
    layout="folder",
    source="",
    terms="",
    channels=["c0", "c1"],
    labels={0: "background", 1: "outer", 2: "inner"},
)


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    shape = scans.SHAPE
    return Listing(
        [
            scans.write(tmp_path / "root", name, scans.noise(shape, n), scans.ball(shape))
            for n, name in enumerate("ab")
        ]
    )


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}


def test_a_touched_scan_changes_no_record(listing: Listing, tmp_path: Path):
    folder, root = tmp_path / "records", tmp_path / "root"
    refresh(folder, listing, DATASET, root)
    before = times(folder)
    assert set(before) == {"a.json", "b.json"}
    listing.subjects[0].channels["c0"].touch()
    refresh(folder, listing, DATASET, root)
    assert times(folder) == before


def test_another_label_scheme_is_looked_for_again(listing: Listing, tmp_path: Path):
    folder, root = tmp_path / "records", tmp_path / "root"
    refresh(folder, listing, DATASET.model_copy(update={"labels": {0: "background", 1: "outer"}}), root)
    assert set(problems(folder, "ab")) == {"a", "b"}
    refresh(folder, listing, DATASET, root)
    assert not problems(folder, "ab")
    before = times(folder)
    # A scheme that changes nothing in what is found changes no record.
    refresh(folder, listing, DATASET.model_copy(update={"labels": {**DATASET.labels, 7: "rare"}}), root)
    assert times(folder) == before


def test_another_site_changes_the_subject_s_record_alone(listing: Listing, tmp_path: Path):
    folder, root = tmp_path / "records", tmp_path / "root"
    refresh(folder, listing, DATASET, root)
    before = times(folder)
    first, second = listing.subjects
    refresh(folder, Listing([replace(first, site="T"), second]), DATASET, root)
    assert read_json(folder / "a.json")["found"]["site"] == "T"
    after = times(folder)
    assert after["b.json"] == before["b.json"]
    assert after["a.json"] != before["a.json"]
