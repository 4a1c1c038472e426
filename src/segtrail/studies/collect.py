"""One table of all measures of a study, and of the members and subjects that they come from."""

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from safetensors import safe_open

from ..files import atomic, read_json

SUBJECT_COLUMNS = ["cohort", "dataset", "part", "patient", "subject", "site", "group", "frame", "excluded"]


def concatenate(parts: Iterable[str | Path], out: str | Path) -> None:
    """Writes the rows of all `parts` (parquet of equal columns) in the given order."""
    write_parquet(pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True), out)


def collect_members(weights: Iterable[str | Path], out: str | Path) -> None:
    """One row per member: what its weights file says of its training.

    `weights` lie at <cohort>/members/<model>/<member>.safetensors.
    """
    rows = []
    for path in map(Path, weights):
        with safe_open(path, framework="numpy") as file:
            about = json.loads(file.metadata()["segtrail"])
        place = {"cohort": path.parents[2].name, "model": path.parent.name, "member": path.stem}
        rows.append(place | about["training"] | {"key": about["key"]})
    write_parquet(pd.DataFrame(rows), out)


def collect_subjects(folders: Iterable[str | Path], out: str | Path) -> None:
    """One row per subject of each cohort; `excluded` says why a subject was left out, '' if it was not.

    `folders` lie at <cohort>/arrays/<chunk> and hold the manifest that preprocessing wrote.
    """
    rows = [
        {"cohort": folder.parents[1].name, **subject}
        for folder in map(Path, folders)
        for subject in read_json(folder / "manifest.json")["subjects"]
    ]
    write_parquet(pd.DataFrame(rows, columns=SUBJECT_COLUMNS), out)


def write_parquet(table: pd.DataFrame, out: str | Path) -> None:
    with atomic(out) as temporary:
        table.to_parquet(temporary, index=False)
