"""Which members form which ensemble."""

from math import comb

import numpy as np
from numpy.typing import NDArray


def draw_subsets(members: int, size: int, draws: int, seed: int) -> NDArray[np.bool_]:
    """Distinct random subsets of `size` of all members (Mehrtash 2020, §VI.D: n draws from 100).

    The first subsets are the same whatever `draws` is.

    Returns:
        (D, members) bool, D = `draws`, or all subsets there are where those are fewer (one: size = members).

    Raises:
        ValueError: size outside 1…members, or draws below 1.
    """
    if not 1 <= size <= members or draws < 1:
        raise ValueError(f"{draws} draws of {size} from {members} members")
    rng = np.random.default_rng(seed)
    found: dict[tuple[int, ...], None] = {}  # a set that keeps the order
    while len(found) < min(draws, comb(members, size)):
        found[tuple(sorted(rng.choice(members, size, replace=False).tolist()))] = None
    subsets = np.zeros((len(found), members), dtype=bool)
    for row, chosen in zip(subsets, found, strict=True):
        row[list(chosen)] = True
    return subsets
