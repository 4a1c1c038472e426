"""Before the DAG is built: each artifact is held to its receipt, and times are put in order.

Snakemake looks at times alone. In a clone, after a checkout of another revision or with .snakemake lost, times
say nothing, and keys do. So at each start

- the key of each job is written to `keys/<job>.json`, an input of its rule, unless it stands there already;
- of a job whose outputs are not of that key, the key file is made younger than the outputs: it is done again;
- outputs that are right are made younger than what they were made from: nothing is done again;
- a kept artifact that is not what its receipt says stops the run: it was edited or damaged.

A dry run does the same; nothing but times and key files changes.
"""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import receipts
from ..errors import ArtifactError
from ..files import read_json, sha256_of_file, write_json
from ..layout import Layout
from .jobs import Job, outputs
from .keys import Keys, files_of, records_of

# file → size, time and inode when it was hashed, and its sha256.
CACHE = ".checked.json"
SCRATCH = "scratch/"
SHOWN = 3  # errors told in full


def settle(layout: Layout) -> None:
    """Makes Snakemake do again what is stale, and nothing else.

    Raises ArtifactError for kept artifacts (all but those in scratch/, which their readers check) that are
    not what their receipts say, and for a receipt that cannot be read. For a controller only, before its
    first job.
    """
    keys, tree = Keys.of(layout), layout.tree
    found = receipts.all_receipts(tree)
    stop_if_edited(tree, found)
    newest: dict[str, int] = {}  # job → time of its newest output, 0 where none is there
    for name, job in keys.jobs.items():
        made_from, key = keys.made_from(name), keys.key(name)
        key_file = receipts.key_path(tree, name)
        if not key_file.exists() or read_json(key_file) != made_from:
            write_json(key_file, made_from)
        made = [tree / path for path in outputs(layout, job)]
        # A benchmark is an output to Snakemake, too.
        products = [path for path in (*made, tree / "benchmarks" / f"{name}.tsv") if path.exists()]
        if name in found and key is not None and found[name]["key"] == key:
            before = [newest[one] for one in job.after] + [time_of(path) for path in _read_by(layout, job)]
            oldest = min(map(time_of, products), default=0)
            if max(before, default=0) > oldest:
                oldest = _renew(products)
            if time_of(key_file) > oldest:
                os.utime(key_file, ns=(oldest, oldest))
        elif products and time_of(key_file) <= max(map(time_of, products)):
            os.utime(key_file)
        newest[name] = max((time_of(path) for path in made if path.exists()), default=0)


def _read_by(layout: Layout, job: Job) -> list[Path]:
    """What is there of what a job reads and no job makes."""
    return [path for path in (*files_of(job), *records_of(layout, job).values()) if path.exists()]


def _renew(products: Iterable[Path]) -> int:
    """Touches outputs as Snakemake does; returns their new time."""
    now = time.time_ns()
    for path in products:
        stamp = path / ".snakemake_timestamp"
        if path.is_dir():
            stamp.touch()
        os.utime(stamp if path.is_dir() else path, ns=(now, now), follow_symlinks=False)
    return now


def time_of(path: Path) -> int:
    """When Snakemake believes that an output was made, in ns."""
    stamp = path / ".snakemake_timestamp"
    return (stamp if stamp.exists() else path).lstat().st_mtime_ns


# --- what was edited ------------------------------------------------------------------------------


def stop_if_edited(tree: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ArtifactError for kept artifacts that are not what their receipts say.

    Files are hashed again only where size, time or inode differ from when they were hashed last.
    """
    cache = tree / CACHE
    known: dict[str, list[Any]] = read_json(cache) if cache.exists() else {}
    now: dict[str, list[Any]] = {}
    edited = []
    for receipt in found.values():
        for file, entry in receipt["outputs"].items():
            path = tree / file
            if file.startswith(SCRATCH) or not path.exists():
                continue
            stat = path.stat()
            state = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
            old = known.get(file)
            now[file] = old if old and old[:3] == state else [*state, sha256_of_file(path)]
            if now[file][3] != entry["sha256"]:
                told = f"sha256 {now[file][3]}"
                edited.append(receipts.changed(path, f"sha256 {entry['sha256']}", told))
    if now != known:
        write_json(cache, now)
    if len(edited) == 1:
        raise edited[0]
    if edited:
        more = f"\n… and {len(edited) - SHOWN} more: segtrail verify names them all"
        raise ArtifactError(
            f"{len(edited)} artifacts were edited or damaged since they were made\n\n"
            + "\n\n".join(map(str, edited[:SHOWN]))
            + (more if len(edited) > SHOWN else "")
        )
