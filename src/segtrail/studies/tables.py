"""Each table of a paper with the run's values below the printed ones: CSV, Markdown, LaTeX, HTML.

Numbers are rounded here and nowhere before, to the digits that the paper prints.
"""

import re
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

import pandas as pd

from ..config import Run, Study
from ..config.results import Table
from ..files import write_text
from . import schema, verdicts
from .captions import PHANTOM_MARK
from .published import decimals

NO_VALUE = "—"
SHORT = {
    verdicts.WITHIN: "within",
    verdicts.DIRECTION: "direction only",
    verdicts.OUTSIDE: "outside",
    verdicts.IMPOSSIBLE: "impossible as printed",
    verdicts.PHANTOM: "phantom",
    verdicts.NOT_COMPUTED: "not computed",
}
LEGEND = (
    "published: as printed; reproduced: mean over cases (2.5th–97.5th percentile over cases); verdict: "
    "within or outside the published interval, or direction only: outside, but on the printed side of the "
    "row it is compared with; cases: n used, members trained."
)


def write_tables(run: Run, study_id: str, cells: str | Path, outputs: Iterable[str | Path]) -> None:
    """Writes each of `outputs`, named <table slug>.csv, .md, .tex or .html, from cells.csv."""
    table_of = {table.slug: table for table in run.studies[study_id].tables}
    found = schema.read_csv(cells, schema.CELLS)
    for out in map(Path, outputs):
        write_text(out, RENDERERS[out.suffix](run, run.studies[study_id], table_of[out.stem], found))


def grid(table: Table, cells: pd.DataFrame) -> pd.DataFrame:
    """The table as texts: four lines (published, reproduced, verdict, cases) for each printed row; columns
    row, line, and the printed columns with their units. Cells that the paper leaves empty are empty."""
    here = {(cell.row, cell.column): cell for cell in cells[cells["table"] == table.name].itertuples()}
    columns = [name for name in table.columns if any(column == name for _, column in here)]
    lines: list[dict[str, str]] = []
    for row in table.rows:
        found = {name: here[row, name] for name in columns if (row, name) in here}
        for line, text in LINES.items():
            lines.append(
                {"row": row, "line": line}
                | {_heading(table, name): text(found[name]) if name in found else "" for name in columns}
            )
    return pd.DataFrame(lines)


def _heading(table: Table, column: str) -> str:
    unit = str(table.columns[column].get("unit", ""))
    return column if not unit or unit in column else f"{column} ({unit})"


def _published(cell) -> str:  # type: ignore[no-untyped-def]
    return (
        f"{cell.published} ({cell.published_lo}–{cell.published_hi})" if cell.published_lo else cell.published
    )


def _reproduced(cell) -> str:  # type: ignore[no-untyped-def]
    if pd.isna(cell.reproduced):
        return NO_VALUE
    digits = decimals(cell.published)
    value = f"{cell.reproduced:.{digits}f}"
    return value if pd.isna(cell.lo) else f"{value} ({cell.lo:.{digits}f}–{cell.hi:.{digits}f})"


def _verdict(cell) -> str:  # type: ignore[no-untyped-def]
    return SHORT[cell.verdict]


def _cases(cell) -> str:  # type: ignore[no-untyped-def]
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
    "verdict": _verdict,
    "cases": _cases,
}


def title(run: Run, table: Table) -> str:
    """The table's name and title; phantoms are marked in front."""
    text = f"{table.name[0].upper()}{table.name[1:]}. {table.title}"
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
    lines += ["", LEGEND, ""]
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
    lines += ["\n\n".join(map(latex_text, [LEGEND, *table.notes, *remarks]))]
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
    lines += [content.to_html(border=0, index_names=False), f"<p>{escape(LEGEND)}</p>", "<ul>"]
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
