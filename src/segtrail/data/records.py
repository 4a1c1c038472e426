"""Records: one small file per subject that says what its scans hash to and what was found in them.

They are what the workflow depends on in place of the scans. A record is rewritten only when the content of
the subject's files has changed, so that touching a scan changes nothing and changing a voxel changes one
record. Both what is in order and what the pipeline refuses is recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..config import Dataset
from ..errors import DataError
from ..files import read_json, sha256_of, write_json, write_text
from ..source import code_hash
from . import fingerprints
from .subject import Listing, Subject

if TYPE_CHECKING:
    from .check import SubjectRow

# Beside the records: subject id → the hash of what its record was made from.
MADE_FROM = ".made_from"


def refresh(folder: Path, listing: Listing, dataset: Dataset, root: Path, jobs: int = 1) -> None:
    """Brings `<folder>/<subject id>.json` up to date for every subject of a data set.

    A record holds `files` (path relative to the root → sha256) and either `found` (a row of the index) or
    `problem` (the parts of a DataError). Only subjects are read again whose files have changed, or what the
    layout says about them (site, group, …), or what the data set's YAML says is to be looked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fingerprints.refresh(folder / "fingerprints", listing.subjects, root)
    files = {
        subject.id: read_json(folder / "fingerprints" / f"{subject.id}.json") for subject in listing.subjects
    }
    code = code_hash("data.check")
    made_from = {s.id: _made_from(s, dataset, files[s.id], code) for s in listing.subjects}
    before = _read(folder / MADE_FROM) or {}
    changed = [
        subject
        for subject in listing.subjects
        if before.get(subject.id) != made_from[subject.id]
        or _recorded_files(folder, subject.id) != files[subject.id]
    ]
    for subject, outcome in zip(changed, _inspected(changed, dataset, root, jobs), strict=True):
        key = "problem" if isinstance(outcome, DataError) else "found"
        _write(folder / f"{subject.id}.json", {"files": files[subject.id], key: outcome.as_dict()})
    for subject in listing.refused:
        problem = next(problem for problem in listing.problems if problem.subject == subject.id)
        _write(folder / f"{subject.id}.json", {"files": {}, "problem": problem.as_dict()})
    if before != made_from:
        write_json(folder / MADE_FROM, made_from)
    known = {f"{subject.id}.json" for subject in (*listing.subjects, *listing.refused)}
    for stale in {path.name for path in folder.glob("*.json")} - known:
        (folder / stale).unlink()


def problems(folder: Path, ids: Iterable[str]) -> dict[str, DataError]:
    """subject id → why it is refused, for the refused ones among `ids`."""
    found = {}
    for name in ids:
        record = read_json(folder / f"{name}.json")
        if "problem" in record:
            found[name] = DataError(**record["problem"])
    return found


def stop_if_bad(
    bad: Sequence[DataError], dataset: str, on_bad_subject: Literal["stop", "exclude"], shown: int = 3
) -> None:
    """Raises the first few of the errors as one, unless bad subjects are to be left out."""
    if not bad or on_bad_subject == "exclude":
        return
    more = f"\n… and {len(bad) - shown} more: segtrail check names them all" if len(bad) > shown else ""
    raise DataError(
        f"{len(bad)} problem(s) in data set {dataset}\n\n" + "\n\n".join(map(str, bad[:shown])) + more,
        remedy="correct the files, or set on_bad_subject: exclude to leave these subjects out and count them",
    )


def write_index(folder: Path, listing: Listing, subjects_csv: str | Path, rejected_csv: str | Path) -> None:
    """The records as two tables: the usable subjects, and what was refused and why."""
    import pandas as pd  # this module is imported at every start, which needs no tables

    rows, rejected = [], [problem.as_dict() for problem in listing.problems]
    for subject in listing.subjects:
        record = read_json(folder / f"{subject.id}.json")
        if "problem" in record:
            rejected.append({"subject": subject.id, **record["problem"]})
        else:
            rows.append({name: _cell(value) for name, value in record["found"].items()})
    columns = ["subject", "file", "expected", "found", "remedy"]
    write_text(subjects_csv, pd.DataFrame(rows).to_csv(index=False))
    write_text(rejected_csv, pd.DataFrame(rejected, columns=columns).to_csv(index=False))


def _cell(value: Any) -> Any:
    """What is more than one value is written as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _inspected(
    subjects: Sequence[Subject], dataset: Dataset, root: Path, jobs: int
) -> Sequence[SubjectRow | DataError]:
    if not subjects:
        return []
    from .check import inspect_many  # the readers of scans: half a second that most starts can spare

    return inspect_many(subjects, dataset, root, jobs)


def _made_from(subject: Subject, dataset: Dataset, files: dict[str, str], code: str) -> str:
    about = [subject.patient, subject.site, subject.group, subject.frame]
    return sha256_of([files, about, dataset.inspected_by(), code])


def _write(path: Path, content: dict[str, Any]) -> None:
    """Unless it is there already: what depends on an untouched record is not done again."""
    if _read(path) != json.loads(json.dumps(content)):
        write_json(path, content)


def _recorded_files(folder: Path, subject: str) -> dict[str, str] | None:
    record = _read(folder / f"{subject}.json") or {}
    return record.get("files")


def _read(path: Path) -> Any:
    """None for a file that is not there, or that a power failure has cut: it is made anew."""
    try:
        return read_json(path)
    except (FileNotFoundError, ValueError):
        return None
