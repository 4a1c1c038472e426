"""The audit in the terminal: a table for each paper, then what is violated."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from .findings import HOLDS, NOT_APPLICABLE, VIOLATED, Finding

PLACES = 2  # examples of findings with one repair


def show(study: str, findings: Sequence[Finding], console: Console | None = None) -> None:
    """Prints how often each rule holds and is violated, and each violation with its margin and repair; those
    that one repair mends together."""
    console = console or Console(highlight=False)
    counted = [finding for finding in findings if finding.status != NOT_APPLICABLE]
    table = Table(title=study, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("rule")
    for name in (HOLDS, VIOLATED):
        table.add_column(name, justify="right", no_wrap=True)
    for rule in dict.fromkeys(finding.rule for finding in counted):
        states = [finding.status for finding in counted if finding.rule == rule]
        table.add_row(rule, *(str(states.count(state) or "") for state in (HOLDS, VIOLATED)))
    console.print(table)
    if unused := [finding.rule for finding in findings if finding.status == NOT_APPLICABLE]:
        console.print(f"not applicable: {', '.join(dict.fromkeys(unused))}", markup=False, soft_wrap=True)
    for line in violations(findings):
        console.print(line, markup=False, soft_wrap=True)
    console.print()


def violations(findings: Sequence[Finding]) -> list[str]:
    """The violated findings as text, by rule, repair and tables, the worst of each group first."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        if finding.status == VIOLATED:
            tables = dict.fromkeys(place[0] for place in finding.places)
            groups.setdefault((finding.rule, finding.repair, *tables), []).append(finding)
    lines = []
    for (rule, repair, *_), group in groups.items():
        group.sort(key=lambda finding: finding.margin)
        lines.append("")
        for finding in group[:PLACES]:
            lines.append(f"{VIOLATED}: {rule}, margin {finding.margin:.3g}, in {finding.where}")
            lines.append(f"  {finding.sentence}")
        if (more := len(group) - PLACES) > 0:
            lines.append(f"  and {more} more")
        if repair:
            lines.append(f"  repair: {repair}")
    return lines
