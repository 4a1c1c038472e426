"""Splits: which subjects are in which part of a cohort, and which of them a member is trained without.

Patients are ranked by a hash of (seed, data set, patient), so that neither the order of listing nor patients
who are no candidates for a part have any influence on it; only `shuffle` draws from all patients, as a
published split does. A patient is never divided.
"""

from collections.abc import Mapping, Sequence

from ...config import PART_NAMES, Split
from ...config.model import MemberFolds
from ...errors import ConfigError
from .folds import by_folds, cut_folds
from .lists import by_list, listed_folds
from .parts import by_parts
from .patients import Key, Parts, Patient, SubjectLike, check_leaks, patients_of, subjects_of
from .shuffle import by_shuffle

__all__ = ["check_leaks", "drawn", "member_folds", "split"]


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
    patients = patients_of(by_dataset)
    if rule.parts is not None:
        parts = subjects_of(by_parts(patients, sorted(by_dataset), rule))
    elif rule.shuffle is not None:
        parts = subjects_of(by_shuffle(patients, rule.shuffle, rule))
    elif rule.folds is not None:
        parts = subjects_of(by_folds(patients, rule.folds, rule))
    else:
        parts = by_list(patients, rule)
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
    known = {(p.dataset, subject): p for p in patients_of(by_dataset) for subject in p.subjects}
    images: dict[Patient, list[Key]] = {}
    for part in dict.fromkeys(folds.of):
        for key in parts[part]:
            images.setdefault(known[key], []).append(key)
    return cut_folds(images, folds) if folds.list is None else listed_folds(images, folds)
