"""One process at a time does a job, wherever the others run and however they end."""

import errno
import fcntl
import json
import logging
import multiprocessing
import os
from pathlib import Path

import pytest

from segtrail import processes
from segtrail.errors import SegtrailError
from segtrail.processes import alone, named

LOG = logging.getLogger("test")
CONTEXT = multiprocessing.get_context("spawn")


def test_the_lock_says_who_holds_it_and_stays_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    monkeypatch.setenv("SLURM_JOB_ID", "45")
    lock = tmp_path / "folder" / "lock"
    with alone(lock, LOG):
        holder = json.loads(lock.read_text())
        assert (holder["host"], holder["pid"], holder["slurm_job"]) == ("n7", os.getpid(), "45")
        assert named(holder) == f"process {os.getpid()} on n7, SLURM job 45, since {holder['since']}"
    assert lock.read_bytes() == b""
    monkeypatch.delenv("SLURM_JOB_ID")
    with alone(lock, LOG):
        assert ", SLURM" not in named(json.loads(lock.read_text()))


def test_the_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), alone(tmp_path / "lock", LOG):
        raise KeyboardInterrupt
    with alone(tmp_path / "lock", LOG):
        pass


def count(folder: Path, times: int) -> None:
    processes.TRY_EVERY = 0.001
    for _ in range(times):
        with alone(folder / "lock", LOG):
            number = int((folder / "number").read_text())
            (folder / "number").write_text("")  # another process inside would read this
            (folder / "number").write_text(str(number + 1))


def test_never_are_two_inside(tmp_path):
    (tmp_path / "number").write_text("0")
    workers = [CONTEXT.Process(target=count, args=(tmp_path, 50)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "150"


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_flock_is_told(tmp_path, monkeypatch, code):
    def refuse(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(SegtrailError, match="supports flock") as caught, alone(tmp_path / "lock", LOG):
        pass
    assert caught.value.file == str(tmp_path / "lock")


def test_a_holder_that_has_not_given_its_name_yet(tmp_path):
    (tmp_path / "lock").write_text('{"ho')
    assert "not yet" in processes._holder(tmp_path / "lock")
