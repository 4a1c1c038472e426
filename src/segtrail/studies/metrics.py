"""A study's numbers as the nested JSON that `dvc metrics diff` compares."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from ..files import write_json


def write_metrics(cells: str | Path, out: str | Path) -> None:
    """Writes what cells.csv holds as `out`: table → row → column → our number, and how many cells have which
    verdict. Cells without a number are counted only."""
    with Path(cells).open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    tables: dict[str, Any] = {}
    for row in rows:
        if row["reproduced"]:
            place = tables.setdefault(row["table"], {}).setdefault(row["row"], {})
            place[row["column"]] = float(row["reproduced"])
    write_json(out, {"cells": tables, "verdicts": Counter(row["verdict"] for row in rows)})
