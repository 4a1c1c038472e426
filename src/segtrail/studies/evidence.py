"""A page of Markdown about one run of one study: what was computed, on what, and how long it took.

Only rows with a computed cell are shown. The pages under docs/evidence are made with it.
"""

from pathlib import Path

import pandas as pd

from ..config import Run
from ..errors import ArtifactError
from . import schema, tables


def page(run: Run, study_id: str, tree: Path) -> str:
    """The page; `tree` is results/<run>. Raises ArtifactError if the run is not finished."""
    folder = tree / study_id
    if not (folder / "cells.csv").is_file():
        raise ArtifactError("no cells", file=folder / "cells.csv", remedy="run the workflow first")
    cells = schema.read_csv(folder / "cells.csv", schema.CELLS)
    claims = schema.read_csv(folder / "claims.csv", schema.CLAIMS)
    members = schema.read(folder / "members.parquet", schema.MEMBERS)
    others = schema.read_csv(folder / "unprinted.csv", schema.CELLS)
    computed = {True: cells[cells["reproduced"].notna()], False: others[others["reproduced"].notna()]}
    study = run.studies[study_id]
    parts = [_subjects(schema.read(folder / "subjects.parquet", schema.SUBJECTS))]
    parts.append(_members(members, tree / "benchmarks" / study_id))
    for table in study.tables:
        found = computed[table.printed]
        here = found[found["table"] == table.name]
        if len(here):
            content = tables.grid(table, found)
            content = content[content["row"].isin(here["row"])]
            parts.append(f"## {tables.title(run, table)}\n\n{_table(content)}")
            why = tables.reasons(table, found)
            parts.append("\n".join(f"- {reason} ({where})" for reason, where in why.items()))
    parts.append(_claims(claims))
    return "\n\n".join(part for part in parts if part) + "\n"


def _subjects(subjects: pd.DataFrame) -> str:
    counts = subjects[subjects["excluded"] == ""].groupby(["cohort", "dataset", "part"], sort=False)
    table = counts["patient"].nunique().rename("patients").reset_index()
    excluded = int((subjects["excluded"] != "").sum())
    return f"## Subjects\n\n{_table(table)}\n\nExcluded: {excluded}."


def _members(members: pd.DataFrame, benchmarks: Path) -> str:
    rows = []
    for (cohort, model), group in members.groupby(["cohort", "model"], sort=False):
        seconds = [
            _seconds(benchmarks / str(cohort) / f"train_{model}_{int(name):03d}.tsv")
            for name in group["member"]
        ]
        dead = group.loc[group["dead_classes"] != "", ["member", "dead_classes"]]
        rows.append(
            {
                "cohort": cohort,
                "model": model,
                "members": len(group),
                "epochs": _range(group["epochs"]),
                "best epoch": _range(group["best_epoch"]),
                "validation Dice": f"{group['val_dice'].min():.3f}–{group['val_dice'].max():.3f}",
                "with a dead class": ", ".join(f"{int(m):03d} (class {c})" for m, c in dead.to_numpy())
                or "none",
                "minutes of all": f"{sum(seconds) / 60:.0f}",
            }
        )
    return f"## Members\n\n{_table(pd.DataFrame(rows))}"


def _seconds(path: Path) -> float:
    """The wall time of a job, as Snakemake measured it."""
    return float(pd.read_csv(path, sep="\t")["s"].iloc[0])


def _range(values: pd.Series) -> str:
    return str(values.min()) if values.nunique() == 1 else f"{values.min()}–{values.max()}"


def _claims(claims: pd.DataFrame) -> str:
    table = claims.drop_duplicates("claim")[["claim", "text", "claim_verdict"]]
    parts = claims[claims["effect"].notna()].groupby("claim")["verdict"].value_counts().unstack(fill_value=0)
    words = {
        name: ", ".join(f"{n} {verdict}" for verdict, n in row.items() if n) for name, row in parts.iterrows()
    }
    table["computed comparisons"] = table["claim"].map(words).fillna("none")
    return f"## Claims\n\n{_table(table.rename(columns={'claim_verdict': 'verdict'}))}"


def _table(content: pd.DataFrame) -> str:
    rows = [list(content.columns), ["---"] * content.shape[1], *content.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
