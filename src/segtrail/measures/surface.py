"""Distances between the surfaces of two masks."""

import numpy as np
from numpy.typing import NDArray

CELL_VOXELS = 3  # edge of the cells that share one first query


def hd95(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: tuple[float, ...]) -> float:
    """95th percentile Hausdorff distance in mm: the larger of the two directed 95th percentiles.

    A surface voxel has a face neighbour outside the mask or lies on the image's border; distances go from
    voxel centre to voxel centre; percentiles are interpolated linearly.

    Source: MONAI's definition; Mehrtash 2020, §VI.D and suppl. table II, does not say which of several it is.

    Args:
        a, b: masks of one shape, 2D or 3D.
        spacing: mm per voxel, in the masks' order of axes.

    Returns:
        mm, ≥ 0; NaN where either mask is empty.

    Raises:
        ValueError: masks of different shapes, or a spacing that does not fit them.
    """
    if a.shape != b.shape or len(spacing) != a.ndim:
        raise ValueError(f"shapes do not fit: {a.shape}, {b.shape}, spacing {spacing}")
    if min(spacing) <= 0:
        raise ValueError(f"spacing {spacing}: expected above 0")
    if not (a.any() and b.any()):
        return float("nan")
    mm = np.asarray(spacing, dtype=float)
    points_a, points_b = surface_voxels(a) * mm, surface_voxels(b) * mm
    cell = CELL_VOXELS * mm.min()
    return max(
        _directed_percentile(points_a, points_b, 95, cell), _directed_percentile(points_b, points_a, 95, cell)
    )


def surface_voxels(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n, dimensions) indices of the voxels that have a face neighbour outside the mask or off the image."""
    if not mask.any():
        return np.empty((0, mask.ndim), dtype=np.int64)
    box = _bounding_box(mask)
    padded = np.pad(mask[box], 1)
    inner = padded.copy()
    for axis in range(mask.ndim):
        before = (slice(None),) * axis + (slice(None, -1),)
        after = (slice(None),) * axis + (slice(1, None),)
        inner[after] &= padded[before]
        inner[before] &= padded[after]
    found = np.unravel_index(np.flatnonzero(padded & ~inner), padded.shape)
    return np.stack(found, axis=1) + [edge.start - 1 for edge in box]


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Axis by axis, each search within what the one before has left."""
    box: tuple[slice, ...] = ()
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        occupied = np.flatnonzero(mask.any(axis=others))
        box += (slice(int(occupied[0]), int(occupied[-1]) + 1),)
        mask = mask[(slice(None),) * axis + box[-1:]]
    return box


def _directed_percentile(
    points: NDArray[np.float64], targets: NDArray[np.float64], percent: float, cell: float
) -> float:
    """The percentile of each point's distance to its nearest target, exact, with few nearest-target queries.

    One point per cell is queried. By the triangle inequality its distance bounds those of the cell's other
    points from both sides, so that most are known to lie below the percentile without a query.
    """
    # Here: a study without surface distances measures in half the time without scipy.spatial.
    from scipy.spatial import KDTree

    tree = KDTree(targets, leafsize=64, balanced_tree=False)

    def nearest(some: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(tree.query(some)[0])

    columns = np.floor(points / cell).astype(np.int64)
    columns -= columns.min(axis=0)
    codes = np.ravel_multi_index(tuple(columns.T), tuple(columns.max(axis=0) + 1))
    _, first, group = np.unique(codes, return_index=True, return_inverse=True)
    of_cell = nearest(points[first])[group]
    apart = np.linalg.norm(points - points[first][group], axis=1)
    rank = int(percent / 100 * (len(points) - 1))  # of the lower of the two values that are interpolated
    floor = np.partition(of_cell - apart, rank)[rank]
    distances = of_cell + apart  # too large, but below `floor` it matters only that they are below it
    unsure = (distances >= floor) & (apart > 0)
    distances[unsure] = nearest(points[unsure])
    return float(np.percentile(distances, percent))
