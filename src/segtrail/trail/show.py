"""A trail in the terminal: the cell, then each step from the number down to the files, with the first few of
what is many."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .chain import Step
from .trails import Trail
from .words import Listing, Row

FEW = 2  # of a long list
LAST = ("code", "jobs", "config")
PLAIN = ("subject", "file", "sha256")  # columns that need no name
FOLDED = ("jobs", "outputs")  # these lists stand in --json alone


def show(trail: Trail, console: Console | None = None) -> None:
    """Prints one trail, with the first few of what is many."""
    console = console or Console(highlight=False)
    console.print(trail.title, style="bold", markup=False, soft_wrap=True)
    console.print(_table([row for row in trail.rows if row.label != "digest"]))
    console.print("From the number down to the files:", markup=False)
    for number, step in enumerate(trail.steps, start=1):
        console.print(f"{number}. {step.title}", markup=False, soft_wrap=True)
        console.print(f"   {_words(step)}", markup=False, no_wrap=True, overflow="ellipsis")
        for line in (line for listing in step.lists for line in _first(listing)):
            console.print(f"   {line}", markup=False, soft_wrap=True)
    console.print()
    console.print(f"digest: {trail.rows[-1].text}", markup=False, soft_wrap=True)


def _table(rows: list[Row]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, Text(text))  # Text: brackets are no markup
    return table


def _words(step: Step) -> str:
    """The step on one line, the longest last: the line is cut where the terminal ends."""
    rows = [row for row in step.rows if row.label != "missing"]  # told above
    rows.sort(key=lambda row: LAST.index(row.label) if row.label in LAST else -1)
    return "; ".join(f"{row.label} {row.text}" for row in rows)


def _first(listing: Listing) -> list[str]:
    if listing.label in FOLDED:
        return []
    lines = [_line(listing, row) for row in listing.rows[:FEW]]
    more = len(listing.rows) - FEW
    return [*lines, *([f"… and {more} more {listing.label} (--json)"] if more > 0 else [])]


def _line(listing: Listing, row: tuple[str, ...]) -> str:
    told = zip(listing.columns, row, strict=True)
    words = (text if name in PLAIN else f"{name} {text}" for name, text in told if text)
    return "  ".join(words)
