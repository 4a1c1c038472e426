"""A run in the terminal: how many cells of each table have which verdict."""

import csv
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..errors import ArtifactError
from ..files import read_json


def show(tree: Path, console: Console | None = None) -> None:
    """Prints one line per table of each study of `results/<run>` and the path of the report.

    Raises ArtifactError if the run has no report.
    """
    console = console or Console()
    report = tree / "report.html"
    if not report.is_file():
        raise ArtifactError("no report", file=report, remedy="run: snakemake --cores all, or make reproduce")
    kind = "PHANTOM DATA" if read_json(tree / "run.json")["phantom"] else "real scans"
    for path in sorted(tree.glob("*/cells.csv")):
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        verdicts = list(dict.fromkeys(row["verdict"] for row in rows))
        table = Table(title=f"{path.parent.name}: {len(rows)} printed numbers ({kind})", title_justify="left")
        table.add_column("table")
        for verdict in verdicts:
            table.add_column(verdict, justify="right")
        for name in dict.fromkeys(row["table"] for row in rows):
            counts = Counter(row["verdict"] for row in rows if row["table"] == name)
            table.add_row(name, *(str(counts[verdict] or "") for verdict in verdicts))
        console.print(table)
    console.print(str(report), soft_wrap=True)
