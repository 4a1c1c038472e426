"""Splits: which subjects are in which part of a cohort, and which of them a member is trained without.

Patients are ranked by a hash of (seed, data set, patient), so that neither the order of listing nor patients
who are no candidates for a part have any influence on it; only `shuffle` draws from all patients, as a
published split does. A patient is never divided.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..config import PART_NAMES, Split
from ..config.cohort import Folds, PartRule, Shuffle
from ..config.model import MemberFolds
from ..errors import ConfigError
from ..files import read_json
from ..seeds import seed_of

if TYPE_CHECKING:
    import numpy as np

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
    return {part: sorted(keys) for part, keys in drawn(by_dataset, rule).items()}


def drawn(by_dataset: Mapping[str, Sequence[SubjectLike]], rule: Split) -> Parts:
    """The parts of `split`, each in the order in which its patients were drawn or listed."""
    patients = _patients(by_dataset)
    if rule.parts is not None:
        parts = _subjects(_by_parts(patients, sorted(by_dataset), rule))
    elif rule.shuffle is not None:
        parts = _subjects(_by_shuffle(patients, rule.shuffle, rule))
    elif rule.folds is not None:
        parts = _subjects(_by_folds(patients, rule.folds, rule))
    else:
        parts = _by_list(patients, rule)
    parts = {name: parts[name] for name in PART_NAMES if name in parts}
    check_leaks(parts, by_dataset, rule.list)
    return parts


def member_folds(
    by_dataset: Mapping[str, Sequence[SubjectLike]], rule: Split, folds: MemberFolds
) -> list[list[Key]]:
    """The k folds of the parts `folds.of`, each sorted: member m is trained without fold m.

    The parts' patients, one part after the other and each in the order in which it was drawn, are cut into k
    pieces of neighbours, each stratum by itself where `folds.stratify` says so; the first n mod k pieces are
    one patient longer. With `folds.list` fold m is what the m-th list of `train` leaves out. Every subject of
    the parts is in one fold, the images of a patient in the same. Raises ConfigError where a fold would be
    empty, or where the list does not fit the split.

    Source: the public code of Jungo 2019 (`split_subjects_k_fold`; scikit-learn's `StratifiedKFold`).
    """
    parts = drawn(by_dataset, rule)
    if missing := [part for part in folds.of if part not in parts]:
        raise ConfigError(
            f"folds.of: {', '.join(missing)}", expected=f"parts of the split: {', '.join(parts)}"
        )
    known = {(p.dataset, subject): p for p in _patients(by_dataset) for subject in p.subjects}
    images: dict[Patient, list[Key]] = {}
    for part in dict.fromkeys(folds.of):
        for key in parts[part]:
            images.setdefault(known[key], []).append(key)
    if folds.list is not None:
        return _folds_by_list(images, folds)
    strata: dict[str, list[Patient]] = {}
    for patient in images:
        strata.setdefault(patient.stratum(folds.stratify), []).append(patient)
    held_out: list[list[Key]] = [[] for _ in range(folds.k)]
    for patients in strata.values():
        edges = pairwise(accumulate(_pieces(len(patients), folds.k), initial=0))
        for fold, (start, stop) in zip(held_out, edges, strict=True):
            fold += [key for patient in patients[start:stop] for key in images[patient]]
    if not all(held_out):
        raise ConfigError(
            f"folds.k = {folds.k}: some folds of {' and '.join(folds.of)} would be empty",
            expected="at most as many folds as there are patients: "
            + ", ".join(f"{len(found)} of {name or 'all'}" for name, found in sorted(strata.items())),
        )
    return [sorted(fold) for fold in held_out]


def check_leaks(
    parts: Mapping[str, Iterable[Key]],
    by_dataset: Mapping[str, Sequence[SubjectLike]],
    file: Path | None = None,
) -> None:
    """Raises ConfigError if a patient is in two parts, or a subject is listed twice or unknown.

    `file`: the list that the parts are from, to be named.
    """
    patient_of = {(d, s.id): (d, s.patient) for d, subjects in by_dataset.items() for s in subjects}
    part_of: dict[Key, str] = {}
    seen: set[Key] = set()
    for part, keys in parts.items():
        for key in keys:
            if key not in patient_of:
                raise ConfigError(
                    f"split: {part} lists {'/'.join(key)}, which is not in the data set", file=file
                )
            if key in seen:
                raise ConfigError(f"split: {'/'.join(key)} is listed twice", file=file)
            seen.add(key)
            first = part_of.setdefault(patient_of[key], part)
            if first != part:
                raise ConfigError(
                    f"split: patient {'/'.join(patient_of[key])} is in {first} and in {part}",
                    file=file,
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


def _pieces(count: int, k: int) -> list[int]:
    """The sizes of k pieces of `count`, the first ones one larger where k does not divide it."""
    return [count // k + (piece < count % k) for piece in range(k)]


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
    return {part: _ranked(found, rule.seed) for part, found in chosen.items()}  # not stratum by stratum


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


# --- drawn ---------------------------------------------------------------------------------------


def _by_shuffle(patients: list[Patient], shuffle: Shuffle, rule: Split) -> dict[str, list[Patient]]:
    """As scikit-learn's train_test_split with `random_state`, called once for each size on what is left.

    Importing scikit-learn would cost every start of the workflow a second; a test compares with it.
    """
    import numpy as np

    asked = sum(shuffle.sizes.values())
    if asked >= len(patients):
        raise ConfigError(
            f"split.shuffle: {' + '.join(f'{part} {size}' for part, size in shuffle.sizes.items())} patients",
            expected=f"fewer than the {len(patients)} that the cohort selects: the rest trains",
            remedy="lower the sizes, or set data to a root that holds more patients",
        )
    left, chosen = patients, {}
    for part, size in shuffle.sizes.items():
        # Every call starts from the seed again.
        left, chosen[str(part)] = _shuffled(left, size, rule.stratify, np.random.RandomState(rule.seed))
    return {"train": left, **chosen}


def _shuffled(
    patients: list[Patient], size: int, by: str | None, random: "np.random.RandomState"
) -> tuple[list[Patient], list[Patient]]:
    """(the rest, `size` patients), both in drawn order, by the very calls of scikit-learn 0.21 to 1.9."""
    import numpy as np

    if by is None:
        order = random.permutation(len(patients))
        return [patients[i] for i in order[size:]], [patients[i] for i in order[:size]]
    strata: dict[str, list[int]] = {}
    for index, patient in enumerate(patients):
        strata.setdefault(patient.stratum(by), []).append(index)
    members = [strata[name] for name in sorted(strata)]
    counts = np.array([len(found) for found in members])
    kept = _shares(counts, len(patients) - size, random)
    taken = _shares(counts - kept, size, random)
    rest, part = [], []
    for found, keep, take in zip(members, kept, taken, strict=True):
        order = random.permutation(len(found))
        rest += [found[i] for i in order[:keep]]
        part += [found[i] for i in order[keep : keep + take]]
    return [patients[i] for i in random.permutation(rest)], [patients[i] for i in random.permutation(part)]


def _shares(counts: "np.ndarray", size: int, random: "np.random.RandomState") -> "np.ndarray":
    """`size` divided in proportion to `counts`: rounded down, then the largest remainders one up."""
    import numpy as np

    share = counts / counts.sum() * size
    whole = np.floor(share)
    remainder = share - whole
    missing = int(size - whole.sum())
    for value in np.unique(remainder)[::-1]:
        if missing <= 0:
            break
        equal = np.flatnonzero(remainder == value)
        up = random.choice(equal, size=min(len(equal), missing), replace=False)
        whole[up] += 1
        missing -= len(up)
    return whole.astype(int)


# --- by folds ------------------------------------------------------------------------------------


def _by_folds(patients: list[Patient], folds: Folds, rule: Split) -> dict[str, list[Patient]]:
    if len(patients) < folds.k:
        raise ConfigError(
            f"split.folds.k = {folds.k}", expected=f"at most the {len(patients)} patients of the cohort"
        )
    sizes = {f"{fold}": size for fold, size in enumerate(_pieces(len(patients), folds.k))}
    dealt = _deal(_ranked(patients, rule.seed), sizes, rule.stratify)
    part_of = {f"{fold}": "train" for fold in range(folds.k)}
    part_of |= {f"{folds.test}": "test"} | ({} if folds.val is None else {f"{folds.val}": "val"})
    chosen: dict[str, list[Patient]] = {}
    for fold, part in part_of.items():
        chosen.setdefault(part, []).extend(dealt[fold])
    return {part: _ranked(found, rule.seed) for part, found in chosen.items()}


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


def _folds_by_list(images: Mapping[Patient, list[Key]], folds: MemberFolds) -> list[list[Key]]:
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
