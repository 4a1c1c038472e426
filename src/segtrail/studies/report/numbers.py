"""Published numbers beside ours: as a long list, in the shape of the printed table, and as a map."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup

from ...config import Study
from ...config.results import Table as Described
from .. import ranks
from ..published import Printed, decimals
from ..tables import rank_sums
from . import text
from .states import ALL, NO_STUDY, STATES, tally

Place = tuple[str, str, str]


@dataclass(frozen=True)
class Cell:
    """One published number as the page shows it."""

    place: Place
    anchor: str
    trail: str
    """id of what tells where the number comes from, or why there is none"""
    unit: str
    published: str
    """empty where the paper prints no number"""
    published_key: float | None
    published_interval: str
    note: str
    """printed beside it"""
    state: str
    ours: str = text.NONE
    ours_key: float | None = None
    ours_interval: str = ""
    beside: str = ""
    difference: str = ""
    difference_unit: str = ""
    difference_key: float | None = None
    gauge: Markup | str = ""
    n: int | None = None
    members: int | None = None
    dead: int = 0
    """members that never learnt some class"""
    printed_rank: int | None = None
    our_rank: int | None = None
    """in the column of a ranked table"""
    remarks: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return ALL[self.state][0]

    @property
    def sign(self) -> str:
        return ALL[self.state][1]

    @property
    def rank(self) -> int:
        """To sort by verdict."""
        return list(STATES).index(self.state)

    @property
    def label(self) -> str:
        """Everything in words, for the square on the map."""
        printed = with_interval(self.published, self.published_interval) or "nothing"
        told = f"{', '.join(self.place[1:])}: published {printed}"
        if self.ours_key is not None:
            told += f", ours {with_interval(self.ours, self.ours_interval)}"
        return f"{told}; {self.state}"

    @property
    def words(self) -> str:
        """What a search looks in."""
        return " ".join([*self.place, self.unit, self.note, self.state, *self.reasons]).lower()


@dataclass(frozen=True)
class Table:
    """A printed table: its cells in the paper's order."""

    name: str
    title: str
    files: str
    """stem of its files under tables/; empty where the run has none"""
    anchor: str
    notes: tuple[str, ...]
    cells: tuple[Cell, ...]
    rows: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    """(name, unit)"""
    sums: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(row, published or reproduced) → its sum of ranks, of a ranked table"""

    @property
    def grid(self) -> list[tuple[str, list[Cell | None]]]:
        """Rows of cells; None where the paper prints nothing."""
        found = {cell.place[1:]: cell for cell in self.cells}
        return [(row, [found.get((row, column)) for column, _ in self.columns]) for row in self.rows]

    @property
    def states(self) -> list[tuple[str, int]]:
        return tally(cell.state for cell in self.cells)


def with_interval(value: str, interval: str) -> str:
    return f"{value} ({interval})" if interval else value


def of_run(study_id: str, study: Study, cells: pd.DataFrame, printed: Sequence[Printed]) -> list[Table]:
    """The printed tables of a study that the run computes, from its cells.csv; `printed` has the paper's
    notes."""
    return _tables(study_id, [table for table in study.tables if table.printed], cells, printed)


def not_in_print(study_id: str, study: Study, cells: pd.DataFrame) -> list[Table]:
    """The tables of which the paper's numbers are not at hand, from unprinted.csv."""
    return _tables(study_id, [table for table in study.tables if not table.printed], cells, [])


def _tables(
    study_id: str, tables: Sequence[Described], cells: pd.DataFrame, printed: Sequence[Printed]
) -> list[Table]:
    notes = {one.place: one.note for one in printed}
    described = {table.name: table for table in tables}
    rows = [
        {str(name): math.nan if value is None or pd.isna(value) else value for name, value in row.items()}
        for row in cells.to_dict(orient="records")
    ]
    ids = text.anchors(study_id, [place_of(row) for row in rows])
    shown = [
        _cell(row, described[str(row["table"])], ids[place_of(row)], notes.get(place_of(row), ""))
        for row in rows
    ]
    return [
        Table(
            table.name,
            table.title,
            table.slug,
            f"{text.slug(study_id)}-{text.slug(table.name)}",
            tuple(table.notes),
            *_shape(table.name, shown, list(table.rows), list(table.columns)),
            sums=rank_sums(table, cells),
        )
        for table in tables
    ]


def of_paper(study_id: str, printed: Sequence[Printed], why: str) -> list[Table]:
    """The tables of a paper that the run does not compute; `why` is the id of the reason."""
    ids = text.anchors(study_id, [one.place for one in printed])
    shown = [
        Cell(
            place=one.place,
            anchor=ids[one.place],
            trail=why,
            unit="",
            published=text.signed(one.value),
            published_key=one.number,
            published_interval=_interval(one.lo, one.hi),
            note=one.note,
            state=NO_STUDY,
        )
        for one in printed
    ]
    rows, columns = ([one.place[part] for one in printed] for part in (1, 2))
    return [
        Table(
            name,
            "",
            "",
            f"{text.slug(study_id)}-{text.slug(name)}",
            (),
            *_shape(name, shown, rows, columns),
        )
        for name in dict.fromkeys(one.table for one in printed)
    ]


def place_of(row: Mapping[str, Any]) -> Place:
    return row["table"], row["row"], row["column"]


def _shape(
    table: str, cells: Sequence[Cell], rows: Sequence[str], columns: Sequence[str]
) -> tuple[tuple[Cell, ...], tuple[str, ...], tuple[tuple[str, str], ...]]:
    """A table's cells, and its rows and columns in the given order, with units."""
    found = tuple(cell for cell in cells if cell.place[0] == table)
    used = {cell.place[1] for cell in found}
    units = {cell.place[2]: cell.unit for cell in found}
    return (
        found,
        tuple(row for row in dict.fromkeys(rows) if row in used),
        tuple((column, units[column]) for column in dict.fromkeys(columns) if column in units),
    )


def _interval(lo: str, hi: str) -> str:
    return f"{text.signed(lo)}–{text.signed(hi)}" if lo else ""


def _cell(row: Mapping[str, Any], table: Described, anchor: str, note: str) -> Cell:
    """From a row of cells.csv with NaN for every missing number."""
    cell = table.cell(row["row"], row["column"])
    places = max(ranks.digits(cell, row["published"]), decimals(row["published_lo"]))
    published = float(row["published"]) if row["published"] else math.nan
    printed = (float(row["published_lo"]), float(row["published_hi"])) if row["published_lo"] else None
    ours, lo, hi = row["reproduced"], row["lo"], row["hi"]
    apart, unit, key = text.difference(published, printed, ours)
    counts = ((row["n_undefined"], "undefined"), (row["n_excluded"], "excluded"))
    beside = row["beside"]
    return Cell(
        place=place_of(row),
        anchor=anchor,
        trail=f"trail--{anchor}",
        unit=row["unit"],
        published=text.signed(row["published"]),
        published_key=None if math.isnan(published) else published,
        published_interval=_interval(row["published_lo"], row["published_hi"]),
        note=note,
        state=row["verdict"],
        ours=text.number(ours, places),
        ours_key=None if math.isnan(ours) else ours,
        ours_interval=_ours_interval(row, places),
        beside="" if math.isnan(beside) else f"{row['beside_measure']} {text.number(beside, places)}",
        difference=apart,
        difference_unit=unit,
        difference_key=key,
        gauge=text.gauge(published, printed, ours, lo, hi, ALL[row["verdict"]][0]),
        n=None if math.isnan(row["n"]) else int(row["n"]),
        members=None if math.isnan(row["n_members"]) else int(row["n_members"]),
        dead=0 if math.isnan(row["dead_members"]) else int(row["dead_members"]),
        printed_rank=None if math.isnan(row["published_rank"]) else int(row["published_rank"]),
        our_rank=None if math.isnan(row["rank"]) else int(row["rank"]),
        remarks=tuple(f"{int(count)} {of}" for count, of in counts if count and not math.isnan(count)),
        reasons=tuple(row["reason"].split("; ")) if row["reason"] else (),
    )


def _ours_interval(row: Mapping[str, Any], places: int) -> str:
    """Percentiles over cases; where all cases together make one value, its interval."""
    for lo, hi, of in ((row["lo"], row["hi"], ""), (row["boot_lo"], row["boot_hi"], "95 %: ")):
        if not math.isnan(lo):
            return f"{of}{text.number(lo, places)}–{text.number(hi, places)}"
    return ""
