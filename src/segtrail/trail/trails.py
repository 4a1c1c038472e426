"""The trail of each printed number of a run."""

import csv
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from ..audit.findings import Place
from ..config import Study
from ..config.results import Cell, CorrelationCell, MeanCell, PatientsCell, ShareCell
from ..errors import ArtifactError, ConfigError
from ..files import read_json, sha256_of
from ..runs.jobs import job_name
from ..studies import published, schema
from ..studies.published import Printed
from ..studies.thresholds import ON_VAL, is_at_threshold
from .chain import Chain, Step
from .formulas import Formula, formulas, intervals
from .jobs import PULL, Jobs
from .words import Row, rows_of_trail

FORMAT = 2
SHOWN = 8  # names that are nearest to an unknown one
COUNTS = ("n", "n_undefined", "n_excluded", "n_members", "dead_members", "published_rank", "rank")
TABLES = ("cells.csv", "unprinted.csv")
WORDS = {"cases": "over cases", "value": "of the value itself"}


@dataclass(frozen=True, eq=False)
class Trail:
    """All that is known of one cell and of what it was computed from; `as_dict` is what `--json` prints."""

    study: str
    printed: Printed  # of a number that is not in print, with an empty value
    line: int | None  # of the published file
    file: str  # the published file
    run: dict[str, Any]
    cell: Cell
    values: dict[str, Any]  # the row of cells.csv
    predictors: list[dict[str, Any]]
    reads: list[str]  # ids of the steps that the cell is computed from, below `collect`
    steps: list[Step]
    environments: dict[str, dict[str, Any]]

    @property
    def place(self) -> Place:
        return self.printed.place

    @property
    def title(self) -> str:
        return f"{self.study}: {' / '.join(self.place)}"

    @property
    def value(self) -> float | None:
        found: float | None = self.values["reproduced"]
        return found

    @property
    def intervals(self) -> list[dict[str, Any]]:
        """Those that there are, each with the index of its formula in `formulas`."""
        names = [one.name for one in self.formulas]
        found = []
        for of, formula, lo, hi in intervals(self.cell):
            if self.values[lo] is not None:
                ends = {"lo": self.values[lo], "hi": self.values[hi]}
                found.append({"of": of, **ends, "text": WORDS[of], "formula": names.index(formula)})
        return found

    @cached_property
    def formulas(self) -> list[Formula]:
        return formulas(self.cell, {one["kind"] for one in self.predictors})

    @property
    def missing(self) -> list[dict[str, Any]]:
        return [one for step in self.steps for one in step.missing]

    @property
    def digest(self) -> str | None:
        """The hash of all that shapes the cell: what it is (`recipe`), and of each step the configuration,
        seeds, code and files of the scans. Not the printed number, nor what follows from these, such as
        weights. None where some of it is not known, or nothing feeds the cell in this run."""
        digests = {step.id: step.digest for step in self.steps}
        if not self.reads or None in digests.values():
            return None
        shaping = {name: digest for name, digest in digests.items() if digest}
        return sha256_of([self.cell.model_dump(mode="json"), shaping])

    @property
    def rows(self) -> list[Row]:
        """The cell itself in words; the steps have their own."""
        return rows_of_trail(self)

    def about(self) -> dict[str, Any]:
        """All but the content of the steps, of which the ids are named."""
        found, beside = self.values, None
        if found["beside"] is not None:
            beside = {"measure": found["beside_measure"], "value": found["beside"]}
        table, row, column = self.place
        return {
            "format": FORMAT,
            "study": self.study,
            "table": table,
            "row": row,
            "column": column,
            "run": self.run,
            "value": self.value,
            "unit": self.cell.unit,
            **{name: found[name] for name in COUNTS},
            "intervals": self.intervals,
            "beside": beside,
            "formulas": [one.as_dict() for one in self.formulas],
            "recipe": self.cell.model_dump(mode="json"),
            "predictors": self.predictors,
            "published": self._published(),
            "verdict": found["verdict"],
            "reason": found["reason"],
            "digest": self.digest,
            "missing": self.missing,
            "reads": self.reads,
            "steps": [step.id for step in self.steps],
            "environments": list(self.environments),
        }

    def _published(self) -> dict[str, Any] | None:
        if self.line is None:
            return None
        found = {name: getattr(self.printed, name) for name in ("value", "lo", "hi", "note")}
        return found | {"file": self.file, "line": self.line}

    def as_dict(self) -> dict[str, Any]:
        """`about` with the steps and environments whole."""
        # Of a part, the cell may take the scans of one data set alone.
        taken = {name.rpartition("/")[0]: name for name in self.reads}
        steps = [step.as_dict() for step in self.steps]
        for step in steps:
            step["after"] = [taken.get(name, name) for name in step["after"]]
        return self.about() | {"steps": steps, "environments": self.environments}


@dataclass(eq=False)
class Cells:
    """A study's cells as its run left them, and what the run took them to be."""

    study_id: str
    chain: Chain
    absent: dict[str, str]
    rows: dict[Place, dict[str, Any]]
    printed: dict[Place, tuple[Printed, int]]  # with the line in the file
    file: str


@dataclass(eq=False)
class Trails:
    """The trails of a run's cells; what they share is looked at once.

    `tree` is results/<run>, `config` the folder of the published numbers. Artifacts are held to their
    receipts as trails come to them: ArtifactError for one that was edited, damaged or done again since.
    """

    tree: Path
    config: Path = Path("config")
    _steps: dict[str, Step] = field(default_factory=dict)
    _studies: dict[str, Cells] = field(default_factory=dict)

    @cached_property
    def _jobs(self) -> Jobs:
        return Jobs(self.tree)

    @property
    def environments(self) -> dict[str, dict[str, Any]]:
        return self._jobs.environments

    def studies(self) -> list[str]:
        """The studies whose cells the run has."""
        return sorted(path.parent.name for path in self.tree.glob("*/cells.csv"))

    def places(self, study: str) -> list[Place]:
        """(table, row, column) of each printed number of a study, in the order of the published file, and of
        each that is not in print."""
        return list(self._study(study).rows)

    def step(self, id: str) -> Step:
        """A step that a trail of these has named."""
        return self._steps[id]

    def cell(self, study: str, table: str, row: str, column: str) -> Trail:
        """The trail of one cell. ConfigError, which lists what there is, for one that the run has not."""
        cells = self._study(study)
        place = (table, row, column)
        _stop_if_unknown(place, study, list(cells.rows))
        content, values = cells.chain.study, cells.rows[place]
        printed, line = self._printed(cells, place)
        cell = published.recipe(printed, content)
        whole = not cells.absent.keys() & set(cell.cohorts_used())
        # A cell of a cohort that the run leaves out is computed from nothing.
        reads = [step.id for step in feeding(cells.chain, cell)] if whole else []
        steps = cells.chain.below([f"{study}/cells", *reads])
        used = {job["environment"] for step in steps for job in step.jobs}
        return Trail(
            study=study,
            printed=printed,
            line=line,
            file=cells.file,
            run=self._run(cells.chain.phantom),
            cell=cell,
            values=values,
            predictors=_predictors(cell, content) if whole else [],
            reads=reads,
            steps=steps,
            environments={name: found for name, found in self.environments.items() if name in used},
        )

    def _printed(self, cells: Cells, place: Place) -> tuple[Printed, int | None]:
        """The printed number and its line. ArtifactError where the cell was compared with another one."""
        row, found = cells.rows[place], cells.printed.get(place)
        if found is None and not row["published"]:
            return Printed(*place, ""), None
        was = tuple(row[name] for name in ("published", "published_lo", "published_hi"))
        now = None if found is None else (found[0].value, found[0].lo, found[0].hi)
        if found is None or was != now:
            raise ArtifactError(
                f"{' / '.join(place)} is {_interval(now) if now else 'not'} printed there",
                file=cells.file,
                expected=f"{_interval(was)}, with which the run's cell was compared",
                remedy="run the workflow: the cells are compared anew, nothing is trained for that",
            )
        return found

    def _run(self, phantom: bool) -> dict[str, Any]:
        marker = self.tree / "run.json"
        scale = read_json(marker).get("scale") if marker.exists() else None
        return {"name": self.tree.name, "scale": scale, "phantom": phantom}

    def _study(self, study: str) -> Cells:
        if study not in self._studies:
            self._studies[study] = self._read(study)
        return self._studies[study]

    def _read(self, study: str) -> Cells:
        path = self.tree / study / "cells.csv"
        if not path.exists():
            self._stop_without_cells(study, path)
        receipt = self._jobs.needed(job_name("cells", study=study))
        config = receipt["made_from"]["config"]
        content = _study_of(config["study"], path)
        chain = Chain(self._jobs, study, content, config["titles"], config["phantom"], self._steps)
        chain.cells()  # holds cells.csv to its receipt
        tables = [schema.read_csv(path.with_name(name), schema.CELLS) for name in TABLES]
        rows = {(row["table"], row["row"], row["column"]): row for table in tables for row in _plain(table)}
        file = self.config / "published" / f"{study}.csv"
        printed = {
            one.place: (one, line) for one, line in zip(published.read(file), _lines(file), strict=True)
        }
        return Cells(study, chain, config["absent"], rows, printed, str(file))

    def _stop_without_cells(self, study: str, path: Path) -> None:
        there = self.studies()
        if not there:
            raise ArtifactError("no cells", file=path, remedy=f"run the workflow first, or {PULL}")
        text = ", ".join(_nearest(study, there))
        remedy = None
        if (self.config / "published" / f"{study}.csv").exists():
            remedy = f"its printed numbers are known, but the run {self.tree.name} has not computed it"
        raise ConfigError(f"STUDY = {study!r}", expected=f"one of: {text}", remedy=remedy)


def feeding(chain: Chain, cell: Cell) -> list[Step]:
    """The steps that a cell is computed from, right below the table of all measures."""

    def measured(cohort: str, parts: Sequence[str], predictor: str, dataset: str | None = None) -> list[Step]:
        posterior = chain.study.predictors[predictor].posterior
        return [
            step
            for part in parts
            for step in (chain.measures(cohort, part, posterior), chain.scans(cohort, part, dataset))
        ]

    if isinstance(cell, PatientsCell):
        return [chain.arrays(cell.cohort, cell.part), chain.scans(cell.cohort, cell.part, cell.dataset)]
    if isinstance(cell, CorrelationCell):
        return [step for group in cell.groups for step in measured(group.cohort, group.parts, cell.predictor)]
    if isinstance(cell, ShareCell):
        return [step for name in cell.predictors for step in measured(cell.cohort, [cell.part], name)]
    dataset = cell.dataset if isinstance(cell, MeanCell) else None
    found = measured(cell.cohort, [cell.part], cell.predictor, dataset)
    for part in picking(cell, chain.study):
        found += measured(cell.cohort, [part], cell.predictor)
    return list({step.id: step for step in found}.values())


def picking(cell: Cell, study: Study) -> list[str]:
    """The parts that pick the thresholds of a cell."""
    errors = study.measures.errors
    if not isinstance(cell, MeanCell) or errors is None:
        return []
    at_threshold = [name for name in (cell.measure, cell.beside) if name and is_at_threshold(name)]
    found = dict.fromkeys(
        "val" if name.endswith(ON_VAL) or errors.picked_on == "val" else cell.part for name in at_threshold
    )
    # A cohort need not measure the validation part: then nothing stands beside the number.
    return [part for part in found if part in study.cohorts[cell.cohort].measured]


def _predictors(cell: Cell, study: Study) -> list[dict[str, Any]]:
    """Each predictor of a cell as this run uses it in each cohort, with the sizes of its ensembles there."""
    found = []
    for cohort, name in dict.fromkeys(product(cell.cohorts_used(), cell.predictors_used())):
        chosen = study.predictor(cohort, name)
        one: dict[str, Any] = {"name": name, "cohort": cohort, "kind": chosen.kind, "title": chosen.title}
        if chosen.kind == "ensemble":
            sizes = getattr(cell, "sizes", None) or [getattr(cell, "size", None) or chosen.table_size]
            one |= {"sizes": list(sizes), "draws": chosen.draws}
        if chosen.samples is not None:
            one["samples"] = chosen.samples
        if chosen.rescale is not None:
            one["rescale"] = chosen.rescale.model_dump(mode="json")
        found.append(one)
    return found


def _study_of(values: dict[str, Any], path: Path) -> Study:
    """A study as a receipt holds it. Raises ArtifactError for one that this version does not understand."""
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise ArtifactError(
            f"made from a study that this version of segtrail does not know: {error.errors()[0]['msg']}",
            file=path,
            remedy="go on with the version that made it, or run the workflow: the cells are made anew",
        ) from error


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows, None where nothing stands."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _lines(file: Path) -> list[int]:
    """The line of each row of a CSV."""
    with file.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        return [reader.line_num for _ in reader]


def _interval(number: tuple[str, str, str]) -> str:
    value, lo, hi = number
    return f"{value} [{lo}, {hi}]" if lo else value


def _stop_if_unknown(place: Place, study: str, places: list[Place]) -> None:
    """Raises ConfigError that lists what there is for the first of table, row and column that is unknown."""
    for index, name in enumerate(("TABLE", "ROW", "COLUMN")):
        there = list(dict.fromkeys(one[index] for one in places if one[:index] == place[:index]))
        if place[index] not in there:
            where = " / ".join((study, *place[:index]))
            raise ConfigError(
                f"{name} = {place[index]!r} in {where}",
                expected=f"one of: {'; '.join(_nearest(place[index], there))}",
            )


def _nearest(name: str, there: Sequence[str]) -> list[str]:
    """Names that there are, the most similar first; of many the nearest and how many more."""
    found = difflib.get_close_matches(name, there, n=len(there), cutoff=0.0)
    more = len(found) - SHOWN
    return [*found[:SHOWN], *([f"and {more} more"] if more > 0 else [])]
