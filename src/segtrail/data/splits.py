"""Splits: which subjects are in which part of a cohort.

Patients are ranked by a hash of (seed, data set, patient), so that neither the order of listing nor patients
who are no candidates for a part have any influence on it. A patient is never divided.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol

from ..config import PART_NAMES, Split
from ..config.cohort import Folds, PartRule
from ..errors import ConfigError
from ..files import read_json
from ..seeds import seed_of

Key = tuple[str, str]  # data set, subject id
Parts = dict[str, list[Key]]
# Published lists (Jungo and Reyes 2019) write "valid".
LISTED_NAMES = {**{name: name for name in PART_NAMES}, "valid": "val"}


class SubjectLike(Protocol):
    """A subject, or one that a phantom will draw."""

    @property
    def id(self) -> str: ...
    @property
    def patient(self) -> str: ...
    @property
    def site(self) -> str: ...
    @property
    def group(self) -> str: ...


@dataclass(frozen=True)
class Patient:
    """All images of one patient; several sites or groups only where the images differ in them."""

    dataset: str
    id: str
    sites: tuple[str, ...]
    groups: tuple[str, ...]
    subjects: tuple[str, ...]

    def stratum(self, by: str | None) -> str:
        return "+".join({"group": self.groups, "site": self.sites, None: ()}[by])


def split(by_dataset: Mapping[str, Sequence[SubjectLike]], rule: Split) -> Parts:
    """part → sorted (data set, subject id), for the subjects that the cohort's `where` has selected.

    Sizes count patients; all images of a chosen patient are taken. Counted parts are drawn before those of
    size `all`, and parts of named sites before those of any site. With `stratify`, each part (or fold) holds
    of each stratum the proportional number of patients, rounded up or down. Raises ConfigError where the rule
    cannot be met, saying how many patients are available.
    """
    patients = _patients(by_dataset)
    if rule.parts is not None:
        parts = _subjects(_by_parts(patients, sorted(by_dataset), rule))
    elif rule.folds is not None:
        parts = _subjects(_by_folds(patients, rule.folds, rule))
    else:
        parts = _by_list(patients, rule)
    parts = {name: sorted(parts[name]) for name in PART_NAMES if name in parts}
    check_leaks(parts, by_dataset)
    return parts


def check_leaks(parts: Mapping[str, Iterable[Key]], by_dataset: Mapping[str, Sequence[SubjectLike]]) -> None:
    """Raises ConfigError if a patient is in two parts, or a subject is listed twice or unknown."""
    patient_of = {(d, s.id): (d, s.patient) for d, subjects in by_dataset.items() for s in subjects}
    part_of: dict[Key, str] = {}
    seen: set[Key] = set()
    for part, keys in parts.items():
        for key in keys:
            if key not in patient_of:
                raise ConfigError(f"split: {part} lists {'/'.join(key)}, which is not in the data set")
            if key in seen:
                raise ConfigError(f"split: {'/'.join(key)} is listed twice")
            seen.add(key)
            first = part_of.setdefault(patient_of[key], part)
            if first != part:
                raise ConfigError(
                    f"split: patient {'/'.join(patient_of[key])} is in {first} and in {part}",
                    expected="every image of a patient in one part",
                )


def _patients(by_dataset: Mapping[str, Sequence[SubjectLike]]) -> list[Patient]:
    images: dict[Key, list[SubjectLike]] = {}
    for dataset, subjects in by_dataset.items():
        for subject in subjects:
            images.setdefault((dataset, subject.patient), []).append(subject)
    return [
        Patient(
            dataset,
            patient,
            sites=tuple(sorted({subject.site for subject in found})),
            groups=tuple(sorted({subject.group for subject in found})),
            subjects=tuple(sorted(subject.id for subject in found)),
        )
        for (dataset, patient), found in sorted(images.items())
    ]


def _ranked(patients: Iterable[Patient], seed: int) -> list[Patient]:
    return sorted(patients, key=lambda p: (seed_of("split", seed, p.dataset, p.id), p.dataset, p.id))


def _subjects(parts: Mapping[str, Iterable[Patient]]) -> Parts:
    return {part: [(p.dataset, s) for p in patients for s in p.subjects] for part, patients in parts.items()}


# --- by parts ------------------------------------------------------------------------------------


def _by_parts(patients: list[Patient], datasets: list[str], rule: Split) -> dict[str, list[Patient]]:
    rules = {str(part): wanted for part, wanted in (rule.parts or {}).items()}
    order = [part for part in PART_NAMES if part in rules]
    order.sort(key=lambda part: (rules[part].size == "all", rules[part].site is None))
    # Parts that draw from one pool are drawn together, so that each is proportional to the whole pool.
    pools: dict[tuple[bool, str, tuple[str, ...] | None], list[str]] = {}
    for part in order:
        wanted = rules[part]
        sites = None if wanted.site is None else tuple(sorted(wanted.site))
        pools.setdefault((wanted.size == "all", _dataset(part, wanted, datasets), sites), []).append(part)
    free = _ranked(patients, rule.seed)
    chosen: dict[str, list[Patient]] = {}
    for (_, dataset, sites), names in pools.items():
        pool = [p for p in free if p.dataset == dataset and (sites is None or set(p.sites) <= set(sites))]
        sizes = {name: _size(rules[name], len(pool)) for name in names}
        if sum(sizes.values()) > len(pool):
            raise _too_few(sizes, pool, patients, dataset, sites)
        chosen |= _deal(pool, sizes, rule.stratify)
        taken = {(p.dataset, p.id) for name in names for p in chosen[name]}
        free = [p for p in free if (p.dataset, p.id) not in taken]
    return chosen


def _dataset(part: str, wanted: PartRule, datasets: list[str]) -> str:
    if wanted.dataset is None and len(datasets) == 1:
        return datasets[0]
    if wanted.dataset not in datasets:
        raise ConfigError(
            f"split.parts.{part}.dataset = {wanted.dataset!r}",
            expected=f"one of the cohort's data sets: {', '.join(datasets)}",
        )
    return wanted.dataset


def _size(wanted: PartRule, available: int) -> int:
    # An empty part is an error, so 'all' of nothing asks for one patient.
    return max(1, available) if wanted.size == "all" else wanted.size


def _too_few(
    sizes: dict[str, int],
    pool: list[Patient],
    patients: list[Patient],
    dataset: str,
    sites: tuple[str, ...] | None,
) -> ConfigError:
    there: dict[str, int] = {}
    for patient in patients:
        if patient.dataset == dataset:
            name = patient.stratum("site") or "(no site)"
            there[name] = there.get(name, 0) + 1
    where = dataset if sites is None else f"{dataset}, site {' or '.join(sites)}"
    return ConfigError(
        f"split.parts: {' + '.join(f'{name} {size}' for name, size in sizes.items())} patients of {where}",
        expected=f"at most the {len(pool)} that are available and not in another part; the cohort selects "
        f"{', '.join(f'{count} of {name}' for name, count in sorted(there.items())) or 'none'}",
        remedy="lower the sizes, or set data to a root that holds more patients",
    )


# --- by folds ------------------------------------------------------------------------------------


def _by_folds(patients: list[Patient], folds: Folds, rule: Split) -> dict[str, list[Patient]]:
    if len(patients) < folds.k:
        raise ConfigError(
            f"split.folds.k = {folds.k}", expected=f"at most the {len(patients)} patients of the cohort"
        )
    sizes = {
        f"{fold}": len(patients) // folds.k + (fold < len(patients) % folds.k) for fold in range(folds.k)
    }
    dealt = _deal(_ranked(patients, rule.seed), sizes, rule.stratify)
    part_of = {f"{fold}": "train" for fold in range(folds.k)}
    part_of |= {f"{folds.test}": "test"} | ({} if folds.val is None else {f"{folds.val}": "val"})
    chosen: dict[str, list[Patient]] = {}
    for fold, part in part_of.items():
        chosen.setdefault(part, []).extend(dealt[fold])
    return chosen


# --- proportions ---------------------------------------------------------------------------------


def _deal(pool: list[Patient], sizes: dict[str, int], by: str | None) -> dict[str, list[Patient]]:
    """Deals the ranked pool to the named rows, each proportional in the strata."""
    strata: dict[str, list[Patient]] = {}
    for patient in pool:
        strata.setdefault(patient.stratum(by), []).append(patient)
    names = sorted(strata)
    rest = len(pool) - sum(sizes.values())
    counts = _proportional([*sizes.values(), rest], [len(strata[name]) for name in names])
    dealt: dict[str, list[Patient]] = {row: [] for row in sizes}
    for column, name in enumerate(names):
        edges = pairwise(accumulate((row[column] for row in counts), initial=0))
        for row, (start, stop) in zip(sizes, edges, strict=False):  # the last row is the rest
            dealt[row] += strata[name][start:stop]
    return dealt


def _proportional(rows: list[int], columns: list[int]) -> list[list[int]]:
    """Whole numbers with the given row and column sums, each row·column/total rounded up or down.

    Controlled rounding: such a table always exists (Bacharach 1966, Management Science 12:732). Of the
    possible ones the linear programme picks that which rounds up the largest remainders.
    """
    if len(columns) == 1:
        return [[row] for row in rows]
    total = sum(rows)
    cells = [(r, c) for r in range(len(rows)) for c in range(len(columns))]
    table = [[row * column // total for column in columns] for row in rows]
    remainders = [rows[r] * columns[c] % total for r, c in cells]
    if any(remainders):
        from scipy.optimize import linprog  # slow to import, and seldom needed

        sums = [[float(r == row) for r, _ in cells] for row in range(len(rows))]
        sums += [[float(c == column) for _, c in cells] for column in range(len(columns))]
        missing = [row - sum(counts) for row, counts in zip(rows, table, strict=True)]
        missing += [column - sum(row[c] for row in table) for c, column in enumerate(columns)]
        upper = [float(remainder > 0) for remainder in remainders]
        found = linprog(
            [-remainder / total for remainder in remainders],
            A_eq=sums,
            b_eq=missing,
            bounds=list(zip([0.0] * len(cells), upper, strict=True)),
            integrality=1,
        )
        assert found.x is not None, found.message
        for (r, c), extra in zip(cells, found.x, strict=True):
            table[r][c] += round(extra)
    return table


# --- from a list ---------------------------------------------------------------------------------


def _by_list(patients: list[Patient], rule: Split) -> Parts:
    """Each id names a patient or one image, with its data set before a slash where that is needed."""
    listed = read_list(rule)
    by_id: dict[str, dict[Key, None]] = {}
    for patient in patients:
        for subject in patient.subjects:
            for name in (patient.id, subject):
                for alias in (name, f"{patient.dataset}/{name}"):
                    by_id.setdefault(alias, {})[patient.dataset, subject] = None
    unknown = sorted(name for names in listed.values() for name in names if name not in by_id)
    if unknown:
        raise ConfigError(
            f"{len(unknown)} unknown ids, among them {', '.join(unknown[:5])}",
            file=rule.list,
            expected=f"ids of the {len(patients)} patients that the cohort selects"
            + (f", like {patients[0].id}" if patients else ""),
        )
    for names in listed.values():
        for name in names:
            if len(found := {dataset for dataset, _ in by_id[name]}) > 1:
                raise ConfigError(
                    f"{name} is in several data sets",
                    file=rule.list,
                    expected=" or ".join(f"{dataset}/{name}" for dataset in sorted(found)),
                )
    return {part: [key for name in names for key in by_id[name]] for part, names in listed.items()}


def read_list(rule: Split) -> dict[str, list[str]]:
    """The user's list: part → ids. Raises ConfigError if the file is not such a list."""
    assert rule.list is not None
    try:
        values = read_json(rule.list)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"split.list cannot be read: {error}", file=rule.list, expected="a JSON file"
        ) from error
    good = isinstance(values, dict) and all(
        isinstance(names, list) and names and all(isinstance(name, str) for name in names)
        for names in values.values()
    )
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
