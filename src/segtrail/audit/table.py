"""The audit of a run's own cells as a table, audit.csv; any violation stops the run."""

import json
import logging
from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import Run
from ..errors import ArtifactError
from ..files import write_text
from ..studies import schema
from .cells import audit_cells
from .findings import VIOLATED, Finding
from .show import violations

SHOWN = 12  # lines of the error


def write_audit(run: Run, study_id: str, *, cells: str | Path, out: str | Path, log: str | Path) -> None:
    """Writes the findings on a study's cells.csv as `out`; see schema.AUDIT.

    Raises ArtifactError on any violation, and what is violated is then also beside `log`, since Snakemake
    removes the outputs of a job that failed.
    """
    findings = audit_cells(cells, run.studies[study_id])
    write_text(out, _csv(run, study_id, findings))
    violated = [finding for finding in findings if finding.status == VIOLATED]
    kept = Path(log).with_name("audit_violations.csv")
    kept.unlink(missing_ok=True)
    if not violated:
        return
    write_text(kept, _csv(run, study_id, violated))
    lines = [line for line in violations(violated) if line]
    logging.getLogger("segtrail").info("violated:\n%s", "\n".join(lines))
    raise ArtifactError(
        "\n          ".join([f"{len(violated)} times, what no measures can give", *lines[:SHOWN]]),
        file=cells,
        expected="numbers that obey arithmetic, also on phantoms (docs/audit.md)",
        remedy="do not use them: a measure, a cell's recipe (measure, region, factor) in "
        f"config/studies/{study_id}.yaml, or a rule is wrong. All violations: {kept}",
    )


def _csv(run: Run, study_id: str, findings: Sequence[Finding]) -> str:
    rows = [_row(study_id, finding) | {"data": "phantom" if run.phantom else "real"} for finding in findings]
    table = pd.DataFrame(rows, columns=list(schema.AUDIT.columns))
    return schema.AUDIT.validate(table).to_csv(index=False, lineterminator="\n")


def _row(study_id: str, finding: Finding) -> dict[str, Any]:
    values = finding.as_dict(study_id)
    return values | {"margin": finding.margin, "places": json.dumps(values["places"], ensure_ascii=False)}


def read_audit(path: str | Path) -> list[Finding]:
    """The findings of an audit.csv. ArtifactError for a file that is none."""
    table = schema.read_csv(path, schema.AUDIT)
    return [
        Finding(
            rule=row["rule"],
            places=tuple((place[0], place[1], place[2]) for place in json.loads(row["places"])),
            status=row["status"],
            margin=nan if pd.isna(row["margin"]) else row["margin"],
            sentence=row["sentence"],
            repair=row["repair"],
            text=row["text"],
        )
        for row in table.to_dict(orient="records")
    ]
