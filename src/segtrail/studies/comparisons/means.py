"""Means over cases against each other: of predictors, regions, cohorts, sizes of an ensemble, failures."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import comb, inf

import numpy as np
import pandas as pd

from ...config.claims import (
    Alike,
    BetweenCohorts,
    BetweenRegions,
    Chosen,
    Differing,
    Failures,
    Level,
    Paired,
    Reduced,
    Regions,
    Sample,
    Unpaired,
)
from ...config.results import PER_SEGMENT, Region, Tolerance
from ...measures.statistics import paired_bootstrap
from .. import pooled
from ..cases import Cases, paired_sizes, reduction, reduction_interval
from ..ranks import orientation
from ..verdicts import TOLERANCE
from .page import by_margin, by_means
from .single import (
    Comparing,
    Floats,
    Mean,
    Result,
    Trials,
    label,
    region_of,
    resampled,
    segment_name,
    smallest_p,
    table,
    too_few,
    values,
    weighted_means,
)


def paired(cases: Cases, part: Paired) -> Iterator[Comparing]:
    for cohort, a, b, measure, region, segment in _pairs(cases, part, part.measures):
        known = _known_pair(cases, "paired", (cohort, measure, region, segment), a, b)

        def test(
            known: Result, rng: np.random.Generator, trials: Trials, place: tuple[Mean, Mean] = (a, b)
        ) -> Result:
            return _tested_pairs(known, *_same_cases(cases, *place), rng, trials)

        yield Comparing(known, test, by_means)


def alike(cases: Cases, part: Alike) -> Iterator[Comparing]:
    for cohort, a, b, measure, region, segment in _pairs(cases, part, list(part.margins)):
        margin = part.margins[measure]  # type: ignore[index]  # _pairs yields the keys
        known = _known_pair(cases, "alike", (cohort, measure, region, segment), a, b)
        known = replace(known, of_limits=True)

        def test(
            known: Result,
            rng: np.random.Generator,
            trials: Trials,
            place: tuple[Mean, Mean] = (a, b),
            margin: Tolerance = margin,
        ) -> Result:
            return _tested_margin(known, *_same_cases(cases, *place), margin, part.either_way, rng, trials)

        yield Comparing(known, test, by_margin(margin, part.either_way))


def between_regions(cases: Cases, part: BetweenRegions) -> Iterator[Comparing]:
    for cohort in part.cohorts:
        for name in part.predictors:
            a, b = (Mean(cohort, "test", name, None, part.measure, region, 0) for region in (part.a, part.b))
            known = Result(
                kind="regions",
                cohort=cohort,
                a=f"{label(cases, cohort, Chosen(predictor=name))}, {part.a}",
                b=part.b,
                measure=part.measure,
                sign=orientation(part.measure),
                sides=([a], [b]),
            )

            def test(
                known: Result, rng: np.random.Generator, trials: Trials, place: tuple[Mean, Mean] = (a, b)
            ) -> Result:
                return _tested_pairs(known, *_same_cases(cases, *place), rng, trials)

            yield Comparing(known, test, by_means)


def unpaired(cases: Cases, part: Unpaired) -> Iterator[Comparing]:
    for measure in part.measures:
        for region in _regions(measure, part.regions, part.a.cohort):
            yield _groups(cases, "unpaired", part.a, part.b, measure, (region, region))


def between_cohorts(cases: Cases, part: BetweenCohorts) -> Iterator[Comparing]:
    for measure in part.measures:
        for name in part.predictors:
            a, b = (Sample(predictor=name, cohort=cohort) for cohort in (part.a, part.b))
            regions = tuple(region_of(measure, cohort, part.regions) for cohort in (part.a, part.b))
            yield _groups(cases, "cohorts", a, b, measure, (regions[0], regions[1]))


def _groups(
    cases: Cases, kind: str, a: Sample, b: Sample, measure: str, regions: tuple[Region, Region]
) -> Comparing:
    def means(side: Sample, region: str) -> list[Mean]:
        known = measure in PER_SEGMENT and side.cohort in cases.study.cohorts
        segments = cases.segments(side.cohort) if known else [0]
        place = (side.cohort, side.part, side.predictor, side.size, measure, region)
        return [Mean(*place, segment) for segment in segments]

    def test(known: Result, rng: np.random.Generator, trials: Trials) -> Result:
        both = [
            np.asarray(values(cases, side.cohort, side.part, side, measure, region).dropna(), float)
            for side, region in zip((a, b), regions, strict=True)
        ]
        return _tested_groups(known, both[0], both[1], rng, trials)

    known = Result(
        kind=kind,
        cohort=a.cohort if a.cohort == b.cohort else f"{a.cohort}, {b.cohort}",
        segment="mean over segments" if measure in PER_SEGMENT else "",
        a=f"{label(cases, a.cohort, a)}, {a.cohort} {a.part}",
        b=f"{label(cases, b.cohort, b)}, {b.cohort} {b.part}",
        measure=measure,
        region=regions[0] if regions[0] == regions[1] else ", ".join(regions),
        sign=1 if measure == "background" else orientation(measure),
        sides=_known_sides(means(a, regions[0]), means(b, regions[1])),
    )
    return Comparing(known, test, by_means)


def differing(cases: Cases, part: Differing) -> Iterator[Comparing]:
    for cohort in part.cohorts:
        for measure in part.measures:
            region = region_of(measure, cohort, part.regions)
            known = Result(
                kind="differ",
                cohort=cohort,
                a=f"largest less smallest of {len(part.predictors)} predictors",
                measure=measure,
                region=region,
            )

            def test(
                known: Result,
                rng: np.random.Generator,
                trials: Trials,
                place: tuple[str, str, str] = (cohort, measure, region),
            ) -> Result:
                return _tested_levels(known, _levels(cases, part.predictors, *place), rng, trials)

            yield Comparing(known, test)


def level(cases: Cases, part: Level) -> Iterator[Comparing]:
    for cohort in part.cohorts:
        region = region_of(part.measure, cohort, part.regions)
        known = Result(
            kind="level",
            cohort=cohort,
            a=f"mean of {len(part.predictors)} predictors",
            measure=part.measure,
            region=region,
            limits=(-inf, part.at_most),
            of_limits=True,
        )

        def test(
            known: Result,
            rng: np.random.Generator,
            trials: Trials,
            place: tuple[str, str, str] = (cohort, part.measure, region),
        ) -> Result:
            found = _levels(cases, part.predictors, *place).mean(axis=1, keepdims=True)
            if len(found) < 2:
                return too_few(known, found.mean(), len(found))
            count = trials.resamples(smallest_p(len(found)))
            drawn = [weighted_means(found, weights) for weights in pooled.resamples(len(found), count, rng)]
            return resampled(known, found.mean(), np.concatenate(drawn)[:, 0], len(found))

        yield Comparing(known, test)


def reduced(cases: Cases, part: Reduced) -> Iterator[Comparing]:
    for cohort, percent in part.percent.items():

        def test(known: Result, rng: np.random.Generator, trials: Trials, cohort: str = cohort) -> Result:
            place = (cohort, "test", part.predictor)
            before, after = paired_sizes(cases, *place, part.sizes, part.measure, part.region, 0)
            tested = _tested_pairs(known, before, after, rng, trials)
            lo, hi = reduction_interval(before, after, trials.bootstrap, rng)
            return replace(tested, effect=float(reduction(before, after)), lo=lo, hi=hi)

        known = Result(
            kind="reduction",
            cohort=cohort,
            a=f"{part.predictor} M={part.sizes[1]}",
            b=f"{part.predictor} M={part.sizes[0]}",
            measure=part.measure,
            region=part.region,
            limits=(percent * (1 - TOLERANCE), percent * (1 + TOLERANCE)),
        )
        yield Comparing(known, test)


def failures(cases: Cases, part: Failures) -> Iterator[Comparing]:
    for cohort in part.cohorts:
        for _, segment in _places(cases, cohort, "dice", []):
            yield _failures(cases, part, cohort, segment)


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
        segment=segment_name(cases, cohort, segment),
        a=f"{label(cases, cohort, part)}, Dice ≤ {part.dice:g}",
        b="the other cases",
        measure="seg_entropy",
        region="volume",
    )
    return Comparing(known, test)


# --- what is compared ------------------------------------------------------------------------------------


def _pairs(
    cases: Cases, part: Paired | Alike, measures: Sequence[str]
) -> Iterator[tuple[str, Mean, Mean, str, Region, int]]:
    """(cohort, a, b, measure, region, segment) of each comparison."""
    for cohort in part.cohorts:
        for a in part.a:
            for b in part.b:
                for measure in measures:
                    for region, segment in _places(cases, cohort, measure, part.regions):
                        one, other = (
                            Mean(cohort, "test", side.predictor, side.size, measure, region, segment)
                            for side in (a, b)
                        )
                        yield cohort, one, other, measure, region, segment


def _known_pair(cases: Cases, kind: str, place: tuple[str, str, Region, int], a: Mean, b: Mean) -> Result:
    cohort, measure, region, segment = place
    names = [label(cases, cohort, Chosen(predictor=side.predictor, size=side.size)) for side in (a, b)]
    return Result(
        kind=kind,
        cohort=cohort,
        segment=segment_name(cases, cohort, segment),
        a=names[0],
        b=names[1],
        measure=measure,
        region=region,
        sign=orientation(measure),
        sides=_known_sides([a], [b]),
    )


def _known_sides(a: list[Mean], b: list[Mean]) -> tuple[list[Mean], list[Mean]] | None:
    """None where a side is of segments, and the run leaves out the cohort that would name them."""
    return None if any(mean.measure in PER_SEGMENT and not mean.segment for mean in (*a, *b)) else (a, b)


def _regions(measure: str, regions: Sequence[Region] | Regions, cohort: str) -> Sequence[Region]:
    if measure in PER_SEGMENT:
        return ["volume"]
    return [region_of(measure, cohort, regions)] if isinstance(regions, dict) else regions


def _places(
    cases: Cases, cohort: str, measure: str, regions: Sequence[Region] | Regions
) -> Iterator[tuple[Region, int]]:
    """(region, segment) of a measure. A cohort that the run leaves out has one place, to say so."""
    for region in _regions(measure, regions, cohort):
        if measure in PER_SEGMENT and cohort in cases.study.cohorts:
            yield from ((region, segment) for segment in cases.segments(cohort))
        else:
            yield region, 0


def _same_cases(cases: Cases, a: Mean, b: Mean) -> tuple[Floats, Floats]:
    both = pd.concat([cases.values(*mean)["value"] for mean in (a, b)], axis=1, join="inner").dropna()
    return both.iloc[:, 0].to_numpy(float), both.iloc[:, 1].to_numpy(float)


def _levels(cases: Cases, predictors: Sequence[str], cohort: str, measure: str, region: str) -> Floats:
    """(cases, predictors), of the cases where all are defined."""
    columns = [values(cases, cohort, "test", Chosen(predictor=name), measure, region) for name in predictors]
    return table(columns, f"{measure} of all {len(predictors)} predictors").to_numpy(float)


# --- how -------------------------------------------------------------------------------------------------


def _tested_pairs(known: Result, a: Floats, b: Floats, rng: np.random.Generator, trials: Trials) -> Result:
    """Paired bootstrap of mean(a − b), its p not below what so few cases can show."""
    smallest = smallest_p(len(a))
    found = paired_bootstrap(a, b, trials.resamples(smallest), rng)
    p = float(np.maximum(found.p, smallest))
    reason = "" if found.n > 1 else f"{found.n} cases are too few"
    return replace(known, effect=found.effect, lo=found.lo, hi=found.hi, p=p, n=found.n, reason=reason)


def _tested_margin(
    known: Result,
    a: Floats,
    b: Floats,
    margin: Tolerance,
    either_way: bool,
    rng: np.random.Generator,
    trials: Trials,
) -> Result:
    """Two one-sided paired bootstraps (Schuirmann 1987), or one: that mean(a − b) lies beyond the margin. A
    margin that is a share of b's mean moves with it."""
    reach = b * margin.relative if margin.relative is not None else np.full(len(b), margin.absolute)
    around = paired_bootstrap(a, b, trials.bootstrap, rng)
    limit = float(reach.mean()) if len(b) else inf
    told = replace(known, sign=1 if either_way else known.sign, limits=(-limit, limit if either_way else inf))
    if around.n < 2:
        return too_few(told, around.effect, around.n)
    smallest = smallest_p(around.n)
    resamples = trials.resamples(smallest)
    sided = []
    for side in (1, -1) if either_way else (known.sign,):
        found = paired_bootstrap(side * (a - b) + reach, np.zeros(len(a)), resamples, rng)
        sided.append(found.p / 2 if found.effect > 0 else 1 - found.p / 2)
    p = max(*sided, smallest)
    return replace(told, effect=around.effect, lo=around.lo, hi=around.hi, p=p, n=around.n)


def _tested_groups(known: Result, a: Floats, b: Floats, rng: np.random.Generator, trials: Trials) -> Result:
    """Bootstrap of mean(a) − mean(b), each resampled by itself; p as in `paired_bootstrap`, and not below the
    least that a permutation test of two such groups can show."""
    n = len(a) + len(b)
    if min(len(a), len(b)) < 2:
        effect = float(a.mean() - b.mean()) if len(a) and len(b) else np.nan
        return replace(known, effect=effect, n=n, reason=f"{len(a)} and {len(b)} cases are too few")
    smallest = 2 / comb(n, len(a))  # of whole numbers: too many ways for a float give 0
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


def _tested_levels(known: Result, found: Floats, rng: np.random.Generator, trials: Trials) -> Result:
    """Friedman's test over the columns; the interval is of the difference between the largest and the
    smallest mean, cases resampled. Its lower end is above 0 by construction: p alone tells of a difference.
    """
    means = found.mean(axis=0)
    effect = float(means.max() - means.min())
    if len(found) < 2:
        return too_few(known, effect, len(found))
    from scipy import stats  # a second that most jobs can spare

    equal = bool((np.ptp(found, axis=1) == 0).all())
    p = np.nan if equal else float(stats.friedmanchisquare(*found.T).pvalue)
    drawn = np.concatenate(
        [
            np.ptp(weighted_means(found, one), axis=1)
            for one in pooled.resamples(len(found), trials.bootstrap, rng)
        ]
    )
    lo, hi = np.percentile(drawn, [2.5, 97.5])
    reason = "the predictors are equal in every case" if equal else ""
    p = float(np.maximum(p, smallest_p(len(found))))
    return replace(known, effect=effect, lo=float(lo), hi=float(hi), p=p, n=len(found), reason=reason)
