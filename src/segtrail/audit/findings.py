"""What the rules look at and what they find."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite, log
from typing import Any

HOLDS, VIOLATED, NOT_APPLICABLE = "holds", "violated", "not applicable"
TOLERANCE = 1e-12  # of the floating point itself

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
    readings: tuple[str, ...] = ()
    """other measures that it may be"""
    n: int | None = None
    """cases behind it"""
    interval: str | None = None
    """what lo and hi are: `case_percentiles`, `mean_confidence` or unknown"""
    interval_readings: tuple[str, ...] = ()
    averaged: bool = False
    """each case's value is itself a mean over several predictions"""
    factor: float = 1.0
    """printed = number × factor"""


@dataclass(frozen=True)
class Finding:
    rule: str
    places: tuple[Place, ...]
    status: str
    """'holds', 'violated' or 'not applicable'"""
    margin: float
    """by how much it holds (or fails, negative) at the most favourable rounding, in the rule's own units;
    NaN where it does not apply"""
    sentence: str
    repair: str = ""
    """what would make a violated rule hold"""
    text: str = ""
    """section or caption, where the paper's text is part of it"""

    @property
    def where(self) -> str:
        """The places as one reads them: table / row / columns."""
        rows: dict[tuple[str, str], list[str]] = {}
        for table, row, column in self.places:
            columns = rows.setdefault((table, row), [])
            if column not in columns:
                columns.append(column)
        told = [f"{table} / {row} / {', '.join(columns)}" for (table, row), columns in rows.items()]
        return "; ".join([*told, *([self.text] if self.text else [])])

    def as_dict(self, study: str) -> dict[str, Any]:
        """For `--json`; an infinite margin, and none, is null."""
        return {
            "study": study,
            "rule": self.rule,
            "where": self.where,
            "status": self.status,
            "margin": self.margin if isfinite(self.margin) else None,
            "sentence": self.sentence,
            "repair": self.repair,
            "places": [list(place) for place in self.places],
            "text": self.text,
        }


def status(margin: float) -> str:
    return VIOLATED if margin < -TOLERANCE else HOLDS


# Measure → its range; a bound of None depends on the number of classes (see `limits`).
RANGES: Mapping[str, tuple[float, float | None]] = {
    "nll": (0.0, inf),
    "brier_sum": (0.0, 2.0),
    "brier_mean": (0.0, 1.0),
    "ece_conf": (0.0, 1.0),
    "ece_fg": (0.0, 1.0),
    "dice": (0.0, 1.0),
    "iou": (0.0, 1.0),
    "hd95": (0.0, inf),
    "seg_entropy": (0.0, log(2)),
    "signed_ce": (-1.0, 1.0),
    "mean_uncertainty": (0.0, 1.0),
    "precision": (0.0, 1.0),
    "recall": (0.0, 1.0),
    "u_e": (0.0, 1.0),
    "bnf": (0.0, 1.0),
    "error_precision": (0.0, 1.0),
    "error_recall": (0.0, 1.0),
    "removal_gain": (-1.0, 1.0),
    "addition": (0.0, 1.0),
    "expected_entropy": (0.0, None),
    "predictive_entropy": (0.0, None),
    "correlation": (-1.0, 1.0),
    "p_value": (0.0, 1.0),
    "patients": (0.0, inf),
    "share": (0.0, 1.0),
    "reduction": (-inf, 1.0),
}
# What a measure is, to tell a reading in words; others by their names.
MEANINGS = {
    "brier_sum": "the sum over classes (without 1/K)",
    "brier_mean": "the mean over classes (with 1/K)",
}
HIGHER_IS_BETTER = frozenset(
    {"dice", "iou", "precision", "recall", "u_e", "bnf", "error_precision", "error_recall"}
    | {"removal_gain", "addition"}
)


def limits(measure: str, classes: int | None) -> tuple[float, float]:
    """The range of a measure, at whichever part's threshold. Entropies reach ln K."""
    low, high = RANGES[measure.removesuffix("_val")]
    if high is None:
        return low, log(classes) if classes else inf
    return low, high
