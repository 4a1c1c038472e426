"""Statistics over cases. An undefined value (NaN) is left out, and n says how many remain."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

NAN = float("nan")


class Interval(NamedTuple):
    lo: float
    hi: float


class Paired(NamedTuple):
    """A paired comparison: mean of a − b, its interval, a two-sided p, the number of pairs."""

    effect: float
    lo: float
    hi: float
    p: float
    n: int


class Correlation(NamedTuple):
    r: float
    p: float
    n: int
    lo: float
    hi: float


def case_percentiles(values: ArrayLike, lower: float = 2.5, upper: float = 97.5) -> Interval:
    """Percentiles 2.5 and 97.5 over cases, interpolated linearly. NaN without cases.

    Source: Mehrtash 2020, table II, "95% CI": the printed widths show that it is no interval of a mean.
    """
    defined = _defined(values)
    if not len(defined):
        return Interval(NAN, NAN)
    lo, hi = np.percentile(defined, [lower, upper])
    return Interval(float(lo), float(hi))


def bootstrap_mean(values: ArrayLike, n: int, rng: np.random.Generator, confidence: float = 0.95) -> Interval:
    """Percentile bootstrap interval of the mean over cases.

    NaN with fewer than two cases: one case says nothing about its spread.

    Source: Mehrtash 2020, §VI.E, with n = 100 resamples.
    """
    defined = _defined(values)
    if len(defined) < 2:
        return Interval(NAN, NAN)
    result = _bootstrap(defined, n, rng, confidence)
    return Interval(float(result.confidence_interval.low), float(result.confidence_interval.high))


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, n: int, rng: np.random.Generator, confidence: float = 0.95
) -> Paired:
    """Tests whether the mean of a − b differs from 0, by resampling cases (Mehrtash 2020, §VI.E).

    p = 2 (1 + min(#{mean* ≤ 0}, #{mean* ≥ 0})) / (n + 1), at most 1 (Davison & Hinkley 1997, §4.2, both
    sides): never 0, and never below 2 / (n + 1), so n = 100 cannot show p < .01.

    Args:
        a, b: values of the same cases in the same order; a case undefined in either is left out.
        n: resamples.

    Raises:
        ValueError: a and b of different lengths.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"pairs of different lengths: {a.shape} and {b.shape}")
    difference = _defined(a - b)
    if len(difference) < 2:
        effect = float(difference[0]) if len(difference) else NAN
        return Paired(effect, NAN, NAN, NAN, len(difference))
    result = _bootstrap(difference, n, rng, confidence)
    means = result.bootstrap_distribution
    tail = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    low, high = result.confidence_interval
    p = min(2 * (1 + tail) / (n + 1), 1.0)
    return Paired(float(difference.mean()), float(low), float(high), p, len(difference))


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """p values corrected for multiplicity (Holm 1979), in the order given. NaN stays NaN and is not counted
    among the tests."""
    p = np.asarray(p, dtype=float)
    corrected = np.full(p.shape, NAN)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return corrected


def logit_dice(dice: ArrayLike, clip: float) -> NDArray[np.float64]:
    """ln(d / (1 − d)) of Dice clipped to [clip, 1 − clip], since it is infinite at 0 and 1.

    Source: Mehrtash 2020, §VII, which does not say how it treats 0 and 1.
    """
    d = np.clip(np.asarray(dice, dtype=float), clip, 1 - clip)
    return np.log(d / (1 - d))


def pearson(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> Correlation:
    """Pearson's r of the pairs defined in both, its two-sided p (t distribution), its interval (Fisher's z).

    r, p and interval are NaN with fewer than three pairs or where either side is constant; the interval also
    with three, where Fisher's z has no variance.

    Source: Mehrtash 2020, figure 3 (r and its two-tailed p; no interval).

    Raises:
        ValueError: x and y of different lengths.
    """
    first, second = _defined_in_both(x, y)
    n = len(first)
    if n < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Correlation(NAN, NAN, n, NAN, NAN)
    from scipy import stats  # a second that jobs without statistics can spare

    result = stats.pearsonr(first, second)
    low, high = result.confidence_interval(confidence) if n > 3 else (NAN, NAN)
    return Correlation(float(result.statistic), float(result.pvalue), n, float(low), float(high))


def spearman(x: ArrayLike, y: ArrayLike, against: float = 0.0, confidence: float = 0.95) -> Correlation:
    """Spearman's correlation of the pairs defined in both, and its two-sided p: of no correlation by the
    t-approximation, or of a correlation `against` by Fisher's z. Its interval is that of Fisher's z with
    variance (1 + r²/2)/(n − 3).

    r, p and interval are NaN with fewer than three pairs or where either side is constant; with three,
    Fisher's z has no variance.

    Source: Bonett and Wright 2000, Psychometrika 65:23-28 (the variance).

    Raises:
        ValueError: x and y of different lengths, or `against` not in (−1, 1).
    """
    if not -1 < against < 1:
        raise ValueError(f"against = {against}, expected in (−1, 1)")
    first, second = _defined_in_both(x, y)
    n = len(first)
    if n < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Correlation(NAN, NAN, n, NAN, NAN)
    from scipy import stats  # a second that jobs without statistics can spare

    found = stats.spearmanr(first, second)
    r, p = float(found.statistic), float(found.pvalue)
    if n == 3:
        return Correlation(r, NAN if against else p, n, NAN, NAN)
    deviation = np.sqrt((1 + r**2 / 2) / (n - 3))
    with np.errstate(divide="ignore"):  # z of ±1 is infinite, and its interval a point
        z = float(np.arctanh(r))
    lo, hi = np.tanh(z + np.array([-1, 1]) * stats.norm.ppf((1 + confidence) / 2) * deviation)
    if against:
        p = float(2 * stats.norm.sf(abs(z - np.arctanh(against)) / deviation))
    return Correlation(r, p, n, float(lo), float(hi))


def _defined_in_both(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if first.shape != second.shape:
        raise ValueError(f"pairs of different lengths: {first.shape} and {second.shape}")
    defined = ~(np.isnan(first) | np.isnan(second))
    return first[defined], second[defined]


def _defined(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    return array[~np.isnan(array)]


def _bootstrap(values: NDArray[np.float64], n: int, rng: np.random.Generator, confidence: float):  # type: ignore[no-untyped-def]
    from scipy import stats

    # Batches bound the memory: 1000 resamples of 1000 cases are 8 MB.
    return stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=n,
        batch=1000,
        confidence_level=confidence,
        method="percentile",
        rng=rng,
    )
