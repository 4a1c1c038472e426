"""Where the voxels of a prepared subject lie in the scan they came from, and the way back.

Every geometric step is axis-aligned, so one factor and one offset per axis say it all. Triples are in the
order (x, y, z), arrays in the order (Z, Y, X).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import numpy as np

Ints = tuple[int, int, int]
Floats = tuple[float, float, float]
Order = Literal[0, 1]
UNMOVED: Floats = (0.0, 0.0, 0.0)
UNSCALED: Floats = (1.0, 1.0, 1.0)
# An axis whose length in voxels would change by less than this is not resampled.
NEGLIGIBLE = 1e-3


@dataclass(frozen=True)
class Grid:
    """A grid laid over another one: index there = factor · index here + offset, in voxels."""

    shape: Ints
    factor: Floats = UNSCALED
    offset: Floats = UNMOVED


@dataclass(frozen=True)
class Geometry:
    """The scan's grid, and the prepared grid laid over it."""

    source_shape: Ints
    source_affine: tuple[tuple[float, ...], ...]  # 4 × 4, voxel index → RAS+ mm
    source_spacing: Floats  # mm
    grid: Grid

    @classmethod
    def of_scan(cls, shape: Sequence[int], affine: np.ndarray, spacing: Sequence[float]) -> Self:
        """The geometry of a scan to which nothing has been done yet."""
        x, y, z = (int(n) for n in shape)
        sx, sy, sz = (float(value) for value in spacing)
        matrix = tuple(tuple(float(value) for value in row) for row in affine)
        return cls((x, y, z), matrix, (sx, sy, sz), Grid((x, y, z)))

    @property
    def shape(self) -> Ints:
        return self.grid.shape

    @property
    def spacing(self) -> Floats:
        """Voxel spacing of the prepared grid in mm."""
        x, y, z = (s * f for s, f in zip(self.source_spacing, self.grid.factor, strict=True))
        return x, y, z

    @property
    def affine(self) -> np.ndarray:
        """4 × 4: index (x, y, z) on the prepared grid → RAS+ mm."""
        to_scan = np.diag([*self.grid.factor, 1.0])
        to_scan[:3, 3] = self.grid.offset
        return np.asarray(self.source_affine) @ to_scan

    def overlaid(self, grid: Grid) -> Self:
        """With `grid` laid over the present prepared grid."""
        old = self.grid
        fx, fy, fz = (a * b for a, b in zip(old.factor, grid.factor, strict=True))
        ox, oy, oz = (o + f * p for o, f, p in zip(old.offset, old.factor, grid.offset, strict=True))
        return replace(self, grid=Grid(grid.shape, (fx, fy, fz), (ox, oy, oz)))

    def as_dict(self) -> dict[str, Any]:
        """For JSON; floats keep every bit."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        grid = Grid(**{name: tuple(triple) for name, triple in values["grid"].items()})
        matrix = tuple(tuple(row) for row in values["source_affine"])
        return cls(tuple(values["source_shape"]), matrix, tuple(values["source_spacing"]), grid)


def grid_of_spacing(geometry: Geometry, spacing: Sequence[float | None]) -> Grid:
    """The grid of `spacing` in mm with the same centre of the field of view; None keeps an axis."""
    shape, factor = [], []
    for n, old, new in zip(geometry.shape, geometry.spacing, spacing, strict=True):
        growth = 1.0 if new is None else new / old
        if abs(n / growth - n) < NEGLIGIBLE:
            growth = 1.0
        shape.append(max(1, round(n / growth)))
        factor.append(growth)
    return _centred(geometry.shape, shape, factor)


def grid_of_shape(geometry: Geometry, shape: Sequence[int | None]) -> Grid:
    """The grid of `shape` voxels over the same field of view; None keeps an axis."""
    wanted = [n if new is None else new for n, new in zip(geometry.shape, shape, strict=True)]
    return _centred(geometry.shape, wanted, [n / new for n, new in zip(geometry.shape, wanted, strict=True)])


def _centred(old: Ints, new: Sequence[int], factor: Sequence[float]) -> Grid:
    x, y, z = ((n - 1) / 2 - f * (m - 1) / 2 for n, m, f in zip(old, new, factor, strict=True))
    return Grid((new[0], new[1], new[2]), (factor[0], factor[1], factor[2]), (x, y, z))


def resample(array: np.ndarray, grid: Grid, order: Order) -> np.ndarray:
    """A volume (Z, Y, X) on a grid laid over its own; the dtype stays.

    Order 1 is trilinear, 0 nearest; beyond the outer voxel centres the edge value goes on. A grid of
    whole voxels inside the volume is cut out, without arithmetic.
    """
    if grid.factor == UNSCALED and all(float(o).is_integer() for o in grid.offset):
        corner = [int(o) for o in grid.offset[::-1]]
        block = tuple(slice(o, o + n) for o, n in zip(corner, grid.shape[::-1], strict=True))
        if all(part.start >= 0 and part.stop <= n for part, n in zip(block, array.shape, strict=True)):
            return array[block]
    from scipy import ndimage  # here, because jobs that only load prepared arrays should start fast

    factor, offset, shape = grid.factor[::-1], grid.offset[::-1], grid.shape[::-1]
    return ndimage.affine_transform(
        array, factor, offset, shape, order=order, mode="nearest", prefilter=False
    )


def covered(geometry: Geometry) -> tuple[slice, slice, slice]:
    """The block (x, y, z) of the scan whose voxel centres lie within the prepared grid's voxels."""
    block = []
    grid = geometry.grid
    for whole, n, f, o in zip(geometry.source_shape, grid.shape, grid.factor, grid.offset, strict=True):
        # The prepared voxels reach from half a voxel before the first centre to half a voxel past the last.
        first = min(whole, max(0, math.ceil(o - f / 2 - 1e-6)))
        last = min(whole - 1, math.floor(o + f * (n - 0.5) + 1e-6))
        block.append(slice(first, max(first, last + 1)))
    return block[0], block[1], block[2]


def to_original_grid(array: np.ndarray, geometry: Geometry, order: Order = 1, fill: float = 0) -> np.ndarray:
    """A map (Z, Y, X) on the prepared grid, brought back to the scan's grid (X, Y, Z).

    Order 1 (trilinear) for probabilities and other float maps, 0 (nearest) for labels. Voxels of the
    scan that the prepared grid does not cover get `fill`. Where the recipe did not resample, every
    value comes back exactly. float16 comes back as float32, every other dtype stays. Raises ValueError
    for a map that is not on the prepared grid, and for order 1 on integers, which it would round.
    """
    if array.shape != geometry.shape[::-1]:
        raise ValueError(f"the map is {array.shape} (Z, Y, X), the prepared grid {geometry.shape[::-1]}")
    if order == 1 and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"order 1 would round a map of {array.dtype}: use order 0 or a float map")
    if array.dtype == np.float16:  # scipy knows no float16
        array = array.astype(np.float32)
    block = covered(geometry)
    x, y, z = (part.stop - part.start for part in block)
    whole = np.full(geometry.source_shape[::-1], fill, dtype=array.dtype)
    if min(x, y, z) > 0:
        factor, offset = geometry.grid.factor, geometry.grid.offset
        fx, fy, fz = (1 / f for f in factor)
        ox, oy, oz = ((part.start - o) / f for part, o, f in zip(block, offset, factor, strict=True))
        whole[block[::-1]] = resample(array, Grid((x, y, z), (fx, fy, fz), (ox, oy, oz)), order)
    return whole.T
