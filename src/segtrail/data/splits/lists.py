"""`split.list` and `folds.list`: parts and folds that a JSON file lists."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...config import PART_NAMES, Split
from ...config.model import MemberFolds
from ...errors import ConfigError
from ...files import read_json
from .patients import Key, Parts, Patient

# Published lists (Jungo and Reyes 2019) write "valid".
LISTED_NAMES = {**{name: name for name in PART_NAMES}, "valid": "val"}


def by_list(patients: list[Patient], rule: Split) -> Parts:
    """Each id names a patient or one image, with its data set before a slash where that is needed."""
    assert rule.list is not None
    listed = read_list(rule)
    names = [name for part in listed.values() for name in part]
    by_id = _named(names, patients, rule.list, f"the {len(patients)} patients that the cohort selects")
    return {part: [key for name in names for key in by_id[name]] for part, names in listed.items()}


def _named(names: Iterable[str], patients: Iterable[Patient], file: Path, of: str) -> dict[str, list[Key]]:
    """id of a patient or an image → its images. Raises ConfigError for one that is unknown or ambiguous."""
    by_id: dict[str, dict[Key, None]] = {}
    for patient in patients:
        for subject in patient.subjects:
            for name in (patient.id, subject):
                for alias in (name, f"{patient.dataset}/{name}"):
                    by_id.setdefault(alias, {})[patient.dataset, subject] = None
    unknown = sorted({name for name in names if name not in by_id})
    if unknown:
        raise ConfigError(
            f"{len(unknown)} unknown ids, among them {', '.join(unknown[:5])}",
            file=file,
            expected=f"ids of {of}" + (f", like {min(by_id)}" if by_id else ""),
        )
    for name in names:
        if len(found := {dataset for dataset, _ in by_id[name]}) > 1:
            raise ConfigError(
                f"{name} is in several data sets",
                file=file,
                expected=" or ".join(f"{dataset}/{name}" for dataset in sorted(found)),
            )
    return {name: list(by_id[name]) for name in names}


def read_list(rule: Split) -> dict[str, list[str]]:
    """The user's list: part → ids. Raises ConfigError if the file is not such a list."""
    assert rule.list is not None
    values = _read_json(rule.list, "split.list")
    good = isinstance(values, dict) and all(_is_ids(names) for names in values.values())
    if not good or not values or not set(values) <= set(LISTED_NAMES):
        raise ConfigError(
            f"a JSON {type(values).__name__}"
            + (f" with the keys {sorted(values)}" if isinstance(values, dict) else ""),
            file=rule.list,
            expected=f"an object: part ({', '.join(PART_NAMES)}) → list of ids, none empty",
        )
    if {"val", "valid"} <= set(values):
        raise ConfigError("the part val twice, as val and as valid", file=rule.list)
    return {LISTED_NAMES[part]: names for part, names in values.items()}


def listed_folds(images: Mapping[Patient, list[Key]], folds: MemberFolds) -> list[list[Key]]:
    """What each list of `train` leaves out of the parts' images."""
    assert folds.list is not None
    lists = read_folds(folds)
    inside = [replace(p, subjects=tuple(subject for _, subject in keys)) for p, keys in images.items()]
    where = f"the {len(inside)} patients of {' and '.join(folds.of)}"
    by_id = _named([name for names in lists for name in names], inside, folds.list, where)
    held_out = []
    for index, names in enumerate(lists):
        trained = [key for name in names for key in by_id[name]]
        twice = sorted("/".join(key) for key, count in Counter(trained).items() if count > 1)
        if twice:
            raise ConfigError(f"train, list {index}: {twice[0]} is listed twice", file=folds.list)
        held_out.append(sorted({key for keys in images.values() for key in keys} - set(trained)))
    times = Counter(key for fold in held_out for key in fold)
    for patient, keys in images.items():
        left_out = {m for m, fold in enumerate(held_out) if set(keys) & set(fold)}
        if len(left_out) != 1 or any(times[key] != 1 for key in keys):
            raise ConfigError(
                f"{patient.dataset}/{patient.id} is left out of {len(left_out)} of the {folds.k} lists",
                file=folds.list,
                expected="every patient, with all images, in all lists of `train` but one",
            )
    return held_out


def read_folds(folds: MemberFolds) -> list[list[str]]:
    """The k lists of ids to train on; other keys of the file are not read.

    Raises ConfigError if the file is not such a list.
    """
    assert folds.list is not None
    values = _read_json(folds.list, "folds.list")
    lists = values.get("train") if isinstance(values, dict) else None
    if not isinstance(lists, list) or not lists or not all(_is_ids(names) for names in lists):
        raise ConfigError(
            f"a JSON {type(values).__name__}"
            + (f" with the keys {sorted(values)}" if isinstance(values, dict) else ""),
            file=folds.list,
            expected="an object whose key `train` holds one list of ids for each member",
        )
    if len(lists) != folds.k:
        raise ConfigError(f"{len(lists)} lists under train", file=folds.list, expected=f"folds.k = {folds.k}")
    return lists


def _is_ids(names: object) -> bool:
    return isinstance(names, list) and bool(names) and all(isinstance(name, str) for name in names)


def _read_json(path: Path, key: str) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key} cannot be read: {error}", file=path, expected="a JSON file") from error
