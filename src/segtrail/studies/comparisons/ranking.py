"""Sums of ranks over the columns of a table, its cases resampled."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import inf

import numpy as np
import pandas as pd

from ...config.claims import NoBest, RankSums
from ...config.results import MeanCell, Table
from .. import pooled
from ..cases import Cases
from ..ranks import orientation
from .page import by_ranks
from .single import Comparing, Floats, Result, Trials, resampled, smallest_p, too_few, weighted_means

Sums = Mapping[str, Floats]
"""row → its sums of ranks, one for each resample"""


def rank_sums(cases: Cases, part: RankSums) -> Iterator[Comparing]:
    table, columns = _named(cases, part)
    named = part.first or part.last
    others = [row for row in table.rows if row not in named]
    for row in named:
        if part.first:
            ahead = partial(_ahead, row=row, others=others)
            other = "the smallest of the others"
        else:
            ahead = partial(_behind, row=row, others=others)
            other = "the largest of the others"
        known = Result(kind="rank_sums", cohort="", a=row, b=other, measure=_measure(table, columns))
        yield _comparing(cases, known, table, columns, ahead)


def no_best(cases: Cases, part: NoBest) -> Iterator[Comparing]:
    table, columns = _named(cases, part)
    known = Result(
        kind="no_best",
        cohort="",
        a="smallest sum of ranks",
        b=f"{len(columns)}, of a row that is first in every column",
        measure=_measure(table, columns),
        limits=(0.5, inf),  # sums of ranks are whole numbers
        of_limits=True,
    )
    yield _comparing(cases, known, table, columns, partial(_from_first, columns=len(columns)))


def _ahead(sums: Sums, row: str, others: list[str]) -> Floats:
    return np.min([sums[other] for other in others], axis=0) - sums[row]


def _behind(sums: Sums, row: str, others: list[str]) -> Floats:
    return sums[row] - np.max([sums[other] for other in others], axis=0)


def _from_first(sums: Sums, columns: int) -> Floats:
    return np.min(list(sums.values()), axis=0) - columns


def _named(cases: Cases, part: RankSums | NoBest) -> tuple[Table, list[str]]:
    table = next(table for table in cases.study.tables if table.name == part.table)
    return table, part.columns or list(table.columns)


def _measure(table: Table, columns: list[str]) -> str:
    which = "all columns" if len(columns) == len(table.columns) else ", ".join(columns)
    return f"ranks in {table.name}: {which}"


def _comparing(
    cases: Cases, known: Result, table: Table, columns: list[str], effect: Callable[[Sums], Floats]
) -> Comparing:
    def test(known: Result, rng: np.random.Generator, trials: Trials) -> Result:
        found = [_column(cases, table, name) for name in columns]
        counts = {column.cohort: len(column.values) for column in found}
        n = min(counts.values())

        def statistic(weights: Mapping[str, Floats]) -> Floats:
            total = sum(column.ranks(weights[column.cohort]) for column in found)
            return effect({row: np.asarray(total)[:, index] for index, row in enumerate(table.rows)})

        value = statistic({cohort: np.ones((1, count)) for cohort, count in counts.items()})[0]
        known = replace(known, cohort=", ".join(counts))
        if n < 2:
            return too_few(known, value, n)
        resamples = trials.resamples(smallest_p(n))
        drawn = [
            statistic(dict(zip(counts, weights, strict=True)))
            for weights in zip(
                *(pooled.resamples(count, resamples, rng) for count in counts.values()), strict=True
            )
        ]
        return replace(resampled(known, value, np.concatenate(drawn), n), n=sum(counts.values()))

    def of_printed(sums: Mapping[str, int]) -> float:
        return float(effect({row: np.array([float(total)]) for row, total in sums.items()})[0])

    return Comparing(known, test, by_ranks(table.name, list(table.rows), columns, of_printed))


@dataclass(frozen=True)
class _Column:
    cohort: str
    values: Floats  # (cases, rows)
    factor: float
    digits: int | None
    higher_is_better: bool

    def ranks(self, weights: Floats) -> Floats:
        """(resamples, rows): dense ranks of the means, rounded as the table prints them.

        Source: the public code of Jungo 2019, which ranks so after rounding.
        """
        means = weighted_means(self.values, weights) * self.factor
        return dense(means if self.digits is None else np.round(means, self.digits), self.higher_is_better)


def _column(cases: Cases, table: Table, name: str) -> _Column:
    """The threshold of a measure that needs one is that of all cases, also in the resamples."""
    cells = [table.cell(row, name) for row in table.rows]
    means = [cell for cell in cells if isinstance(cell, MeanCell)]  # config.study: all of them
    first = means[0]
    columns = [
        cases.values(
            cell.cohort,
            cell.part,
            cell.predictor,
            cell.size,
            cell.measure,
            cell.region,
            cell.segment,
            cell.dataset,
        )["value"]
        for cell in means
    ]
    values = pd.concat(columns, axis=1).to_numpy(float)
    return _Column(first.cohort, values, first.factor, first.digits, orientation(first.measure) > 0)


def dense(values: Floats, higher_is_better: bool) -> Floats:
    """Dense ranks within each row, 1 the best: equal values share one, and the next follows without a gap.
    What is undefined (NaN) in a resample comes last."""
    keys = np.where(np.isnan(values), np.inf, -values if higher_is_better else values)
    order = keys.argsort(axis=1, kind="stable")
    ordered = np.take_along_axis(keys, order, axis=1)
    steps = ordered[:, 1:] > ordered[:, :-1]
    ranks = np.empty_like(keys)
    first = np.ones((len(keys), 1))
    np.put_along_axis(ranks, order, np.hstack([first, 1 + np.cumsum(steps, axis=1)]), axis=1)
    return ranks
