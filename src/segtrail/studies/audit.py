"""Arithmetic that printed numbers must obey: each rule is applied to whatever columns hold its measures.

The rules hold for the values of any case, so they also hold for means over cases and, since the order
statistics of the smaller quantity stay below those of the larger, for percentiles over cases.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf, log

from ..config import Study
from ..config.results import MeanCell
from .published import Printed, decimals, recipe

# min over q of −ln q / (2(1−q)²): a voxel with probability q for its own class has a squared error, summed
# over classes, of at most 2(1−q)² (all the rest on one other class), and a log-loss of −ln q.
NLL_PER_BRIER = 1.2277
RANGES = {
    "nll": (0.0, inf),
    "brier_sum": (0.0, 2.0),
    "brier_mean": (0.0, 1.0),
    "ece_conf": (0.0, 1.0),
    "dice": (0.0, 1.0),
    "hd95": (0.0, inf),
    "seg_entropy": (0.0, log(2)),
}
EQUAL_COLUMNS = 3

Place = tuple[str, str, str]  # table, row, column


@dataclass(frozen=True)
class Entry:
    """One number that is audited, in the measure's own units, as (value, lo, hi) with its rounding slack."""

    place: Place
    measure: str
    region: str
    classes: int | None
    numbers: dict[str, tuple[float, float]]
    """'value', 'lo', 'hi' → (number, slack)"""


@dataclass(frozen=True)
class Finding:
    rule: str
    places: tuple[Place, ...]
    status: str
    """'holds' or 'violated'"""
    margin: float
    """by how much it holds (or fails, negative) at the most favourable rounding, in the rule's own units"""
    sentence: str


def entries(study: Study, printed: Iterable[Printed]) -> list[Entry]:
    """What the rules can look at: the printed means of known measures."""
    result = []
    for one in printed:
        cell = recipe(one, study)
        if isinstance(cell, MeanCell):
            texts = {"value": one.value, "lo": one.lo, "hi": one.hi}
            numbers = {
                name: (float(text) / cell.factor, 0.5 * 10.0 ** -decimals(text) / cell.factor)
                for name, text in texts.items()
                if text
            }
            cohort = study.cohorts.get(cell.cohort)
            classes = len(cohort.segments) + 1 if cohort else None
            result.append(Entry(one.place, cell.measure, cell.region, classes, numbers))
    return result


def as_measure(entries: Iterable[Entry], names: Mapping[str, str]) -> list[Entry]:
    """The same numbers read as other measures: what would follow if a paper meant the other definition."""
    return [replace(entry, measure=names.get(entry.measure, entry.measure)) for entry in entries]


def audit(entries: Sequence[Entry]) -> list[Finding]:
    """Every rule on every row that has what it needs."""
    findings = [_in_range(entry) for entry in entries]
    rows: dict[tuple[str, str, str], dict[str, Entry]] = defaultdict(dict)
    for entry in entries:
        if entry.measure in ("nll", "brier_sum", "brier_mean", "ece_conf"):
            rows[(*entry.place[:2], entry.region)][entry.measure] = entry
    for row in rows.values():
        nll = row.get("nll")
        if nll is None:
            continue
        if "ece_conf" in row:
            findings.append(_ece_below_nll(nll, row["ece_conf"]))
        for measure in ("brier_sum", "brier_mean"):
            brier = row.get(measure)
            if brier is not None and (measure == "brier_sum" or brier.classes is not None):
                findings.append(_brier_below_nll(nll, brier))
    return findings + _equal_rows(entries)


def impossible(study: Study, findings: Iterable[Finding]) -> dict[Place, str]:
    """Cell → why it cannot be right: of a violated rule's cells those that the study declares at fault, or
    all of them."""
    tables = {table.name: table for table in study.tables}
    result: dict[Place, list[str]] = defaultdict(list)
    for finding in findings:
        if finding.status == "violated":
            declared = [
                place for place in finding.places if place[2] in tables[place[0]].cell(*place[1:]).at_fault
            ]
            for place in declared or finding.places:
                result[place].append(finding.sentence)
    return {place: "; ".join(sentences) for place, sentences in result.items()}


def _in_range(entry: Entry) -> Finding:
    low, high = RANGES[entry.measure]
    margin = min(
        min(number + slack - low, high - (number - slack)) for number, slack in entry.numbers.values()
    )
    sentence = f"{entry.measure} lies in [{low:g}, {high:g}]"
    if "lo" in entry.numbers:
        (lo, lo_slack), (hi, hi_slack) = entry.numbers["lo"], entry.numbers["hi"]
        margin = min(margin, hi + hi_slack - (lo - lo_slack))
        sentence += " and its interval is in order"
    return Finding("range", (entry.place,), _status(margin), margin, sentence)


def _ece_below_nll(nll: Entry, ece: Entry) -> Finding:
    """NLL ≥ −ln(1−ECE): confidence and accuracy differ by at most 1 − the mean probability of the true class,
    and NLL = −mean ln p ≥ −ln mean p (Jensen)."""

    def bound(value: float) -> float:
        return -log(1 - value) if value < 1 else inf

    return _bound("NLL ≥ −ln(1−ECE)", nll, ece, bound, lambda text: f"−ln(1 − ECE {text})")


def _brier_below_nll(nll: Entry, brier: Entry) -> Finding:
    """NLL ≥ 1.2277 × Brier summed over classes (see NLL_PER_BRIER), which is K times that of equation 4."""
    if brier.measure == "brier_sum" or brier.classes is None:
        factor, rule, name = NLL_PER_BRIER, "NLL ≥ 1.2277·Brier", "1.2277 × Brier"
    else:
        factor, rule = NLL_PER_BRIER * brier.classes, "NLL ≥ 1.2277·K·Brier"
        name = f"1.2277 × {brier.classes} × Brier"
    return _bound(rule, nll, brier, lambda value: factor * value, lambda text: f"{name} {text}")


def _bound(
    rule: str, nll: Entry, other: Entry, bound: Callable[[float], float], label: Callable[[str], str]
) -> Finding:
    """NLL ≥ bound(other) for value, lo and hi, each rounded as favourably as possible."""
    margins = {}
    for name, (number, slack) in nll.numbers.items():
        if name in other.numbers:
            theirs, their_slack = other.numbers[name]
            margins[name] = number + slack - bound(max(0.0, theirs - their_slack))
    # The mean tells it best, where it does.
    worst = "value" if margins["value"] < 0 else min(margins, key=lambda name: margins[name])
    number, theirs = nll.numbers[worst][0], other.numbers[worst][0]
    relation = "below" if margins[worst] < 0 else "not below"
    which = "" if worst == "value" else f" ({worst} of the interval)"
    sentence = f"NLL {number:g} is {relation} {label(f'{theirs:g}')} = {bound(theirs):.3g}{which}"
    if margins[worst] < 0:
        sentence += ", which no probabilities can give"
    return Finding(rule, (nll.place, other.place), _status(margins[worst]), margins[worst], sentence)


def _equal_rows(entries: Sequence[Entry]) -> list[Finding]:
    """Two rows of a table that agree in value and interval in at least three columns are a copy."""
    tables: dict[str, dict[str, dict[str, Entry]]] = defaultdict(lambda: defaultdict(dict))
    for entry in entries:
        tables[entry.place[0]][entry.place[1]][entry.place[2]] = entry
    findings = []
    for rows in tables.values():
        for (name, first), (other, second) in combinations(rows.items(), 2):
            equal = [
                column
                for column in first
                if column in second and first[column].numbers == second[column].numbers
            ]
            if len(equal) >= EQUAL_COLUMNS:
                count = sum(len(first[column].numbers) for column in equal)
                findings.append(
                    Finding(
                        "rows differ",
                        tuple(row[column].place for row in (first, second) for column in equal),
                        "violated",
                        float(EQUAL_COLUMNS - 1 - len(equal)),
                        f"rows {name} and {other} print the same {count} numbers in {', '.join(equal)}",
                    )
                )
    return findings


def _status(margin: float) -> str:
    return "violated" if margin < 0 else "holds"
