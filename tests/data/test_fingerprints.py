"""Fingerprints change when content changes, and at no other time."""

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from segtrail.data import fingerprints
from segtrail.data.fingerprints import refresh
from segtrail.data.subject import Subject
from segtrail.errors import DataError
from segtrail.files import sha256_of_file


@pytest.fixture
def scans(tmp_path: Path) -> tuple[Path, list[Subject]]:
    root = tmp_path / "root"
    subjects = []
    for name in ("a", "b", "c"):
        folder = root / name
        folder.mkdir(parents=True)
        for file in ("t1", "seg"):
            (folder / f"{file}.nii").write_bytes(f"{name} {file}".encode() * 100)
        subjects.append(Subject(name, name, {"t1": folder / "t1.nii"}, folder / "seg.nii"))
    return root, subjects


def state(folder: Path) -> dict[str, tuple[int, str]]:
    return {p.name: (p.stat().st_mtime_ns, p.read_text()) for p in folder.glob("[a-z]*.json")}


def test_a_fingerprint_holds_the_hash_of_every_file(scans, tmp_path):
    root, subjects = scans
    assert refresh(tmp_path / "prints", subjects, root) == ["a", "b", "c"]
    held = json.loads((tmp_path / "prints/a.json").read_text())
    assert held == {f"a/{name}.nii": sha256_of_file(root / f"a/{name}.nii") for name in ("t1", "seg")}
    assert {path.name for path in (tmp_path / "prints").glob("[!.]*")} == {"a.json", "b.json", "c.json"}


def test_touching_copying_and_linking_change_nothing(scans, tmp_path):
    root, subjects = scans
    folder = tmp_path / "prints"
    refresh(folder, subjects, root)
    before = state(folder)
    for path in root.glob("*/*.nii"):
        path.touch()
    copy = root / "copy"
    copy.write_bytes((root / "b/t1.nii").read_bytes())
    copy.replace(root / "b/t1.nii")
    link = tmp_path / "link"
    link.symlink_to(root)
    assert refresh(folder, subjects, root) == []
    assert refresh(folder, subjects, link) == []
    assert state(folder) == before


@pytest.mark.parametrize("settled", [0, fingerprints.SETTLED_NS])
def test_one_byte_changes_exactly_one_fingerprint(scans, tmp_path, monkeypatch, settled):
    """Even where size and modification time are put back."""
    monkeypatch.setattr(fingerprints, "SETTLED_NS", settled)
    root, subjects = scans
    folder = tmp_path / "prints"
    refresh(folder, subjects, root)
    before = state(folder)
    path = root / "b/seg.nii"
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[17] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    if settled == 0:  # the clock of the file system must have moved on
        while path.stat().st_ctime_ns == times.st_ctime_ns:
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert refresh(folder, subjects, root) == ["b"]
    after = state(folder)
    assert {name for name in after if after[name] != before[name]} == {"b.json"}
    assert json.loads(after["b.json"][1])["b/seg.nii"] == sha256_of_file(path)


def test_a_clock_that_is_off_does_not_make_a_fresh_file_look_settled(scans, tmp_path, monkeypatch):
    """A node's clock an hour ahead of the file server's: what was written just now may yet change unseen."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 3600 * 10**9)
    root, subjects = scans
    refresh(tmp_path / "prints", subjects, root)
    assert not (tmp_path / "prints" / fingerprints.CACHE).exists()


def test_nothing_is_hashed_twice(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "SETTLED_NS", -1)
    root, subjects = scans
    refresh(tmp_path / "prints", subjects, root)
    hashed = []
    monkeypatch.setattr(
        fingerprints, "sha256_of_file", lambda path: hashed.append(path) or sha256_of_file(path)
    )
    assert refresh(tmp_path / "prints", subjects, root) == []
    assert hashed == []
    (root / "c/t1.nii").touch()
    assert refresh(tmp_path / "prints", subjects, root) == []
    assert hashed == [root / "c/t1.nii"]


def test_a_file_shared_by_channels_is_one_file(scans, tmp_path):
    root, _ = scans
    picture = root / "a/t1.nii"
    subject = Subject("a", "a", {"red": picture, "green": picture, "blue": picture}, None)
    refresh(tmp_path / "prints", [subject], root)
    assert list(json.loads((tmp_path / "prints/a.json").read_text())) == ["a/t1.nii"]


def test_subjects_and_files_that_go_leave_no_trace(scans, tmp_path):
    root, subjects = scans
    folder = tmp_path / "prints"
    refresh(folder, subjects, root)
    fewer = [Subject("a", "a", subjects[0].channels, None), subjects[1]]
    assert refresh(folder, fewer, root) == ["a"]
    assert set(state(folder)) == {"a.json", "b.json"}
    assert list(json.loads((folder / "a.json").read_text())) == ["a/t1.nii"]


def test_damaged_fingerprints_and_caches_are_made_again(scans, tmp_path):
    root, subjects = scans
    folder = tmp_path / "prints"
    refresh(folder, subjects, root)
    before = {name: text for name, (_, text) in state(folder).items()}
    (folder / "a.json").write_text("")
    (folder / "b.json").unlink()
    (folder / fingerprints.CACHE).write_text('{"a')
    assert refresh(folder, subjects, root) == ["a", "b"]
    assert {name: text for name, (_, text) in state(folder).items()} == before


def test_several_processes_at_once(scans, tmp_path):
    root, subjects = scans
    folder = tmp_path / "prints"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        written = pool.starmap(refresh, [(folder, subjects, root)] * 12)
    # Each fingerprint was written by exactly one of them.
    assert sorted(name for names in written for name in names) == ["a", "b", "c"]
    assert set(state(folder)) == {"a.json", "b.json", "c.json"}
    assert not list(folder.glob(".*.part"))


def test_a_file_outside_the_root_is_refused(scans, tmp_path):
    root, subjects = scans
    with pytest.raises(DataError) as caught:
        refresh(tmp_path / "prints", subjects, root / "a")
    assert (caught.value.subject, caught.value.found) == ("b", "a file outside the data root")


def test_a_missing_file_is_noted_and_noticed_when_it_comes(scans, tmp_path):
    root, subjects = scans
    folder = tmp_path / "prints"
    path = root / "c/seg.nii"
    content = path.read_bytes()
    path.unlink()
    refresh(folder, subjects, root)
    held = json.loads((folder / "c.json").read_text())
    assert held["c/seg.nii"] == "unreadable: No such file or directory"
    assert refresh(folder, subjects, root) == []
    path.write_bytes(content)
    assert refresh(folder, subjects, root) == ["c"]
    assert json.loads((folder / "c.json").read_text())["c/seg.nii"] == sha256_of_file(path)


def test_a_file_that_cannot_be_read_is_noted(scans, tmp_path):
    """A folder in a file's place: as good as a file without permission, also for root."""
    root, subjects = scans
    (root / "c/seg.nii").unlink()
    (root / "c/seg.nii").mkdir()
    refresh(tmp_path / "prints", subjects, root)
    assert json.loads((tmp_path / "prints/c.json").read_text())["c/seg.nii"] == "unreadable: Is a directory"


def test_the_voxels_of_a_metaimage_count(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.mhd").write_text("NDims = 3\nElementDataFile = a.raw\n")
    (root / "a.raw").write_bytes(bytes(8))
    (root / "broken.mhd").write_text("NDims = 3\n")
    (root / "whole.mha").write_text("NDims = 3\nElementDataFile = LOCAL\n")
    subjects = [
        Subject(name, name, {"t2": root / file}, None)
        for name, file in (("a", "a.mhd"), ("b", "broken.mhd"), ("c", "whole.mha"))
    ]
    folder = tmp_path / "prints"
    refresh(folder, subjects, root)
    assert set(json.loads((folder / "a.json").read_text())) == {"a.mhd", "a.raw"}
    assert set(json.loads((folder / "b.json").read_text())) == {"broken.mhd"}
    (root / "a.raw").write_bytes(bytes(7) + b"x")
    assert refresh(folder, subjects, root) == ["a"]
