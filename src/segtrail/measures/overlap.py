"""Overlap of two masks."""

import numpy as np
from numpy.typing import NDArray


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """2 |a ∩ b| / (|a| + |b|), in [0, 1]; 1 where both are empty (Dice 1945; Mehrtash 2020, table II).

    Args:
        a, b: masks of one shape.

    Raises:
        ValueError: masks of different shapes.
    """
    if a.shape != b.shape:
        raise ValueError(f"masks of different shapes: {a.shape} and {b.shape}")
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0
