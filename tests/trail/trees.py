"""A finished run as its jobs would have left it, with receipts, but nothing trained and nothing measured.

    smoke(results, **values)            the layout of a smoke run of NAME below `results`; `values`: its
                                        configuration
    finish(layout, changed, excluded)   writes what its jobs would leave; the subject `changed` (data set/id)
                                        has another voxel, `excluded` is left out

The working directory must be the clone.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from segtrail.config import Study, load_run, merged, read_yaml
from segtrail.config.results import PatientsCell
from segtrail.files import read_json, sha256_of, write_json, write_text
from segtrail.layout import Layout
from segtrail.provenance.keys import code_of, own, records_of
from segtrail.provenance.making import is_data
from segtrail.provenance.receipts import FORMAT, content_of, contents, path, read
from segtrail.runs.jobs import Job, jobs, outputs
from segtrail.studies import published, ranks, schema

ROOT = Path(__file__).parents[2]
NAME = "mehrtash2020"
JUNGO = "jungo2019"
ENVIRONMENT = {
    "segtrail": "0.1.0",
    "commit": "a" * 40,
    "changed": True,
    "lock": "b" * 64,
    "python": "3.11.7",
    "machine": "Linux x86_64",
    "libraries": {"torch": "2.0"},
}

SPREAD = (0.3, 0.7, 0.4, 0.6)


def smoke(results: Path, **values: Any) -> Layout:
    base = read_yaml(ROOT / "config" / "config.yaml")
    base = merged(base, {"run": "smoke", "scale": "smoke", "studies": [NAME]})
    return Layout(load_run(merged(base, values), ROOT / "config"), results)


def finish(layout: Layout, changed: str = "", excluded: str = "") -> None:
    for dataset, planned in layout.planned.items():
        for subject in planned:
            name = f"{dataset}/{subject.id}"
            scan = sha256_of([name, "scan", name == changed])
            files = {f"{subject.id}/scan.nii": scan, f"{subject.id}/label.nii": sha256_of([name, "label"])}
            record = layout.data(dataset) / "records" / f"{subject.id}.json"
            write_json(record, {"files": files, "found": {"subject": subject.id}})
    layout.claim_tree()
    keys: dict[str, str] = {}
    for job in jobs(layout):
        made_from = own(layout, job) | {
            "code": code_of(job),
            "after": {name: keys[name] for name in job.after},
        }
        keys[job.name] = sha256_of(made_from)
        made = [name for name in outputs(layout, job) if not is_data(name)]
        for name in made:
            _write(layout, job, name, excluded)
        receipt = {
            "format": FORMAT,
            "run": layout.run.name,
            "job": job.name,
            "rule": job.rule,
            "key": keys[job.name],
            "made_from": made_from,
            "read": {name: content_of(read(layout.tree, name)) for name in job.after},
            "scans": {name: read_json(record)["files"] for name, record in records_of(layout, job).items()},
            "outputs": contents(layout.tree, [name for name in made if "/posteriors/" not in name]),
            "environment": ENVIRONMENT,
            "finished": "2026-01-01T00:00:00+00:00",
            "seconds": 1.5,
        }
        write_json(path(layout.tree, job.name), receipt)


def _write(layout: Layout, job: Job, name: str, excluded: str) -> None:
    """One output: those that a trail reads as their jobs write them, the others with their name in them."""
    file = layout.tree / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.name == "members.parquet":
        _members(layout, job.of["study"]).to_parquet(file, index=False)
    elif file.name == "subjects.parquet":
        _subjects(layout, job.of["study"], excluded).to_parquet(file, index=False)
    elif file.name in ("cells.csv", "unprinted.csv"):
        write_text(file, _cells(layout, job.of["study"], file.name == "cells.csv").to_csv(index=False))
    elif job.step == "range":
        write_json(file, {"min": 0.0, "max": 2.5, "subjects": 4})
    elif file.suffix:
        write_text(file, name)
    elif "/posteriors/" not in name:
        write_text(file / "arrays.npz", name)


def _members(layout: Layout, study_id: str) -> pd.DataFrame:
    study = layout.run.studies[study_id]
    rows = [
        {"cohort": cohort, "model": model, "member": int(member)}
        for cohort in study.cohorts
        for model in study.models
        for member in layout.members(study_id, cohort, model)
    ]
    fixed = {"epochs": 20, "best_epoch": 12, "val_dice": 0.75, "dead_classes": "", "restarts": 0}
    return pd.DataFrame(rows).assign(**fixed, parameters=100)


def _subjects(layout: Layout, study_id: str, excluded: str) -> pd.DataFrame:
    rows = []
    for cohort in layout.run.studies[study_id].cohorts:
        for part, members in layout.split(study_id, cohort).items():
            rows += [
                {"cohort": cohort, "dataset": dataset, "part": part, "patient": name, "subject": name}
                for dataset, name in members
            ]
    table = pd.DataFrame(rows).assign(site="", group="", frame="", excluded="")
    table.loc[table["dataset"] + "/" + table["subject"] == excluded, "excluded"] = "t2.nii: no label"
    return table


def _cells(layout: Layout, study_id: str, printed: bool) -> pd.DataFrame:
    study, absent = layout.run.studies[study_id], layout.run.absent[study_id]
    places = (
        published.read(ROOT / "config" / "published" / f"{study_id}.csv") if printed else _unprinted(study)
    )
    rows = []
    for one in places:
        cell = published.recipe(one, study)
        why = "; ".join(absent[cohort] for cohort in cell.cohorts_used() if cohort in absent)
        value = None if why else 0.5
        spread = value is not None and not isinstance(cell, PatientsCell)
        table, row, column = one.place
        rows.append(
            {"study": study_id, "table": table, "row": row, "column": column, "unit": cell.unit}
            | {"published": one.value, "published_lo": one.lo, "published_hi": one.hi, "reproduced": value}
            | dict(zip(("lo", "hi", "boot_lo", "boot_hi"), SPREAD if spread else [None] * 4, strict=True))
            | dict.fromkeys(("n", "n_undefined", "n_excluded", "n_members", "dead_members"), 1)
            | {"published_rank": ranks.published(one), "rank": None if why or not one.note else 2}
            | {"beside_measure": "", "beside": None, "verdict": "phantom, not comparable", "reason": why}
        )
    table = pd.DataFrame(rows, columns=list(schema.CELLS.columns))
    table = table if rows else table.astype(str)
    counts = ("n", "n_undefined", "n_excluded", "n_members", "dead_members", "published_rank", "rank")
    return schema.CELLS.validate(table.astype(dict.fromkeys(counts, "Int64")))


def _unprinted(study: Study) -> list[published.Printed]:
    return [
        published.Printed(table.name, row, column, "")
        for table in study.tables
        for row in table.rows
        for column in table.columns
        if not table.printed
    ]
