"""The same comparisons in print: what the paper's own numbers say; a direction, never significance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan

import numpy as np

from ...audit.bounds import audit
from ...audit.findings import TOLERANCE, Place
from ...audit.study import entries, impossible
from ...config import Study
from ...config.results import MeanCell, ShareCell, Tolerance
from .. import ranks
from ..published import Printed, recipe
from ..verdicts import IMPOSSIBLE
from .single import Mean, Result

# Of a comparison's printed numbers; or IMPOSSIBLE.
AS_CLAIMED, OPPOSITE, EQUAL, NOT_PRINTED = "as claimed", "opposite", "equal", "not printed"
NOT_APART = "the printed digits do not tell them apart"

InPrint = tuple[float, str, str]
"""effect, verdict, why it cannot be told"""
ShareKey = tuple[str, str, str, float, tuple[str, ...], str]
"""cohort, part, region, percentile, predictors, statistic"""


@dataclass(frozen=True)
class Page:
    """What is printed, in the measures' own units, and why some of it cannot be right."""

    means: Mapping[Mean, tuple[Printed, float, float]]
    """mean → (its cell, printed = measured × this factor, how far rounding may have moved the printed one)"""
    shares: Mapping[ShareKey, Printed]
    cells: Mapping[Place, Printed]
    faults: Mapping[Place, str]

    @classmethod
    def of(cls, study: Study, printed: Sequence[Printed]) -> "Page":
        means: dict[Mean, tuple[Printed, float, float]] = {}
        shares: dict[ShareKey, Printed] = {}
        for one in printed:
            cell = recipe(one, study)
            if isinstance(cell, MeanCell) and cell.dataset is None:
                of = (cell.cohort, cell.part, cell.predictor, cell.size, cell.measure)
                # A paper that drops zeros at the end (0.5 of 0.50) has said to which digits it rounds.
                slack = one.slack if cell.digits is None else 0.5 * 10.0**-cell.digits
                means[Mean(*of, cell.region, cell.segment)] = (one, cell.factor, slack)
            elif isinstance(cell, ShareCell):
                who = tuple(sorted(cell.predictors))
                shares[cell.cohort, cell.part, cell.region, cell.percentile, who, cell.statistic] = one
        faults = impossible(study, audit(entries(study, printed)))
        return cls(means, shares, {one.place: one for one in printed}, faults)

    def value(self, side: Sequence[Mean]) -> float:
        return float(np.mean([self.means[mean][0].number / self.means[mean][1] for mean in side]))

    def slack(self, side: Sequence[Mean]) -> float:
        return float(np.mean([self.means[mean][2] / self.means[mean][1] for mean in side]))

    def told_apart(self, a: Sequence[Mean], b: Sequence[Mean]) -> bool:
        """Rounding to the same digits keeps the order of two numbers; otherwise they have to lie further
        apart than it may have moved them."""
        difference = abs(self.value(a) - self.value(b))
        if len(a) == len(b) == 1 and self.slack(a) == self.slack(b):
            return difference > 0
        return difference > self.slack(a) + self.slack(b) + TOLERANCE

    def faulty(self, places: Sequence[Place]) -> str:
        """Why some of these cells cannot be right; empty where none is known to be wrong."""
        found = {f"{' / '.join(place)}: {self.faults[place]}" for place in places if place in self.faults}
        return "; ".join(sorted(found))


def no_means(result: Result, page: Page) -> InPrint:
    return nan, NOT_PRINTED, f"only printed means are compared, and this is of kind {result.kind}"


def by_means(result: Result, page: Page) -> InPrint:
    """The same difference of printed means, and its direction alone."""
    if (missing := _missing(result, page)) is not None:
        return missing
    assert result.sides is not None
    a, b = result.sides
    effect = page.value(a) - page.value(b)
    if not page.told_apart(a, b):
        return effect, EQUAL, NOT_APART
    return effect, AS_CLAIMED if result.sign * effect > 0 else OPPOSITE, ""


def by_margin(margin: Tolerance, either_way: bool) -> Callable[[Result, Page], InPrint]:
    """The same difference of printed means against the margin; a share is one of the printed b."""

    def told(result: Result, page: Page) -> InPrint:
        if (missing := _missing(result, page)) is not None:
            return missing
        assert result.sides is not None
        a, b = result.sides
        effect = page.value(a) - page.value(b)
        reach = margin.absolute or abs(page.value(b)) * (margin.relative or 0.0)
        room = reach - (abs(effect) if either_way else -result.sign * effect)
        # Two numbers that print alike differ by less than a unit of their last digit.
        if abs(room) < page.slack(a) + page.slack(b) - TOLERANCE:
            return effect, EQUAL, "the printed digits do not tell whether they differ by the margin"
        return effect, AS_CLAIMED if room > 0 else OPPOSITE, ""

    return told


def _missing(result: Result, page: Page) -> InPrint | None:
    """Why the printed means of both sides tell nothing; None where they do."""
    if result.sides is None:
        return nan, NOT_PRINTED, "the run leaves out a cohort, and does not know its segments"
    both = [*result.sides[0], *result.sides[1]]
    if missing := [mean for mean in both if mean not in page.means]:
        return nan, NOT_PRINTED, f"not printed: {'; '.join(str(mean) for mean in missing)}"
    if faults := page.faulty([page.means[mean][0].place for mean in both]):
        return nan, IMPOSSIBLE, faults
    return None


def by_shares(keys: Sequence[ShareKey], percent: float) -> Callable[[Result, Page], InPrint]:
    """The sum of printed shares, in per cent, against the claimed one."""

    def told(result: Result, page: Page) -> InPrint:
        if missing := [key for key in keys if key not in page.shares]:
            return nan, NOT_PRINTED, f"not printed: {'; '.join(f'{key[-1]} on {key[0]}' for key in missing)}"
        found = [page.shares[key] for key in keys]
        if faults := page.faulty([one.place for one in found]):
            return nan, IMPOSSIBLE, faults
        effect, slack = sum(one.number for one in found), sum(one.slack for one in found)
        if abs(effect - percent) <= slack + TOLERANCE:
            return effect, EQUAL, f"the printed digits do not tell whether it is {percent:g} %"
        return effect, AS_CLAIMED if effect > percent else OPPOSITE, ""

    return told


def by_ranks(
    table: str, rows: Sequence[str], columns: Sequence[str], effect: Callable[[Mapping[str, int]], float]
) -> Callable[[Result, Page], InPrint]:
    """What `effect` makes of the printed ranks, summed over the columns."""

    def told(result: Result, page: Page) -> InPrint:
        places = [(table, row, column) for row in rows for column in columns]
        found = {place: ranks.published(page.cells[place]) for place in places if place in page.cells}
        if missing := [" / ".join(place[1:]) for place in places if found.get(place) is None]:
            return nan, NOT_PRINTED, f"no rank is printed: {'; '.join(missing)}"
        if faults := page.faulty(places):
            return nan, IMPOSSIBLE, faults
        sums = {row: sum(found[table, row, column] or 0 for column in columns) for row in rows}
        value = effect(sums)
        low, high = result.limits or (0.0, inf)
        if value == low:
            return value, EQUAL, "the printed ranks have equal sums"
        return value, AS_CLAIMED if low < value <= high else OPPOSITE, ""

    return told
