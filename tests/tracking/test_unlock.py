"""Locks of killed commands go; those of living ones stay."""

import json
import subprocess
import sys

import pytest

from segtrail.errors import SegtrailError
from segtrail.runs.controller import Controller
from segtrail.tracking.unlock import unlock


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    tree = tmp_path / "results/lab"
    tree.mkdir(parents=True)
    return tree.relative_to(tmp_path)


@pytest.fixture
def locks(tree, tmp_path):
    """What is left when `dvc repro` (process 1, says the file) and its snakemake are killed."""
    lock = tmp_path / ".snakemake/locks/0.output.lock"
    lock.write_text(f"{tree}/report.html\n")
    held(tmp_path, 1)
    return [lock, tmp_path / ".dvc/tmp/rwlock"]


def held(folder, pid: int) -> None:
    holder = {"pid": pid, "cmd": "/somewhere/dvc repro"}
    values = {"write": {"/a": holder}, "read": {"/b": [holder]}}
    (folder / ".dvc/tmp/rwlock").write_text(json.dumps(values))


def test_locks_of_the_dead_go(tree, locks):
    unlock(tree)
    assert not any(lock.exists() for lock in locks)


def test_half_a_file_goes_too(tree, locks):
    locks[1].write_text('{"write": {"/a"')
    unlock(tree)
    assert not any(lock.exists() for lock in locks)


def test_a_dvc_at_work_keeps_them(tree, locks, tmp_path):
    working = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "dvc", "repro"])
    try:
        held(tmp_path, working.pid)
        with pytest.raises(SegtrailError, match=f"process {working.pid}: /somewhere/dvc repro"):
            unlock(tree)
        assert all(lock.exists() for lock in locks)
    finally:
        working.kill()
        working.wait()
    unlock(tree)
    assert not any(lock.exists() for lock in locks)


def test_a_snakemake_at_work_keeps_them(tree, locks):
    controller = Controller(tree)
    controller.take({})
    with pytest.raises(SegtrailError, match="is being made by"):
        unlock(tree)
    assert all(lock.exists() for lock in locks)
