"""What killed commands leave behind, so that the next one can begin: locks of Snakemake's and of DVC's."""

import json
from pathlib import Path
from typing import Any

import psutil

from ..errors import SegtrailError
from ..runs.controller import Controller, remove_dead_locks

RWLOCK = Path(".dvc/tmp/rwlock")


def unlock(tree: Path) -> None:
    """Removes the locks of dead processes on a run's tree and on what DVC tracks.

    Most are passed over by themselves at the next start; DVC's stays where its process id was given to
    another process. Raises SegtrailError while a process still works there.
    """
    working = [*filter(None, [Controller(tree).other() if tree.exists() else None]), *map(_told, _alive())]
    if working:
        raise SegtrailError(
            "\n          ".join(working),
            expected="no process that is still at work",
            remedy="let it end, or end it (kill, then the process's number), and try again",
        )
    remove_dead_locks(tree)
    RWLOCK.unlink(missing_ok=True)


def _alive() -> list[dict[str, Any]]:
    """The holders of DVC's locks that are still DVC."""
    try:
        locks = json.loads(RWLOCK.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):  # a killed DVC may leave half a file
        return []
    held = [
        *locks.get("write", {}).values(),
        *(one for some in locks.get("read", {}).values() for one in some),
    ]
    return [one for one in {one["pid"]: one for one in held}.values() if _is_dvc(one["pid"])]


def _is_dvc(pid: int) -> bool:
    try:
        return any(Path(word).name == "dvc" for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def _told(holder: dict[str, Any]) -> str:
    return f"process {holder['pid']}: {holder['cmd']}"
