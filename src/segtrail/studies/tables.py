"""Each table of a paper with the run's values below the printed ones: CSV, Markdown, LaTeX, HTML.

Numbers are rounded here and nowhere before, to the digits that the paper prints. Of a table whose numbers are
not in print, the run's values stand alone.
"""

import re
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

import pandas as pd

from ..config import Run, Study
from ..config.results import Table
from ..files import write_text
from . import ranks, schema, verdicts
from .captions import PHANTOM_MARK

NO_VALUE = "—"
SHORT = {
    verdicts.WITHIN: "within",
    verdicts.DIRECTION: "direction only",
    verdicts.OUTSIDE: "outside",
    verdicts.IMPOSSIBLE: "impossible as printed",
    verdicts.PHANTOM: "phantom",
    verdicts.NOT_COMPUTED: "not computed",
    verdicts.NOT_PRINTED: "not printed",
}
REPRODUCED = (
    "reproduced: mean over cases (2.5th–97.5th percentile over cases), or a value of all cases together "
    "[95 % by bootstrap over cases]; beside: by another definition, which is named; "
)
LEGEND = (
    f"published: as printed; {REPRODUCED}verdict: within or outside the published interval, or direction "
    "only: outside, but on the printed side of the row it is compared with; cases: n used, members trained."
)
UNPRINTED_LEGEND = f"{REPRODUCED}cases: n used, members trained. The paper's own numbers are not at hand."
RANKS = "r1 …: rank in the column; rank sum: over the columns in which every row of the line has one."
RANK_SUM = "rank sum"


def write_tables(
    run: Run, study_id: str, *, cells: str | Path, unprinted: str | Path, outputs: Iterable[str | Path]
) -> None:
    """Writes each of `outputs`, named <table slug>.csv, .md, .tex or .html, from cells.csv and
    unprinted.csv."""
    table_of = {table.slug: table for table in run.studies[study_id].tables}
    printed = schema.read_csv(cells, schema.CELLS)
    others = schema.read_csv(unprinted, schema.CELLS)
    for out in map(Path, outputs):
        table = table_of[out.stem]
        found = printed if table.printed else others
        write_text(out, RENDERERS[out.suffix](run, run.studies[study_id], table, found))


def grid(table: Table, cells: pd.DataFrame) -> pd.DataFrame:
    """The table as texts: four lines (published, reproduced, verdict, cases) for each printed row, and of a
    table that is not printed two (reproduced, cases); a line more (beside) where some cells have another
    definition beside them. Columns row, line, the printed columns with their units, and of a ranked table the
    sum of ranks. Cells that the paper leaves empty are empty."""
    of_table = cells[cells["table"] == table.name]
    here = {(cell.row, cell.column): cell for cell in of_table.itertuples()}
    left_out = set() if table.printed else set(OF_PRINT)
    left_out |= set() if of_table["beside"].notna().any() else {"beside"}
    columns = [name for name in table.columns if any(column == name for _, column in here)]
    sums = rank_sums(table, cells)
    lines: list[dict[str, str]] = []
    for row in table.rows:
        found = {name: here[row, name] for name in columns if (row, name) in here}
        for line, text in LINES.items():
            if line not in left_out:
                texts = {
                    name: text(cell, ranks.digits(table.cell(row, name), str(cell.published)))
                    for name, cell in found.items()
                }
                told = {_heading(table, name): texts.get(name, "") for name in columns}
                told |= {RANK_SUM: sums[row, line]} if (row, line) in sums else {}
                lines.append({"row": row, "line": line} | told)
    return pd.DataFrame(lines).fillna("")


def rank_sums(table: Table, cells: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(row, line) → its sum of ranks, of the lines published and reproduced of a ranked table: over the
    columns in which every row has one; it tells over how many, where some are left out.

    Source: the public code of Jungo 2019, which computes it and leaves it out of the print.
    """
    here = cells[cells["table"] == table.name]
    if not table.ranked or here.empty:
        return {}
    sums = {}
    for line, name in (("published", "published_rank"), ("reproduced", "rank")):
        by_row = here.pivot(index="row", columns="column", values=name)
        whole = by_row.dropna(axis="columns", how="any")
        left_out = by_row.shape[1] - whole.shape[1]
        note = f" ({whole.shape[1]} of {by_row.shape[1]} columns)" if left_out else ""
        for row in by_row.index:
            sums[str(row), line] = f"{whole.loc[row].sum()}{note}" if whole.shape[1] else NO_VALUE
    return sums


def _heading(table: Table, column: str) -> str:
    unit = str(table.columns[column].get("unit", ""))
    return column if not unit or unit in column else f"{column} ({unit})"


def _published(cell, digits: int) -> str:  # type: ignore[no-untyped-def]
    value = (
        f"{cell.published} ({cell.published_lo}–{cell.published_hi})" if cell.published_lo else cell.published
    )
    return value if pd.isna(cell.published_rank) else f"{value} r{cell.published_rank}"


def _reproduced(cell, digits: int) -> str:  # type: ignore[no-untyped-def]
    if pd.isna(cell.reproduced):
        return NO_VALUE
    value = f"{cell.reproduced:.{digits}f}"
    if not pd.isna(cell.lo):
        value += f" ({cell.lo:.{digits}f}–{cell.hi:.{digits}f})"
    elif not pd.isna(cell.boot_lo):
        value += f" [{cell.boot_lo:.{digits}f}–{cell.boot_hi:.{digits}f}]"
    return value if pd.isna(cell.rank) else f"{value} r{cell.rank}"


def _beside(cell, digits: int) -> str:  # type: ignore[no-untyped-def]
    return "" if pd.isna(cell.beside) else f"{cell.beside:.{digits}f} ({cell.beside_measure})"


def _verdict(cell, digits: int) -> str:  # type: ignore[no-untyped-def]
    return SHORT[cell.verdict]


def _cases(cell, digits: int) -> str:  # type: ignore[no-untyped-def]
    if pd.isna(cell.n):
        return ""
    parts = [f"n={cell.n}"]
    for count, name in ((cell.n_undefined, "undefined"), (cell.n_excluded, "excluded")):
        if not pd.isna(count) and count:
            parts.append(f"{count} {name}")
    if not pd.isna(cell.n_members):
        dead = f" ({cell.dead_members} with a dead class)" if cell.dead_members else ""
        parts.append(f"{cell.n_members} members{dead}")
    return ", ".join(parts)


LINES: dict[str, Callable[..., str]] = {
    "published": _published,
    "reproduced": _reproduced,
    "beside": _beside,
    "verdict": _verdict,
    "cases": _cases,
}
OF_PRINT = ("published", "verdict")  # lines that only a printed table has


def legend(table: Table) -> str:
    """What the lines and signs of a table are."""
    told = LEGEND if table.printed else UNPRINTED_LEGEND
    return f"{told} {RANKS}" if table.ranked else told


def title(run: Run, table: Table) -> str:
    """The table's name and title; phantoms are marked in front, a sensitivity run behind."""
    text = f"{table.name[0].upper()}{table.name[1:]}. {table.title}"
    if run.sensitivity:
        text += f" (sensitivity run {run.sensitivity})"
    return f"{PHANTOM_MARK}. {text}" if run.phantom else text


def reasons(table: Table, cells: pd.DataFrame) -> dict[str, str]:
    """Reason → the cells that it is given for, in words."""
    here = cells[cells["table"] == table.name]
    columns = here.groupby("row", sort=False)["column"].agg(list).to_dict()
    found: dict[str, dict[str, list[str]]] = {}
    for cell in here[here["reason"] != ""].itertuples():
        for reason in str(cell.reason).split("; "):
            found.setdefault(reason, {}).setdefault(str(cell.row), []).append(str(cell.column))
    return {
        reason: "all cells"
        if rows == columns
        else "; ".join(
            row if names == columns[row] else f"{row}: {', '.join(names)}" for row, names in rows.items()
        )
        for reason, rows in found.items()
    }


def _csv(run: Run, study: Study, table: Table, cells: pd.DataFrame) -> str:
    content = grid(table, cells)
    content.insert(0, "data", "phantom" if run.phantom else "real")
    return content.to_csv(index=False, lineterminator="\n")


def _markdown(run: Run, study: Study, table: Table, cells: pd.DataFrame) -> str:
    content = grid(table, cells)
    rows = [list(content.columns), ["---"] * content.shape[1], *content.to_numpy().tolist()]
    lines = [f"# {_markdown_text(title(run, table))}", "", study.citation, ""]
    lines += ["| " + " | ".join(map(_markdown_text, row)) + " |" for row in rows]
    lines += ["", legend(table), ""]
    lines += [f"- {_markdown_text(note)}" for note in table.notes]
    why = reasons(table, cells)
    if why:
        lines += ["", "Remarks on cells:", ""]
        lines += [f"- {_markdown_text(f'{reason} ({where})')}" for reason, where in why.items()]
    return "\n".join(lines) + "\n"


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def _latex(run: Run, study: Study, table: Table, cells: pd.DataFrame) -> str:
    content = grid(table, cells)
    lines = [
        "% needs the packages booktabs and graphicx",
        r"\begin{table}",
        rf"\caption{{{latex_text(title(run, table))}}}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{{'l' * content.shape[1]}}}",
        r"\toprule",
        _latex_row(content.columns),
    ]
    previous = None
    for row in content.to_numpy().tolist():
        if row[0] != previous:
            lines.append(r"\midrule")
            lines.append(_latex_row(row))
        else:
            lines.append(_latex_row(["", *row[1:]]))
        previous = row[0]
    remarks = [f"{reason} ({where})" for reason, where in reasons(table, cells).items()]
    lines += [r"\bottomrule", r"\end{tabular}}", "", r"\footnotesize"]
    lines += ["\n\n".join(map(latex_text, [legend(table), *table.notes, *remarks]))]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_row(texts: Iterable[str]) -> str:
    return " & ".join(map(latex_text, texts)) + r" \\"


LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "·": r"$\cdot$",
    "§": r"\S{}",
    "τ": r"$\tau$",
    "…": r"\ldots{}",
}


def latex_text(text: str) -> str:
    """Text for LaTeX: what it would read as commands is escaped, and symbols are spelt as commands."""
    return "".join(LATEX.get(character, character) for character in text)


def _html(run: Run, study: Study, table: Table, cells: pd.DataFrame) -> str:
    content = grid(table, cells).set_index(["row", "line"]).rename_axis(index=["", ""])
    remarks = [f"{reason} ({where})" for reason, where in reasons(table, cells).items()]
    heading = escape(title(run, table))
    lines = ["<!doctype html>", '<html lang="en">', '<meta charset="utf-8">', f"<title>{heading}</title>"]
    lines += [f"<style>{STYLE}</style>", f"<h1>{heading}</h1>", f"<p>{escape(study.citation)}</p>"]
    lines += [content.to_html(border=0, index_names=False), f"<p>{escape(legend(table))}</p>", "<ul>"]
    lines += [f"<li>{escape(text)}</li>" for text in (*table.notes, *remarks)]
    return "\n".join([*lines, "</ul>", "</html>"]) + "\n"


STYLE = (
    "body{font:14px/1.4 sans-serif;margin:1rem}h1{font-size:1.1rem}table{border-collapse:collapse}"
    "td,th{padding:.15rem .6rem;text-align:left;vertical-align:top}tr:has(th+th){border-top:1px solid #999}"
)
RENDERERS: dict[str, Callable[[Run, Study, Table, pd.DataFrame], str]] = {
    ".csv": _csv,
    ".md": _markdown,
    ".tex": _latex,
    ".html": _html,
}
