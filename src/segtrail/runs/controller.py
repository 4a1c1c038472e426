"""One controller per run: the snakemake process that makes its tree holds a lock for as long as it lives.

The kernel gives the lock back however the process ends, so that after a kill the same command starts again;
Snakemake's own locks, which outlive their process, are removed once nobody holds ours.
"""

import getpass
import os
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import ArtifactError
from ..files import read_json, write_json
from ..processes import taken

GLANCE = 1.0  # seconds: `segtrail status` looks at the lock for an instant


class Controller:
    """The right to make the tree `results/<run>`."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.about = tree / "controller.json"
        self.lock = tree / "controller.lock"
        self._handle: int | None = None  # while it is open the lock is held

    def take(self, config: dict[str, Any], given: dict[str, Any] | None = None) -> None:
        """Takes the tree until this process ends, and writes who makes it of which configuration; `given` is
        the part of it that the command laid over config/config.yaml.

        Raises ArtifactError naming who has it, SegtrailError where the file system knows no locks.
        """
        if (other := self._try()) is not None:
            raise ArtifactError(
                other,
                remedy="wait for it (segtrail status), or end that process: its SLURM jobs go on, and the "
                "same command takes them over",
            )
        about = {
            "user": getpass.getuser(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "config": config,
            "given": given or {},
        }
        write_json(self.about, about)

    def other(self) -> str | None:
        """Who else makes the tree now, in words; None if nobody does."""
        other = self._try()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        return other

    def _try(self) -> str | None:
        """Takes the lock, or says who holds it."""
        self.tree.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            # Somebody else's tree; whether they are at work can still be seen.
            handle = os.open(self.lock, os.O_RDONLY)
        end = time.monotonic() + GLANCE
        while not taken(handle, self.lock):
            if time.monotonic() > end:
                os.close(handle)
                return f"{self.tree} is being made by {self._holder()}"
            time.sleep(0.05)
        self._handle = handle
        if not os.access(self.lock, os.W_OK):
            raise ArtifactError(
                f"{getpass.getuser()} may not write in {self.tree}: it was made by {self._holder()}",
                remedy="ask them for the rights (chmod -R g+w, and umask 002 from then on), give the run "
                "another name (config key `run`), or work in a clone of your own",
            )
        return None

    def _holder(self) -> str:
        if not self.about.exists():
            return "another process that has just started"
        who = read_json(self.about)
        return f"{who['user']} on {who['host']}, process {who['pid']}, since {who['started']}"


def remove_dead_locks(tree: Path, snakemake: Path = Path(".snakemake")) -> None:
    """Removes the locks that a killed Snakemake has left on a tree; only while no controller has it."""
    for path in (snakemake / "locks").glob("*.lock"):
        names = path.read_text(encoding="utf-8").splitlines()
        if any(name.startswith(f"{tree}/") for name in names):
            path.unlink(missing_ok=True)
