"""The run in the terminal."""

import io
import json

import pytest
from rich.console import Console

from segtrail.errors import ArtifactError
from segtrail.studies.summary import show


def test_counts_verdicts_and_names_the_report(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"phantom": True}))
    (tmp_path / "report.html").write_text("")
    (tmp_path / "paper").mkdir()
    rows = ["table,verdict", "Table I,not computed", "Table I,not computed", "Table II,direction only"]
    (tmp_path / "paper" / "cells.csv").write_text("\n".join(rows) + "\n")
    out = io.StringIO()
    show(tmp_path, Console(file=out, width=100))
    text = out.getvalue()
    assert "paper: 3 printed numbers (PHANTOM DATA)" in text
    (first,) = [line for line in text.splitlines() if "Table I " in line]
    assert [cell.strip() for cell in first.split("│")[1:-1]] == ["Table I", "2", ""]
    assert text.strip().endswith("report.html")


def test_a_run_without_a_report_says_how_to_make_it(tmp_path):
    with pytest.raises(ArtifactError, match="make reproduce"):
        show(tmp_path)
