"""Tables as CSV, Markdown, LaTeX and HTML: what a reader sees of the cells."""

import csv
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
import synthetic

from segtrail.runs.jobs import TABLE_FORMATS
from segtrail.studies import cells, published, tables

STUDY = synthetic.study()
RUN = synthetic.run(STUDY)
PRINTED = published.read(synthetic.CONFIG / "published" / f"{synthetic.NAME}.csv")
TABLES = {table.slug: table for table in STUDY.tables}


@pytest.fixture(scope="module")
def computed() -> pd.DataFrame:
    measures, members = synthetic.measures(STUDY, 5), synthetic.members(STUDY)
    return cells.compute(RUN, synthetic.NAME, PRINTED, measures, members, synthetic.subjects(STUDY, 5))


def write(run, computed: pd.DataFrame, folder: Path, outputs: list[Path], unprinted=None) -> None:
    none = computed.iloc[:0]
    computed.to_csv(folder / "cells.csv", index=False)
    (none if unprinted is None else unprinted).to_csv(folder / "unprinted.csv", index=False)
    (study_id,) = run.studies
    files = {"cells": folder / "cells.csv", "unprinted": folder / "unprinted.csv"}
    tables.write_tables(run, study_id, **files, outputs=outputs)


@pytest.fixture(scope="module")
def folder(computed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    outputs = [folder / f"{slug}.{suffix}" for slug in TABLES for suffix in TABLE_FORMATS]
    write(RUN, computed, folder, outputs)
    return folder


def test_every_printed_number_is_in_its_table_with_ours_below_it(folder, computed):
    for slug, table in TABLES.items():
        lines = list(csv.DictReader(io.StringIO((folder / f"{slug}.csv").read_text(encoding="utf-8"))))
        cell = computed[computed["table"] == table.name].iloc[0]
        row = [line for line in lines if line["row"] == cell["row"]]
        assert [line["line"] for line in row] == ["published", "reproduced", "verdict", "cases"]
        column = next(name for name in row[0] if name.split(" (")[0] == cell["column"].split(" (")[0])
        assert row[0][column].startswith(cell["published"])
        digits = published.decimals(cell["published"])
        assert row[1][column].startswith(f"{cell['reproduced']:.{digits}f}")
        filled = sum(
            bool(line[name]) for line in lines if line["line"] == "published" for name in list(line)[3:]
        )
        assert filled == (computed["table"] == table.name).sum()


def test_numbers_have_the_printed_digits_units_and_counts(computed):
    grid = tables.grid(TABLES["table_S2"], computed).set_index(["row", "line"])
    assert "HD95 I (mm)" in grid.columns
    assert grid.loc[("Heart (L_DSC)", "published"), "HD95 I (mm)"] == "15.18 (2.00–79.97)"
    ours = grid.loc[("Heart (L_DSC)", "reproduced"), "HD95 I (mm)"]
    assert re.fullmatch(r"\d+\.\d\d \(\d+\.\d\d–\d+\.\d\d\)", ours)
    assert grid.loc[("Heart (L_DSC)", "cases"), "HD95 I (mm)"] == "n=5, 6 members (1 with a dead class)"
    assert grid.loc[("Prostate (L_CE)", "published"), "HD95 II (mm)"] == ""


def test_what_is_not_computed_has_a_dash_and_its_reason(computed):
    missing = computed.copy()
    chosen = missing["row"] == "Heart (L_CE)"
    missing.loc[chosen, ["reproduced", "lo", "hi"]] = float("nan")
    missing.loc[chosen, "n"] = pd.NA
    missing.loc[chosen, "verdict"] = "not computed"
    missing.loc[chosen, "reason"] = "no data root is set for acdc"
    grid = tables.grid(TABLES["table_II"], missing).set_index(["row", "line"])
    assert list(grid.loc["Heart (L_CE)"]["NLL"]) == ["0.36 (0.16–1.18)", "—", "not computed", ""]
    assert tables.reasons(TABLES["table_II"], missing)["no data root is set for acdc"] == "Heart (L_CE)"


def test_markdown_is_one_table_of_equal_rows(folder):
    text = (folder / "table_II.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert len(lines) == 2 + 4 * 18
    assert r"Brain (L\_CE)" in text
    assert "print the same 9 numbers" in text


def test_latex_is_escaped_and_balanced(folder):
    for slug in TABLES:
        text = (folder / f"{slug}.tex").read_text(encoding="utf-8")
        body = text.split("\n", 1)[1]
        assert len(re.findall(r"(?<!\\)_", body)) == 0
        assert len(re.findall(r"(?<!\\)%", body)) == 1  # after resizebox, where a line end would be a space
        assert len(re.findall(r"(?<!\\)[{]", body)) == len(re.findall(r"(?<!\\)[}]", body))
        assert body.isascii()
        rows = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50% of a_b & {c}", r"50\% of a\_b \& \{c\}"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("1–2 ≥ −3", r"1--2 $\geq$ $-$3"),
        ("#1 ~ ^ $x$", r"\#1 \textasciitilde{} \textasciicircum{} \$x\$"),
    ],
)
def test_latex_text(text, expected):
    assert tables.latex_text(text) == expected


def test_phantoms_are_marked_in_every_format(computed, tmp_path):
    outputs = [tmp_path / f"table_II.{suffix}" for suffix in TABLE_FORMATS]
    write(synthetic.run(STUDY, phantom=True), computed, tmp_path, outputs)
    rows, markdown, latex, html = (path.read_text(encoding="utf-8") for path in outputs)
    assert all(line.startswith("phantom,") for line in rows.splitlines()[1:])
    assert markdown.startswith("# PHANTOM DATA, NOT A REPRODUCTION. Table II.")
    assert r"\caption{PHANTOM DATA, NOT A REPRODUCTION. Table II." in latex
    assert "<h1>PHANTOM DATA, NOT A REPRODUCTION. Table II." in html


def test_html_is_what_the_csv_holds(folder):
    for slug in TABLES:
        page = (folder / f"{slug}.html").read_text(encoding="utf-8")
        found = ElementTree.fromstring(page[page.index("<table") : page.index("</table>") + len("</table>")])
        lines = list(csv.reader(io.StringIO((folder / f"{slug}.csv").read_text(encoding="utf-8"))))
        shown = [[cell.text or "" for cell in row.iter("td")] for row in found.find("tbody")]
        assert shown == [line[3:] for line in lines[1:]]
        assert [cell.text for cell in found.find("thead").iter("th")][2:] == lines[0][3:]
        names = [cell.text for cell in found.find("tbody").iter("th") if cell.get("rowspan")]
        assert names == [line[1] for line in lines[1:] if line[2] == "published"]
        remarks = {re.sub("<.*?>", "", line) for line in page.splitlines() if line.startswith("<li>")}
        assert len(remarks) >= len(TABLES[slug].notes)
