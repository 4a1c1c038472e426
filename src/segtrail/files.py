"""Writing files and folders whole or not at all, and naming content by its hash."""

import errno
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import ArtifactError


@contextmanager
def atomic(path: str | Path, size: int | None = None, flush: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is flushed to disk and renamed to `path`.

    Without `flush`, which takes milliseconds, a power failure may leave it damaged: for what is written anew
    at each start. After an exception the temporary file is removed and `path` is as it was. Raises
    ArtifactError where the disk or the quota is full; `size`, in bytes, is then told as what was to be
    written.
    """
    path = Path(path)
    with needing_room(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        try:
            yield temporary
            if flush:
                with temporary.open("rb") as handle:
                    os.fsync(handle.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yields an empty folder beside `path`; on success it takes the place of `path`.

    After an exception the folder is removed and `path` is as it was. Nobody else may write `path` at the same
    time: what killed processes left beside it is removed first.
    """
    path = Path(path)
    with needing_room(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_parts(path)
        temporary = _beside(path)
        temporary.mkdir()
        try:
            yield temporary
            _put(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _put(new: Path, folder: Path) -> None:
    """Puts `new` in the place of `folder`; a folder with content cannot be renamed over."""
    if not folder.exists():
        new.replace(folder)
        return
    old = _beside(folder)
    folder.replace(old)
    new.replace(folder)
    shutil.rmtree(old)


def clear_parts(path: str | Path) -> None:
    """Removes what killed processes left of their temporaries for `path`.

    Only for a caller who knows that no other process is writing `path`.
    """
    path = Path(path)
    pattern = f".{glob.escape(path.stem)}.{'[0-9a-f]' * 8}.part{glob.escape(path.suffix)}"
    for left in list(path.parent.glob(pattern)):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _beside(path: Path) -> Path:
    # Random: two nodes that share a file system may both have this process id.
    # The suffix stays: np.save, pandas and SimpleITK choose the format by it.
    return path.with_name(f".{path.stem}.{os.urandom(4).hex()}.part{path.suffix}")


@contextmanager
def needing_room(path: str | Path, size: int | None = None) -> Iterator[None]:
    """A full disk or quota while `path` is written becomes an ArtifactError; `size` in bytes."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        room = shutil.disk_usage(next(folder for folder in Path(path).absolute().parents if folder.exists()))
        wanted = "" if size is None else f"{size / 2**20:.1f} MiB were to be written, "
        raise ArtifactError(
            f"{os.strerror(error.errno)}: {wanted}{room.free / 2**20:.1f} MiB of the disk are free",
            file=path,
            expected="room for the file, on the disk and in the quota",
            remedy="free space there and run the same command again: what was finished is whole, and a "
            "training goes on from its last saved epoch",
        ) from error


def write_text(path: str | Path, text: str, flush: bool = True) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    with atomic(path, flush=flush) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Writes what `json_text` gives, whole or not at all."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Indented JSON with sorted keys: the same value gives the same text."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_json(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sha256_of_file(path: str | Path) -> str:
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_of(value: Any) -> str:
    """The hash of a JSON-like value: equal values, in whatever key order, give equal hashes."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
