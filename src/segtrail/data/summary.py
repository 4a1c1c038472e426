"""A check's report as a page for the terminal."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .check import CheckReport, SubjectRow

SHOWN = 3  # problems told in full; --json has them all


def show(name: str, report: CheckReport, console: Console | None = None) -> None:
    """Prints the report on one screen."""
    console = console or Console(highlight=False)
    table = Table.grid(padding=(0, 2))
    for what, found in _lines(report):
        table.add_row(f"[bold]{what}[/bold]", escape(found))
    console.print(f"[bold]{escape(name)}[/bold] ({report.dataset.layout}): {escape(report.dataset.title)}")
    console.print(table)
    if report.rows:
        console.print(_labels(report))
    for warning in report.warnings:
        console.print("[yellow]odd[/yellow]  " + escape(warning))
    for problem in report.problems[:SHOWN]:
        console.print("[red]refused[/red]")
        console.print(escape(str(problem)), soft_wrap=True)
    if len(report.problems) > SHOWN:
        console.print(f"… and {len(report.problems) - SHOWN} more problems: --json names them all")
    verdict = f"[red]{len(report.problems)} problem(s): the pipeline would stop[/red]"
    console.print(
        verdict if report.problems else "[green]in order: the pipeline would take all of it[/green]"
    )


def _lines(report: CheckReport) -> list[tuple[str, str]]:
    rows = report.rows
    lines = [("root", str(report.root)), ("labelled subjects", str(report.labelled_subjects))]
    patients = len({row.patient for row in rows})
    images = "" if patients == len(rows) else f" ({len(rows)} images)"
    lines.append(("of these in order", f"{patients}{images}"))
    for what, values in (("sites", "site"), ("groups", "group"), ("frames", "frame")):
        counts = Counter(getattr(row, values) for row in rows)
        if set(counts) - {""}:
            lines.append((what, _counted(counts)))
    if rows:
        lines += [
            ("shape", _spread([row.shape for row in rows], "voxels")),
            ("spacing", _spread([row.spacing for row in rows], "mm")),
            ("types", _counted(Counter(row.dtype for row in rows))),
        ]
        lines += [(f"channel {name}", _values(rows, name)) for name in report.dataset.channels]
    else:
        lines.append(("channels", ", ".join(report.dataset.channels)))
    return lines


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name or '(unknown)'} {count}" for name, count in sorted(counts.items()))


def _spread(values: Sequence[Sequence[float]], unit: str) -> str:
    """Per axis: one number, or the smallest to the largest."""
    lows, highs = np.min(values, axis=0), np.max(values, axis=0)
    axes = [
        f"{low:.4g}" if np.isclose(low, high, rtol=1e-3) else f"{low:.4g}–{high:.4g}"
        for low, high in zip(lows, highs, strict=True)
    ]
    return f"{' × '.join(axes)} {unit}"


def _values(rows: Sequence[SubjectRow], channel: str) -> str:
    lows, highs = np.array([row.intensity[channel] for row in rows]).T
    return f"from {_range(lows)} to {_range(highs)}"


def _range(values: np.ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if low == high else f"{low:.4g}…{high:.4g} (median {float(np.median(values)):.4g})"


def _labels(report: CheckReport) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for heading in ("label", "name", "images", "voxels", "median", "share"):
        table.add_column(heading, justify="left" if heading == "name" else "right", no_wrap=heading != "name")
    total = sum(sum(row.labels.values()) for row in report.rows)
    for value in sorted({*report.dataset.labels, *(v for row in report.rows for v in row.labels)}):
        counts = [row.labels[value] for row in report.rows if value in row.labels]
        table.add_row(
            str(value),
            escape(report.dataset.labels.get(value, "")),
            str(len(counts)),
            f"{sum(counts):,}",
            f"{np.median(counts):,.0f}" if counts else "–",
            f"{sum(counts) / total:.2%}",
        )
    return table
