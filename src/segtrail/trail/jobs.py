"""The jobs that a run's numbers came through: what their names and their receipts tell."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import PART_NAMES
from ..errors import ArtifactError
from ..files import sha256_of
from ..provenance import receipts
from ..runs.jobs import NAMES

# Which of a job's outputs lead to a number: not what figures show alone.
OUTPUTS = {
    "cells": re.compile(r"/(cells|unprinted)\.csv$"),
    "collect": re.compile(r"/(measures|reliability|errors|members|subjects)\.parquet$"),
    "measure": re.compile(r"/(measures|reliability|errors)/"),
    "members": re.compile(r"\.safetensors$"),
}
WILDCARDS = {
    "dataset": "[^/]+",
    "study": "[^/]+",
    "cohort": "[A-Za-z0-9]+",
    "model": "[A-Za-z0-9_]+",
    "posterior": "[A-Za-z0-9_]+",
    "member": "[0-9]{3}",
    "chunk": "train|val|(?:test|shift)_[0-9]{3}",
    "part": "|".join(PART_NAMES),
}
SCRATCH = "scratch/"
PULL = "bring it from where the results are kept (dvc pull, or a copy of the tree)"


def wildcards(step: str, job: str) -> dict[str, str] | None:
    """What a job's name says that it is of; None for a job of another step."""
    groups = {name: f"(?P<{name}>{pattern})" for name, pattern in WILDCARDS.items()}
    found = re.fullmatch(NAMES[step].format_map(groups), job)
    return None if found is None else found.groupdict()


@dataclass(eq=False)
class Jobs:
    """The receipts of jobs and what they tell of the artifacts, each looked at once."""

    tree: Path
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    _receipts: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def receipt(self, job: str, key: str | None = None) -> dict[str, Any] | None:
        """The receipt of a job, None if there is none. ArtifactError if its key is not the given one."""
        if job not in self._receipts:
            self._receipts[job] = receipts.read(self.tree, job)
        found = self._receipts[job]
        if found is not None and key is not None and found["key"] != key:
            raise self._done_again(job, f"key {found['key'][:16]}", f"key {key[:16]}")
        return found

    def _done_again(self, job: str, found: str, expected: str) -> ArtifactError:
        return ArtifactError(
            f"the job {job} has been done again since what it made was read: {found}",
            file=receipts.path(self.tree, job),
            expected=f"{expected}, of which the number was made",
            remedy="run the workflow to its end, so that all is made from one thing; segtrail verify "
            "says what is stale",
        )

    def needed(self, job: str) -> dict[str, Any]:
        """The receipt of a job without which there is no trail. Raises ArtifactError if there is none."""
        found = self.receipt(job)
        if found is None:
            raise ArtifactError(
                f"no receipt of the job {job}: nothing tells what its numbers were made from",
                file=receipts.path(self.tree, job),
                remedy=f"{PULL}, or run the workflow",
            )
        return found

    def told(self, kind: str, job: str, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """A job as a trail tells it. ArtifactError if what it read has been made anew with other content."""
        before = {name: found for name in receipt["read"] if (found := self.receipt(name)) is not None}
        for name in receipts.made_since(receipt, before):
            raise self._done_again(name, "other content", "the content that was read")
        environment = sha256_of(receipt["environment"])[:8]
        self.environments[environment] = receipt["environment"]
        return {
            "job": job,
            "key": receipt["key"],
            "outputs": {file: entry["sha256"] for file, entry in self.leading(kind, receipt).items()},
            "environment": environment,
            "finished": receipt["finished"],
            "seconds": receipt["seconds"],
        }

    def leading(self, kind: str, receipt: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The outputs of a job that lead to a number, with size and sha256."""
        wanted = OUTPUTS.get(kind)
        return {file: e for file, e in receipt["outputs"].items() if wanted is None or wanted.search(file)}

    def not_here(self, kind: str, receipt: Mapping[str, Any]) -> list[str]:
        """The outputs that do not lie here; posteriors never do. ArtifactError for one that is not what its
        receipt says: kept ones are hashed, those in scratch, whose readers hash them, have the right size."""
        absent = []
        for file, entry in self.leading(kind, receipt).items():
            if (self.tree / file).exists():
                receipts.stop_if_changed(self.tree, file, entry, hashed=not file.startswith(SCRATCH))
            elif kind != "posterior":
                absent.append(file)
        return absent
