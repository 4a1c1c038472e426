"""What was run on what: subjects, members, hours, and the code and machines that made the results."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ...config import Run, Study
from ...errors import ArtifactError
from ...files import sha256_of
from . import text

PART_TITLES = {"train": "training", "val": "validation", "test": "test", "shift": "shifted test"}
SHORT = 12  # digits of a hash as the page shows it


@dataclass(frozen=True)
class MemberRow:
    cohort: str
    model: str
    members: int
    parameters: str
    epochs: str
    best_epoch: str
    val_dice: str
    dead: list[str]
    restarts: int


def members(study: Study, table: pd.DataFrame) -> list[MemberRow]:
    """One line per cohort and model; every member with a dead class is named."""
    return [
        MemberRow(
            cohort=study.cohorts[str(cohort)].title,
            model=study.models[str(model)].title,
            members=len(group),
            parameters=" or ".join(f"{count:,}" for count in sorted(group["parameters"].unique())),
            epochs=text.spread(group["epochs"], 0),
            best_epoch=text.spread(group["best_epoch"], 0),
            val_dice=text.spread(group["val_dice"], 3),
            dead=_dead(study, str(cohort), group),
            restarts=int(group["restarts"].sum()),
        )
        for (cohort, model), group in table.groupby(["cohort", "model"], sort=False)
    ]


def _dead(study: Study, cohort: str, group: pd.DataFrame) -> list[str]:
    """`member 3: myocardium` for each member that never learnt a class."""
    names = {str(index): one.name for index, one in enumerate(study.cohorts[cohort].segments, start=1)}
    if study.models[str(group["model"].iloc[0])].auxiliary is not None:
        names = {"1": "errors"}
    found = group[group["dead_classes"] != ""].sort_values("member")
    return [
        f"member {member}: " + ", ".join(names.get(k, f"class {k}") for k in classes.split(","))
        for member, classes in zip(found["member"].tolist(), found["dead_classes"].tolist(), strict=True)
    ]


def subjects(study: Study, table: pd.DataFrame) -> list[dict[str, Any]]:
    """One line per cohort, part and data set; every excluded image with its reason."""
    rows = []
    for (cohort, part, dataset), group in table.groupby(["cohort", "part", "dataset"], sort=False):
        kept, left_out = group[group["excluded"] == ""], group[group["excluded"] != ""]
        reasons = zip(left_out["subject"].tolist(), left_out["excluded"].tolist(), strict=True)
        rows.append(
            {
                "cohort": study.cohorts[str(cohort)].title,
                "part": PART_TITLES[str(part)],
                "dataset": dataset,
                "patients": kept["patient"].nunique(),
                "images": len(kept),
                "sites": _shares(kept["site"]),
                "groups": _shares(kept["group"]),
                "excluded": [f"{subject}: {reason}" for subject, reason in reasons],
            }
        )
    return rows


def _shares(values: pd.Series) -> str:
    found = values[values != ""].value_counts().sort_index()
    return ", ".join(f"{name} {count}" for name, count in found.items()) or text.NONE


def datasets(run: Run, tree: Path) -> list[dict[str, Any]]:
    """Each data set with its source and terms, how many subjects its index holds, and those it refuses."""
    rows = []
    for name, dataset in run.datasets.items():
        refused = _table(tree / "data" / name / "rejected.csv").to_dict(orient="records")
        rows.append(
            {
                "name": name,
                "title": dataset.title,
                "source": dataset.source,
                "terms": dataset.terms,
                "used": "the scans themselves" if name in run.roots else "a phantom in its layout",
                "subjects": len(_table(tree / "data" / name / "subjects.csv")),
                "refused": [
                    ": ".join(str(row[key]) for key in ("subject", "found") if row[key]) for row in refused
                ],
            }
        )
    return rows


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            str(error), file=path, expected="a table of subjects", remedy="run the workflow again"
        ) from error


# --- receipts ---------------------------------------------------------------------------------------


def jobs(receipts: Iterable[Mapping[str, Any]], study: str | None) -> list[tuple[str, int, str]]:
    """(step, jobs, hours) of a study, or of what belongs to none; the last line is of all of them."""
    own = [one for one in receipts if one["made_from"]["of"].get("study") == study]
    steps: dict[str, list[Mapping[str, Any]]] = {}
    for receipt in own:
        steps.setdefault(receipt["made_from"]["step"], []).append(receipt)
    return [(step, *total(found)) for step, found in [*steps.items(), ("all", own)]]


def total(receipts: Collection[Mapping[str, Any]]) -> tuple[int, str]:
    """(jobs, hours)"""
    return len(receipts), text.hours(sum(one["seconds"] for one in receipts))


def environments(receipts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The versions, locks and machines that made the results, with the ids that trails give them and their
    numbers of jobs; most first."""
    found: dict[str, dict[str, Any]] = {}
    for receipt in receipts:
        id = sha256_of(receipt["environment"])[:8]
        one = found.setdefault(id, {"id": id, **receipt["environment"], "jobs": 0})
        one["jobs"] += 1
    return sorted(found.values(), key=lambda one: -one["jobs"])


def mixtures(receipts: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the jobs of the run do not have in common: commits, locks, the code of a step."""
    commits: set[str] = set()
    locks: set[str] = set()
    codes: dict[str, set[str]] = {}
    for receipt in receipts:
        environment = receipt["environment"]
        commits.add(f"{environment['commit']}{' and changes' if environment['changed'] else ''}")
        locks.add(str(environment["lock"]))
        codes.setdefault(receipt["made_from"]["step"], set()).add(receipt["made_from"]["code"])
    told = [(len(commits), "commits"), (len(locks), "locks of libraries")]
    told += [(len(found), f"versions of the code of {step}") for step, found in codes.items()]
    return [f"{count} {what}" for count, what in told if count > 1]
