"""Every printed number of a paper beside the run's own: cells.csv. What it does not print: unprinted.csv."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..audit.bounds import audit
from ..audit.findings import Place
from ..audit.study import entries, impossible
from ..config import Run, Study
from ..config.results import (
    Cell,
    CorrelationCell,
    MeanCell,
    PatientsCell,
    PooledCell,
    ReductionCell,
    ShareCell,
)
from ..files import write_text
from ..measures.statistics import bootstrap_mean, case_percentiles, pearson
from ..seeds import seed_of
from . import pooled, ranks, schema
from .cases import Cases, NotComputedError, defined, paired_sizes, reduction, reduction_interval
from .published import Printed, read, recipe
from .thresholds import is_at_threshold
from .verdicts import NOT_COMPUTED, NOT_PRINTED, judge

COUNTS = ["n", "n_undefined", "n_excluded", "n_members", "dead_members"]
RANKS = ["published_rank", "rank"]
RANKS_APART = 1  # ranks of a real run that differ by more are told


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
        """Members behind predictors, and how many of them never learnt some class."""
        models = {self.cases.study.predictors[name].model for name in predictors}
        found = self.members[(self.members["cohort"] == cohort) & self.members["model"].isin(models)]
        return len(found), int((found["dead_classes"] != "").sum())


def write_cells(
    run: Run,
    study_id: str,
    *,
    measures: str | Path,
    reliability: str | Path,
    errors: str | Path,
    members: str | Path,
    subjects: str | Path,
    published: str | Path,
    out: str | Path,
    unprinted: str | Path,
) -> None:
    """Writes cells.csv and unprinted.csv from a study's parquet tables and the printed numbers."""
    source = Source(
        study_id,
        Cases.of(
            run,
            study_id,
            schema.read(measures, schema.MEASURES),
            schema.read(errors, schema.ERRORS),
            schema.read(reliability, schema.RELIABILITY),
        ),
        schema.read(members, schema.MEMBERS),
        schema.read(subjects, schema.SUBJECTS),
    )
    for table, path in ((printed_cells(source, read(published)), out), (unprinted_cells(source), unprinted)):
        write_text(path, table.to_csv(index=False, lineterminator="\n"))


def compute(
    run: Run,
    study_id: str,
    printed: Sequence[Printed],
    measures: pd.DataFrame,
    members: pd.DataFrame,
    subjects: pd.DataFrame,
    errors: pd.DataFrame | None = None,
    reliability: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """`printed_cells` of tables in memory; `errors` and `reliability` as in `Cases.of`."""
    cases = Cases.of(run, study_id, measures, errors, reliability)
    return printed_cells(Source(study_id, cases, members, subjects), printed)


def printed_cells(source: Source, printed: Sequence[Printed]) -> pd.DataFrame:
    """One row per printed number, in its order; see schema.CELLS. Raises ConfigError for a printed number of
    which the study's YAML does not say what it is."""
    run, study = source.cases.run, source.cases.study
    recipes = {one.place: recipe(one, study) for one in printed}
    values = {place: evaluate(source, place, cell) for place, cell in recipes.items()}
    faults = impossible(study, audit(entries(study, printed)))
    by_place = {one.place: one for one in printed}
    ours = _ranks(study, printed, recipes, values)
    rows = []
    for one in printed:
        place = one.place
        cell, value = recipes[place], values[place]
        other = (one.table, cell.against or "", one.column)
        # A number that cannot be right gives no direction either.
        known = other in by_place and other not in faults
        pair = (by_place[other], values[other].reproduced) if known else None
        verdict, why = judge(run, one, cell, value.reproduced, pair, faults.get(place))
        theirs = ranks.published(one) if place in ours else None
        if not run.phantom:
            why += _apart(theirs, ours.get(place))
        rows.append(_row(source, one, cell, value, verdict, why, (theirs, ours.get(place))))
    return _table(rows)


def unprinted_cells(source: Source) -> pd.DataFrame:
    """One row per cell of the tables of which the paper prints no number that is known; as schema.CELLS."""
    rows = []
    for table in source.cases.study.tables:
        for row, column in product(table.rows, table.columns) if not table.printed else ():
            one = Printed(table.name, row, column, "")
            cell = table.cell(row, column)
            value = evaluate(source, one.place, cell)
            verdict = NOT_COMPUTED if value.reproduced is None else NOT_PRINTED
            rows.append(_row(source, one, cell, value, verdict, [], (None, None)))
    return _table(rows)


def _row(
    source: Source,
    one: Printed,
    cell: Cell,
    value: Value,
    verdict: str,
    why: list[str],
    ranked: tuple[int | None, int | None],
) -> dict[str, Any]:
    return {
        "study": source.study_id,
        "table": one.table,
        "row": one.row,
        "column": one.column,
        "unit": cell.unit,
        "published": one.value,
        "published_lo": one.lo,
        "published_hi": one.hi,
        **{name: getattr(value, name) for name in ("reproduced", "lo", "hi", "boot_lo", "boot_hi", *COUNTS)},
        **dict(zip(RANKS, ranked, strict=True)),
        "beside_measure": (getattr(cell, "beside", None) or "") if value.beside is not None else "",
        "beside": value.beside,
        "verdict": verdict,
        "reason": "; ".join(why + value.notes),
    }


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(schema.CELLS.columns))
    if not rows:
        table = table.astype(str)
    return schema.CELLS.validate(table.astype(dict.fromkeys([*COUNTS, *RANKS], "Int64")))


def _ranks(
    study: Study, printed: Sequence[Printed], recipes: Mapping[Place, Cell], values: Mapping[Place, Value]
) -> dict[Place, int | None]:
    """Place → our rank in its column, of the cells of ranked tables."""
    ranked = {table.name for table in study.tables if table.ranked}
    columns: dict[tuple[str, str], list[Printed]] = defaultdict(list)
    for one in printed:
        if one.table in ranked:
            columns[one.table, one.column].append(one)
    found: dict[Place, int | None] = {}
    for column in columns.values():
        cell = recipes[column[0].place]
        assert isinstance(cell, MeanCell | PooledCell)  # config.results.Table
        digits = max(ranks.digits(recipes[one.place], one.value) for one in column)
        of_rows = {one.row: values[one.place].reproduced for one in column}
        ranked_rows = ranks.dense(of_rows, digits, ranks.orientation(cell.measure) > 0)
        found |= {one.place: ranked_rows[one.row] for one in column}
    return found


def _apart(theirs: int | None, ours: int | None) -> list[str]:
    if theirs is None or ours is None or abs(theirs - ours) <= RANKS_APART:
        return []
    return [f"rank {ours} here, {theirs} in the paper"]


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
