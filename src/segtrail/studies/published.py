"""The printed numbers of a paper, as text: the digits tell how far each was rounded."""

import csv
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from ..config import Study
from ..config.results import Cell
from ..errors import ConfigError

COLUMNS = ["table", "row", "column", "value", "lo", "hi", "note"]
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
READABLE = "the paper's printed numbers as CSV, in plain UTF-8 with Unix line ends"
REMEDY = (
    "bring the file back from git, or save it as plain UTF-8 and look that no digits were lost (0.40 → 0.4)"
)


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
    """A CSV of config/published. ConfigError for other columns, what is no number, half an interval, a cell
    without a name, two rows for one cell, and a file that a spreadsheet saved: it drops digits."""
    rows = csv.reader(_text(Path(path)).splitlines(keepends=True), strict=True)
    try:
        header, lines = next(rows, []), list(rows)
    except csv.Error as error:
        raise ConfigError(f"line {rows.line_num}: {error}", file=path, expected=",".join(COLUMNS)) from error
    if header != COLUMNS:
        raise ConfigError(f"columns {','.join(header)}", file=path, expected=",".join(COLUMNS))
    if not lines:
        raise ConfigError("no rows", file=path, expected="at least one printed number")
    result: dict[tuple[str, str, str], Printed] = {}
    for line, fields in enumerate(lines, start=2):
        printed = _printed(fields, line, path)
        if printed.place in result:
            raise ConfigError(
                f"line {line}: a second row for {' / '.join(printed.place)}",
                file=path,
                expected="one row for each printed cell",
            )
        result[printed.place] = printed
    return list(result.values())


def _text(path: Path) -> str:
    """Plain UTF-8 with Unix line ends. Anything else shows that a spreadsheet or an editor rewrote the file:
    one that turns 0.40 into 0.4 changes how far the number was rounded."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(error.strerror or str(error), file=path, expected=READABLE) from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x} in line {line} is not UTF-8"
        raise ConfigError(found, file=path, expected=READABLE, remedy=REMEDY) from error
    for found, there in (
        ("an empty file", not text.strip()),
        ("a byte-order mark at the start", text.startswith("\ufeff")),
        ("Windows line ends", "\r" in text),
    ):
        if there:
            raise ConfigError(found, file=path, expected=READABLE, remedy=REMEDY)
    return text


def _printed(fields: list[str], line: int, path: str | Path) -> Printed:
    if len(fields) != len(COLUMNS):
        raise ConfigError(
            f"line {line}: {len(fields)} fields, another number of them",
            file=path,
            expected=",".join(COLUMNS),
        )
    printed = Printed(*fields)
    for name in ("table", "row", "column"):
        if not getattr(printed, name).strip():
            raise ConfigError(
                f"line {line}: no {name}",
                file=path,
                expected="table, row and column: where the paper prints the number",
                remedy="for a number of the text: table `text`, row `-`, and what it is as column",
            )
    for name in ("value", "lo", "hi"):
        text = getattr(printed, name)
        if not (text == "" and name != "value") and not NUMBER.fullmatch(text):
            raise ConfigError(
                f"line {line}: {name} = {text!r}", file=path, expected="a number, with the digits as printed"
            )
    if bool(printed.lo) != bool(printed.hi):
        raise ConfigError(f"line {line}: half an interval", file=path, expected="both lo and hi, or neither")
    return printed


def recipe(printed: Printed, study: Study) -> Cell:
    """What the study's YAML says a printed number is computed from; ConfigError where it says nothing."""
    table = next((table for table in study.tables if table.name == printed.table), None)
    if table is None or printed.row not in table.rows or printed.column not in table.columns:
        raise ConfigError(
            f"{' / '.join(printed.place)} is printed, but the study does not say what it is",
            expected="a table of this name with this row and this column under `tables` of the study's YAML",
        )
    return table.cell(printed.row, printed.column)
