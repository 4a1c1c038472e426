"""Folds: `split.folds` of a cohort, and those that the members of a model are trained without."""

from collections.abc import Mapping
from itertools import accumulate, pairwise

from ...config import Split
from ...config.cohort import Folds
from ...config.model import MemberFolds
from ...errors import ConfigError
from .patients import Key, Patient, ranked
from .proportions import deal, pieces


def by_folds(patients: list[Patient], folds: Folds, rule: Split) -> dict[str, list[Patient]]:
    if len(patients) < folds.k:
        raise ConfigError(
            f"split.folds.k = {folds.k}", expected=f"at most the {len(patients)} patients of the cohort"
        )
    sizes = {f"{fold}": size for fold, size in enumerate(pieces(len(patients), folds.k))}
    dealt = deal(ranked(patients, rule.seed), sizes, rule.stratify)
    part_of = {f"{fold}": "train" for fold in range(folds.k)}
    part_of |= {f"{folds.test}": "test"} | ({} if folds.val is None else {f"{folds.val}": "val"})
    chosen: dict[str, list[Patient]] = {}
    for fold, part in part_of.items():
        chosen.setdefault(part, []).extend(dealt[fold])
    return {part: ranked(found, rule.seed) for part, found in chosen.items()}


def cut_folds(images: Mapping[Patient, list[Key]], folds: MemberFolds) -> list[list[Key]]:
    """Each stratum of the patients, in their order, in k pieces of neighbours: `member_folds` by rule."""
    strata: dict[str, list[Patient]] = {}
    for patient in images:
        strata.setdefault(patient.stratum(folds.stratify), []).append(patient)
    held_out: list[list[Key]] = [[] for _ in range(folds.k)]
    for patients in strata.values():
        edges = pairwise(accumulate(pieces(len(patients), folds.k), initial=0))
        for fold, (start, stop) in zip(held_out, edges, strict=True):
            fold += [key for patient in patients[start:stop] for key in images[patient]]
    if not all(held_out):
        raise ConfigError(
            f"folds.k = {folds.k}: some folds of {' and '.join(folds.of)} would be empty",
            expected="at most as many folds as there are patients: "
            + ", ".join(f"{len(found)} of {name or 'all'}" for name, found in sorted(strata.items())),
        )
    return [sorted(fold) for fold in held_out]
