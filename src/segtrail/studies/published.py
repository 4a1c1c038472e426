"""The printed numbers of a paper, as text: the digits tell how far each was rounded."""

import csv
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from ..config import Study
from ..config.results import Cell
from ..errors import ConfigError

COLUMNS = ["table", "row", "column", "value", "lo", "hi", "note"]


@dataclass(frozen=True)
class Printed:
    """One printed number and, where there is one, its interval."""

    table: str
    row: str
    column: str
    value: str
    lo: str = ""
    hi: str = ""
    note: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        return (self.table, self.row, self.column)

    @property
    def number(self) -> float:
        return float(self.value)

    @property
    def interval(self) -> tuple[float, float] | None:
        return (float(self.lo), float(self.hi)) if self.lo else None

    @property
    def slack(self) -> float:
        return slack(self.value)


def decimals(text: str) -> int:
    """Digits after the point; 0 of an empty text."""
    return max(0, -_exponent(text)) if text else 0


def slack(text: str) -> float:
    """Half a unit of the last printed digit: how far rounding may have moved it."""
    return float(0.5 * 10.0 ** _exponent(text))


def _exponent(text: str) -> int:
    """Of the last printed digit: −2 of 0.40, −6 of 9.5e-05."""
    return int(Decimal(text).as_tuple().exponent)


def read(path: str | Path) -> list[Printed]:
    """A CSV of config/published. ConfigError for other columns, what is no number, half an interval, or two
    rows for one cell."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            columns, rows = list(reader.fieldnames or []), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(str(error), file=path, expected="the paper's printed numbers as CSV") from error
    if columns != COLUMNS:
        raise ConfigError(f"columns {','.join(columns)}", file=path, expected=",".join(COLUMNS))
    if not rows:
        raise ConfigError("no rows", file=path, expected="at least one printed number")
    result: dict[tuple[str, str, str], Printed] = {}
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ConfigError(f"line {line}: another number of fields", file=path, expected=",".join(COLUMNS))
        printed = Printed(**row)
        for name in ("value", "lo", "hi"):
            text = getattr(printed, name)
            if not (text == "" and name != "value") and not _is_number(text):
                raise ConfigError(f"line {line}: {name} = {text!r}", file=path, expected="a number")
        if bool(printed.lo) != bool(printed.hi):
            raise ConfigError(
                f"line {line}: half an interval", file=path, expected="both lo and hi, or neither"
            )
        if printed.place in result:
            raise ConfigError(f"line {line}: a second row for {' / '.join(printed.place)}", file=path)
        result[printed.place] = printed
    return list(result.values())


def recipe(printed: Printed, study: Study) -> Cell:
    """What the study's YAML says a printed number is; ConfigError where it says nothing."""
    table = next((table for table in study.tables if table.name == printed.table), None)
    if table is None or printed.row not in table.rows or printed.column not in table.columns:
        raise ConfigError(
            f"{' / '.join(printed.place)} is printed, but the study does not say what it is",
            expected="a table of this name with this row and this column under `tables` of the study's YAML",
        )
    return table.cell(printed.row, printed.column)


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
