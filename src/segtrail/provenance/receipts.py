"""Receipts: what each job has made, and what it made it from.

A job writes one when it ends, `results/<run>/receipts/<job>.json`:

    format, run, job, rule
    key           the hash of `made_from`
    made_from     step, of (its wildcards), config (the values it reads), seed, code (a hash of its script and
                  modules), data (subject → hash of its record), files (of the repository → sha256), after
                  (the jobs whose outputs it read → their keys)
    read          the jobs whose outputs it read → a hash of those outputs: made anew, on a GPU say, they may
                  have other bytes under the same key
    scans         subject → the files of its scans → sha256, of those that it reads itself
    outputs       path below results/<run> → size and sha256, of each file; posteriors, which are deleted once
                  measured, have no sha256, and scans, whose records tell what they are, are left out
    environment   versions, lock and commit that the run was started with
    finished, seconds

What a job should be made from stands beforehand in `results/<run>/keys/<job>.json` (`provenance.keys`), an
input of its rule. A job reads no artifact that is not what its receipt says, or that was made from something
else (`provenance.making`).
"""

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from ..errors import ArtifactError
from ..files import read_json, sha256_of, sha256_of_file, write_json

FORMAT = 1
LIBRARIES = ("torch", "monai", "numpy", "scipy", "pandas", "nibabel", "SimpleITK", "matplotlib", "snakemake")


def path(tree: Path, job: str) -> Path:
    return tree / "receipts" / f"{job}.json"


def key_path(tree: Path, job: str) -> Path:
    return tree / "keys" / f"{job}.json"


def read(tree: Path, job: str) -> dict[str, Any] | None:
    """The receipt of a job, None if it has left none. Raises ArtifactError for one that cannot be read, was
    edited or is of another format."""
    file = path(tree, job)
    try:
        receipt: dict[str, Any] = read_json(file)
        if receipt["format"] != FORMAT:
            raise ArtifactError(
                f"a receipt of format {receipt['format']}, written by another version of segtrail",
                file=file,
                expected=f"format {FORMAT}",
                remedy="go on with that version, or give the run another name (config key `run`)",
            )
        if receipt["job"] != job or sha256_of(receipt["made_from"]) != receipt["key"]:
            raise ValueError("its key is not that of what it says its job was made from")
        _ = receipt["outputs"].items(), receipt["read"].items(), receipt["scans"], receipt["environment"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"not a receipt, or edited: {type(error).__name__}: {error}",
            file=file,
            remedy="bring back what was there (dvc checkout, or a copy), or delete it: its job makes its "
            "outputs anew",
        ) from error
    return receipt


def all_receipts(tree: Path) -> dict[str, dict[str, Any]]:
    """job → its receipt, of every job that has left one."""
    folder = tree / "receipts"
    names = [str(file.relative_to(folder).with_suffix("")) for file in sorted(folder.rglob("[!.]*.json"))]
    return {name: receipt for name in names if (receipt := read(tree, name)) is not None}


def content_of(receipt: Mapping[str, Any]) -> str:
    """A hash of everything that a job has made."""
    return sha256_of(receipt["outputs"])


def made_since(receipt: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The jobs that have made something else since their outputs were read; `found`: job → its receipt."""
    read = receipt["read"].items()
    return [job for job, content in read if job in found and content_of(found[job]) != content]


# --- what is in an artifact -----------------------------------------------------------------------


def contents(tree: Path, outputs: Iterable[str], hashed: bool = True) -> dict[str, dict[str, Any]]:
    """path below `tree` → size and sha256, of each file of `outputs`, which are files and folders."""
    return {
        str(file.relative_to(tree)): {
            "size": file.stat().st_size,
            "sha256": sha256_of_file(file) if hashed else None,
        }
        for name in outputs
        for file in files_of(tree / name)
    }


def files_of(artifact: Path) -> list[Path]:
    """The files of an artifact, which is one or a folder; not what Snakemake puts there."""
    if not artifact.is_dir():
        return [artifact]
    found = (file for file in artifact.rglob("*") if file.is_file())
    return sorted(file for file in found if file.name != ".snakemake_timestamp")


def hashes(files: Iterable[Path]) -> Iterator[str]:
    """The sha256 of each file, in their order, by threads; the system's message of one that is unreadable."""
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as pool:
        yield from pool.map(_hash, files)


def _hash(file: Path) -> str:
    try:
        return sha256_of_file(file)
    except OSError as error:
        return f"unreadable: {error.strerror}"


def stop_if_changed(
    tree: Path, file: str, entry: Mapping[str, Any], hashed: bool = True, folder: Path | None = None
) -> None:
    """Raises ArtifactError for a file below `tree` that is not what its receipt says; `folder` is the
    artifact that it belongs to, where it is not one itself."""
    found = tree / file
    if not found.exists():
        raise ArtifactError("no such file", file=found, remedy=remedy(found, folder))
    size = found.stat().st_size
    if size != entry["size"]:
        raise changed(found, f"{entry['size']} bytes", f"{size} bytes", folder)
    if hashed and entry["sha256"] is not None and (sha256 := _hash(found)) != entry["sha256"]:
        raise changed(found, f"sha256 {entry['sha256']}", f"sha256 {sha256}", folder)


def stop_unless_held(tree: Path, job: str) -> None:
    """For readers that are no jobs. Raises ArtifactError where what a job has made is not what its receipt
    says, or where it has left none."""
    receipt = read(tree, job)
    if receipt is None:
        raise ArtifactError(
            f"no receipt of the job {job}: nothing tells what is there",
            file=path(tree, job),
            remedy="run the workflow first",
        )
    for file, entry in receipt["outputs"].items():
        stop_if_changed(tree, file, entry)


def changed(file: Path, expected: str, found: str, folder: Path | None = None) -> ArtifactError:
    """The error about a file that was edited or damaged since it was made."""
    return ArtifactError(
        f"{found}: it was edited or damaged since it was made",
        file=file,
        expected=f"{expected}, as its receipt says",
        remedy=f"{remedy(file, folder)}. Nothing is read from it, or written over it, until then",
    )


def remedy(file: Path, folder: Path | None = None) -> str:
    """How to have what was made back. Snakemake makes a missing artifact anew only where somebody needs it,
    and nobody needs what everything was made from already."""
    if folder is not None:
        return f"rm -r {folder}, and run the same command again: it is made anew where a job reads it"
    return (
        f"bring back what was there (dvc checkout, or a copy), or have it made anew: rm -f {file}, and the "
        f"same command with {file} as its target"
    )


# --- where and with what --------------------------------------------------------------------------


def settled_path(tree: Path) -> Path:
    """As old as the keys: what is younger was changed after they were computed."""
    return tree / "keys" / ".settled"


def environment_path(tree: Path) -> Path:
    return tree / "environment.json"


def write_environment(tree: Path, root: Path) -> None:
    """Writes down what a run is started with; `root` is the clone."""
    lock = root / "requirements.lock"
    write_json(
        environment_path(tree),
        {
            "segtrail": metadata.version("segtrail"),
            **_commit(root),
            "lock": sha256_of_file(lock) if lock.exists() else None,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "libraries": {name: metadata.version(name) for name in LIBRARIES},
        },
    )


def _commit(root: Path) -> dict[str, Any]:
    """The clone's commit, and whether anything in it is changed; None where it is no clone."""
    if not (root / ".git").exists():
        return {"commit": None, "changed": None}
    commit, state = (
        subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    )
    if commit.returncode or state.returncode:
        print(f"segtrail: git does not tell the commit: {commit.stderr or state.stderr}", file=sys.stderr)
        return {"commit": None, "changed": None}
    return {"commit": commit.stdout.strip(), "changed": bool(state.stdout.strip())}
