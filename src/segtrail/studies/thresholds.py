"""Uncertainty against errors at one threshold: which it is, and each subject's values there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..config.study import ErrorDetection
from ..measures import errors as measured

# Measure → the one whose best mean picks its threshold.
PICKED_BY = {"u_e": "u_e", "bnf": "bnf", "error_precision": "u_e", "error_recall": "u_e"}
PICKED_BY |= {name: name for name in ("removal_gain", "addition")}
ON_VAL = "_val"  # ends the names of those at the threshold that is best on the validation part
PLACE = ["cohort", "part", "predictor", "size"]
SUBJECT = ["dataset", "subject"]
COUNTS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "u_e": (measured.u_e, ("fp", "fn", "tpu", "fpu", "tnu", "fnu")),
    "bnf": (measured.bnf, ("tp", "fp", "fn", "tpu", "fpu")),
    "error_precision": (measured.error_precision, ("tpu", "fpu", "tnu", "fnu")),
    "error_recall": (measured.error_recall, ("fp", "fn", "fpu", "fnu")),
    "removal_gain": (measured.removal_gain, ("tp", "fp", "fn", "tpu", "fpu")),
    "addition": (measured.addition, ("tp", "fp", "fn", "tnu", "fnu")),
}

Place = tuple[str, str, str, int]  # cohort, part, predictor, size


def is_at_threshold(measure: str) -> bool:
    return measure.removesuffix(ON_VAL) in PICKED_BY


@dataclass(frozen=True)
class Thresholds:
    """The rows of errors.parquet by place."""

    groups: dict[tuple[Any, ...], pd.DataFrame]  # by Place
    settings: ErrorDetection
    known: dict[tuple[Place, str], pd.DataFrame] = field(default_factory=dict, repr=False)
    """`_means`, each computed once"""

    @classmethod
    def of(cls, errors: pd.DataFrame, settings: ErrorDetection) -> "Thresholds":
        """The order of the rows of `errors` does not matter."""
        # A mean's last bits depend on the order of summation.
        table = errors.sort_values([*PLACE, *SUBJECT, "threshold", "draw"], kind="stable")
        return cls(dict(iter(table.groupby(PLACE, sort=False))), settings)

    def has(self, place: Place) -> bool:
        return place in self.groups

    def curves(self, place: Place, measure: str) -> pd.DataFrame:
        """Each subject's mean over draws at each threshold: one row per (dataset, subject), one column per
        threshold, ascending; NaN where it is undefined in every draw. KeyError for a place without rows."""
        return pd.DataFrame(self._means(place, measure)["value"].unstack("threshold"))

    def _means(self, place: Place, measure: str) -> pd.DataFrame:
        if (place, measure) in self.known:
            return self.known[place, measure]
        rows = self.groups[place]
        compute, names = COUNTS[measure]
        value = pd.Series(compute(*(rows[name].to_numpy() for name in names)), rows.index, dtype=float)
        grouped = rows.assign(value=value).groupby([*SUBJECT, "threshold"], sort=True)["value"]
        means = pd.DataFrame(grouped.agg(value="mean", defined="count", predictions="size"))
        return self.known.setdefault((place, measure), means)

    def part(self, part: str, measure: str) -> str:
        """The part that picks the threshold of a measure which is told of `part`."""
        return "val" if measure.endswith(ON_VAL) or self.settings.picked_on == "val" else part

    def best(self, place: Place, measure: str) -> float:
        """The threshold with the highest mean over subjects, each method and measure by itself: on the part
        that is told, of measures whose names end in _val on the validation part. Precision and recall of
        errors are told at that of u_e. Undefined subjects are left out of a mean; of equal means the lowest
        threshold is taken.

        Source: the public code of Jungo 2019.

        Raises:
            KeyError: a place without rows.
        """
        means = self.curves(place, PICKED_BY[measure.removesuffix(ON_VAL)]).mean()
        # Undefined everywhere: no threshold is better than another.
        where = 0 if means.isna().all() else int(np.nanargmax(means.to_numpy()))
        return float(means.index.to_numpy(float)[where])

    def values(self, place: Place, measure: str) -> pd.DataFrame:
        """One row per (dataset, subject) at the picked threshold, as `Cases.values`. KeyError for a place, or
        a part that picks the threshold, without rows."""
        means = self._means(place, measure.removesuffix(ON_VAL))
        return pd.DataFrame(means.xs(self.picked(place, measure), level="threshold"))

    def picked(self, place: Place, measure: str) -> float:
        """The threshold at which a measure is told on `place`."""
        cohort, part, predictor, size = place
        return self.best((cohort, self.part(part, measure), predictor, size), measure)
