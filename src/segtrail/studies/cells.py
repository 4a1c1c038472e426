"""Every printed number of a paper beside the run's own: cells.csv."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path

import numpy as np
import pandas as pd

from ..audit.bounds import audit
from ..audit.findings import Place
from ..audit.study import entries, impossible
from ..config import Run
from ..config.results import Cell, CorrelationCell, MeanCell, PatientsCell, ReductionCell
from ..files import write_text
from ..measures.statistics import bootstrap_mean, case_percentiles, pearson
from ..seeds import seed_of
from . import schema
from .cases import Cases, NotComputedError, defined, paired_sizes, reduction, reduction_interval
from .published import Printed, read, recipe
from .verdicts import judge

COUNTS = ["n", "n_undefined", "n_excluded", "n_members", "dead_members"]


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

    def trained(self, cohort: str, predictor: str) -> tuple[int, int]:
        """Members behind a predictor, and how many of them never learnt some class."""
        model = self.cases.study.predictors[predictor].model
        found = self.members[(self.members["cohort"] == cohort) & (self.members["model"] == model)]
        return len(found), int((found["dead_classes"] != "").sum())


def write_cells(
    run: Run,
    study_id: str,
    *,
    measures: str | Path,
    members: str | Path,
    subjects: str | Path,
    published: str | Path,
    out: str | Path,
) -> None:
    """Writes cells.csv from three of a study's parquet tables and the printed numbers."""
    table = compute(
        run,
        study_id,
        read(published),
        schema.read(measures, schema.MEASURES),
        schema.read(members, schema.MEMBERS),
        schema.read(subjects, schema.SUBJECTS),
    )
    write_text(out, table.to_csv(index=False, lineterminator="\n"))


def compute(
    run: Run,
    study_id: str,
    printed: Sequence[Printed],
    measures: pd.DataFrame,
    members: pd.DataFrame,
    subjects: pd.DataFrame,
) -> pd.DataFrame:
    """One row per printed number, in its order; see schema.CELLS. Raises ConfigError for a printed number of
    which the study's YAML does not say what it is."""
    study = run.studies[study_id]
    recipes = {one.place: recipe(one, study) for one in printed}
    source = Source(study_id, Cases.of(run, study_id, measures), members, subjects)
    values = {place: evaluate(source, place, cell) for place, cell in recipes.items()}
    faults = impossible(study, audit(entries(study, printed)))
    by_place = {one.place: one for one in printed}
    rows = []
    for one in printed:
        place = one.place
        cell, value = recipes[place], values[place]
        other = (one.table, cell.against or "", one.column)
        # A number that cannot be right gives no direction either.
        known = other in by_place and other not in faults
        pair = (by_place[other], values[other].reproduced) if known else None
        verdict, why = judge(run, one, cell, value.reproduced, pair, faults.get(place))
        rows.append(
            {
                "study": study_id,
                "table": one.table,
                "row": one.row,
                "column": one.column,
                "unit": cell.unit,
                "published": one.value,
                "published_lo": one.lo,
                "published_hi": one.hi,
                **{
                    name: getattr(value, name)
                    for name in ("reproduced", "lo", "hi", "boot_lo", "boot_hi", *COUNTS)
                },
                "beside_measure": (getattr(cell, "beside", None) or "") if value.beside is not None else "",
                "beside": value.beside,
                "verdict": verdict,
                "reason": "; ".join(why + value.notes),
            }
        )
    table = pd.DataFrame(rows).astype(dict.fromkeys(COUNTS, "Int64"))
    return schema.CELLS.validate(table)


def evaluate(source: Source, place: Place, cell: Cell) -> Value:
    """The run's value of one cell; without one where a cohort, size or measure is missing, and the reason."""
    try:
        if isinstance(cell, PatientsCell):
            return _patients(source, cell)
        if isinstance(cell, MeanCell):
            return _mean(source, place, cell)
        if isinstance(cell, ReductionCell):
            return _reduction(source, place, cell)
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
    beside = None
    if cell.beside is not None:
        other = source.cases.values(*where, cell.beside, cell.region, cell.segment, cell.dataset)
        beside = float(np.mean(defined(other)) * cell.factor)
    mean = float(values.mean())
    return replace(counted, reproduced=mean, lo=lo, hi=hi, boot_lo=boot_lo, boot_hi=boot_hi, beside=beside)


def _notes(source: Source, cell: MeanCell, cases: pd.DataFrame, members: int, dead: int) -> list[str]:
    notes = []
    size = source.cases.size(cell.cohort, cell.predictor, cell.size)
    if cell.printed_size is not None and size != cell.printed_size:
        notes.append(f"M={size} here, M={cell.printed_size} in the paper")
    undefined = int((cases["predictions"] - cases["defined"]).sum())
    if undefined:
        notes.append(f"undefined in {undefined} of {int(cases['predictions'].sum())} predictions, left out")
    if dead:
        notes.append(f"{dead} of {members} members never learnt a class, kept")
    return notes


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
