"""What a job says, whom it waits for, and how it ends."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disks import filled, small_disk

from segtrail.errors import ConfigError
from segtrail.joblog import job


def end_with(log: Path, error: BaseException) -> int | str | None:
    with pytest.raises(SystemExit) as caught, job(log):
        raise error
    return caught.value.code


def test_the_first_line_says_where_it_ran(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    monkeypatch.setenv("SLURM_JOB_ID", "45")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    for _ in range(2):
        with job(tmp_path / "logs" / "a.log") as log:
            log.info("at work")
    first, work, *again = (tmp_path / "logs" / "a.log").read_text().splitlines()
    assert " on n7, SLURM job 45, since 20" in first
    assert first.endswith(", requeued 2 times")
    assert work.endswith(" at work")
    assert len(again) == 2


def test_an_error_of_the_user_is_told_without_a_traceback(tmp_path, capsys):
    assert end_with(tmp_path / "a.log", ConfigError("a value", remedy="another")) == 1
    for text in (capsys.readouterr().err, (tmp_path / "a.log").read_text()):
        assert "found:    a value" in text
        assert "Traceback" not in text
    assert not logging.getLogger("segtrail").handlers


def test_a_full_disk_is_told_on_the_screen(tmp_path, capsys):
    with small_disk(tmp_path / "disk", 64 * 1024) as disk, job(disk / "a.log") as log, filled(disk):
        log.info("x" * 5000)
    assert f"segtrail: {disk / 'a.log'}: [Errno 28] No space left on device" in capsys.readouterr().err


def test_a_disk_without_room_for_the_log_is_told(tmp_path, capsys):
    with (
        small_disk(tmp_path / "disk", 64 * 1024) as disk,
        filled(disk),
        pytest.raises(SystemExit),
        job(disk / "a.log"),
    ):
        pass
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "Traceback" not in error


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes that do one job until their standard input says a line, or until it is done."""
    running = []

    def started(*arguments: Path) -> subprocess.Popen[str]:
        command = [sys.executable, Path(__file__).with_name("holder.py"), tmp_path / "a.log", *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        running.append(process)
        return process

    yield started
    for process in running:
        process.kill()
        process.communicate()


def until(log: Path, text: str, times: int = 1) -> None:
    deadline = time.monotonic() + 30
    while not log.exists() or log.read_text().count(text) < times:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


@pytest.mark.parametrize("ends", ["finishes", "is killed", "is terminated"])
def test_a_second_process_waits_says_for_whom_and_goes_on(tmp_path, start, ends):
    log = tmp_path / "a.log"
    first = start()
    until(log, "at work")
    second = start()
    until(log, f"waits for process {first.pid} on ", times=3)  # at once and again
    assert log.read_text().count("at work") == 1
    if ends == "finishes":
        first.communicate("go on\n", timeout=30)
    else:
        first.send_signal(signal.SIGKILL if ends == "is killed" else signal.SIGTERM)
        assert first.wait(timeout=30) == (-9 if ends == "is killed" else 143)
    until(log, "at work", times=2)
    assert json.loads((tmp_path / "a.lock").read_text())["pid"] == second.pid
    second.communicate("go on\n", timeout=30)
    assert second.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lock", "a.log"]


def test_sigterm_ends_a_waiting_process_and_the_lock_keeps_its_holder(tmp_path, start):
    first = start()
    until(tmp_path / "a.log", "at work")
    second = start()
    until(tmp_path / "a.log", "waits for process")
    second.terminate()
    assert second.wait(timeout=30) == 143
    assert "stopped by SIGTERM" in (tmp_path / "a.log").read_text()
    assert json.loads((tmp_path / "a.lock").read_text())["pid"] == first.pid
    first.communicate("go on\n", timeout=30)
    assert first.returncode == 0


@pytest.mark.parametrize(
    "send", [os.killpg, os.kill]
)  # to all processes as SLURM does, or to the job's alone
def test_sigterm_ends_a_job_with_workers_at_once_and_leaves_nothing_half(tmp_path, start, send):
    process = start(tmp_path / "out")
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob(".out.*.part/[0-9]*"))) < 10:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sent = time.monotonic()
    send(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert time.monotonic() - sent < 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lock", "a.log"]


def test_what_sigkill_leaves_is_removed_by_the_next_try(tmp_path, start):
    log = tmp_path / "a.log"
    for number in (1, 2):
        process = start(tmp_path / "out")
        until(log, "at work", times=number)
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob(".out.*.part/[0-9]*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
    assert len(list(tmp_path.glob(".out.*.part"))) == 1
