"""What the run has for one cell: its value with intervals, what it was made of, or why there is none."""

from dataclasses import dataclass, field, replace
from math import isfinite

import numpy as np
import pandas as pd

from ..audit.findings import Place
from ..config.results import (
    Cell,
    CorrelationCell,
    MeanCell,
    PatientsCell,
    PooledCell,
    ReductionCell,
    ShareCell,
)
from ..measures.statistics import bootstrap_mean, case_percentiles, pearson
from ..seeds import seed_of
from . import pooled
from .cases import Cases, NotComputedError, defined, paired_sizes, reduction, reduction_interval
from .thresholds import is_at_threshold


@dataclass(frozen=True)
class Value:
    """What the run has for one cell, in printed units; `reproduced` is None with a reason in `notes`."""

    reproduced: float | None = None
    lo: float | None = None
    hi: float | None = None
    boot_lo: float | None = None
    boot_hi: float | None = None
    n: int | None = None
    n_undefined: int | None = None
    n_excluded: int | None = None
    n_members: int | None = None
    dead_members: int | None = None
    beside: float | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """The tables that a study's cells are computed from."""

    study_id: str
    cases: Cases
    members: pd.DataFrame
    subjects: pd.DataFrame

    def rng(self, *place: str) -> np.random.Generator:
        return np.random.default_rng(seed_of(self.cases.run.seed, self.study_id, *place))

    def excluded(self, cohort: str, part: str, dataset: str | None = None) -> int:
        found = self._subjects(cohort, part, dataset)
        return int((found["excluded"] != "").sum())

    def patients(self, cohort: str, part: str, dataset: str | None = None) -> int:
        found = self._subjects(cohort, part, dataset)
        return int(found.loc[found["excluded"] == "", ["dataset", "patient"]].drop_duplicates().shape[0])

    def _subjects(self, cohort: str, part: str, dataset: str | None) -> pd.DataFrame:
        self.cases.require(cohort)
        found = self.subjects[(self.subjects["cohort"] == cohort) & (self.subjects["part"] == part)]
        return found if dataset is None else found[found["dataset"] == dataset]

    def trained(self, cohort: str, *predictors: str) -> tuple[int, int]:
        """Members behind predictors, those whose errors an auxiliary model learns among them, and how many of
        them never learnt some class."""
        study = self.cases.study
        models = {study.predictors[name].model for name in predictors}
        models |= {one.model for name in models if (one := study.models[name].auxiliary) is not None}
        found = self.members[(self.members["cohort"] == cohort) & self.members["model"].isin(models)]
        return len(found), int((found["dead_classes"] != "").sum())


def evaluate(source: Source, place: Place, cell: Cell) -> Value:
    """The run's value of one cell; without one where a cohort, size or measure is missing, and the reason."""
    try:
        if isinstance(cell, PatientsCell):
            return _patients(source, cell)
        if isinstance(cell, MeanCell):
            return _mean(source, place, cell)
        if isinstance(cell, ReductionCell):
            return _reduction(source, place, cell)
        if isinstance(cell, PooledCell):
            return _pooled(source, place, cell)
        if isinstance(cell, ShareCell):
            return _share(source, place, cell)
        return _correlation(source, cell)
    except NotComputedError as error:
        return Value(notes=[str(error)])


def _patients(source: Source, cell: PatientsCell) -> Value:
    count = source.patients(cell.cohort, cell.part, cell.dataset)
    excluded = source.excluded(cell.cohort, cell.part, cell.dataset)
    return Value(reproduced=float(count), n=count, n_excluded=excluded)


def _mean(source: Source, place: Place, cell: MeanCell) -> Value:
    where = (cell.cohort, cell.part, cell.predictor, cell.size)
    cases = source.cases.values(*where, cell.measure, cell.region, cell.segment, cell.dataset)
    members, dead = source.trained(cell.cohort, cell.predictor)
    counted = Value(
        n=len(defined(cases)),
        n_undefined=int(cases["value"].isna().sum()),
        n_excluded=source.excluded(cell.cohort, cell.part, cell.dataset),
        n_members=members,
        dead_members=dead,
        notes=_notes(source, cell, cases, members, dead),
    )
    values = defined(cases) * cell.factor
    if not len(values):
        return replace(counted, notes=[f"{cell.measure} is undefined in every case", *counted.notes])
    lo, hi = case_percentiles(values)
    boot_lo, boot_hi = bootstrap_mean(values, source.cases.study.measures.bootstrap, source.rng(*place))
    found = replace(counted, reproduced=float(values.mean()), lo=lo, hi=hi, boot_lo=boot_lo, boot_hi=boot_hi)
    return _beside(source, cell, found)


def _beside(source: Source, cell: MeanCell, found: Value) -> Value:
    """With the mean of the measure that is told beside it; a note says why, where there is none."""
    if cell.beside is None:
        return found
    where = (cell.cohort, cell.part, cell.predictor, cell.size)
    try:
        other = source.cases.values(*where, cell.beside, cell.region, cell.segment, cell.dataset)
    except NotComputedError as error:
        return replace(found, notes=[*found.notes, str(error)])
    values = defined(other) * cell.factor
    if not len(values):
        return replace(found, notes=[*found.notes, f"{cell.beside} is undefined in every case"])
    return replace(
        found, beside=float(values.mean()), notes=[*found.notes, *_threshold(source, cell, cell.beside)]
    )


def _notes(source: Source, cell: MeanCell, cases: pd.DataFrame, members: int, dead: int) -> list[str]:
    notes = []
    size = source.cases.size(cell.cohort, cell.predictor, cell.size)
    if cell.printed_size is not None and size != cell.printed_size:
        notes.append(f"M={size} here, M={cell.printed_size} in the paper")
    undefined = int((cases["predictions"] - cases["defined"]).sum())
    if undefined:
        notes.append(f"undefined in {undefined} of {int(cases['predictions'].sum())} predictions, left out")
    if dead:
        notes.append(_dead(members, dead))
    return notes + _threshold(source, cell, cell.measure)


def _threshold(source: Source, cell: MeanCell, measure: str) -> list[str]:
    if not is_at_threshold(measure):
        return []
    threshold, part = source.cases.threshold(cell.cohort, cell.part, cell.predictor, cell.size, measure)
    return [f"{measure} at the threshold {threshold:g}, the best of the {part} part"]


def _dead(members: int, dead: int) -> str:
    return f"{dead} of {members} members never learnt a class, kept"


def _reduction(source: Source, place: Place, cell: ReductionCell) -> Value:
    where = (cell.cohort, cell.part, cell.predictor, cell.sizes)
    before, after = paired_sizes(source.cases, *where, cell.measure, cell.region, cell.segment)
    cases = source.cases.values(*where[:3], cell.sizes[0], cell.measure, cell.region, cell.segment)
    per_case = 100 * (1 - after / before)
    lo, hi = case_percentiles(per_case)
    resamples = source.cases.study.measures.bootstrap
    boot_lo, boot_hi = reduction_interval(before, after, resamples, source.rng(*place))
    members, dead = source.trained(cell.cohort, cell.predictor)
    return Value(
        reproduced=float(reduction(before, after)),
        lo=lo,
        hi=hi,
        boot_lo=boot_lo,
        boot_hi=boot_hi,
        n=len(before),
        n_undefined=len(cases) - len(before),
        n_excluded=source.excluded(cell.cohort, cell.part),
        n_members=members,
        dead_members=dead,
        notes=["percentiles are of each case's own reduction"],
    )


def _correlation(source: Source, cell: CorrelationCell) -> Value:
    found = []
    for group in cell.groups:
        points = source.cases.clouds(group.cohort, group.parts, cell.predictor, cell.size, group.segments)
        r, _, n, lo, hi = pearson(points["logit_dice"].to_numpy(), points["seg_entropy"].to_numpy())
        name = f"{group.cohort} segment {', '.join(str(segment) for segment in group.segments)}"
        members, dead = source.trained(group.cohort, cell.predictor)
        excluded = sum(source.excluded(group.cohort, part) for part in group.parts)
        found.append((-r, -hi, -lo, n, name, members, dead, excluded))
    usable = [one for one in found if isfinite(one[0])]
    undefined = [one[4] for one in found if not isfinite(one[0])]
    notes = [f"r is undefined in {', '.join(undefined)}"] if undefined else []
    if not usable:
        return Value(notes=notes)
    choose = min if cell.statistic == "correlation_min" else max
    r, lo, hi, n, name, members, dead, excluded = choose(usable, key=lambda one: one[0])
    sizes = {source.cases.size(group.cohort, cell.predictor, cell.size) for group in cell.groups}
    if cell.printed_size is not None and sizes != {cell.printed_size}:
        notes.append(f"M={', '.join(map(str, sorted(sizes)))} here, M={cell.printed_size} in the paper")
    return Value(
        reproduced=float(r),
        lo=float(lo),
        hi=float(hi),
        n=int(n),
        n_excluded=excluded,
        n_members=members,
        dead_members=dead,
        notes=[f"−r of {name}, interval by Fisher's z", *notes],
    )


def _pooled(source: Source, place: Place, cell: PooledCell) -> Value:
    pool = source.cases.pool(cell.cohort, cell.part, cell.predictor, cell.size, cell.region)
    value = float(pool.error(cell.measure)[0])
    members, dead = source.trained(cell.cohort, cell.predictor)
    counted = Value(
        n=len(pool.subjects),
        n_excluded=source.excluded(cell.cohort, cell.part),
        n_members=members,
        dead_members=dead,
        notes=[_dead(members, dead)] if dead else [],
    )
    if not isfinite(value):
        return replace(counted, notes=[f"{cell.measure} is undefined: there is no voxel", *counted.notes])
    interval = pooled.pooled_interval(
        pool, cell.measure, source.cases.study.measures.bootstrap, source.rng(*place)
    )
    lo, hi = (end * cell.factor for end in interval)
    return replace(counted, reproduced=value * cell.factor, boot_lo=lo, boot_hi=hi)


def _share(source: Source, place: Place, cell: ShareCell) -> Value:
    cases, where = source.cases, (cell.cohort, cell.part)
    own = [cases.values(*where, name, None, "signed_ce", cell.region, 0)["value"] for name in cell.predictors]
    # A subject is judged by the mean over all predictors, or not at all.
    scores = pd.concat(own, axis=1).mean(axis=1, skipna=False)
    judged = scores.dropna()
    members, dead = source.trained(cell.cohort, *cell.predictors)
    counted = Value(
        n=len(judged),
        n_undefined=len(scores) - len(judged),
        n_excluded=source.excluded(*where),
        n_members=members,
        dead_members=dead,
        notes=[_dead(members, dead)] if dead else [],
    )
    if judged.empty:
        return replace(counted, notes=["signed_ce is undefined in every case", *counted.notes])
    pools = [cases.pool(*where, name, None, cell.region).of(judged.index) for name in cell.predictors]
    limit = pooled.limits(pools, cell.percentile)
    value = pooled.share(judged.to_numpy(), limit, cell.statistic)
    lo, hi = pooled.share_interval(
        judged.to_numpy(),
        pools,
        cell.percentile,
        cell.statistic,
        cases.study.measures.bootstrap,
        source.rng(*place),
    )
    notes = [f"τ = {limit[0]:.3g}, the interval with τ anew in each resample of subjects"]
    if limit[0] < 0:
        notes.append("τ is negative: a subject between τ and −τ counts as under- and as overconfident")
    return replace(
        counted, reproduced=float(value[0]), boot_lo=lo, boot_hi=hi, notes=[*notes, *counted.notes]
    )
