"""`split.shuffle`: parts drawn from all patients, as scikit-learn draws them."""

from typing import TYPE_CHECKING

from ...config import Split
from ...config.cohort import Shuffle
from ...errors import ConfigError
from .patients import Patient

if TYPE_CHECKING:
    import numpy as np


def by_shuffle(patients: list[Patient], shuffle: Shuffle, rule: Split) -> dict[str, list[Patient]]:
    """As scikit-learn's train_test_split with `random_state`, called once for each size on what is left.

    Importing scikit-learn would cost every start of the workflow a second; a test compares with it.
    """
    import numpy as np

    asked = sum(shuffle.sizes.values())
    if asked >= len(patients):
        raise ConfigError(
            f"split.shuffle: {' + '.join(f'{part} {size}' for part, size in shuffle.sizes.items())} patients",
            expected=f"fewer than the {len(patients)} that the cohort selects: the rest trains",
            remedy="lower the sizes, or set data to a root that holds more patients",
        )
    left, chosen = patients, {}
    for part, size in shuffle.sizes.items():
        # Every call starts from the seed again.
        left, chosen[str(part)] = _shuffled(left, size, rule.stratify, np.random.RandomState(rule.seed))
    return {"train": left, **chosen}


def _shuffled(
    patients: list[Patient], size: int, by: str | None, random: "np.random.RandomState"
) -> tuple[list[Patient], list[Patient]]:
    """(the rest, `size` patients), both in drawn order, by the very calls of scikit-learn 0.21 to 1.9."""
    import numpy as np

    if by is None:
        order = random.permutation(len(patients))
        return [patients[i] for i in order[size:]], [patients[i] for i in order[:size]]
    strata: dict[str, list[int]] = {}
    for index, patient in enumerate(patients):
        strata.setdefault(patient.stratum(by), []).append(index)
    members = [strata[name] for name in sorted(strata)]
    counts = np.array([len(found) for found in members])
    kept = _shares(counts, len(patients) - size, random)
    taken = _shares(counts - kept, size, random)
    rest, part = [], []
    for found, keep, take in zip(members, kept, taken, strict=True):
        order = random.permutation(len(found))
        rest += [found[i] for i in order[:keep]]
        part += [found[i] for i in order[keep : keep + take]]
    return [patients[i] for i in random.permutation(rest)], [patients[i] for i in random.permutation(part)]


def _shares(counts: "np.ndarray", size: int, random: "np.random.RandomState") -> "np.ndarray":
    """`size` divided in proportion to `counts`: rounded down, then the largest remainders one up."""
    import numpy as np

    share = counts / counts.sum() * size
    whole = np.floor(share)
    remainder = share - whole
    missing = int(size - whole.sum())
    for value in np.unique(remainder)[::-1]:
        if missing <= 0:
            break
        equal = np.flatnonzero(remainder == value)
        up = random.choice(equal, size=min(len(equal), missing), replace=False)
        whole[up] += 1
        missing -= len(up)
    return whole.astype(int)
