"""Calibration of a whole data set: the bins of all its subjects added up before an error is taken.

Resamples of subjects weigh each subject's bins by how often it was drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..measures import errors as measured

PLACE = ["cohort", "part", "predictor", "size", "region"]
SUBJECT = ["dataset", "subject"]
COUNTS = ["count", "confidence", "correct"]
BATCH = 500  # resamples at once
MEASURES = {"ece_fg": measured.ece_fg, "signed_ce": measured.signed_ce}

Place = tuple[str, str, str, int, str]  # cohort, part, predictor, size, region
Floats = NDArray[np.float64]


class Pool(NamedTuple):
    """Bins of the foreground's probability: voxels, their summed probability, those that are foreground."""

    subjects: "pd.Index[Any]"  # (dataset, subject)
    sums: Floats  # (3, subjects, draws, bins)

    def of(self, subjects: "pd.Index[Any]") -> "Pool":
        """Of these subjects alone, in their order. KeyError for one that is not here."""
        where = self.subjects.get_indexer(subjects)
        if (where < 0).any():
            raise KeyError(subjects[where < 0][0])
        return Pool(subjects, self.sums[:, where])

    def error(self, measure: str, weights: Floats | None = None) -> Floats:
        """`ece_fg` or `signed_ce` of the pooled bins, mean over draws: of each row of `weights` (resamples,
        subjects), or one value, shape (1,), of all subjects alike.

        Source: Jungo 2019, supplement and public code: a subject's bins are summed over subjects first.
        """
        if weights is None:
            weights = np.ones((1, len(self.subjects)))
        # Not by BLAS, whose last bits depend on the number of threads.
        n, p, positive = np.einsum("rs,csdb->crdb", weights, self.sums)
        return np.asarray(MEASURES[measure](n, p, positive)).mean(axis=-1)


@dataclass(frozen=True)
class Bins:
    """The foreground rows of reliability.parquet by place."""

    groups: dict[tuple[Any, ...], pd.DataFrame]  # by Place

    @classmethod
    def of(cls, reliability: pd.DataFrame) -> "Bins":
        """The order of the rows does not matter."""
        found = reliability[reliability["of"] == "foreground"]
        found = found.sort_values([*PLACE, *SUBJECT, "draw", "bin"], kind="stable")
        return cls(dict(iter(found.groupby(PLACE, sort=False))))

    def pool(self, place: Place, bins: int) -> Pool:
        """KeyError for a place without rows."""
        rows = self.groups[place]
        subject, names = pd.factorize(pd.MultiIndex.from_frame(rows[SUBJECT]))
        draw, draws = rows["draw"].factorize()
        sums = np.zeros((len(COUNTS), len(names), len(draws), bins))
        for index, name in enumerate(COUNTS):
            sums[index, subject, draw, rows["bin"].to_numpy()] = rows[name]
        return Pool(pd.Index(names), sums)


def resamples(subjects: int, count: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each subject is drawn in each of `count` resamples, some at a time: (≤ BATCH, subjects)."""
    for start in range(0, count, BATCH):
        drawn = min(BATCH, count - start)
        # As rng.multinomial, but five times faster.
        found = rng.integers(0, subjects, (drawn, subjects)) + subjects * np.arange(drawn)[:, None]
        yield np.bincount(found.ravel(), minlength=drawn * subjects).reshape(drawn, subjects).astype(float)


def pooled_interval(pool: Pool, measure: str, count: int, rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile bootstrap over subjects of `Pool.error`; NaN with fewer than two subjects.

    Source: Mehrtash 2020, §VI.E, for means; Jungo 2019 gives no interval.
    """
    subjects = len(pool.subjects)
    if subjects < 2:
        return float("nan"), float("nan")
    values = np.concatenate([pool.error(measure, drawn) for drawn in resamples(subjects, count, rng)])
    lo, hi = np.nanpercentile(values, [2.5, 97.5])
    return float(lo), float(hi)


def limits(pools: list[Pool], percentile: float, weights: Floats | None = None) -> Floats:
    """τ: the percentile, interpolated linearly, over predictors of the signed error of their pooled bins.

    Source: the public code of Jungo 2019.

    Returns:
        One of each row of `weights`, or of all subjects alike, shape (1,).
    """
    errors = np.stack([pool.error("signed_ce", weights) for pool in pools])
    return np.asarray(np.percentile(errors, percentile, axis=0))


def share(scores: Floats, limit: Floats, statistic: str, weights: Floats | None = None) -> Floats:
    """Per cent of subjects whose score lies above τ (`underconfident`) or below −τ (`overconfident`), for
    each τ of `limit` with its row of `weights`. Where τ is negative, a score between τ and −τ is both.

    Source: Jungo 2019, §3, by its public code.
    """
    if weights is None:
        weights = np.ones((len(limit), len(scores)))
    beyond = scores > limit[:, None] if statistic == "underconfident" else scores < -limit[:, None]
    return np.asarray(100 * (weights * beyond).sum(axis=1) / weights.sum(axis=1))


def share_interval(
    scores: Floats,
    pools: list[Pool],
    percentile: float,
    statistic: str,
    count: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """95 % percentile bootstrap over subjects of `share`, with τ anew in each resample: τ is an estimate from
    the same subjects. NaN with fewer than two of them.

    Source: Mehrtash 2020, §VI.E, for means; Jungo 2019 gives no interval.
    """
    if len(scores) < 2:
        return float("nan"), float("nan")
    values = [
        share(scores, limits(pools, percentile, drawn), statistic, drawn)
        for drawn in resamples(len(scores), count, rng)
    ]
    lo, hi = np.percentile(np.concatenate(values), [2.5, 97.5])
    return float(lo), float(hi)
