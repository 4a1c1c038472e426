"""Trails and receipts to go with `synthetic`: where the report finds what each number was made from.

Trails(study)                 answers like segtrail.trail.Trails
write_receipts(tree, study)   a receipt of each step, as jobs would have left them
"""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from segtrail import config
from segtrail.files import sha256_of, write_json
from segtrail.provenance import receipts
from segtrail.studies.published import Printed, recipe

ENVIRONMENT = {
    "segtrail": "0.1.0",
    "commit": "18a8cf3" + "0" * 33,
    "changed": False,
    "lock": "a" * 64,
    "python": "3.11.7",
    "machine": "Linux x86_64",
    "libraries": {"torch": "2.13.0", "numpy": "2.4.0"},
}
ENVIRONMENT_ID = sha256_of(ENVIRONMENT)[:8]
JOBS = ("split", "preprocess", "train", "sample", "measure")
SECONDS = 900.0


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Trails:
    """Three steps below every cell: its cells.csv, the scans of its study with one subject, the data set."""

    def __init__(self, study: config.Study, subject: str = "test000") -> None:
        self.study, self.subject = study, subject

    def cell(self, study: str, table: str, row: str, column: str) -> SimpleNamespace:
        made = recipe(Printed(table, row, column, "0"), self.study)
        about = {
            "study": study,
            "table": table,
            "row": row,
            "column": column,
            "value": 0.123456789,
            "unit": made.unit,
            "n": 4,
            "n_undefined": 0,
            "n_excluded": 0,
            "n_members": 6,
            "dead_members": 0,
            "intervals": [{"of": "cases", "lo": 0.1, "hi": 0.2, "text": "percentiles", "formula": 1}],
            "beside": None,
            "formulas": [
                {
                    "of": "measure",
                    "name": "nll",
                    "text": "mean −ln p",
                    "source": "eq. 3",
                    "defined": "a.py:1",
                },
                {
                    "of": "interval",
                    "name": "case_percentiles",
                    "text": "q",
                    "source": "§VI",
                    "defined": "b.py",
                },
            ],
            "predictors": [{"name": "dice", "cohort": "heart", "kind": "single", "title": "L_DSC"}],
            "rank": None,
            "published_rank": None,
            "recipe": made.model_dump(mode="json", exclude_defaults=True),
            "published": {"value": "1", "lo": "", "hi": "", "note": "", "file": "config/p.csv", "line": 2},
            "verdict": "within published interval",
            "reason": "",
            "digest": sha256(column),
            "missing": [{"step": f"{study}/scans", "what": "no record of one", "remedy": "make restore"}],
            "steps": [f"{study}/cells", f"{study}/scans", "data/acdc"],
            "environments": [ENVIRONMENT_ID],
        }
        return SimpleNamespace(about=lambda: about)

    def step(self, id: str) -> SimpleNamespace:
        content: dict[str, Any] = {"id": id, "kind": id.split("/")[-1], "title": f"the {id}", "missing": []}
        made = [{"config": {"bins": 10}, "seed": 1, "code": "0" * 16, "jobs": [id]}]
        job = {
            "job": id,
            "key": sha256(id),
            "environment": ENVIRONMENT_ID,
            "outputs": {f"{id}.csv": sha256("x")},
        }
        if id.endswith("cells"):
            content |= {"made": made, "jobs": [job], "after": [id.replace("cells", "scans")]}
        elif id.endswith("scans"):
            files = {f"{self.subject}/image.nii.gz": sha256("scan")}
            subject = {"subject": self.subject, "dataset": "acdc", "excluded": "", "files": files}
            content |= {"made": made, "jobs": [], "after": ["data/acdc"], "subjects": [subject]}
        else:
            content |= {"made": [], "jobs": [], "after": [], "source": "acdc.org", "phantom": True}
        return SimpleNamespace(as_dict=lambda: content)


def write_receipts(tree: Path, study: str, **environment: Any) -> None:
    for step in JOBS:
        job = f"{study}/heart/{step}"
        made_from = {"step": step, "of": {"study": study, "cohort": "heart"}, "code": "0" * 16}
        write_json(
            receipts.path(tree, job),
            {
                "format": receipts.FORMAT,
                "run": tree.name,
                "job": job,
                "rule": step,
                "key": sha256_of(made_from),
                "made_from": made_from,
                "read": {},
                "scans": {},
                "outputs": {},
                "environment": ENVIRONMENT | environment,
                "finished": "2026-01-01T00:00:00+00:00",
                "seconds": SECONDS,
            },
        )
