"""The page as a whole."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from ...audit.paper import audit_paper, papers
from ...audit.table import read_audit
from ...config import Run, Study
from ...config.audit import load_audit
from ...errors import ArtifactError
from ...files import write_text
from ...layout import Layout
from ...provenance import receipts
from .. import published, schema
from . import audited, claimed, numbers, ran, states, text, trails
from .numbers import Cell, Place
from .pictures import picture

ASSETS = (
    "page.jinja",
    "parts.jinja",
    "overview.jinja",
    "numbers.jinja",
    "claims.jinja",
    "audit.jinja",
    "ran.jinja",
    "trails.jinja",
    "report.css",
    "report.js",
)


@dataclass(frozen=True)
class Paper:
    """One of the papers, whether or not the run computes it."""

    id: str
    title: str
    tables: list[numbers.Table]
    audit: audited.Audit | None
    """of the printed numbers; None where there is no rules file"""
    study: Study | None = None
    why: str = ""
    """why the run does not compute it"""
    results: dict[str, Any] = field(default_factory=dict)
    """what the run has of it"""

    @property
    def anchor(self) -> str:
        return text.slug(self.id)

    @property
    def count(self) -> int:
        return len(self.cells)

    @property
    def cells(self) -> list[Cell]:
        return [cell for table in self.tables for cell in table.cells]

    @property
    def states(self) -> list[tuple[str, int]]:
        return states.tally(cell.state for cell in self.cells)

    @property
    def anchors(self) -> dict[Place, str]:
        return {cell.place: cell.anchor for cell in self.cells}


@dataclass(frozen=True)
class Inputs:
    """What the page is made from."""

    layout: Layout
    trails: trails.Trails
    config_dir: Path
    receipts: Mapping[str, Mapping[str, Any]]
    told: set[str] = field(default_factory=set)
    """steps of trails that stand on the page already"""


def write_report(layout: Layout, known: trails.Trails, config_dir: Path, out: Path) -> None:
    """Writes the page of a run: every published number beside its own, and where that comes from.

    Of each study of the run it reads `cells.csv`, `unprinted.csv`, `claims.csv`, `audit.csv`,
    `members.parquet`, `subjects.parquet`, `figures/<name>.svg` and `.png`; of each data set `subjects.csv`
    and `rejected.csv`; the run's receipts; and of every paper its printed numbers and rules in `config_dir`.
    The same inputs give the same bytes.
    Raises ArtifactError naming an input that is missing or not what it should be.
    """
    made = {job: one for job, one in receipts.all_receipts(layout.tree).items() if job != "report"}
    if not made:
        raise ArtifactError(
            "no receipts",
            file=layout.tree / "receipts",
            expected="one of each job",
            remedy="run the workflow again",
        )
    inputs = Inputs(layout, known, config_dir, made)
    # First what the run computes.
    names = sorted(papers(config_dir), key=lambda name: name not in layout.run.studies)
    shown = [_paper(inputs, name) for name in names]
    content = {
        "run": layout.run,
        "papers": shown,
        "totals": dict(states.tally(cell.state for paper in shown for cell in paper.cells)),
        "datasets": ran.datasets(layout.run, layout.tree),
        "jobs": ran.jobs(made.values(), None),
        "all_jobs": ran.total(made.values()),
        "environments": ran.environments(made.values()),
        "mixtures": ran.mixtures(made.values()),
        "told": inputs.told,
    }
    write_text(out, _rendered(content))


def _paper(inputs: Inputs, name: str) -> Paper:
    rules = inputs.config_dir / "audit" / f"{name}.yaml"
    title, audit = name, None
    if rules.is_file():
        title = load_audit(rules).title
        audit = audited.of(audit_paper(name, inputs.config_dir), f"{text.slug(name)}-audit")
    run, printed = inputs.layout.run, published.read(inputs.config_dir / "published" / f"{name}.csv")
    if name in run.studies:
        cells = schema.read_csv(inputs.layout.study(name) / "cells.csv", schema.CELLS)
        tables = numbers.of_run(name, run.studies[name], cells, printed)
        others = schema.read_csv(inputs.layout.study(name) / "unprinted.csv", schema.CELLS)
        unprinted = numbers.not_in_print(name, run.studies[name], others)
        told = [cell for table in (*tables, *unprinted) for cell in table.cells]
        results = _results(inputs, name, told) | {"unprinted": unprinted}
        return Paper(name, title, tables, audit, study=run.studies[name], results=results)
    tables = numbers.of_paper(name, printed, f"{text.slug(name)}-why")
    return Paper(name, title, tables, audit, why=_why_absent(name, run, inputs.config_dir))


def _why_absent(name: str, run: Run, config_dir: Path) -> str:
    if reasons := run.absent.get(name):
        told = "; ".join(f"{cohort}: {reason}" for cohort, reason in reasons.items())
        return f"This run computes no cohort of the paper. {told}."
    if (config_dir / "studies" / f"{name}.yaml").is_file():
        return f"This run leaves the paper out: its list of studies does not hold {name}."
    return (
        f"segtrail has no study of this paper yet (config/studies/{name}.yaml is not there). Its printed "
        "numbers stand here all the same, and are audited."
    )


def _results(inputs: Inputs, name: str, cells: list[Cell]) -> dict[str, Any]:
    """What the page shows of a study that the run computes, beside its numbers."""
    run, folder = inputs.layout.run, inputs.layout.study(name)
    study = run.studies[name]
    claims = schema.read_csv(folder / "claims.csv", schema.CLAIMS)
    once = claims.drop_duplicates("claim")
    return {
        "absent": run.absent.get(name, {}),
        "sensitivity": study.sensitivity[run.sensitivity].about if run.sensitivity else "",
        "claims": claimed.of_run(claims),
        "claims_ours": states.tally(once["claim_verdict"]),
        "claims_in_print": states.tally(once["claim_printed_verdict"]),
        "figures": [
            {"name": figure, "spec": spec, **picture(folder / "figures" / figure)}
            for figure, spec in study.figures.items()
        ],
        "audit": audited.of(read_audit(folder / "audit.csv"), f"{text.slug(name)}-own"),
        "members": ran.members(study, schema.read(folder / "members.parquet", schema.MEMBERS)),
        "subjects": ran.subjects(study, schema.read(folder / "subjects.parquet", schema.SUBJECTS)),
        "jobs": ran.jobs(inputs.receipts.values(), name),
        "trails": trails.of_study(inputs.trails, name, cells, inputs.told),
    }


def _rendered(content: Mapping[str, Any]) -> str:
    folder = Path(__file__).parent
    assets = {name: (folder / name).read_text(encoding="utf-8") for name in ASSETS}
    environment = Environment(
        loader=DictLoader(assets),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "loss": text.loss_names,
        "slug": text.slug,
        "state": lambda name: states.ALL[name],
        "counted": text.counted,
        "margin": audited.margin,
        "places": audited.places,
        "short_hash": lambda value: value[: ran.SHORT],
    }
    environment.globals |= {"STATES": states.STATES, "MEANINGS": states.MEANINGS}
    style, script = assets["report.css"], assets["report.js"]
    # Nothing but these two texts can act on the page, whatever a subject's name or a file's path holds.
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    return environment.get_template("page.jinja").render(
        style=Markup(style),
        script=Markup(script),
        policy=f"{policy}; base-uri 'none'; form-action 'none'",
        **content,
    )


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
