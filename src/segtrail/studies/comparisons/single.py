"""One comparison: what is compared, its effect with interval and p, and what its size has to be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...config.claims import Chosen, Regions
from ...config.results import IN_BOX, IN_MASK, PER_SEGMENT, Region
from ..cases import Cases, NotComputedError

Floats = NDArray[np.float64]
IN_REGIONS = IN_BOX | IN_MASK | {"background"}


@dataclass(frozen=True)
class Trials:
    """How many comparisons are made in all, at which level, and the resamples that are asked for."""

    comparisons: int
    alpha: float
    bootstrap: int

    def resamples(self, smallest_p: float) -> int:
        """A bootstrap cannot show less than 2/resamples: enough of them that Holm's strictest threshold is in
        reach, unless the cases are too few for that anyway."""
        if smallest_p * self.comparisons >= self.alpha:
            return self.bootstrap
        return max(self.bootstrap, ceil(4 * self.comparisons / self.alpha))


class Mean(NamedTuple):
    """What one mean over cases is of; as in config.results.MeanCell, where a size of None is explained."""

    cohort: str
    part: str
    predictor: str
    size: int | None
    measure: str
    region: str
    segment: int

    def __str__(self) -> str:
        of = self.predictor if self.size is None else f"{self.predictor} M={self.size}"
        where = f"{self.region}, segment {self.segment}" if self.segment else self.region
        return f"{self.measure} of {of} on {self.cohort} {self.part} ({where})"


@dataclass(frozen=True)
class Result:
    """One comparison. `sign` turns the effect so that positive agrees with the claim; `limits` are those
    of the turned effect where the claim gives a size. p is of an effect of 0, or with `of_limits` of one that
    lies beyond the limits. `sides` are the means that a and b consist of (more than one: their average),
    where the paper's own can stand in for ours."""

    kind: str
    cohort: str
    segment: str = ""
    a: str = ""
    b: str = ""
    measure: str = ""
    region: str = ""
    sign: int = 1
    limits: tuple[float, float] | None = None
    of_limits: bool = False
    sides: tuple[list[Mean], list[Mean]] | None = None
    effect: float = nan
    lo: float = nan
    hi: float = nan
    p: float = nan
    n: int | None = None
    reason: str = ""

    @property
    def agreement(self) -> float:
        """How far the effect lies on the claimed side, negative on the other."""
        turned = self.sign * self.effect
        if self.of_limits and self.limits is not None:
            return min(turned - self.limits[0], self.limits[1] - turned)
        return turned


Test = Callable[[Result, np.random.Generator, Trials], Result]


@dataclass(frozen=True)
class Comparing:
    """What is compared, how, and what the paper's numbers say of it: (what is compared, what is printed) →
    (effect, verdict, why it cannot be told); see `page`. None where no printed number could tell."""

    known: Result
    test: Test
    in_print: Callable[..., tuple[float, str, str]] | None = None

    def result(self, rng: np.random.Generator, trials: Trials) -> Result:
        """Without an effect, and with the reason, where the run lacks what is compared."""
        try:
            return self.test(self.known, rng, trials)
        except NotComputedError as error:
            return replace(self.known, reason=str(error))


# --- what is compared --------------------------------------------------------------------------------


def values(
    cases: Cases, cohort: str, part: str, chosen: Chosen, measure: str, region: str
) -> "pd.Series[float]":
    """One value a case, by (dataset, subject): of measures of segments the mean over them; of `background`
    the share of the region's voxels that are not foreground."""
    if measure == "background":
        pool = cases.pool(cohort, part, chosen.predictor, chosen.size, region)
        voxels, _, foreground = pool.sums.sum(axis=-1)
        return pd.Series(1 - (foreground / voxels).mean(axis=-1), index=pool.subjects)
    segments = cases.segments(cohort) if measure in PER_SEGMENT else [0]
    found = [
        cases.values(cohort, part, chosen.predictor, chosen.size, measure, region, segment)["value"]
        for segment in segments
    ]
    return pd.concat(found, axis=1).mean(axis=1)


def table(columns: Sequence["pd.Series[float]"], what: str) -> pd.DataFrame:
    """Columns side by side, of the cases where all are defined; NotComputedError where there is none."""
    both = pd.concat(list(columns), axis=1, join="inner").dropna()
    if both.empty:
        raise NotComputedError(f"{what} is defined in no case")
    return both


def region_of(measure: str, cohort: str, regions: Regions) -> Region:
    """The region that a cohort's measure is taken in: the whole volume where none is named for it, and of
    measures that are not taken in regions."""
    return regions.get(cohort, "volume") if measure in IN_REGIONS else "volume"


def segment_name(cases: Cases, cohort: str, segment: int) -> str:
    if not segment or cohort not in cases.study.cohorts:
        return ""
    return cases.study.cohorts[cohort].segments[segment - 1].name


def label(cases: Cases, cohort: str, chosen: Chosen) -> str:
    """The predictor's name, with the size of its ensemble where that is known."""
    kind = cases.study.predictors[chosen.predictor].kind
    if kind != "ensemble":
        return chosen.predictor
    if chosen.size is None and cohort not in cases.study.cohorts:
        return chosen.predictor
    size = chosen.size or cases.study.predictor(cohort, chosen.predictor).table_size
    return f"{chosen.predictor} M={size}"


# --- resampling cases --------------------------------------------------------------------------------


def weighted_means(values: Floats, weights: Floats) -> Floats:
    """Means over cases, those that are NaN left out, of each column of `values` (cases, …) for each row of
    `weights` (resamples, cases), how often each case was drawn; NaN where none is defined."""
    # Not by BLAS, whose last bits depend on the number of threads.
    sums = np.einsum("rs,s...->r...", weights, np.nan_to_num(values))
    counts = np.einsum("rs,s...->r...", weights, (~np.isnan(values)).astype(float))
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)


def smallest_p(n: int) -> float:
    """The least p that n cases can show by their signs alone: the bootstrap of a few cases is too narrow."""
    return float(2.0 ** (1 - n))


def resampled(known: Result, effect: float, drawn: Floats, n: int) -> Result:
    """With the interval and p of an effect whose resamples were `drawn`: percentiles 2.5 and 97.5, and p as
    in measures.statistics.paired_bootstrap, of 0 or, with `of_limits`, of the nearer limit."""
    edge = 0.0
    if known.of_limits and known.limits is not None:
        turned = known.sign * effect
        edge = known.sign * min(known.limits, key=lambda limit: abs(turned - limit))
    # An undefined resample (a correlation with a constant) speaks for neither side, and so against both.
    tail = min(np.count_nonzero(drawn <= edge), np.count_nonzero(drawn >= edge)) + np.isnan(drawn).sum()
    p = max(min(2 * (1 + tail) / (len(drawn) + 1), 1.0), smallest_p(n))
    lo, hi = np.nanpercentile(drawn, [2.5, 97.5])
    return replace(known, effect=float(effect), lo=float(lo), hi=float(hi), p=p, n=n)


def too_few(known: Result, effect: float, n: int) -> Result:
    return replace(known, effect=float(effect), n=n, reason=f"{n} cases are too few")
