"""Ranks within a column of a table, as papers print them: dense, after rounding."""

import re
from collections.abc import Mapping
from math import isnan

import numpy as np

from ..audit.findings import HIGHER_IS_BETTER
from ..config.results import Cell
from .published import Printed, decimals
from .thresholds import ON_VAL

NOTE = re.compile(r"\brank ([1-9][0-9]*)\b")


def orientation(measure: str) -> int:
    """+1 where more is better (overlap, precision, benefit), −1 where less is (losses, errors, distances,
    uncertainty)."""
    return 1 if measure.removesuffix(ON_VAL) in HIGHER_IS_BETTER else -1


def dense(values: Mapping[str, float | None], digits: int, higher_is_better: bool) -> dict[str, int | None]:
    """Row → its rank, 1 the best; equal rounded values share one and the next follows without a gap. None for
    a row without a number.

    Source: the public code of Jungo 2019, which ranks so after rounding.
    """
    rounded = {
        row: float(np.round(value, digits))
        for row, value in values.items()
        if value is not None and not isnan(value)
    }
    order = sorted(set(rounded.values()), reverse=higher_is_better)
    return {row: order.index(rounded[row]) + 1 if row in rounded else None for row in values}


def published(printed: Printed) -> int | None:
    """The rank that stands in the note of a printed number: `rank 4`."""
    found = NOTE.search(printed.note)
    return int(found[1]) if found else None


def digits(cell: Cell, text: str) -> int:
    """To how many digits a column is rounded: as the study says, or as the number is printed."""
    return decimals(text) if cell.digits is None else cell.digits


def rank_sum(ranks: Mapping[str, int | None]) -> int | None:
    """Of one row over its columns; None where there is none.

    Source: the public code of Jungo 2019 (its print leaves it out).
    """
    return sum(rank for rank in ranks.values() if rank is not None) if any(ranks.values()) else None
