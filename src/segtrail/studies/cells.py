"""Every printed number of a paper beside the run's own: cells.csv. What it does not print: unprinted.csv."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from ..audit.bounds import audit
from ..audit.findings import Place
from ..audit.study import entries, impossible
from ..config import Run, Study
from ..config.results import Cell, MeanCell, PooledCell
from ..files import write_text
from . import ranks, schema
from .cases import Cases
from .published import Printed, read, recipe
from .values import Source, Value, evaluate
from .verdicts import NOT_COMPUTED, NOT_PRINTED, judge

COUNTS = ["n", "n_undefined", "n_excluded", "n_members", "dead_members"]
RANKS = ["published_rank", "rank"]
RANKS_APART = 1  # ranks of a real run that differ by more are told


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
