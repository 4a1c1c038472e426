"""Is the foreground's probability right, and does the uncertainty lie where the segmentation is wrong?

For two classes, 0 the background and 1 the foreground. A pass adds every voxel to an `ErrorCounts` of int64
counts and float64 sums; those of disjoint voxels add up. The functions below take such counts, as numbers or
as arrays of one shape (a column of a table): tables and methods use the same formula.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

REGIONS = ("volume", "mask")
BLOCK = 8192  # voxels at a time: what is computed of them stays in the cache
_TINY = np.finfo(np.float32).tiny
_NAN = float("nan")


@dataclass(frozen=True, eq=False)
class ErrorCounts:
    """What one pass counts; B bins of the foreground's probability p, T thresholds of the uncertainty u.

    The bins are left-closed, [e_b, e_{b+1}) with e = linspace(0, 1 + 1e-8, B + 1) in float64; the widening
    puts p = 1 into the last bin, and p = .5, with ten bins, into that below .5. A voxel is uncertain where
    u > t. Bins are counted in each region of `REGIONS`, uncertain voxels in the whole volume.

    Source: Jungo 2019, §2.4, and its public code.
    """

    bin_n: NDArray[np.int64]  # (2, B) voxels
    bin_p: NDArray[np.float64]  # (2, B) Σ p
    bin_positive: NDArray[np.int64]  # (2, B) voxels that are foreground in the reference
    counts: NDArray[
        np.int64
    ]  # (T + 1, 4) by the number of thresholds below u × true, false positive, negative
    u_sum: NDArray[np.float64]  # (2,) Σ u

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def voxels(self) -> tuple[int, int, int, int]:
        """tp, fp, tn, fn: true and false, foreground (positive) and background, in the whole volume."""
        tp, fp, tn, fn = (int(number) for number in self.counts.sum(axis=0))
        return tp, fp, tn, fn

    def uncertain(self, t: int) -> tuple[int, int, int, int]:
        """tpu, fpu, tnu, fnu: those of `voxels` whose uncertainty exceeds threshold number t (0…T−1)."""
        tpu, fpu, tnu, fnu = (int(number) for number in self.counts[t + 1 :].sum(axis=0))
        return tpu, fpu, tnu, fnu

    def n(self, region: str) -> int:
        """Voxels of the region."""
        return int(self.bin_n[REGIONS.index(region)].sum())

    def ece_fg(self, region: str) -> float:
        """`ece_fg` of the region."""
        return float(ece_fg(*self._bins(region)))

    def signed_ce(self, region: str) -> float:
        """`signed_ce` of the region."""
        return float(signed_ce(*self._bins(region)))

    def mean_uncertainty(self, region: str) -> float:
        """Mean u of the region's voxels, in [0, 1]. NaN without voxels.

        Source: Jungo 2019, §1 and §4: uncertainty aggregated to the subject, for which it gives no formula.
        """
        return float(_ratio(self.u_sum[REGIONS.index(region)], self.n(region)))

    def u_e(self, t: int) -> float:
        """`u_e` at threshold number t."""
        _, fp, _, fn = self.voxels
        return float(u_e(fp, fn, *self.uncertain(t)))

    def bnf(self, t: int) -> bool:
        """`bnf` at threshold number t."""
        tp, fp, _, fn = self.voxels
        tpu, fpu, _, _ = self.uncertain(t)
        return bool(bnf(tp, fp, fn, tpu, fpu))

    def error_precision(self, t: int) -> float:
        """`error_precision` at threshold number t."""
        return float(error_precision(*self.uncertain(t)))

    def error_recall(self, t: int) -> float:
        """`error_recall` at threshold number t."""
        _, fp, _, fn = self.voxels
        _, fpu, _, fnu = self.uncertain(t)
        return float(error_recall(fp, fn, fpu, fnu))

    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN), in [0, 1]; 1 where reference and prediction are empty (Dice 1945)."""
        tp, fp, _, fn = self.voxels
        return float(_ratio(2 * tp, 2 * tp + fp + fn, 1.0))

    def precision(self) -> float:
        """TP / (TP + FP) of the segmentation, in [0, 1]; NaN where nothing is predicted.

        Source: Jungo 2019, §3, speaks of it without an equation.
        """
        tp, fp, _, _ = self.voxels
        return float(_ratio(tp, tp + fp))

    def recall(self) -> float:
        """TP / (TP + FN) of the segmentation, in [0, 1]; NaN where the reference is empty.

        Source: Jungo 2019, §3, speaks of it without an equation.
        """
        tp, _, _, fn = self.voxels
        return float(_ratio(tp, tp + fn))

    def _bins(self, region: str) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        r = REGIONS.index(region)
        return self.bin_n[r], self.bin_p[r], self.bin_positive[r]


def ece_fg(n: ArrayLike, p: ArrayLike, positive: ArrayLike) -> NDArray[np.float64]:
    """Σ_b n_b/N |mean p − share of foreground| over bins of the foreground's probability, in [0, 1].

    Other than `Tally.ece_conf`, whose bins are of the largest probability. NaN without voxels.

    Source: Jungo 2019, §2.4, "Calibration".

    Args:
        n, p, positive: (…, B) voxels, Σ p and foreground voxels of each bin; an empty bin holds zeros.
    """
    gap = np.abs(np.asarray(p, float) - np.asarray(positive, float))
    return _ratio(gap.sum(axis=-1), np.asarray(n).sum(axis=-1))


def signed_ce(n: ArrayLike, p: ArrayLike, positive: ArrayLike) -> NDArray[np.float64]:
    """Mean over the bins that hold voxels, each alike, of share of foreground − mean p, in [−1, 1].

    Above 0: the foreground is more frequent than its probability says (underconfident); below 0:
    overconfident. NaN without voxels.

    Source: Jungo 2019, §3, by the rule of its public code (miscalibration_percentage).

    Args:
        n, p, positive: as for `ece_fg`.
    """
    count = np.asarray(n)
    gap = _ratio(np.asarray(positive, float) - np.asarray(p, float), count, 0.0)
    return _ratio(gap.sum(axis=-1), (count > 0).sum(axis=-1))


def u_e(
    fp: ArrayLike, fn: ArrayLike, tpu: ArrayLike, fpu: ArrayLike, tnu: ArrayLike, fnu: ArrayLike
) -> NDArray[np.float64]:
    """Overlap (Dice) of uncertain and wrong voxels, in [0, 1].

    2 (FPU + FNU) / (FP + FN + TPU + FPU + TNU + FNU). NaN where nothing is wrong and nothing uncertain: the
    paper's table leaves such a subject out.

    Source: Jungo 2019, §2.4, "Uncertainty-Error overlap".
    """
    found = np.add(fpu, fnu)
    return _ratio(2 * found, np.add(fp, fn) + np.add(tpu, tnu) + found)


def bnf(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tpu: ArrayLike, fpu: ArrayLike) -> NDArray[np.bool_]:
    """Whether Dice rises when uncertain voxels are set to background: FPU·TP > TPU·(TP + FP + FN).

    False where it stays, and where the reference is empty: Dice is 0 or 1 by convention there.

    Source: Jungo 2019, §2.4, "Corrections".
    """
    return np.asarray(np.multiply(fpu, tp) > np.multiply(tpu, np.add(np.add(tp, fp), fn)))


def removal_gain(
    tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tpu: ArrayLike, fpu: ArrayLike
) -> NDArray[np.float64]:
    """What Dice gains when uncertain voxels are set to background, in [−1, 1]: above 0 where `bnf` holds.

    2 (TP − TPU) / (2 TP + FP + FN − TPU − FPU) − 2 TP / (2 TP + FP + FN). NaN where either is 0/0.

    Source: Jungo 2019, §2.4, "Corrections": the difference whose sign its relation tells.
    """
    total = 2 * np.asarray(tp) + np.add(fp, fn)
    after = _ratio(2 * np.subtract(tp, tpu), total - np.add(tpu, fpu))
    return np.asarray(after - _ratio(2 * np.asarray(tp), total))


def addition(
    tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tnu: ArrayLike, fnu: ArrayLike
) -> NDArray[np.bool_]:
    """Whether Dice rises when uncertain voxels are set to foreground: FNU·(TP + FP + FN) > TNU·TP.

    False where it stays. What is foreground already does not change.

    Source: Jungo 2019, §2.4, "Corrections".
    """
    return np.asarray(np.multiply(fnu, np.add(np.add(tp, fp), fn)) > np.multiply(tnu, tp))


def error_precision(tpu: ArrayLike, fpu: ArrayLike, tnu: ArrayLike, fnu: ArrayLike) -> NDArray[np.float64]:
    """Share of the uncertain voxels that are wrong, in [0, 1]; 1 where nothing is uncertain.

    Source: Jungo 2019, supplement; the 1 is its public code's.
    """
    found = np.add(fpu, fnu)
    return _ratio(found, found + np.add(tpu, tnu), 1.0)


def error_recall(fp: ArrayLike, fn: ArrayLike, fpu: ArrayLike, fnu: ArrayLike) -> NDArray[np.float64]:
    """Share of the wrong voxels that are uncertain, in [0, 1]; 1 where nothing is wrong.

    Source: Jungo 2019, supplement; the 1 is its public code's.
    """
    return _ratio(np.add(fpu, fnu), np.add(fp, fn), 1.0)


def entropy(p: NDArray[np.float32]) -> NDArray[np.float32]:
    """−(p log₂ p + (1 − p) log₂ (1 − p)), in [0, 1], to 3e-7; (V,) as p.

    Where the classes' probabilities do not sum to one (sigmoids), the foreground's alone counts.

    Source: Jungo 2019, §2.3, H for two classes.
    """
    smaller = np.subtract(1, p)
    np.minimum(smaller, p, out=smaller)
    result = np.maximum(smaller, _TINY)  # 0 ln 0 = 0
    np.log(result, out=result)
    result *= smaller
    np.subtract(1, smaller, out=smaller)
    term = np.log(smaller)
    term *= smaller
    result += term
    result *= np.float32(-1 / np.log(2))
    return np.minimum(result, 1, out=result)


def rescaled(
    raw: NDArray[np.float32], lo: float, hi: float, squeeze: float = 1e-5, clip: bool = False
) -> NDArray[np.float32]:
    """[lo, hi] linearly to [squeeze, 1 − squeeze]; `squeeze` everywhere where lo = hi. Any shape.

    Source: Jungo 2019, §2.3, and its public code, which divides by 0 where lo = hi.

    Args:
        clip: whether values outside [lo, hi] are taken as its ends.

    Raises:
        ValueError: hi below lo; without `clip`, a value outside [lo, hi]; NaN.
    """
    if not lo <= hi:
        raise ValueError(f"range {lo}…{hi}: expected the smallest and the largest value")
    values = np.asarray(raw, np.float32)
    if clip:
        values = np.clip(values, lo, hi)
    if values.size and not (np.float32(lo) <= values.min() and values.max() <= np.float32(hi)):
        raise ValueError(f"uncertainties {values.min()}…{values.max()}: expected in {lo}…{hi}")
    if lo == hi:
        return np.full_like(values, squeeze)
    return squeeze + (values - np.float32(lo)) / np.float32(hi - lo) * np.float32(1 - 2 * squeeze)


def count_probabilities(
    p: NDArray[np.float32],
    predicted: NDArray[np.uint8],
    y: NDArray[np.uint8],
    inside: NDArray[np.bool_] | None,
    thresholds: Sequence[float],
    bins: int,
) -> ErrorCounts:
    """Counts V voxels; their uncertainty is the normalised entropy of p.

    Source: Jungo 2019, §2.3, baseline, MC dropout and ensembles.

    Args:
        p: (V,) probability of the foreground, in [0, 1], used as float32.
        predicted: (V,) predicted class, 0 or 1.
        y: (V,) true class, 0 or 1.
        inside: (V,) whether the voxel belongs to the region `mask`; None: that region stays empty.
        thresholds: T ascending, in [0, 1), rounded to float32 as the uncertainties are: what is .3 does not
            exceed .3.
        bins: equal bins of p.

    Raises:
        ValueError: shapes that do not fit, a class beyond 1, thresholds not ascending, a probability outside
            [0, 1] or NaN.
    """
    return _count(p, True, predicted, y, inside, thresholds, bins)


def count_uncertainty(
    u: NDArray[np.float32],
    predicted: NDArray[np.uint8],
    y: NDArray[np.uint8],
    inside: NDArray[np.bool_] | None,
    thresholds: Sequence[float],
    bins: int,
) -> ErrorCounts:
    """Counts V voxels of a known uncertainty u (V,) in [0, 1]; the foreground's probability is 1 − u/2 where
    it is predicted, u/2 elsewhere.

    Source: Jungo 2019, §2.4, for auxiliary networks and σ.

    Args and raises: as for `count_probabilities`.
    """
    return _count(u, False, predicted, y, inside, thresholds, bins)


def _count(
    values: NDArray[np.float32],
    probabilities: bool,
    predicted: NDArray[np.uint8],
    y: NDArray[np.uint8],
    inside: NDArray[np.bool_] | None,
    thresholds: Sequence[float],
    bins: int,
) -> ErrorCounts:
    """The pass; `values` are probabilities of the foreground, or uncertainties."""
    from .kernels import add_errors  # numba: a second that tables, which need the formulas alone, can spare

    inside = np.zeros(values.shape, bool) if inside is None else inside
    levels = np.asarray(thresholds, np.float32)
    _check(values, predicted, y, inside, levels)
    edges = np.linspace(0, 1 + 1e-8, bins + 1)
    result = ErrorCounts(
        bin_n=np.zeros((2, bins), np.int64),
        bin_p=np.zeros((2, bins)),
        bin_positive=np.zeros((2, bins), np.int64),
        counts=np.zeros((len(levels) + 1, 4), np.int64),
        u_sum=np.zeros(2),
    )
    # Contiguous, writable and of one type whatever the caller has: one compilation of the kernel serves all.
    wanted: list[tuple[NDArray[Any], type]] = [
        (values, np.float32),
        (predicted, np.uint8),
        (y, np.uint8),
        (inside, np.uint8),
    ]
    for start in range(0, len(values), BLOCK):
        block = slice(start, start + BLOCK)
        given, guess, truth, masked = (np.require(a[block], kind, ["C", "W"]) for a, kind in wanted)
        p, u = (
            (given, entropy(given)) if probabilities else (np.where(guess, 1 - given / 2, given / 2), given)
        )
        if bad := add_errors(p, u, guess, truth, masked, levels, edges, *vars(result).values()):
            raise ValueError(f"{bad} values are outside [0, 1] or NaN")
    return result


def _check(
    values: NDArray[Any],
    predicted: NDArray[np.uint8],
    y: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    thresholds: NDArray[np.float32],
) -> None:
    shapes = {array.shape for array in (values, predicted, y, inside)}
    if values.ndim != 1 or len(shapes) > 1:
        raise ValueError(f"shapes do not fit: {sorted(shapes)}, expected (V,) each")
    for name, classes in (("predicted", predicted), ("y", y)):
        if classes.size and not 0 <= classes.min() <= classes.max() <= 1:
            raise ValueError(f"{name}: classes {classes.min()}…{classes.max()}, expected 0 and 1")
    inner = len(thresholds) > 0 and thresholds[0] >= 0 and thresholds[-1] < 1
    if not inner or any(a >= b for a, b in pairwise(thresholds)):
        raise ValueError(f"thresholds {thresholds.tolist()}: expected ascending, in [0, 1)")


def _ratio(total: ArrayLike, n: ArrayLike, empty: float = _NAN) -> NDArray[np.float64]:
    """total / n, and `empty` where n is 0."""
    divisor = np.asarray(n, float)
    return np.asarray(
        np.where(divisor == 0, empty, np.asarray(total, float) / np.where(divisor == 0, 1, divisor))
    )
