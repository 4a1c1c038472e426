"""The single comparisons that the parts of a claim consist of, each with its effect, interval and p."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, comb, nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config.results import (
    PER_SEGMENT,
    Chosen,
    Comparison,
    Correlated,
    Failures,
    Group,
    Paired,
    Reduced,
    Region,
    Sample,
    Unpaired,
)
from ..measures.statistics import paired_bootstrap, pearson
from .cases import Cases, NotComputedError, paired_sizes, reduction, reduction_interval
from .verdicts import TOLERANCE


def orientation(measure: str) -> int:
    """+1 where more is better (Dice), −1 where less is (losses, errors, distances, uncertainty)."""
    return 1 if measure == "dice" else -1


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
    of the turned effect where the claim gives a size. `sides` are the means that a and b consist of (more
    than one: their average), where the paper's own can stand in for ours."""

    kind: str
    cohort: str
    segment: str = ""
    a: str = ""
    b: str = ""
    measure: str = ""
    region: str = ""
    sign: int = 1
    limits: tuple[float, float] | None = None
    sides: tuple[list[Mean], list[Mean]] | None = None
    effect: float = nan
    lo: float = nan
    hi: float = nan
    p: float = nan
    n: int | None = None
    reason: str = ""


Test = Callable[[Result, np.random.Generator, Trials], Result]


@dataclass(frozen=True)
class Comparing:
    """What is compared, and how."""

    known: Result
    test: Test

    def result(self, rng: np.random.Generator, trials: Trials) -> Result:
        """Without an effect, and with the reason, where the run lacks what is compared."""
        try:
            return self.test(self.known, rng, trials)
        except NotComputedError as error:
            return replace(self.known, reason=str(error))


def comparisons(cases: Cases, part: Comparison) -> Iterator[Comparing]:
    """The single comparisons of one part of a claim."""
    if isinstance(part, Paired):
        for cohort in part.cohorts:
            for other in part.b:
                for measure in part.measures:
                    for region, segment in _places(cases, cohort, measure, part.regions):
                        yield _paired(cases, cohort, part.a, other, measure, region, segment)
    elif isinstance(part, Unpaired):
        for measure in part.measures:
            for region in _regions(measure, part.regions):
                yield _unpaired(cases, part.a, part.b, measure, region)
    elif isinstance(part, Correlated):
        for group in part.groups:
            yield _correlated(cases, part, group)
    elif isinstance(part, Reduced):
        for cohort in part.percent:
            yield _reduced(cases, part, cohort)
    else:
        for cohort in part.cohorts:
            for _, segment in _places(cases, cohort, "dice", []):
                yield _failures(cases, part, cohort, segment)


def _regions(measure: str, regions: Sequence[Region]) -> Sequence[Region]:
    return ["volume"] if measure in PER_SEGMENT else regions


def _places(
    cases: Cases, cohort: str, measure: str, regions: Sequence[Region]
) -> Iterator[tuple[Region, int]]:
    """(region, segment) of a measure. A cohort that the run leaves out has one place, to say so."""
    for region in _regions(measure, regions):
        if measure in PER_SEGMENT and cohort in cases.study.cohorts:
            yield from ((region, segment) for segment in cases.segments(cohort))
        else:
            yield region, 0


def _paired(
    cases: Cases, cohort: str, a: Chosen, b: Chosen, measure: str, region: Region, segment: int
) -> Comparing:
    def test(known: Result, rng: np.random.Generator, trials: Trials) -> Result:
        sides = [
            cases.values(cohort, "test", side.predictor, side.size, measure, region, segment)["value"]
            for side in (a, b)
        ]
        both = pd.concat(sides, axis=1, join="inner").dropna().to_numpy(float)
        return _tested_pairs(known, both[:, 0], both[:, 1], rng, trials)

    one, other = (
        Mean(cohort, "test", side.predictor, side.size, measure, region, segment) for side in (a, b)
    )
    known = Result(
        kind="paired",
        cohort=cohort,
        segment=_segment_name(cases, cohort, segment),
        a=_label(cases, cohort, a),
        b=_label(cases, cohort, b),
        measure=measure,
        region=region,
        sign=orientation(measure),
        sides=_known_sides(cases, [one], [other]),
    )
    return Comparing(known, test)


def _known_sides(cases: Cases, a: list[Mean], b: list[Mean]) -> tuple[list[Mean], list[Mean]] | None:
    """None where a side is of segments, and the run leaves out the cohort that would name them."""
    return None if any(mean.measure in PER_SEGMENT and not mean.segment for mean in (*a, *b)) else (a, b)


def _tested_pairs(
    known: Result,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    rng: np.random.Generator,
    trials: Trials,
) -> Result:
    """Paired bootstrap of mean(a − b). Its p is not taken below 2^(1−n), the least that n pairs can show by
    their signs alone: the bootstrap of a few cases is too narrow."""
    smallest = 2.0 ** (1 - len(a))
    found = paired_bootstrap(a, b, trials.resamples(smallest), rng)
    p = float(np.maximum(found.p, smallest))
    reason = "" if found.n > 1 else f"{found.n} cases are too few"
    return replace(known, effect=found.effect, lo=found.lo, hi=found.hi, p=p, n=found.n, reason=reason)


def _unpaired(cases: Cases, a: Sample, b: Sample, measure: str, region: Region) -> Comparing:
    def means(side: Sample) -> list[Mean]:
        known = measure in PER_SEGMENT and side.cohort in cases.study.cohorts
        segments = cases.segments(side.cohort) if known else [0]
        place = (side.cohort, side.part, side.predictor, side.size, measure, region)
        return [Mean(*place, segment) for segment in segments]

    def values(side: Sample) -> NDArray[np.float64]:
        found = [cases.values(*mean)["value"] for mean in means(side)]
        return pd.concat(found, axis=1).mean(axis=1).dropna().to_numpy(float)

    def test(known: Result, rng: np.random.Generator, trials: Trials) -> Result:
        return _tested_groups(known, values(a), values(b), rng, trials)

    known = Result(
        kind="unpaired",
        cohort=a.cohort if a.cohort == b.cohort else f"{a.cohort}, {b.cohort}",
        segment="mean over segments" if measure in PER_SEGMENT else "",
        a=f"{_label(cases, a.cohort, a)}, {a.cohort} {a.part}",
        b=f"{_label(cases, b.cohort, b)}, {b.cohort} {b.part}",
        measure=measure,
        region=region,
        sign=orientation(measure),
        sides=_known_sides(cases, means(a), means(b)),
    )
    return Comparing(known, test)


def _tested_groups(
    known: Result,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    rng: np.random.Generator,
    trials: Trials,
) -> Result:
    """Bootstrap of mean(a) − mean(b), each resampled by itself; p as in `paired_bootstrap`, and not below the
    least that a permutation test of two such groups can show."""
    n = len(a) + len(b)
    if min(len(a), len(b)) < 2:
        effect = float(a.mean() - b.mean()) if len(a) and len(b) else nan
        return replace(known, effect=effect, n=n, reason=f"{len(a)} and {len(b)} cases are too few")
    smallest = 2.0 / comb(n, len(a))
    resamples = trials.resamples(smallest)
    from scipy import stats  # a second that most jobs can spare

    found = stats.bootstrap(
        (a, b),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        n_resamples=resamples,
        batch=1000,
        method="percentile",
        rng=rng,
    )
    drawn = found.bootstrap_distribution
    tail = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    p = max(min(2 * (1 + tail) / (resamples + 1), 1.0), smallest)
    lo, hi = found.confidence_interval
    return replace(known, effect=float(a.mean() - b.mean()), lo=float(lo), hi=float(hi), p=p, n=n)


def _correlated(cases: Cases, part: Correlated, group: Group) -> Comparing:
    def test(known: Result, rng: np.random.Generator, trials: Trials) -> Result:
        points = cases.clouds(group.cohort, group.parts, part.predictor, part.size, group.segments)
        found = pearson(points["logit_dice"].to_numpy(), points["seg_entropy"].to_numpy())
        reason = "" if np.isfinite(found.r) else f"r of {found.n} points is undefined"
        return replace(known, effect=found.r, lo=found.lo, hi=found.hi, p=found.p, n=found.n, reason=reason)

    known = Result(
        kind="correlation",
        cohort=group.cohort,
        segment=", ".join(_segment_name(cases, group.cohort, segment) for segment in group.segments),
        a=f"{_label(cases, group.cohort, part)}, {' and '.join(group.parts)}",
        measure="logit dice, seg_entropy",
        region="volume",
        sign=-1,
        limits=(part.at_least, 1.0) if part.at_least else None,
    )
    return Comparing(known, test)


def _reduced(cases: Cases, part: Reduced, cohort: str) -> Comparing:
    def test(known: Result, rng: np.random.Generator, trials: Trials) -> Result:
        place = (cohort, "test", part.predictor)
        before, after = paired_sizes(cases, *place, part.sizes, part.measure, part.region, 0)
        tested = _tested_pairs(known, before, after, rng, trials)
        lo, hi = reduction_interval(before, after, trials.bootstrap, rng)
        return replace(tested, effect=float(reduction(before, after)), lo=lo, hi=hi)

    percent = part.percent[cohort]
    known = Result(
        kind="reduction",
        cohort=cohort,
        a=f"{part.predictor} M={part.sizes[1]}",
        b=f"{part.predictor} M={part.sizes[0]}",
        measure=part.measure,
        region=part.region,
        limits=(percent * (1 - TOLERANCE), percent * (1 + TOLERANCE)),
    )
    return Comparing(known, test)


def _failures(cases: Cases, part: Failures, cohort: str, segment: int) -> Comparing:
    def test(known: Result, rng: np.random.Generator, trials: Trials) -> Result:
        cases.require(cohort)
        points = cases.clouds(cohort, ["test"], part.predictor, part.size, [segment])
        failed = (points["dice"] <= part.dice).to_numpy()
        entropy = points["seg_entropy"].to_numpy(float)
        found = _tested_groups(known, entropy[failed], entropy[~failed], rng, trials)
        dice = cases.values(cohort, "test", part.predictor, part.size, "dice", "volume", segment)["value"]
        silent = int((dice <= part.dice).sum()) - int(failed.sum())
        if silent:
            # An empty prediction is a failure that the entropy of the predicted segment cannot tell.
            note = f"{silent} more failed without a predicted segment, so without an entropy"
            found = replace(found, reason="; ".join(filter(None, [found.reason, note])))
        return found

    known = Result(
        kind="failures",
        cohort=cohort,
        segment=_segment_name(cases, cohort, segment),
        a=f"{_label(cases, cohort, part)}, Dice ≤ {part.dice:g}",
        b="the other cases",
        measure="seg_entropy",
        region="volume",
    )
    return Comparing(known, test)


def _segment_name(cases: Cases, cohort: str, segment: int) -> str:
    if not segment or cohort not in cases.study.cohorts:
        return ""
    return cases.study.cohorts[cohort].segments[segment - 1].name


def _label(cases: Cases, cohort: str, chosen: Chosen) -> str:
    """The predictor's name, with the size of its ensemble where that is known."""
    kind = cases.study.predictors[chosen.predictor].kind
    if kind != "ensemble":
        return chosen.predictor
    if chosen.size is None and cohort not in cases.study.cohorts:
        return chosen.predictor
    size = chosen.size or cases.study.predictor(cohort, chosen.predictor).table_size
    return f"{chosen.predictor} M={size}"
