"""Prepared subjects on disk: one file, and a folder of them."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scans import SHAPE, ball, cohort, noise, write

from segtrail.data.items import Item
from segtrail.data.preprocess import load, load_folder, prepare, prepare_many, save
from segtrail.data.subject import Subject
from segtrail.errors import ArtifactError, DataError
from segtrail.files import sha256_of_file


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return write(tmp_path, "s1", noise(SHAPE), ball(SHAPE))


@pytest.mark.parametrize("mask", [None, "c1"])
def test_a_file_gives_back_what_was_saved_and_has_the_same_bytes(tmp_path, subject, mask):
    recipe = cohort({"step": "resample_to_spacing", "spacing": [1, 1, None]}, {"step": "min_max"}, mask=mask)
    prepared = prepare(subject, "d", "test", recipe)
    for name in ("one.npz", "two.npz"):
        save(tmp_path / name, prepared)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    loaded = load(tmp_path / "one.npz")
    with zipfile.ZipFile(tmp_path / "one.npz") as archive:
        there = ["about.json", "image.npy", "label.npy", *(["mask.npy"] if mask else [])]
        assert archive.namelist() == there
    for name in prepared.__dataclass_fields__:
        if name in ("image", "label") or (name == "mask" and mask):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(prepared, name))
            assert getattr(loaded, name).dtype == getattr(prepared, name).dtype
        else:
            assert getattr(loaded, name) == getattr(prepared, name)


def test_loading_is_light(tmp_path, subject):
    save(tmp_path / "one.npz", prepare(subject, "d", "test", cohort()))
    code = (
        "import sys; from segtrail.data.prepared import load; load(sys.argv[1]);"
        "heavy = {'torch','pandas','scipy','SimpleITK','nibabel'}; print(sorted(heavy & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "one.npz")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_damaged_file_is_an_artifact_error(tmp_path, subject):
    path = tmp_path / "one.npz"
    save(path, prepare(subject, "d", "test", cohort()))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 1
    for damaged in (
        bytes(flipped),
        whole[: len(whole) // 2],
        b"",
        b"not a zip",
        whole.replace(b'"geometry"', b'"geometrY"'),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="prepared subject"):
            load(path)
    np.savez(path, image=np.zeros(3))
    with pytest.raises(ArtifactError, match="prepared subject"):
        load(path)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    parts = ("train", "test", "train", "val")
    return [
        Item("d", write(tmp_path / "scans", f"s{i}", noise(SHAPE, i), ball(SHAPE)), part)
        for i, part in enumerate(parts)
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_has_the_same_bytes_for_any_jobs_and_order(tmp_path, items):
    recipe = cohort({"step": "min_max"})
    manifest = prepare_many(items, recipe, tmp_path / "one")
    assert prepare_many(items[::-1], recipe, tmp_path / "two", jobs=2) == manifest
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert json.loads((tmp_path / "one/manifest.json").read_text()) == manifest
    names = ("subject", "part", "patient", "site", "group", "frame", "file", "excluded")
    assert [tuple(entry[name] for name in names) for entry in manifest["subjects"]] == [
        (i.subject.id, i.part, i.subject.patient, "S", "G", "ED", f"d__{i.subject.id}.npz", "") for i in items
    ]
    for entry in manifest["subjects"]:
        assert entry["sha256"] == sha256_of_file(tmp_path / "one" / entry["file"])
    assert set(contents(tmp_path / "one")) == {"manifest.json", *(f"d__s{i}.npz" for i in range(4))}
    assert [(p.subject, p.part) for p in load_folder(tmp_path / "one")] == [
        (i.subject.id, i.part) for i in items
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bad_subject_stops_and_leaves_the_folder_as_it_was(tmp_path, items, jobs):
    prepare_many(items, cohort(), tmp_path / "out")
    before = contents(tmp_path / "out")
    for item in (items[1], items[2]):
        path = item.subject.channels["c0"]
        path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DataError) as caught:
        prepare_many(items, cohort({"step": "min_max"}), tmp_path / "out", jobs=jobs)
    assert (caught.value.subject, caught.value.file) == ("s1", str(items[1].subject.channels["c0"]))
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scans"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bad_subject_is_left_out_and_counted(tmp_path, items, jobs):
    whole = prepare_many(items, cohort(), tmp_path / "out")
    path = items[2].subject.channels["c1"]
    path.write_bytes(path.read_bytes()[:400])
    manifest = prepare_many(items, cohort(), tmp_path / "out", jobs=jobs, on_bad_subject="exclude")
    left = [entry for entry in manifest["subjects"] if not entry["excluded"]]
    assert left == [entry for entry in whole["subjects"] if entry["subject"] != "s2"]
    (excluded,) = (entry for entry in manifest["subjects"] if entry["excluded"])
    assert (excluded["subject"], excluded["part"], excluded["sha256"]) == ("s2", "train", "")
    assert excluded["excluded"].startswith("s2_c1.nii: ")
    assert str(tmp_path) not in excluded["excluded"]
    assert set(contents(tmp_path / "out")) == {"manifest.json", "d__s0.npz", "d__s1.npz", "d__s3.npz"}
    assert [prepared.subject for prepared in load_folder(tmp_path / "out")] == ["s0", "s1", "s3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scans"]


def test_a_subject_rejected_before_is_not_read(tmp_path, items):
    error = DataError("labels 7", subject="s0", file="s0_seg.nii", expected="labels 0, 1, 2")
    rejected = {("d", "s0"): error}
    with pytest.raises(DataError, match="labels 7"):
        prepare_many(items, cohort(), tmp_path / "out", rejected=rejected)
    for path in items[0].subject.files:
        path.unlink()
    manifest = prepare_many(items, cohort(), tmp_path / "out", rejected=rejected, on_bad_subject="exclude")
    reasons = {entry["subject"]: entry["excluded"] for entry in manifest["subjects"]}
    assert reasons == {
        "s0": "s0_seg.nii: labels 7 (expected: labels 0, 1, 2)",
        "s1": "",
        "s2": "",
        "s3": "",
    }


def test_training_needs_a_subject_and_a_test_chunk_does_not(tmp_path, items):
    for index in (0, 1, 2):
        items[index].subject.label.unlink()
    manifest = prepare_many(items[1:2], cohort(), tmp_path / "test", on_bad_subject="exclude")
    assert len(manifest["subjects"]) == 1
    assert load_folder(tmp_path / "test") == []
    with pytest.raises(DataError, match="all 2 subjects of part train are excluded"):
        prepare_many(items, cohort(), tmp_path / "train", on_bad_subject="exclude")
    assert not (tmp_path / "train").exists()
