"""The same rules on a run's own cells, whose numbers are not rounded."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isfinite, nan
from pathlib import Path
from typing import TypeGuard

from ..config import Study
from ..config.results import Cell, CorrelationCell, MeanCell, PatientsCell, ReductionCell
from ..errors import ArtifactError
from ..studies.published import Printed, recipe
from . import bounds
from .findings import NOT_APPLICABLE, Entry, Finding, Place, status
from .study import classes

SLACK = 1e-9  # of each number, relative: what sums in float64 may lose
UNNORMALISED = "the model's sigmoids need not sum to one (background: untrained), and the rules need it"
NUMBERS = ("reproduced", "lo", "hi", "boot_lo", "boot_hi", "n", "n_members", "beside")
TEXTS = ("table", "row", "column", "beside_measure")


def audit_cells(path: str | Path, study: Study) -> list[Finding]:
    """The findings on the values of a run's cells.csv; any violation is an error in a measure or a rule, on
    phantoms too. A cell without a value is not looked at.

    Raises ArtifactError for a file that is no cells.csv, ConfigError for a cell of which the study says
    nothing.
    """
    rows = _read(Path(path))
    entries: list[Entry] = []
    beside: list[Entry] = []
    findings: list[Finding] = []
    distinct: set[Place] = set()
    for row in rows:
        place = (row["table"], row["row"], row["column"])
        numbers = _numbers(row, path, place)
        if "reproduced" not in numbers:
            continue
        cell = recipe(Printed(*place, "0"), study)
        if _needs_probabilities(cell) and not _normalised(cell, study):
            findings.append(Finding("range", (place,), NOT_APPLICABLE, nan, UNNORMALISED))
            continue
        entries.append(_entry(place, cell, numbers, study))
        findings += _own_intervals(place, cell, numbers)
        if "beside" in numbers and isinstance(cell, MeanCell):
            value = numbers["beside"] / cell.factor
            beside.append(
                replace(
                    entries[-1], measure=row["beside_measure"], numbers={"value": (value, SLACK * abs(value))}
                )
            )
        if _is_distinct(cell, numbers, study):
            distinct.add(place)
    clip = study.measures.nll_clip
    findings += bounds.audit([*entries, *beside], clip=clip, as_printed=False)
    comparable = [
        entry for entry in entries if entry.measure in bounds.CALIBRATION and entry.place in distinct
    ]
    findings += bounds.equal_rows(comparable)
    return findings + bounds.not_applicable(findings, bounds.NEEDS)


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArtifactError(str(error), file=path, remedy="run the workflow first") from error
    if not rows or not {*NUMBERS, *TEXTS} <= rows[0].keys():
        raise ArtifactError(
            f"columns {', '.join(rows[0]) if rows else '(none)'}",
            file=path,
            expected=f"a table of cells with at least {', '.join((*TEXTS, *NUMBERS))}",
            remedy="delete it and run again: its rule makes it anew",
        )
    return rows


def _numbers(row: Mapping[str, str], path: str | Path, place: Place) -> dict[str, float]:
    result = {}
    for name in NUMBERS:
        text = row[name] or ""
        if text:
            try:
                result[name] = float(text)
            except ValueError as error:
                raise ArtifactError(
                    f"{' / '.join(place)}: {name} = {text!r}", file=path, expected="a number"
                ) from error
            if not isfinite(result[name]):
                raise ArtifactError(
                    f"{' / '.join(place)}: {name} = {text!r}",
                    file=path,
                    expected="a finite number, or nothing",
                )
    return result


def _entry(place: Place, cell: Cell, numbers: Mapping[str, float], study: Study) -> Entry:
    """A cell's number as the rules look at it, in the measure's own units."""
    names = {"value": "reproduced", "lo": "lo", "hi": "hi"}
    found = {name: numbers[column] for name, column in names.items() if column in numbers}
    n = int(numbers["n"]) if "n" in numbers else None
    if isinstance(cell, MeanCell):
        return Entry(
            place,
            cell.measure,
            cell.region,
            classes(study, cell.cohort),
            _slackened(found, cell.factor),
            n=n,
            interval="case_percentiles",
            factor=cell.factor,
        )
    if isinstance(cell, ReductionCell):
        return Entry(place, "reduction", cell.region, None, _slackened(found, 100.0), factor=100.0)
    measure = "correlation" if isinstance(cell, CorrelationCell) else "patients"
    return Entry(place, measure, "", None, _slackened(found, 1.0), n=n)


def _slackened(numbers: Mapping[str, float], factor: float) -> dict[str, tuple[float, float]]:
    return {name: (value / factor, SLACK * abs(value) / factor) for name, value in numbers.items()}


def _own_intervals(place: Place, cell: Cell, numbers: Mapping[str, float]) -> Iterable[Finding]:
    """Bootstrapped means lie in order, and like the mean within the measure's range; a count is its n."""
    if "boot_lo" in numbers and "boot_hi" in numbers:
        low, high = numbers["boot_lo"], numbers["boot_hi"]
        margin = high - low + SLACK * abs(high)
        sentence = f"bootstrapped {low:g} to {high:g}"
        yield Finding("interval in order", (place,), status(margin), margin, sentence)
    if isinstance(cell, PatientsCell):
        counted = numbers.get("n", -1)
        margin = -abs(numbers["reproduced"] - counted)
        sentence = f"{numbers['reproduced']:g} patients, n = {counted:g}"
        yield Finding("counts add up", (place,), status(margin), margin, sentence)


def _needs_probabilities(cell: Cell) -> TypeGuard[MeanCell]:
    return isinstance(cell, MeanCell) and cell.measure in bounds.CALIBRATION


def _normalised(cell: MeanCell, study: Study) -> bool:
    """Whether the predictor's class probabilities sum to one. True for a cohort that is not computed."""
    if cell.cohort not in study.cohorts:
        return True
    model = study.model(cell.cohort, study.predictors[cell.predictor].model)
    return model.activation == "softmax" or model.background != "untrained"


def _is_distinct(cell: Cell, numbers: Mapping[str, float], study: Study) -> bool:
    """Whether this row has to differ from the others of its table: an ensemble of one is its member, and so
    is any predictor of a model with one member."""
    if not isinstance(cell, MeanCell) or numbers.get("n_members", 1) <= 1:
        return False
    predictor = study.predictor(cell.cohort, cell.predictor)
    return predictor.kind != "ensemble" or (cell.size or predictor.table_size or 0) > 1
