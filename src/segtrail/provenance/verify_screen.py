"""What `segtrail verify` prints: a table by study, then what is not right, why, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .verify import EDITED, RIGHT, STALE, STATES, Artifact, Verified, Watch

PATHS = 5  # of artifacts that have one reason in common; of those that were edited all


@contextmanager
def watched() -> Iterator[Watch]:
    """A line that shows how much is hashed, on a terminal."""
    columns = (TextColumn("hashing"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        line = progress.add_task("", total=None)
        yield lambda done, total: progress.update(line, completed=done, total=total)


def show(found: Verified, console: Console | None = None) -> None:
    """Prints what `verify` has found."""
    console = console or Console(highlight=False)
    wrong = [one for one in found.artifacts if one.state != RIGHT]
    total = len(found.artifacts)
    head = f"{len(wrong)} of {total} artifacts are not right" if wrong else f"{total} artifacts, all right"
    console.print(f"{found.tree}: {head}", markup=False, soft_wrap=True)
    console.print(_table(found))
    for line in [*_notes(found), *_reasons(found, wrong)]:
        console.print(line, markup=False, soft_wrap=True)


def _table(found: Verified) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("")
    for name in (*STATES, "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    for place in found.places:
        table.add_row(place, *(str(count or "") for count in found.count(place).values()))
    return table


def _notes(found: Verified) -> Iterator[str]:
    if found.missing:
        yield "missing: not made yet, deleted, or not brought here; made anew where a job needs it"
    if found.measured:
        yield f"deleted once measured, as they should be: {found.measured} posteriors"
    yield from (f"not known: {one}" for one in found.unknown)


def _reasons(found: Verified, wrong: list[Artifact]) -> Iterator[str]:
    """What is not right, by state and reason."""
    groups: dict[tuple[str, ...], list[Artifact]] = {}
    for state in dict.fromkeys((EDITED, *STATES)):
        for one in wrong:
            if one.state == state:
                groups.setdefault((state, *_reason(found, one)), []).append(one)
    for (state, *told), group in groups.items():
        shown = group if state == EDITED else group[:PATHS]
        yield f"\n{state}: {'; '.join(told)}"
        yield from (f"  {found.tree / one.path}" for one in shown)
        if more := len(group) - len(shown):
            yield f"  and {more} more"
        yield f"  remedy: {group[0].remedy}"


def _reason(found: Verified, one: Artifact) -> list[str]:
    """Why it is not right: alike for all that are stale because of jobs that are stale for one reason."""
    if one.state != STALE or one.causes == (one.job,):
        return [one.why]
    first, more = one.causes[0], len(one.causes) - 1
    whys = list(dict.fromkeys(found.reasons[cause] for cause in one.causes))
    jobs = f"the job {first} is" if not more else f"the job {first} and {more} more are"
    return [f"{jobs} ({'; '.join(whys[:PATHS])})"]
