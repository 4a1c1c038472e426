"""Tables as CSV, Markdown, LaTeX and HTML: what a reader sees of the cells."""

import csv
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
import synthetic
import synthetic_jungo

from segtrail.runs.jobs import TABLE_FORMATS
from segtrail.studies import cells, published, schema, tables

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
        beside = ["beside"] if computed.loc[computed["table"] == table.name, "beside"].notna().any() else []
        assert [line["line"] for line in row] == ["published", "reproduced", *beside, "verdict", "cases"]
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


def test_another_definition_stands_beside_ours(computed):
    place = (computed["table"] == "Table II") & (computed["row"] == "Heart (L_CE)")
    cell = computed[place & (computed["column"] == "Brier")].iloc[0]
    grid = tables.grid(TABLES["table_II"], computed).set_index(["row", "line"])
    assert grid.loc[("Heart (L_CE)", "beside"), "Brier"] == f"{cell['beside']:.2f} (brier_mean)"
    assert grid.loc[("Heart (L_CE)", "beside"), "NLL"] == ""


def test_what_is_not_computed_has_a_dash_and_its_reason(computed):
    missing = computed.copy()
    chosen = missing["row"] == "Heart (L_CE)"
    missing.loc[chosen, ["reproduced", "lo", "hi"]] = float("nan")
    missing.loc[chosen, "n"] = pd.NA
    missing.loc[chosen, "verdict"] = "not computed"
    missing.loc[chosen, "reason"] = "no data root is set for acdc"
    grid = tables.grid(TABLES["table_II"], missing).set_index(["row", "line"])
    assert list(grid.loc["Heart (L_CE)"]["NLL"]) == ["0.36 (0.16–1.18)", "—", "", "not computed", ""]
    assert tables.reasons(TABLES["table_II"], missing)["no data root is set for acdc"] == "Heart (L_CE)"


def test_markdown_is_one_table_of_equal_rows(folder):
    text = (folder / "table_II.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert len(lines) == 2 + 5 * 18
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


# --- ranked tables, and those whose numbers are not in print ---------------------------------------------

JUNGO = synthetic_jungo.study()
JUNGO_TABLES = {table.slug: table for table in JUNGO.tables}


@pytest.fixture(scope="module")
def jungo(tmp_path_factory) -> Path:
    """The folder of a sensitivity run's tables, with cells.csv and unprinted.csv."""
    folder = tmp_path_factory.mktemp("jungo")
    run = synthetic_jungo.run(JUNGO, sensitivity="equal_epochs")
    synthetic_jungo.write(folder, JUNGO, 4)
    names = ("measures", "reliability", "errors", "members", "subjects")
    cells.write_cells(
        run,
        synthetic_jungo.NAME,
        **{name: folder / f"{name}.parquet" for name in names},
        published=synthetic.CONFIG / "published" / "jungo2019.csv",
        out=folder / "cells.csv",
        unprinted=folder / "unprinted.csv",
    )
    outputs = [folder / f"{slug}.{suffix}" for slug in JUNGO_TABLES for suffix in TABLE_FORMATS]
    files = {"cells": folder / "cells.csv", "unprinted": folder / "unprinted.csv"}
    tables.write_tables(run, synthetic_jungo.NAME, **files, outputs=outputs)
    return folder


def grid_of(folder: Path, slug: str) -> pd.DataFrame:
    table = pd.read_csv(folder / f"{slug}.csv", dtype=str, keep_default_na=False)
    return table.set_index(["row", "line"])


def test_ranks_stand_behind_the_numbers_with_their_sums_in_a_last_column(jungo):
    grid = grid_of(jungo, "table_1")
    found = schema.read_csv(jungo / "cells.csv", schema.CELLS).set_index(["table", "row", "column"])
    assert grid.loc[("baseline+MC", "published"), "BraTS ECE%"] == "0.9 r1"
    cell = found.loc["Table 1", "baseline+MC", "BraTS ECE%"]
    ours = f"{cell.reproduced:.3f} ({cell.lo:.3f}–{cell.hi:.3f}) r{cell['rank']}"
    assert grid.loc[("baseline+MC", "reproduced"), "BraTS ECE%"] == ours, "digits as the study says"
    assert list(grid.columns)[-1] == "rank sum"
    # As far as anyone has added them up.
    printed = {"ensemble": "15", "auxiliary segm.": "21", "auxiliary feat.": "22", "baseline+MC": "25"}
    printed |= {"baseline": "26", "center+MC": "38", "center": "41", "aleatoric": "43"}
    assert grid["rank sum"].xs("published", level="line").to_dict() == printed
    for row in printed:
        total = found.loc["Table 1"].xs(row, level="row")["rank"].sum()
        assert grid.loc[(row, "reproduced"), "rank sum"] == str(total)
        assert grid.loc[(row, "cases"), "rank sum"] == ""


def test_a_sum_of_ranks_is_over_the_columns_where_every_row_has_one():
    rows = [("a", "x", 1, 1), ("b", "x", 2, 2), ("a", "y", 1, None), ("b", "y", 2, 1)]
    found = pd.DataFrame(rows, columns=["row", "column", "published_rank", "rank"]).assign(table="T")
    found = found.astype({"published_rank": "Int64", "rank": "Int64"})
    table = JUNGO_TABLES["table_1"].model_copy(update={"name": "T"})
    assert tables.rank_sums(table, found) == {
        ("a", "published"): "2",
        ("b", "published"): "4",
        ("a", "reproduced"): "1 (1 of 2 columns)",
        ("b", "reproduced"): "2 (1 of 2 columns)",
    }
    none = found.assign(rank=pd.array([pd.NA] * 4, dtype="Int64"))
    assert tables.rank_sums(table, none)["a", "reproduced"] == "—"
    assert tables.rank_sums(table.model_copy(update={"ranked": False}), found) == {}


def test_a_table_that_is_not_in_print_has_our_numbers_alone(jungo):
    grid = grid_of(jungo, "table_S1")
    found = schema.read_csv(jungo / "unprinted.csv", schema.CELLS).set_index(["row", "column"])
    assert list(dict.fromkeys(grid.index.get_level_values("line"))) == ["reproduced", "cases"]
    assert len(grid) == 8 * 2
    cell = found.loc["center", "ISIC data set ECE%"]
    ours = f"{cell.reproduced:.3f} [{cell.boot_lo:.3f}–{cell.boot_hi:.3f}]"
    assert grid.loc[("center", "reproduced"), "ISIC data set ECE%"] == ours
    text = (jungo / "table_S1.md").read_text(encoding="utf-8")
    assert "not at hand" in text
    assert "verdict:" not in text


def test_shares_are_in_per_cent_with_the_digits_of_print(jungo):
    grid = grid_of(jungo, "text")
    assert grid.loc[("-", "published"), "BraTS underconfident %"] == "28"
    ours = grid.loc[("-", "reproduced"), "BraTS underconfident %"]
    assert re.fullmatch(r"\d+ \[\d+–\d+\]", ours)


@pytest.mark.parametrize("slug", JUNGO_TABLES)
def test_new_tables_are_well_formed_and_name_their_sensitivity_run(jungo, slug):
    latex = (jungo / f"{slug}.tex").read_text(encoding="utf-8")
    rows = [line for line in latex.splitlines() if line.endswith(r" \\")]
    assert latex.isascii()
    assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
    page = (jungo / f"{slug}.html").read_text(encoding="utf-8")
    ElementTree.fromstring(page[page.index("<table") : page.index("</table>") + len("</table>")])
    assert "(sensitivity run equal_epochs)</h1>" in page
    assert len({line.count(",") >= 3 for line in (jungo / f"{slug}.csv").read_text().splitlines()}) == 1


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
