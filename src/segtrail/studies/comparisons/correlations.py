"""Correlations: over the points of a cloud, over cases, and over predictors."""

from collections.abc import Iterator
from dataclasses import replace
from math import factorial, inf

import numpy as np
import pandas as pd

from ...config.claims import Agreeing, Associated, BetweenPredictors, Chosen, Correlated
from ...config.results import Group
from ...measures.statistics import pearson, spearman
from .. import pooled
from ..cases import Cases
from .single import (
    Comparing,
    Floats,
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


def correlated(cases: Cases, part: Correlated) -> Iterator[Comparing]:
    for group in part.groups:
        yield _cloud(cases, part, group)


def _cloud(cases: Cases, part: Correlated, group: Group) -> Comparing:
    def test(known: Result, rng: np.random.Generator, trials: Trials) -> Result:
        points = cases.clouds(group.cohort, group.parts, part.predictor, part.size, group.segments)
        found = pearson(points["logit_dice"].to_numpy(), points["seg_entropy"].to_numpy())
        reason = "" if np.isfinite(found.r) else f"r of {found.n} points is undefined"
        return replace(known, effect=found.r, lo=found.lo, hi=found.hi, p=found.p, n=found.n, reason=reason)

    known = Result(
        kind="correlation",
        cohort=group.cohort,
        segment=", ".join(segment_name(cases, group.cohort, segment) for segment in group.segments),
        a=f"{label(cases, group.cohort, part)}, {' and '.join(group.parts)}",
        measure="logit dice, seg_entropy",
        region="volume",
        sign=-1,
        limits=(part.at_least, 1.0) if part.at_least else None,
    )
    return Comparing(known, test)


def associated(cases: Cases, part: Associated) -> Iterator[Comparing]:
    for cohort in part.cohorts:
        for names in [part.predictors] if part.averaged else [[name] for name in part.predictors]:
            who = label(cases, cohort, Chosen(predictor=names[0]))
            if part.averaged:
                who = f"mean of {len(names)} predictors"
            known = Result(
                kind="association",
                cohort=cohort,
                a=f"{who} less {part.minus}" if part.minus else who,
                measure=f"{part.x}, {part.y}",
                region=", ".join(
                    dict.fromkeys(region_of(name, cohort, part.regions) for name in (part.x, part.y))
                ),
                sign=1 if part.direction == "rises" else -1,
                limits=(-inf, part.at_most) if part.at_most is not None else None,
                of_limits=part.at_most is not None,
            )

            def test(
                known: Result,
                rng: np.random.Generator,
                trials: Trials,
                place: tuple[str, list[str]] = (cohort, names),
            ) -> Result:
                x, y = (_side(cases, part, *place, measure) for measure in (part.x, part.y))
                both = table([x, y], known.measure).to_numpy(float)
                return _tested(known, both[:, 0], both[:, 1])

            yield Comparing(known, test)


def _side(cases: Cases, part: Associated, cohort: str, names: list[str], measure: str) -> "pd.Series[float]":
    """Each case's mean over the predictors, less that of the one it is compared with."""
    region = region_of(measure, cohort, part.regions)

    def of(name: str) -> "pd.Series[float]":
        return values(cases, cohort, "test", Chosen(predictor=name), measure, region)

    found = pd.concat([of(name) for name in names], axis=1).mean(axis=1, skipna=False)
    return found - of(part.minus) if part.minus else found


def agreeing(cases: Cases, part: Agreeing) -> Iterator[Comparing]:
    for cohort in part.cohorts:
        region = region_of(part.measure, cohort, part.regions)
        for name in part.predictors:
            known = Result(
                kind="agreement",
                cohort=cohort,
                a=label(cases, cohort, Chosen(predictor=name)),
                b=f"mean of the other {len(part.predictors) - 1}",
                measure=part.measure,
                region=region,
                limits=(part.at_least, 1.0),
                of_limits=True,
            )

            def test(
                known: Result,
                rng: np.random.Generator,
                trials: Trials,
                place: tuple[str, str, str] = (cohort, region, name),
            ) -> Result:
                cohort, region, name = place
                columns = [
                    values(cases, cohort, "test", Chosen(predictor=one), part.measure, region)
                    for one in (name, *(other for other in part.predictors if other != name))
                ]
                found = table(columns, part.measure).to_numpy(float)
                return _tested(known, found[:, 0], found[:, 1:].mean(axis=1))

            yield Comparing(known, test)


def _tested(known: Result, x: Floats, y: Floats) -> Result:
    """Spearman's correlation against 0 or the limit inside its range. Its p is not taken below 2/n!, the
    least that a permutation test of n cases can show."""
    against = 0.0
    if known.of_limits and known.limits is not None:
        against = known.sign * next(limit for limit in known.limits if abs(limit) < 1)
    found = spearman(x, y, against)
    p = float(np.maximum(found.p, 2 / factorial(found.n)))
    reason = "" if np.isfinite(found.r) else f"the correlation of {found.n} cases is undefined"
    return replace(known, effect=found.r, lo=found.lo, hi=found.hi, p=p, n=found.n, reason=reason)


def between_predictors(cases: Cases, part: BetweenPredictors) -> Iterator[Comparing]:
    for cohort in part.cohorts:
        regions = [region_of(measure, cohort, part.regions) for measure in (part.x, part.y)]
        known = Result(
            kind="between_predictors",
            cohort=cohort,
            a=f"{len(part.predictors)} predictors",
            measure=f"{part.x}, {part.y}",
            region=", ".join(dict.fromkeys(regions)),
            sign=1 if part.direction == "rises" else -1,
        )

        def test(
            known: Result,
            rng: np.random.Generator,
            trials: Trials,
            place: tuple[str, list[str]] = (cohort, [str(region) for region in regions]),
        ) -> Result:
            return _tested_predictors(cases, part, known, place, rng, trials)

        yield Comparing(known, test)


def _tested_predictors(
    cases: Cases,
    part: BetweenPredictors,
    known: Result,
    place: tuple[str, list[str]],
    rng: np.random.Generator,
    trials: Trials,
) -> Result:
    """The correlation of the predictors' means, cases resampled."""
    cohort, regions = place
    sides = [
        [values(cases, cohort, "test", Chosen(predictor=name), measure, region) for name in part.predictors]
        for measure, region in zip((part.x, part.y), regions, strict=True)
    ]
    # A measure may be undefined in some case, and each mean leaves out its own.
    found = pd.concat([*sides[0], *sides[1]], axis=1).to_numpy(float)
    n, half = len(found), len(part.predictors)

    def statistic(weights: Floats) -> Floats:
        means = weighted_means(found, weights)
        return _rank_correlations(means[:, :half], means[:, half:])

    effect = statistic(np.ones((1, n)))[0]
    if n < 2 or not np.isfinite(effect):
        return replace(too_few(known, effect, n), reason=f"the correlation of {half} predictors is undefined")
    drawn = [statistic(one) for one in pooled.resamples(n, trials.resamples(smallest_p(n)), rng)]
    return resampled(known, effect, np.concatenate(drawn), n)


def _rank_correlations(x: Floats, y: Floats) -> Floats:
    """Spearman's correlation of each row; NaN where a row of one side is constant."""
    from scipy import stats  # a second that most jobs can spare

    first, second = (stats.rankdata(side, axis=1) - (side.shape[1] + 1) / 2 for side in (x, y))
    with np.errstate(invalid="ignore"):
        return np.asarray(
            (first * second).sum(axis=1) / np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
        )
