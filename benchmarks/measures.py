"""Speed and memory of the measures, as ratios to the obvious way within one run, on one thread.

python benchmarks/measures.py [--json]
"""

# ruff: noqa: E402
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy loads its BLAS

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segtrail.measures.calibration import REGIONS, foreground_box, tally, tally_subsets, tally_volume
from segtrail.measures.draws import draw_subsets
from segtrail.measures.errors import ErrorCounts, count_probabilities, count_uncertainty
from segtrail.measures.surface import hd95

SHAPE = (155, 240, 240)  # Z, Y, X of a BraTS volume
CLASSES, BINS, MEMBERS = 4, 10, 100
SIZES = (1, 2, 5, 10, 25, 50)
THRESHOLDS = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
MEMORY_LIMIT_GB = 6


def tumour(
    shape: tuple[int, int, int], radius: float, shift: float, roughness: float, seed: int
) -> NDArray[Any]:
    """A ball with a rough border: enhancing rim (3) around a core (1), within edema (2)."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape).astype(np.float32), 6)
    grid = np.ogrid[tuple(slice(0, size) for size in shape)]
    distance = np.sqrt(sum((axis - size / 2 - shift) ** 2 for axis, size in zip(grid, shape, strict=True)))
    distance += field / field.std() * roughness
    return np.select(
        [distance < 0.4 * radius, distance < 0.6 * radius, distance < radius], [1, 3, 2], 0
    ).astype(np.uint8)


def smooth_logits(label: NDArray[Any]) -> NDArray[np.float32]:
    return np.stack(
        [12 * ndimage.gaussian_filter((label == k).astype(np.float32), 1.5) for k in range(CLASSES)]
    )


def softmax_of(logits: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """(K, …) probabilities that are confident away from borders and unsure, sometimes wrong, at them."""
    noisy = logits + np.random.default_rng(seed).standard_normal(logits.shape, dtype=np.float32)
    np.exp(noisy, out=noisy)
    noisy /= noisy.sum(axis=0)
    return noisy


def numpy_calibration(p: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
    """NLL, Brier and ECE of one region the plain way."""
    confidence, correct = p.max(axis=0), p.argmax(axis=0) == y
    nll = -np.log(np.maximum(np.take_along_axis(p, y[None].astype(np.intp), 0)[0], 1e-7)).mean(dtype=float)
    brier = sum(((p[k] - (y == k)) ** 2).mean(dtype=float) for k in range(CLASSES))
    ece = 0.0
    for b in range(BINS):
        inside = (confidence > b / BINS) & (confidence <= (b + 1) / BINS)
        if n := np.count_nonzero(inside):
            ece += n / len(y) * abs(correct[inside].mean() - confidence[inside].mean(dtype=float))
    return {"nll": nll, "brier_sum": brier, "ece_conf": ece}


def numpy_all(p: NDArray[Any], y: NDArray[Any], box: NDArray[Any]) -> dict[tuple[str, str], float]:
    """What one `tally` holds, the plain way: both regions, Dice and segment entropy."""
    found = {("volume", name): value for name, value in numpy_calibration(p, y).items()}
    found |= {("box", name): value for name, value in numpy_calibration(p[:, box], y[box]).items()}
    labels = p.argmax(axis=0)
    for k in range(1, CLASSES):
        a, b = labels == k, y == k
        found[str(k), "dice"] = 2 * (a & b).sum() / (a.sum() + b.sum())
        q = p[k][a]
        q = q[q < 1]
        found[str(k), "entropy"] = -(q * np.log(q) + (1 - q) * np.log(1 - q)).sum(dtype=float) / max(
            a.sum(), 1
        )
    return found


def difference(one: Any, plain: dict[tuple[str, str], float]) -> float:
    """The largest between a tally's measures and the plain ones."""
    got = {
        (region, name): getattr(one, name)(region)
        for region in REGIONS
        for name in ("nll", "brier_sum", "ece_conf")
    }
    got |= {(str(k), "dice"): one.dice(k) for k in range(1, CLASSES)}
    got |= {(str(k), "entropy"): one.seg_entropy(k) for k in range(1, CLASSES)}
    return max(abs(got[key] - value) for key, value in plain.items())


def seconds(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The median of each way, taken in turn: seconds of processor time, which one thread on a busy machine
    takes hardly more of than on an idle one."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.process_time()
            way()
            taken[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def row(
    work: str, obvious: str, slow: float, fast: float, wanted: float | None, error: float
) -> dict[str, Any]:
    return {
        "work": work,
        "obvious": obvious,
        "obvious_s": slow,
        "ours_s": fast,
        "ratio": slow / fast,
        "wanted": wanted,
        "largest_difference": float(error),
    }


def calibration_rows() -> Iterator[dict[str, Any]]:
    label = tumour(SHAPE, 40, 0, 5, seed=1)
    p = softmax_of(smooth_logits(label), seed=2).reshape(CLASSES, -1)
    half = p.astype(np.float16)
    y, box = label.ravel(), foreground_box(label, (1, 1, 1), 8, 2).ravel()
    error = difference(tally(p, y, box, BINS)[0], numpy_all(p, y, box))
    error_half = difference(tally(half, y, box, BINS)[0], numpy_all(half.astype(np.float32), y, box))
    taken = seconds(
        {
            "ours": lambda: tally(p, y, box, BINS),
            "ours float16": lambda: tally(half, y, box, BINS),
            "all": lambda: numpy_all(p, y, box),
            "volume": lambda: numpy_calibration(p, y),
            "all float16": lambda: numpy_all(half.astype(np.float32), y, box),
        },
        repeats=5,
    )
    work = f"calibration, {len(y) / 1e6:.1f} M voxels × {CLASSES}"
    yield row(work, "numpy, the same results", taken["all"], taken["ours"], 8, error)
    yield row(work, "numpy, only NLL, Brier, ECE of the volume", taken["volume"], taken["ours"], None, error)
    yield row(
        work + ", float16",
        "numpy, the same results",
        taken["all float16"],
        taken["ours float16"],
        8,
        error_half,
    )


def curve_rows(voxels: int = 1_000_000, every: int = 5) -> Iterator[dict[str, Any]]:
    """The loops take every fifth subset, and their time is multiplied: all would take minutes."""
    label = tumour(SHAPE, 40, 0, 5, seed=1)[69:87]  # the middle slices, where the tumour is largest
    y = label.ravel()[:voxels]
    logits = smooth_logits(label).reshape(CLASSES, -1)[:, :voxels]
    full = np.stack([softmax_of(logits, seed=10 + m) for m in range(MEMBERS)])
    half = full.astype(np.float16)
    full[:] = half  # the loops are spared the conversion
    box = foreground_box(label, (1, 1, 1), 8, 2).ravel()[:voxels]
    subsets = np.concatenate([draw_subsets(MEMBERS, size, 50, seed=size) for size in SIZES])
    found: dict[str, list[Any]] = {}

    def ours() -> None:
        found["ours"] = tally_subsets(half, y, box, subsets, BINS)[0]

    def loop_numpy() -> None:
        found["numpy"] = [numpy_all(full[subset].mean(axis=0), y, box) for subset in subsets[::every]]

    def loop_tally() -> None:
        for subset in subsets[::every]:
            tally(full[subset].mean(axis=0), y, box, BINS)

    taken = seconds({"ours": ours, "numpy": loop_numpy, "tally": loop_tally}, repeats=1)
    error = max(
        difference(one, plain) for one, plain in zip(found["ours"][::every], found["numpy"], strict=True)
    )
    work = f"M-curve, {len(subsets)} subsets of {MEMBERS}, {voxels / 1e6:.1f} M voxels × {CLASSES}"
    yield row(work, "loop: mean, then numpy", every * taken["numpy"], taken["ours"], 10, error)
    yield row(work, "loop: mean, then our one pass", every * taken["tally"], taken["ours"], None, error)


def numpy_errors(
    p: NDArray[Any], u: NDArray[Any] | None, predicted: NDArray[Any], y: NDArray[Any], mask: NDArray[Any]
) -> dict[Any, Any]:
    """What one `ErrorCounts` holds, the plain way; without u it is the entropy of p."""
    if u is None:
        q = np.clip(p, 1e-38, 1 - 6e-8)
        u = -(q * np.log(q) + (1 - q) * np.log(1 - q)) / np.float32(np.log(2))
    guess, truth = predicted == 1, y == 1
    kinds = (guess & truth, guess & ~truth, ~guess & ~truth, ~guess & truth)
    found: dict[Any, Any] = {"voxels": tuple(int(kind.sum()) for kind in kinds)}
    for t, threshold in enumerate(THRESHOLDS):
        uncertain = u > np.float32(threshold)
        found[t] = tuple(int((kind & uncertain).sum()) for kind in kinds)
    edges = np.linspace(0, 1 + 1e-8, BINS + 1)
    for region, inside in (("volume", slice(None)), ("mask", mask)):
        of_region, foreground = p[inside], truth[inside]
        ece, gaps = 0.0, []
        for low, high in pairwise(edges):
            chosen = (of_region >= low) & (of_region < high)
            if n := chosen.sum():
                gaps.append(foreground[chosen].mean() - of_region[chosen].mean(dtype=float))
                ece += n / len(of_region) * abs(gaps[-1])
        found[region, "ece_fg"], found[region, "signed_ce"] = ece, statistics.mean(gaps)
        found[region, "mean_uncertainty"] = u[inside].mean(dtype=float)
    return found


def errors_difference(counts: ErrorCounts, plain: dict[Any, Any]) -> float:
    """The largest between the measures of the regions; the counts must be equal."""
    for t in range(len(THRESHOLDS)):
        if (counts.voxels, counts.uncertain(t)) != (plain["voxels"], plain[t]):
            raise AssertionError(f"threshold {THRESHOLDS[t]}: {counts.uncertain(t)}, expected {plain[t]}")
    return max(
        abs(getattr(counts, name)(region) - plain[region, name])
        for region in ("volume", "mask")
        for name in ("ece_fg", "signed_ce", "mean_uncertainty")
    )


def error_rows() -> Iterator[dict[str, Any]]:
    """A head fills a quarter of the volume, as the mask of a brain does."""
    label = (tumour(SHAPE, 40, 0, 5, seed=1) > 0).astype(np.uint8)
    grid = np.ogrid[tuple(slice(0, size) for size in SHAPE)]
    distance = sum(((axis - size / 2) / (0.4 * size)) ** 2 for axis, size in zip(grid, SHAPE, strict=True))
    y, mask = label.ravel(), (distance < 1).ravel()
    logit = 16 * (ndimage.gaussian_filter(label.astype(np.float32), 1.5) - 0.5).ravel()
    logit += np.random.default_rng(2).standard_normal(logit.shape, dtype=np.float32)
    p = 1 / (1 + np.exp(-logit))
    predicted = (p > 0.5).astype(np.uint8)
    u = 2 * np.minimum(p, 1 - p)
    of_u = np.where(predicted, 1 - u / 2, u / 2)
    ways = {
        "ours": lambda: count_probabilities(p, predicted, y, mask, THRESHOLDS, BINS),
        "numpy": lambda: numpy_errors(p, None, predicted, y, mask),
        "ours, u": lambda: count_uncertainty(u, predicted, y, mask, THRESHOLDS, BINS),
        "numpy, u": lambda: numpy_errors(of_u, u, predicted, y, mask),
    }
    error = errors_difference(ways["ours"](), ways["numpy"]())
    error_u = errors_difference(ways["ours, u"](), ways["numpy, u"]())
    taken = seconds(ways, repeats=5)
    work = f"errors, {len(y) / 1e6:.1f} M voxels, {len(THRESHOLDS)} thresholds"
    yield row(work, "numpy, the same results", taken["numpy"], taken["ours"], 8, error)
    yield row(
        work + ", u given", "numpy, the same results", taken["numpy, u"], taken["ours, u"], None, error_u
    )


def surface_rows() -> Iterator[dict[str, Any]]:
    import torch
    from monai.metrics import compute_hausdorff_distance

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=FutureWarning, module="monai")
    shape = (240, 240, 155)
    pairs = {
        "far (rough)": [tumour(shape, 32, 0, 5, seed=4) > 0, tumour(shape, 33, 2, 5, seed=5) > 0],
        "close": [tumour(shape, 32, 0, 3, seed=4) > 0, tumour(shape, 33, 0.5, 3, seed=4) > 0],
    }
    for name, (a, b) in pairs.items():
        tensors = [torch.from_numpy(mask[None, None]) for mask in (a, b)]

        def monai(tensors: list[Any] = tensors) -> float:
            return float(
                compute_hausdorff_distance(
                    *tensors, include_background=True, percentile=95, spacing=[1.0, 1.0, 1.0]
                )
            )

        def ours(a: NDArray[Any] = a, b: NDArray[Any] = b) -> float:
            return hd95(a, b, (1.0, 1.0, 1.0))

        error = abs(monai() - ours()) / ours()  # relative: MONAI's number is a float32
        taken = seconds({"monai": monai, "ours": ours}, repeats=9)
        yield row(
            f"HD95, 240×240×155, {name}, {ours():.2f} mm", "MONAI", taken["monai"], taken["ours"], 5, error
        )


def whole_subject() -> dict[str, Any]:
    """The paper's brain subject: 100 members, 10 draws of each size, Dice and HD95 of the 10 largest."""
    section = tumour(SHAPE, 40, 0, 5, seed=1)[77]
    label = np.zeros(SHAPE, np.uint8)
    label[40:120] = section  # a cylinder, so that two slices of the stack stand for all
    box = foreground_box(label, (1, 1, 1), 8, 2)
    subsets = np.concatenate([draw_subsets(MEMBERS, size, 10, seed=size) for size in SIZES])
    keep = subsets.sum(axis=1) == max(SIZES)
    made = [
        np.stack([softmax_of(smooth_logits(of), seed=m).astype(np.float16) for m in range(MEMBERS)])
        for of in (np.zeros_like(section), section)
    ]

    def slices() -> Iterator[NDArray[np.float16]]:
        for truth in label:
            yield made[int(truth.any())].copy()  # a new array, as if read from disk

    start = time.process_time()
    tallies, labels = tally_volume(slices(), label, box, subsets, BINS, keep=keep)
    counting = time.process_time() - start
    start = time.process_time()
    for predicted in labels:
        for k in range(1, CLASSES):
            hd95(predicted == k, label == k, (1.0, 1.0, 1.0))
    return {
        "subsets": len(subsets),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "limit_gb": MEMORY_LIMIT_GB,
        "stack_gb": MEMBERS * CLASSES * label.size * 2 / 1e9,
        "calibration_and_dice_s": counting,
        "hd95_s": time.process_time() - start,
        "voxels": int(tallies[0].n[0]),
    }


def warm_up() -> None:
    """Loads or compiles the kernels: no part of what is measured."""
    one, no = np.zeros(1, np.uint8), np.zeros(1, bool)
    tally(np.ones((1, 1), np.float32), one, no, BINS)
    count_probabilities(np.ones(1, np.float32), one, one, no, THRESHOLDS, BINS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--whole-subject", action="store_true", help=argparse.SUPPRESS)  # in its own process
    chosen = parser.parse_args()
    if chosen.whole_subject:
        print(json.dumps(whole_subject()))
        return
    memory = json.loads(subprocess.check_output([sys.executable, __file__, "--whole-subject"], text=True))
    warm_up()
    rows = [*calibration_rows(), *error_rows(), *curve_rows(), *surface_rows()]
    if chosen.json:
        print(json.dumps({"ratios": rows, "whole_subject": memory}, indent=1))
        return
    print(f"{'work':58}{'obvious way':44}{'its s':>8}{'ours s':>8}{'ratio':>8}{'wanted':>8}{'max diff':>10}")
    for r in rows:
        wanted = f"≥ {r['wanted']}" if r["wanted"] else "–"
        print(
            f"{r['work']:58}{r['obvious']:44}{r['obvious_s']:8.3f}{r['ours_s']:8.3f}"
            f"{r['ratio']:7.1f}×{wanted:>8}{r['largest_difference']:10.1e}"
        )
    print(
        f"\nOne 240×240×155 subject of {CLASSES} classes and {MEMBERS} members, a synthetic stack handed"
        f" over slice by slice ({memory['stack_gb']:.1f} GB if it were whole), {memory['subsets']} subsets:\n"
        f"  peak memory {memory['peak_gb']:.2f} GB (wanted < {MEMORY_LIMIT_GB});"
        f" calibration and Dice {memory['calibration_and_dice_s']:.0f} s, 30 × HD95 {memory['hd95_s']:.1f} s"
    )


if __name__ == "__main__":
    main()
