"""Around the work of a job: its inputs are held to their receipts, and it leaves its own.

A job may start days after its run was planned, on another node. It stops where the configuration, the code or
the scans are others than those that the run began with, and where an artifact that it reads is not what the
job left that made it. So no number comes from a mixture.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import ArtifactError
from ..files import read_json, sha256_of, write_json
from ..layout import Layout
from ..runs.jobs import job_of
from ..source import changed_since
from . import receipts
from .keys import code_of, differences, own, records_of

SHOWN = 5  # differences told


@contextmanager
def making(snakemake: Any) -> Iterator[None]:
    """Holds the inputs of a job of Snakemake's to their receipts, and writes its own when its work is done.

    Raises ArtifactError for an input that was edited, damaged or made from something else, and where
    configuration, code or scans have changed since the run was started.
    """
    began, layout = time.monotonic(), Layout.load(snakemake.config)
    planned, tree = read_json(snakemake.input.key), layout.tree
    # Now: a later controller that adopts this job may run with another.
    environment = read_json(receipts.environment_path(tree))
    job = job_of(planned["step"], tuple(planned["after"]), **planned["of"])
    receipts.path(tree, job.name).unlink(missing_ok=True)
    before = {name: _receipt(tree, name, key) for name, key in planned["after"].items()}
    made_from = own(layout, job) | {
        "code": code_of(job) if changed_since(receipts.settled_path(tree)) else planned["code"],
        "after": {name: one["key"] for name, one in before.items()},
    }
    if found := differences(made_from, planned):
        raise ArtifactError(
            f"changed since the run was started: {'; '.join(found[:SHOWN])}",
            expected="one configuration, one code and the same scans from a run's first job to its last",
            remedy="run the same command again: what is right stays, the rest is made from what there is now",
        )
    _check_inputs(snakemake.input, tree, before, lazily=made_from["step"] == "figure")
    yield
    outputs = [str(Path(output).relative_to(tree)) for output in snakemake.output]
    artifacts = [name for name in outputs if not is_data(name)]
    receipt = {
        "format": receipts.FORMAT,
        "run": layout.run.name,
        "job": job.name,
        "rule": snakemake.rule,
        "key": sha256_of(made_from),
        "made_from": made_from,
        "read": {name: receipts.content_of(one) for name, one in before.items()},
        "scans": {name: read_json(path)["files"] for name, path in records_of(layout, job).items()},
        "outputs": receipts.contents(tree, artifacts, hashed=job.step != "sample"),
        "environment": environment,
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began, 1),
    }
    write_json(receipts.path(tree, job.name), receipt)


def is_data(path: str) -> bool:
    """Whether a path below results/<run> is a drawn scan or a record: their content decides what they are."""
    parts = path.split("/")
    return parts[0] == "data" and parts[2] in ("phantom", "records")


def _receipt(tree: Path, job: str, key: str | None) -> dict[str, Any]:
    """The receipt of a job that comes before; `key` is None where it was not known when the run began."""
    found = receipts.read(tree, job)
    if found is None:
        raise ArtifactError(
            f"no receipt of the job {job}, whose outputs are read here",
            file=receipts.path(tree, job),
            remedy="run the same command again: that job is done again",
        )
    if key is not None and found["key"] != key:
        raise ArtifactError(
            f"the job {job} has made its outputs from something else: key {found['key'][:16]}",
            file=receipts.path(tree, job),
            expected=f"key {key[:16]}",
            remedy="segtrail verify says what differs; the same command, run again, makes them anew",
        )
    return found


def _check_inputs(inputs: Iterable[str], tree: Path, before: Mapping[str, Any], lazily: bool) -> None:
    """Holds every artifact among `inputs` to the receipt of the job that made it.

    A figure shows a few subjects of all: arrays and maps are held to their sizes then, and what is read of
    them to the checksum in its archive, as zipfile does.
    """
    made: dict[str, dict[str, Any]] = {}  # file, or a folder above it → the files and what they should be
    for one in before.values():
        for file, entry in one["outputs"].items():
            for artifact in (file, *map(str, Path(file).parents)):
                made.setdefault(artifact, {})[file] = entry
    for path in map(Path, inputs):
        artifact = str(path.relative_to(tree)) if path.is_relative_to(tree) else ""
        if not artifact or artifact.startswith("keys/") or is_data(artifact):
            continue
        if artifact not in made:
            raise ArtifactError(
                "no receipt tells what it is",
                file=path,
                remedy=f"rm -r {path}, and run the same command again",
            )
        for file, entry in made[artifact].items():
            hashed = not (lazily and file.startswith("scratch/"))
            receipts.stop_if_changed(tree, file, entry, hashed, folder=None if file == artifact else path)
