"""The printed numbers of a study as its YAML describes them: which of them cannot be right."""

from collections import defaultdict
from collections.abc import Iterable

from ..config import Study
from ..config.results import MeanCell
from ..studies.published import Printed, recipe, slack
from .findings import VIOLATED, Entry, Finding, Place

# On these rests the verdict 'impossible as printed'; others that a cell breaks are told by `segtrail audit`.
DECISIVE = frozenset(
    {
        "range",
        "interval in order",
        "NLL ≥ −ln(1−ECE)",
        "NLL ≥ 1.2277·Brier",
        "NLL ≥ 1.2277·K·Brier",
        "rows differ",
    }
)


def entries(study: Study, printed: Iterable[Printed]) -> list[Entry]:
    """What the rules can look at: the printed means of known measures."""
    result = []
    for one in printed:
        cell = recipe(one, study)
        if isinstance(cell, MeanCell):
            texts = {"value": one.value, "lo": one.lo, "hi": one.hi}
            numbers = {
                name: (float(text) / cell.factor, slack(text) / cell.factor)
                for name, text in texts.items()
                if text
            }
            result.append(
                Entry(
                    one.place,
                    cell.measure,
                    cell.region,
                    classes(study, cell.cohort),
                    numbers,
                    factor=cell.factor,
                )
            )
    return result


def classes(study: Study, cohort: str) -> int | None:
    """K with the background; None for a cohort that the run does not compute."""
    found = study.cohorts.get(cohort)
    return len(found.segments) + 1 if found else None


def impossible(study: Study, findings: Iterable[Finding]) -> dict[Place, str]:
    """Cell → why it cannot be right: of a violated decisive rule's cells those that the study declares at
    fault, or all of them."""
    tables = {table.name: table for table in study.tables}
    result: dict[Place, list[str]] = defaultdict(list)
    for finding in findings:
        if finding.status == VIOLATED and finding.rule in DECISIVE:
            declared = [
                place for place in finding.places if place[2] in tables[place[0]].cell(*place[1:]).at_fault
            ]
            for place in declared or finding.places:
                result[place].append(finding.sentence)
    return {place: "; ".join(sentences) for place, sentences in result.items()}
