"""Calibration by case against that of the whole data set."""

from collections.abc import Iterator
from math import inf

import numpy as np

from ...config.claims import Chosen, Miscalibrated, Pooled
from .. import pooled
from ..cases import Cases
from .page import by_shares
from .single import (
    Comparing,
    Floats,
    Result,
    Trials,
    label,
    region_of,
    resampled,
    smallest_p,
    table,
    too_few,
    values,
    weighted_means,
)


def averaged_out(cases: Cases, part: Pooled) -> Iterator[Comparing]:
    for cohort in part.cohorts:
        region = region_of("ece_fg", cohort, part.regions)
        for name in part.predictors:
            known = Result(
                kind="pooled",
                cohort=cohort,
                a=f"{label(cases, cohort, Chosen(predictor=name))}, data set",
                b="mean of the cases, cut by so many per cent",
                measure="ece_fg",
                region=region,
                limits=(part.percent, 100.0),
                of_limits=True,
            )

            def test(
                known: Result,
                rng: np.random.Generator,
                trials: Trials,
                place: tuple[str, str, str] = (cohort, name, region),
            ) -> Result:
                return _tested_pool(cases, known, *place, rng, trials)

            yield Comparing(known, test)


def _tested_pool(
    cases: Cases,
    known: Result,
    cohort: str,
    name: str,
    region: str,
    rng: np.random.Generator,
    trials: Trials,
) -> Result:
    """100·(1 − ECE of the pooled bins / mean ECE of the cases), in per cent, cases resampled."""
    chosen = Chosen(predictor=name)
    own = table([values(cases, cohort, "test", chosen, "ece_fg", region)], "ece_fg")
    pool = cases.pool(cohort, "test", name, None, region).of(own.index)
    n = len(own)

    def statistic(weights: Floats) -> Floats:
        mean = weighted_means(own.to_numpy(float), weights)[:, 0]
        return 100 * (1 - pool.error("ece_fg", weights) / mean)

    effect = statistic(np.ones((1, n)))[0]
    if n < 2:
        return too_few(known, effect, n)
    drawn = [statistic(one) for one in pooled.resamples(n, trials.resamples(smallest_p(n)), rng)]
    return resampled(known, effect, np.concatenate(drawn), n)


def miscalibrated(cases: Cases, part: Miscalibrated) -> Iterator[Comparing]:
    for cohort in part.cohorts:
        region = region_of("signed_ce", cohort, part.regions)
        known = Result(
            kind="miscalibrated",
            cohort=cohort,
            a=f"per cent of cases, by the mean of {len(part.predictors)} predictors",
            measure="signed_ce",
            region=region,
            limits=(part.percent, inf),
            of_limits=True,
        )

        def test(
            known: Result,
            rng: np.random.Generator,
            trials: Trials,
            place: tuple[str, str] = (cohort, region),
        ) -> Result:
            return _tested_share(cases, part, known, *place, rng, trials)

        who = tuple(sorted(part.predictors))
        keys = [
            (cohort, "test", region, part.percentile, who, statistic)
            for statistic in ("underconfident", "overconfident")
        ]
        yield Comparing(known, test, by_shares(keys, part.percent))


def _tested_share(
    cases: Cases,
    part: Miscalibrated,
    known: Result,
    cohort: str,
    region: str,
    rng: np.random.Generator,
    trials: Trials,
) -> Result:
    """Per cent of cases whose mean signed error lies above τ or below −τ; cases resampled, with τ anew, since
    it is an estimate from the same cases."""
    columns = [
        values(cases, cohort, "test", Chosen(predictor=name), "signed_ce", region) for name in part.predictors
    ]
    own = table(columns, "signed_ce")
    scores = own.mean(axis=1).to_numpy(float)
    pools = [cases.pool(cohort, "test", name, None, region).of(own.index) for name in part.predictors]
    n = len(scores)

    def statistic(weights: Floats) -> Floats:
        limit = pooled.limits(pools, part.percentile, weights)[:, None]
        beyond = (scores > limit) | (scores < -limit)
        return np.asarray(100 * (weights * beyond).sum(axis=1) / weights.sum(axis=1))

    effect = statistic(np.ones((1, n)))[0]
    if n < 2:
        return too_few(known, effect, n)
    drawn = [statistic(one) for one in pooled.resamples(n, trials.resamples(smallest_p(n)), rng)]
    return resampled(known, effect, np.concatenate(drawn), n)
