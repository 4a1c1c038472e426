"""One table of all measures of a study, and of the members and subjects that they come from."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet
from safetensors import safe_open

from ..files import atomic, read_json

SUBJECT_COLUMNS = ["cohort", "dataset", "part", "patient", "subject", "site", "group", "frame", "excluded"]


def concatenate(parts: Iterable[str | Path], out: str | Path) -> None:
    """Writes the rows of all `parts` (parquet of equal columns) in the given order."""
    write_parquet(pa.concat_tables([parquet.read_table(part) for part in parts]), out)


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
    write_parquet(pa.Table.from_pylist(rows), out)


def collect_subjects(manifests: Iterable[str | Path], out: str | Path) -> None:
    """One row per subject of each cohort; `excluded` says why a subject was left out, '' if it was not.

    `manifests` lie at <cohort>/subjects/<chunk>.json and are what preprocessing wrote.
    """
    rows = [
        {"cohort": path.parents[1].name, **{name: subject[name] for name in SUBJECT_COLUMNS[1:]}}
        for path in map(Path, manifests)
        for subject in read_json(path)["subjects"]
    ]
    schema = pa.schema([(name, pa.string()) for name in SUBJECT_COLUMNS])
    write_parquet(pa.Table.from_pylist(rows, schema), out)


def write_parquet(table: pa.Table, out: str | Path) -> None:
    with atomic(out) as temporary:
        parquet.write_table(table, temporary)
