"""What a process must know of the others on a cluster, and how it ends when it is told to."""

import errno
import fcntl
import json
import logging
import math
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from .errors import SegtrailError
from .files import needing_room

# Seconds between two tries for a lock, and between two lines that say who holds it.
TRY_EVERY, TELL_EVERY = 1.0, 60.0
# The exit status of a process that SIGTERM ended.
TERMINATED = 128 + signal.SIGTERM


def myself() -> dict[str, Any]:
    """This process: host, pid, SLURM job (None outside one) and the time, for people to read."""
    return {
        "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "pid": os.getpid(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def named(process: dict[str, Any]) -> str:
    """`process 123 on n1, SLURM job 45, since …`"""
    slurm = f", SLURM job {process['slurm_job']}" if process["slurm_job"] else ""
    return f"process {process['pid']} on {process['host']}{slurm}, since {process['since']}"


@contextmanager
def alone(lock: str | Path, log: logging.Logger) -> Iterator[None]:
    """Holds the file `lock`, which then says as JSON who does; waits while another process holds it.

    The other one may be a job that the scheduler believes dead: its node's daemon is gone, the job was
    requeued on another node, and the old process works on. The lock ends with the process however that ends.
    The file stays: were it removed, one process could wait for the removed file and another hold a new one.
    Raises SegtrailError where the file system knows no locks.
    """
    lock = Path(lock)
    with needing_room(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _wait(handle, lock, log)
        try:
            with needing_room(lock):
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(myself()).encode(), 0)
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)  # this gives the lock back


def _wait(handle: int, lock: Path, log: logging.Logger) -> None:
    if taken(handle, lock):
        return
    time.sleep(TRY_EVERY)  # `segtrail status` tries the lock, and has it for a moment
    told = -math.inf
    while not taken(handle, lock):
        if time.monotonic() - told >= TELL_EVERY:
            log.warning("waits for %s: it does this same job (%s)", _holder(lock), lock)
            told = time.monotonic()
        time.sleep(TRY_EVERY)
    if told > -math.inf:
        log.warning("waits no longer")


def taken(handle: int, lock: Path) -> bool:
    """Whether this process has the lock now, whose open file is `handle`. Never waits.

    Raises SegtrailError where the file system knows no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return False
        raise SegtrailError(
            f"flock: {error.strerror}",
            file=lock,
            expected="a file system for results/ that supports flock (Lustre: mounted with -o flock)",
            remedy="ask the cluster's administrators, or work on another file system",
        ) from error
    return True


def _holder(lock: Path) -> str:
    try:
        return named(json.loads(lock.read_text(encoding="utf-8")))
    except ValueError:  # it has taken the lock a moment ago
        return "a process that has not yet given its name"


@contextmanager
def leaving_on_sigterm() -> Iterator[None]:
    """SIGTERM ends the process between two operations, with status 143: what is open is closed or removed.

    Its workers end first: one that is interrupted between two messages would be waited for without end.
    """
    owner = os.getpid()

    def leave(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker: it has this handler from its parent
            os._exit(TERMINATED)
        for worker in multiprocessing.active_children():
            worker.kill()
        raise SystemExit(TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
