"""The same rules on a run's own cells, whose numbers are not rounded."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isfinite, nan
from pathlib import Path
from typing import Any, TypeGuard

from ..config import Study
from ..config.results import (
    Cell,
    CorrelationCell,
    MeanCell,
    PatientsCell,
    PooledCell,
    ReductionCell,
    ShareCell,
)
from ..errors import ArtifactError
from ..studies.published import Printed, recipe
from ..studies.thresholds import ON_VAL, PICKED_BY
from . import bounds
from .findings import NOT_APPLICABLE, Entry, Finding, Place, status
from .study import classes

SLACK = 1e-9  # of each number, relative: what sums in float64 may lose
UNNORMALISED = "the model's sigmoids need not sum to one (background: untrained), and the rules need it"
NUMBERS = ("reproduced", "lo", "hi", "boot_lo", "boot_hi", "n", "n_members", "beside")
TEXTS = ("table", "row", "column", "beside_measure")
# Rules of our own numbers alone → why one found nothing to look at, if it did not.
NEEDS = {
    "best threshold": "no cell has a measure at its best threshold and, beside it, at that of another part",
    "one segmentation": "no cell is of an auxiliary network's Dice, precision or recall",
}
OF_SEGMENTATION = ("dice", "precision", "recall")

Mean = tuple[MeanCell, dict[str, float]]  # a cell and its numbers


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
    means: dict[Place, Mean] = {}
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
        findings += _best_threshold(place, cell, numbers, row["beside_measure"])
        if isinstance(cell, MeanCell):
            means[place] = (cell, numbers)
        if "beside" in numbers and isinstance(cell, MeanCell):
            value = numbers["beside"] / cell.factor
            beside.append(
                replace(
                    entries[-1],
                    measure=row["beside_measure"].removesuffix(ON_VAL),
                    numbers={"value": (value, SLACK * abs(value))},
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
    findings += _one_segmentation(means, study)
    return findings + bounds.not_applicable(findings, bounds.NEEDS | NEEDS)


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
            cell.measure.removesuffix(ON_VAL),
            cell.region,
            classes(study, cell.cohort),
            _slackened(found, cell.factor),
            n=n,
            interval="case_percentiles",
            averaged=_averaged(cell, numbers, study),
            factor=cell.factor,
        )
    if isinstance(cell, PooledCell):
        numbers_of = _slackened(found, cell.factor)
        return Entry(place, cell.measure, cell.region, None, numbers_of, n=n, factor=cell.factor)
    if isinstance(cell, ShareCell):
        return Entry(place, "share", cell.region, None, _slackened(found, 100.0), n=n, factor=100.0)
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


def _averaged(cell: MeanCell, numbers: Mapping[str, float], study: Study) -> bool:
    """Whether each case's value is a mean over several members or draws."""
    if cell.cohort not in study.cohorts:
        return False
    predictor = study.predictor(cell.cohort, cell.predictor)
    return predictor.draws > 1 if predictor.kind == "ensemble" else numbers.get("n_members", 1) > 1


def _best_threshold(place: Place, cell: Cell, numbers: Mapping[str, float], beside: str) -> Iterable[Finding]:
    """A measure at the threshold of its own best mean on a part is no worse than at any other threshold, so
    than at that of another part."""
    measure = getattr(cell, "measure", "")
    if not isinstance(cell, MeanCell) or cell.dataset or PICKED_BY.get(measure) != measure:
        return
    if beside == measure + ON_VAL and "beside" in numbers:
        best, other = numbers["reproduced"], numbers["beside"]
        margin = best - other + SLACK * abs(best)
        sentence = f"{measure} {best:g} at its best threshold, {other:g} at that of the validation part"
        yield Finding("best threshold", (place,), status(margin), margin, sentence)


def _one_segmentation(means: Mapping[Place, Mean], study: Study) -> Iterable[Finding]:
    """An auxiliary network leaves the segmentation as it is: its overlap with the reference is that of the
    model whose errors it learns, where both have the same number of members."""
    bases = {_overlap(cell, study): place for place, (cell, _) in means.items()}
    for place, (cell, numbers) in means.items():
        chosen = study.predictors[cell.predictor]
        if chosen.kind != "auxiliary" or cell.measure not in OF_SEGMENTATION:
            continue
        learnt = study.models[chosen.model].auxiliary
        other = bases.get(("single", learnt.model, *_overlap(cell, study)[2:])) if learnt else None
        theirs = means[other][1] if other else {}
        if other and numbers.get("n_members") == theirs.get("n_members"):
            ours, base = numbers["reproduced"], theirs["reproduced"]
            margin = SLACK - abs(ours - base)
            sentence = (
                f"{cell.measure} {ours:g} of an auxiliary network, {base:g} of whose segmentation it is"
            )
            yield Finding("one segmentation", (place, other), status(margin), margin, sentence)


def _overlap(cell: MeanCell, study: Study) -> tuple[Any, ...]:
    """What a mean is of: kind and model of the predictor, and the rest."""
    chosen = study.predictors[cell.predictor]
    place = (cell.cohort, cell.dataset, cell.part, cell.measure, cell.region, cell.segment, cell.factor)
    return (chosen.kind, chosen.model, *place)


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
