"""Fingerprints: small files that change when, and only when, the content of a subject's files changes.

A workflow that depends on them instead of on the scans does nothing after a `touch`, and exactly what
descends from a subject after one of its voxels has changed.
"""

import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from ..errors import DataError
from ..files import sha256_of_file
from . import metaimage
from .subject import Subject

CACHE = ".stat.json"
LOCK = ".lock"
# A file changed so shortly before it was hashed could change again without a new time stamp.
SETTLED_NS = 2_000_000_000
SHA256 = re.compile("[0-9a-f]{64}")


class File(NamedTuple):
    path: Path
    stat: list[int] | str  # size, mtime and ctime in ns, inode; or why there is none


def refresh(folder: Path, subjects: Iterable[Subject], root: Path) -> list[str]:
    """Brings `<folder>/<subject id>.json` (file relative to `root` → sha256) up to date.

    Only files whose size, times or inode differ from the cache `.stat.json` are hashed, and a fingerprint is
    rewritten only if its content changes. Fingerprints of subjects that are gone are removed. Safe if several
    processes do it at once. A file that is missing or cannot be read has the system's message in place of
    its hash; whoever reads the scan refuses it. Returns the ids whose fingerprint was written. Raises
    DataError if a file lies outside `root`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        bases = (f"{root}/", f"{root.resolve()}/")
        files = {subject.id: _files(subject, bases) for subject in subjects}
        hashes = _hashes(folder / CACHE, {name: f for found in files.values() for name, f in found.items()})
        texts = {
            f"{subject}.json": json.dumps({name: hashes[name] for name in sorted(found)}, indent=1) + "\n"
            for subject, found in files.items()
        }
        there = {entry.name for entry in os.scandir(folder) if entry.name.endswith(".json")} - {CACHE}
        for stale in there - set(texts):
            (folder / stale).unlink()
        changed = [name for name, text in texts.items() if name not in there or _read(folder / name) != text]
        for name in changed:
            _write(folder / name, texts[name])
    return [name.removesuffix(".json") for name in changed]


def _files(subject: Subject, bases: tuple[str, str]) -> dict[str, File]:
    """The subject's files by their path relative to the root, which has two spellings."""
    files = {}
    for path in [part for file in subject.files for part in (file, *_voxels(file))]:
        base = next((base for base in bases if str(path).startswith(base)), None)
        if base is None:
            raise DataError(
                "a file outside the data root",
                subject=subject.id,
                file=path,
                expected=f"a file below {bases[0]}",
            )
        files[str(path).removeprefix(base)] = File(path, _stat(path))
    return files


def _voxels(path: Path) -> list[Path]:
    """The file that a MetaImage header (.mhd) points to."""
    if path.suffix.lower() != ".mhd":
        return []
    try:
        voxels = metaimage.voxel_file(path)
    except DataError:  # whoever reads the scan refuses it; until it is mended there are no voxels to hash
        return []
    return [] if voxels is None else [voxels]


def _stat(path: Path) -> list[int] | str:
    try:
        found = path.stat()
    except OSError as error:
        return _message(error)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _hashes(cache: Path, files: dict[str, File]) -> dict[str, str]:
    """relative path → sha256 of every file, from the cache where the file is as it was."""
    old = _read(cache) if cache.exists() else "{}"
    try:
        known: dict[str, tuple[list[int], str]] = json.loads(old)
    except ValueError:  # damaged: everything is hashed again
        known = {}
    now = _now(cache)
    fresh = [name for name, file in files.items() if name not in known or known[name][0] != file.stat]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        hashed = dict(zip(fresh, pool.map(_sha256, [files[name].path for name in fresh]), strict=True))
    hashes = {name: hashed[name] if name in hashed else known[name][1] for name in files}
    settled = {
        name: [file.stat, hashes[name]]
        for name, file in files.items()
        if not isinstance(file.stat, str)
        and SHA256.fullmatch(hashes[name])
        and (name not in hashed or now - max(file.stat[1:3]) > SETTLED_NS)
    }
    new = json.dumps(settled, sort_keys=True)
    if new != old:
        _write(cache, new)
    return hashes


def _now(cache: Path) -> int:
    """The time in ns, by the clock that stamps files: that of a cluster's node may be hours off."""
    lock = cache.with_name(LOCK)
    lock.touch()
    return lock.stat().st_mtime_ns


def _sha256(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        return _message(error)


def _message(error: OSError) -> str:
    return f"unreadable: {error.strerror}"


def _read(path: Path) -> str:
    with open(path, encoding="utf-8") as handle:  # noqa: PTH123, thousands of these: Path.open is slower
        return handle.read()


def _write(path: Path, text: str) -> None:
    """Whole or not at all; not flushed to disk, since what a power failure damages is written again."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
