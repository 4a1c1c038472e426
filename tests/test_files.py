"""Files appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest
from disks import small_disk

from segtrail.errors import ArtifactError
from segtrail.files import (
    atomic,
    atomic_folder,
    clear_parts,
    read_json,
    sha256_of,
    sha256_of_file,
    write_json,
    write_text,
)
from segtrail.seeds import seed_of


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(FileNotFoundError), atomic(path) as temporary:
        temporary.write_text((tmp_path / "missing").read_text())
    assert read_json(path) == {"x": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_told(tmp_path, code):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})

    def fail() -> None:
        with atomic(path, 3 * 2**20) as temporary:
            temporary.write_text("half")
            raise OSError(code, os.strerror(code))

    with pytest.raises(ArtifactError) as caught:
        fail()
    assert caught.value.file == str(path)
    assert caught.value.found.startswith(f"{os.strerror(code)}: 3.0 MiB were to be written, ")
    assert "run the same command again" in caught.value.remedy
    assert read_json(path) == {"x": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        write_text(disk / "a.txt", "old")
        with pytest.raises(ArtifactError, match="No space left on device"):
            write_text(disk / "a.txt", "new" * 2**15)
        assert (disk / "a.txt").read_text() == "old"
        assert [entry.name for entry in disk.iterdir()] == ["a.txt"]


def test_another_error_stays_what_it_is(tmp_path):
    with pytest.raises(PermissionError), atomic(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "no")


def test_temporaries_of_two_writers_differ_even_if_their_process_ids_do_not(tmp_path):
    with atomic(tmp_path / "a.npy") as first, atomic(tmp_path / "a.npy") as second:
        assert first != second
        assert first.suffix == second.suffix == ".npy"
        first.write_text("1")
        second.write_text("2")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npy"]


def left_by_a_kill(writer, path: Path) -> Path:
    """What a process leaves that ended between two operations."""
    context = writer(path)
    temporary = context.__enter__()
    if not temporary.exists():
        temporary.write_text("half")
    kept = temporary.rename(path.with_name("kept"))
    context.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    return kept.rename(temporary)


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    others = ["a.npy", "b.npy", ".a.0123abcd.part.csv", ".a.b.0123abcd.part.npy", ".a.npy"]
    for name in others:
        (tmp_path / name).touch()
    left = left_by_a_kill(atomic, tmp_path / "a.npy")
    assert left.exists()
    clear_parts(tmp_path / "a.npy")
    assert {entry.name for entry in tmp_path.iterdir()} == set(others)
    clear_parts(tmp_path / "missing" / "a.npy")


def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path):
    path = tmp_path / "out.d"
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("1")
        assert not path.exists()
    with atomic_folder(path) as temporary:
        (temporary / "b").write_text("2")
        assert [entry.name for entry in path.iterdir()] == ["a"]
    assert [entry.name for entry in path.iterdir()] == ["b"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.d"]


def test_a_folder_stays_after_a_failure_and_what_a_kill_left_is_removed(tmp_path):
    path = tmp_path / "out"
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("1")
    left = left_by_a_kill(atomic_folder, path)
    (left / "large").write_text("half")

    def fail() -> None:
        with atomic_folder(path):
            assert not left.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [str(entry.relative_to(tmp_path)) for entry in sorted(tmp_path.rglob("*"))] == ["out", "out/a"]


def test_equal_values_give_equal_bytes_and_hashes(tmp_path):
    write_json(tmp_path / "a", {"x": 1, "y": [1.5, None]})
    write_json(tmp_path / "b", {"y": [1.5, None], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sha256_of_file(tmp_path / "a") == sha256_of_file(tmp_path / "b")
    assert sha256_of({"x": 1, "y": 2}) == sha256_of({"y": 2, "x": 1}) != sha256_of({"x": 1, "y": 3})


def test_seeds_depend_on_every_part_and_on_their_order():
    seeds = {seed_of(1, "a", 2), seed_of("a", 1, 2), seed_of(1, "a", 3), seed_of(1, "a2"), seed_of(2, "a", 2)}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(1, "a", 2) == seed_of(1, "a", 2)
