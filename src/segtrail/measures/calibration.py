"""NLL, Brier, ECE, reliability, Dice and segment entropy of one subject, from one pass over its voxels.

A pass adds every voxel to a `Tally` of int64 counts and float64 sums; tallies of disjoint voxels add up, so
a subject may be worked through slab by slab. The measures are read from the tally afterwards.

Probabilities need not sum to one (sigmoids do not), but each must lie in [0, 1]. Up to `kernels.SLACK`
above one is taken as rounding and set to one; anything else outside, and NaN, is refused (of an ensemble,
its mean is what is looked at). Ties of the largest probability go to the lowest class.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .kernels import SMALLEST_CLIP, add_voxels, widen

REGIONS = ("volume", "box")
FEW = 10  # members up to which a subset's sum is cheaper by additions than in the matrix product
BLOCK = 8192  # voxels per matrix product: a block of every subset's mean stays in the cache

# Sees what a pass has made of some voxels: the subset's number, which of its voxels, their mean probabilities
# (K, n) float32 and most probable classes (n,). Of a volume, the number of the slice comes first.
Watch = Callable[[int, slice, NDArray[np.float32], NDArray[np.uint8]], None]
WatchSlices = Callable[[int, int, slice, NDArray[np.float32], NDArray[np.uint8]], None]


@dataclass(frozen=True, eq=False)
class Tally:
    """What one pass counts. The first axis of the first six arrays is the region, as in `REGIONS`.

    K classes, class 0 the background; B bins ((b−1)/B, b/B] of confidence max_k p, edges rounded to float32
    (the precision of the probabilities, so that 7 of 10 saturated votes lie on the edge .7, not beyond it).
    Confidence 0 (every channel 0), which no right-closed bin holds, counts in the first bin.
    """

    n: NDArray[np.int64]  # (2,) voxels
    log_loss: NDArray[np.float64]  # (2,) Σ −ln p_true
    squared_error: NDArray[np.float64]  # (2,) Σ over voxels and classes
    bin_n: NDArray[np.int64]  # (2, B) voxels
    bin_confidence: NDArray[np.float64]  # (2, B) Σ confidence
    bin_correct: NDArray[np.int64]  # (2, B) voxels whose most probable class is the true one
    reference: NDArray[np.int64]  # (K,) voxels of the class in the reference, whole volume
    predicted: NDArray[np.int64]  # (K,) voxels predicted as the class, whole volume
    true_positive: NDArray[np.int64]  # (K,) both
    entropy: NDArray[np.float64]  # (K,) Σ binary entropy of p_k over voxels predicted k; 0 for the background

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def nll(self, region: str) -> float:
        """Mean −ln p_true in nats, p_true clipped from below. NaN without voxels.

        Source: Mehrtash 2020, §V.B, eq. 3.
        """
        r = REGIONS.index(region)
        return _ratio(self.log_loss[r], self.n[r])

    def brier_sum(self, region: str) -> float:
        """Mean over voxels of Σ_k (p_k − [y = k])², in [0, K]. NaN without voxels.

        Source: Mehrtash 2020, §V.B, eq. 4 without its 1/K, which the printed values do not contain.
        """
        r = REGIONS.index(region)
        return _ratio(self.squared_error[r], self.n[r])

    def brier_mean(self, region: str) -> float:
        """Mean over voxels of Σ_k (p_k − [y = k])² / K, in [0, 1]. NaN without voxels.

        Source: Mehrtash 2020, §V.B, eq. 4 as written.
        """
        return self.brier_sum(region) / len(self.reference)

    def ece_conf(self, region: str) -> float:
        """Σ_b n_b/N |accuracy_b − confidence_b| over bins of max_k p, in [0, 1]. NaN without voxels.

        Source: Mehrtash 2020, §V.B, eq. 5.
        """
        r = REGIONS.index(region)
        return _ratio(np.abs(self.bin_correct[r] - self.bin_confidence[r]).sum(), self.n[r])

    def reliability(self, region: str) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Per bin: voxels (B,), mean confidence (B,), accuracy (B,); the means are NaN in an empty bin."""
        r = REGIONS.index(region)
        count = self.bin_n[r]
        divisor = np.where(count > 0, count, np.nan)
        return count, self.bin_confidence[r] / divisor, self.bin_correct[r] / divisor

    def dice(self, k: int) -> float:
        """2 TP / (2 TP + FP + FN) of class k, whole volume; 1 where reference and prediction are empty.

        Source: Dice 1945; Mehrtash 2020, §VI.D, names it without an equation.
        """
        total = self.reference[k] + self.predicted[k]
        return float(2 * self.true_positive[k] / total) if total else 1.0

    def seg_entropy(self, k: int) -> float:
        """Mean binary entropy (nats, in [0, ln 2]) of p_k over the voxels predicted as segment k, whole
        volume. NaN where nothing is predicted as k.

        Source: Mehrtash 2020, §V.D, eq. 7.

        Raises:
            ValueError: for the background, which is no segment and is not tallied.
        """
        if not 0 < k < len(self.entropy):
            raise ValueError(f"segment {k}: expected 1…{len(self.entropy) - 1}")
        return _ratio(self.entropy[k], self.predicted[k])


def tally(
    p: NDArray[np.floating], y: NDArray[np.uint8], box: NDArray[np.bool_], bins: int, clip: float = 1e-7
) -> tuple[Tally, NDArray[np.uint8]]:
    """One pass over V voxels.

    Args:
        p: (K, V) probabilities, float16, float32 or float64 (used as float32).
        y: (V,) true class, 0…K−1.
        box: (V,) whether the voxel belongs to the region `box`.
        bins: equal bins of confidence.
        clip: smallest probability inside the logarithm of the NLL, at least 1e-9.

    Returns:
        The tally, and the most probable class (V,).

    Raises:
        ValueError: shapes that do not fit, a class beyond K−1, a probability outside [0, 1] or NaN.
    """
    tallies, labels = _run(p[None], None, y, box, bins, clip, 2 * BLOCK)
    return tallies[0], labels[0]


def tally_subsets(
    stack: NDArray[np.floating],
    y: NDArray[np.uint8],
    box: NDArray[np.bool_],
    subsets: NDArray[np.bool_],
    bins: int,
    clip: float = 1e-7,
    block: int = BLOCK,
    watch: Watch | None = None,
) -> tuple[list[Tally], NDArray[np.uint8]]:
    """`tally` of the mean probability (Mehrtash 2020, eq. 6) of D subsets of M members.

    All sums of a block over more than `FEW` members come from one float32 matrix product, subset indicator
    × members, and members are read once whatever D is. Memory beyond the arguments and the labels is
    4 · block · K · (M + D) bytes.

    Args:
        stack: (M, K, V) probabilities of the members.
        subsets: (D, M), row d true where the member belongs to subset d.
        y, box, bins, clip: as for `tally`.
        block: voxels per matrix product.
        watch: for other measures of the same probabilities, so that they are averaged once.

    Returns:
        A tally per subset, and the most probable classes (D, V).

    Raises:
        ValueError: as `tally`; a subset without members.
    """
    return _run(stack, subsets, y, box, bins, clip, block, watch)


def tally_volume(
    slices: Iterable[NDArray[np.floating]],
    label: NDArray[np.uint8],
    box: NDArray[np.bool_],
    subsets: NDArray[np.bool_],
    bins: int,
    clip: float = 1e-7,
    keep: NDArray[np.bool_] | None = None,
    watch: WatchSlices | None = None,
) -> tuple[list[Tally], NDArray[np.uint8]]:
    """`tally_subsets` of a whole subject, one slice in memory at a time.

    Args:
        slices: Z arrays (M, K, Y, X), first slice first; best made as they are asked for. (The pages
            touched of a memory map stay in the process until it is closed.)
        label: (Z, Y, X) true class.
        box: (Z, Y, X), as from `foreground_box`.
        subsets, bins, clip: as for `tally_subsets`.
        keep: (D,) the subsets whose labels are wanted; all when left out.
        watch: as for `tally_subsets`.

    Returns:
        A tally per subset, and the most probable classes (subsets kept, Z, Y, X).

    Raises:
        ValueError: as `tally_subsets`; not as many slices as the label has.
    """
    keep = np.ones(len(subsets), dtype=bool) if keep is None else keep
    labels = np.empty((int(keep.sum()), *label.shape), dtype=np.uint8)
    totals: list[Tally] = []
    for z, (stack, truth, inside) in enumerate(zip(slices, label, box, strict=True)):
        flat = stack.reshape(*stack.shape[:2], -1)
        watch_slice = watch and partial(watch, z)
        tallies, predicted = tally_subsets(
            flat, truth.ravel(), inside.ravel(), subsets, bins, clip, watch=watch_slice
        )
        totals = [a + b for a, b in zip(totals, tallies, strict=True)] if z else tallies
        labels[:, z] = predicted[keep].reshape(-1, *truth.shape)
    return totals, labels


def foreground_box(
    label: NDArray[np.uint8], spacing_zyx: tuple[float, float, float], in_plane_mm: float, slices: int
) -> NDArray[np.bool_]:
    """The box of all foreground, widened and clipped to the image.

    One box around all segments together. In plane a voxel belongs when its centre lies within the outer
    faces of the tight box moved out by `in_plane_mm`; where that is a whole number of voxels, by so many.

    Source: Mehrtash 2020, §VI.D (8 mm, 2 slices).

    Args:
        label: (Z, Y, X) classes, 0 the background.
        spacing_zyx: mm; the slices are counted, so the first is not used.

    Returns:
        (Z, Y, X), all false where the reference has no foreground: the region is empty, its measures NaN.
    """
    box = np.zeros(label.shape, dtype=bool)
    if not label.any():
        return box
    margins = (slices, *(int(in_plane_mm / spacing + 0.5 + 1e-6) for spacing in spacing_zyx[1:]))
    widened = []
    for axis, margin in enumerate(margins):
        occupied = np.flatnonzero(label.any(axis=tuple(other for other in range(3) if other != axis)))
        widened.append(slice(max(occupied[0] - margin, 0), occupied[-1] + margin + 1))
    box[tuple(widened)] = True
    return box


def _run(
    stack: NDArray[np.floating],
    subsets: NDArray[np.bool_] | None,
    y: NDArray[np.uint8],
    box: NDArray[np.bool_],
    bins: int,
    clip: float,
    block: int,
    watch: Watch | None = None,
) -> tuple[list[Tally], NDArray[np.uint8]]:
    """The pass of `tally_subsets`; without `subsets` the one member is taken as it is."""
    subsets = np.ones((1, 1), dtype=bool) if subsets is None else subsets
    _check(stack, subsets, y, box, clip)
    members, classes, voxels = stack.shape
    chosen = [np.flatnonzero(row) for row in subsets]
    sizes = subsets.sum(axis=1).astype(np.float32)
    many = sizes > FEW
    # Sums, not means: a sum of equal votes divided once is exact, a sum of rounded weights is not.
    indicator = subsets[many].astype(np.float32)
    row_of = np.cumsum(many) - 1
    edges = (np.arange(bins + 1) / bins).astype(np.float32)
    reference = np.bincount(y, minlength=classes)
    tallies = [_empty(reference, bins) for _ in sizes]
    arrays = [[values for name, values in vars(t).items() if name != "reference"] for t in tallies]
    labels = np.empty((len(sizes), voxels), dtype=np.uint8)
    # Buffers are used again and again: fresh large arrays cost a page fault for every 4 kB.
    buffer = np.empty(members * classes * block, dtype=np.float32)
    products = np.empty(len(indicator) * classes * block, dtype=np.float32)
    for start in range(0, voxels, block):
        part = slice(start, min(start + block, voxels))
        p = _as_float32(stack[:, :, part], buffer)
        out = products[: len(indicator) * p[0].size].reshape(len(indicator), p[0].size)
        sums = np.matmul(indicator, p.reshape(members, -1), out=out).reshape(-1, *p.shape[1:])
        truth, inside = y[part].astype(np.uint8), np.flatnonzero(box[part])
        for d in range(len(tallies)):
            sum_d = sums[row_of[d]] if many[d] else _added(p, chosen[d])
            if bad := add_voxels(sum_d, sizes[d], truth, inside, edges, clip, labels[d, part], *arrays[d]):
                raise ValueError(f"{bad} probabilities are outside [0, 1] or NaN")
            if watch is not None:
                watch(d, part, np.minimum(sum_d / sizes[d], 1), labels[d, part])
    return tallies, labels


def _added(p: NDArray[np.float32], chosen: NDArray[np.intp]) -> NDArray[np.float32]:
    """The sum (K, V) of the chosen members of p (M, K, V), one after another."""
    if len(chosen) == 1:
        return p[chosen[0]]
    total = p[chosen[0]] + p[chosen[1]]
    for member in chosen[2:]:
        total += p[member]
    return total


def _as_float32(block: NDArray[np.floating], buffer: NDArray[np.float32]) -> NDArray[np.float32]:
    """The block copied into the buffer: contiguous, writable and float32 whatever the caller has, so that one
    compilation of the kernel serves all."""
    copy = buffer[: block.size].reshape(block.shape)
    if block.dtype == np.float16:
        flat = copy.reshape(-1)
        widen(np.array(block, order="C").view(np.uint16).reshape(-1), flat.view(np.uint32), flat)
    else:
        np.copyto(copy, block, casting="same_kind")
    return copy


def _empty(reference: NDArray[np.int64], bins: int) -> Tally:
    classes = len(reference)
    return Tally(
        n=np.zeros(2, np.int64),
        log_loss=np.zeros(2),
        squared_error=np.zeros(2),
        bin_n=np.zeros((2, bins), np.int64),
        bin_confidence=np.zeros((2, bins)),
        bin_correct=np.zeros((2, bins), np.int64),
        reference=reference.copy(),
        predicted=np.zeros(classes, np.int64),
        true_positive=np.zeros(classes, np.int64),
        entropy=np.zeros(classes),
    )


def _check(
    stack: NDArray[np.floating],
    subsets: NDArray[np.bool_],
    y: NDArray[np.uint8],
    box: NDArray[np.bool_],
    clip: float,
) -> None:
    if stack.ndim != 3 or y.shape != stack.shape[2:] or box.shape != y.shape:
        raise ValueError(f"shapes do not fit: p {stack.shape}, y {y.shape}, box {box.shape}")
    if y.size and not 0 <= y.min() <= y.max() < stack.shape[1]:
        raise ValueError(f"classes {y.min()}…{y.max()}: expected 0…{stack.shape[1] - 1}")
    if not SMALLEST_CLIP <= clip < 1:
        raise ValueError(f"clip {clip}: expected in [{SMALLEST_CLIP}, 1)")
    if subsets.dtype != bool or subsets.ndim != 2 or subsets.shape[1] != len(stack):
        raise ValueError(f"subsets {subsets.dtype} {subsets.shape}: expected bool (D, {len(stack)})")
    if not subsets.any(axis=1).all():
        raise ValueError("a subset has no members")


def _ratio(total: np.float64, n: np.int64) -> float:
    return float(total / n) if n else float("nan")
