"""Entropies of probability maps, for maps and figures; `calibration` sums the same in its one pass."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr


def binary_entropy(p: NDArray[np.floating]) -> NDArray[np.float64]:
    """−p ln p − (1−p) ln(1−p) in nats, in [0, ln 2], voxel by voxel; p in [0, 1], any shape (Mehrtash 2020,
    the summand of eq. 7). NaN stays NaN; −∞ outside [0, 1]."""
    p = np.asarray(p, dtype=np.float64)
    return entr(p) + entr(1 - p)


def segment_entropy(p_k: NDArray[np.floating], predicted: NDArray[np.bool_]) -> float:
    """Mean binary entropy of p_k over the voxels predicted as the segment (Mehrtash 2020, eq. 7).

    Args:
        p_k: the segment's probability; any shape.
        predicted: the mask of voxels where the segment is the most probable class; same shape.

    Returns:
        Nats, in [0, ln 2]; NaN where nothing is predicted.
    """
    return float(binary_entropy(p_k[predicted]).mean()) if predicted.any() else float("nan")
