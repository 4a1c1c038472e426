"""Before the DAG is built: each artifact is held to its receipt, and times are put in order.

Snakemake looks at times alone. In a clone, after a checkout of another revision or with .snakemake lost,
times say nothing, and keys do. So at each start

- the key of each job is written to `keys/<job>.json`, an input of its rule, unless it stands there already;
- of a job whose outputs are not of that key, the key file is made younger than the outputs: it is done again;
- outputs that are right are made as young as what they were made from: nothing is done again;
- a kept artifact that is not what its receipt says stops the run: it was edited or damaged.

A dry run does the same; nothing but times and key files changes.
"""

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ArtifactError
from ..files import json_text, read_json, write_json, write_text
from ..layout import Layout
from ..models.kept import keep
from ..runs.jobs import Job, outputs
from . import receipts
from .keys import Keys, files_of, records_of

# file → size, times and inode when it was hashed, and its sha256.
CACHE = ".checked.json"
SCRATCH = "scratch/"
STAMP = ".snakemake_timestamp"  # Snakemake's: its time is that of the folder it lies in
SHOWN = 3  # errors told in full
SECOND = 1_000_000_000  # ns: some file systems keep no finer times


def settle(layout: Layout) -> None:
    """Makes Snakemake do again what is stale, and nothing else.

    Raises ArtifactError for kept artifacts (all but those in scratch/, which their readers check) that are
    not what their receipts say, and for a receipt that cannot be read. For a controller only, before its
    first job.
    """
    keys, tree = Keys(layout), layout.tree
    write_text(receipts.settled_path(tree), "", flush=False)
    found = receipts.all_receipts(tree)
    stop_if_edited(tree, found)
    # Jobs that have read what was made anew since, with other bytes, and those after them.
    outdated: set[str] = set()
    newest: dict[str, int] = {}  # job → time of the newest of its outputs and of all that they were made from
    for name, job in keys.jobs.items():
        key_file, text = receipts.key_path(tree, name), json_text(keys.made_from(name))
        if not key_file.exists() or key_file.read_text(encoding="utf-8", errors="replace") != text:
            write_text(key_file, text, flush=False)
        made = [path for path in (tree / output for output in outputs(layout, job)) if path.exists()]
        benchmark = tree / "benchmarks" / f"{name}.tsv"  # an output to Snakemake, too
        products = [*made, benchmark] if benchmark.exists() else made
        before = max(
            [*(newest[one] for one in job.after), *map(time_read, _read_by(layout, job))],
            default=0,
        )
        if name in found and (receipts.made_since(found[name], found) or outdated.intersection(job.after)):
            outdated.add(name)
        if name in found and found[name]["key"] == keys.key(name) and name not in outdated:
            if before > min(map(time_made, products), default=before):
                _renew(products, before)
            oldest = min(map(time_made, products), default=before)
            if time_read(key_file) > oldest:
                _set_time(key_file, text, oldest)
            if job.step == "train":
                _keep(layout, job, found[name])
        elif products and time_read(key_file) <= (youngest := max(map(time_made, products))):
            write_text(key_file, text, flush=False)  # now, by the clock that stamps files
            if time_read(key_file) <= youngest:
                _set_time(key_file, text, youngest + SECOND)
        # Where an output is missing, Snakemake judges its job by the outputs of the jobs after it: those must
        # not be older than what this one reads.
        newest[name] = max([before, *map(time_read, made)])


def _keep(layout: Layout, job: Job, receipt: Mapping[str, Any]) -> None:
    """Keeps a member that is right where its job looks first: a clone has no resume folder of its own."""
    files = [layout.tree / file for file in receipt["outputs"]]
    sums = {Path(file).name: entry["sha256"] for file, entry in receipt["outputs"].items()}
    if all(file.exists() for file in files):
        with suppress(OSError):  # a file system without links: it would be trained again, to the same bytes
            keep(layout.resume(**job.of), files, sums)


def _read_by(layout: Layout, job: Job) -> list[Path]:
    """What is there of what a job reads and no job makes."""
    return [path for path in (*files_of(job), *records_of(layout, job).values()) if path.exists()]


def _renew(products: Iterable[Path], before: int) -> None:
    """Touches outputs as Snakemake does: now, or as late as what they were made from, in ns."""
    now = max(time.time_ns(), before)
    for path in products:
        carrier = path
        if path.is_dir() and not path.is_symlink():
            carrier = path / STAMP
            carrier.touch()
        try:
            os.utime(carrier, ns=(now, now), follow_symlinks=False)
        except PermissionError:
            os.utime(carrier, follow_symlinks=False)  # another's, who lets us write: no other time can be set


def _set_time(key_file: Path, text: str, ns: int) -> None:
    """Written again, it is ours: nobody sets the time of another's file."""
    write_text(key_file, text, flush=False)
    os.utime(key_file, ns=(ns, ns))


def time_made(path: Path) -> int:
    """When Snakemake believes that an output was made, in ns."""
    stamp = path / STAMP
    return (stamp if not path.is_symlink() and stamp.exists() else path).lstat().st_mtime_ns


def time_read(path: Path) -> int:
    """When Snakemake believes that an input was made, in ns: that of a link or of what it leads to."""
    if not path.is_symlink():
        return time_made(path)
    return max(path.lstat().st_mtime_ns, time_made(path.resolve()))


# --- what was edited ------------------------------------------------------------------------------


def stop_if_edited(tree: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ArtifactError for kept artifacts that are not what their receipts say.

    Files are hashed again only where size, times or inode differ from when they were hashed last; what the
    cache says against a file is not believed.
    """
    expected = {
        file: entry["sha256"]
        for receipt in found.values()
        for file, entry in receipt["outputs"].items()
        if not file.startswith(SCRATCH) and (tree / file).exists()
    }
    known, now = _cached(tree / CACHE), {file: _state(tree / file) for file in expected}
    fresh = [file for file, sha256 in expected.items() if known.get(file) != [*now[file], sha256]]
    hashed = dict(zip(fresh, receipts.hashes(tree / file for file in fresh), strict=True))
    edited = [
        receipts.changed(tree / file, f"sha256 {expected[file]}", f"sha256 {sha256}")
        for file, sha256 in hashed.items()
        if sha256 != expected[file]
    ]
    right = {
        file: [*now[file], sha256] for file, sha256 in expected.items() if hashed.get(file, sha256) == sha256
    }
    if right != known:
        write_json(tree / CACHE, right)
    if len(edited) == 1:
        raise edited[0]
    if edited:
        more = f"\n… and {len(edited) - SHOWN} more: segtrail verify names them all"
        raise ArtifactError(
            f"{len(edited)} artifacts were edited or damaged since they were made\n\n"
            + "\n\n".join(map(str, edited[:SHOWN]))
            + (more if len(edited) > SHOWN else "")
        )


def _cached(cache: Path) -> dict[str, list[Any]]:
    """What was hashed before; nothing where the cache is damaged."""
    try:
        known: dict[str, list[Any]] = read_json(cache)
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _state(path: Path) -> list[int]:
    """What differs where a file was written to; its content may be changed without its time of writing."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
