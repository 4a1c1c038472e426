"""What every anatomy is drawn from: a grid in mm, smooth random fields, signed distances, a scanner.

Fields and distances are functions of position in mm, so one anatomy looks alike on a coarse and on a
fine grid. No BLAS is used: the bytes must not depend on the number of threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Drawing:
    """One subject: images by channel name and class indices, all (X, Y, Z), spacing in mm."""

    channels: dict[str, NDArray[np.generic]]
    classes: NDArray[np.uint8]
    spacing: tuple[float, float, float]


class Grid:
    """Voxel centres in mm along x, y and z, as arrays that broadcast to (X, Y, Z)."""

    def __init__(self, shape: Sequence[int], spacing: Sequence[float], centre: Sequence[float] = (0, 0, 0)):
        """`centre`: the position in mm of the volume's middle."""
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self.spacing = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
        self.axes = [
            ((np.arange(n) - (n - 1) / 2) * step + middle).astype(np.float32)
            for n, step, middle in zip(self.shape, self.spacing, centre, strict=True)
        ]
        self.x = self.axes[0][:, None, None]
        self.y = self.axes[1][None, :, None]
        self.z = self.axes[2][None, None, :]


def field(rng: np.random.Generator, grid: Grid, length: float, length_z: float | None = None) -> Array:
    """A smooth random field, mean 0 and variance 1 at every voxel, that varies over about `length` mm.

    Cubic B-splines over a lattice of independent normal values; the four weights at each position are
    scaled to unit sum of squares, which makes the variance exactly 1.
    """
    positions, sizes = [], []
    for axis, step in zip(grid.axes, (length, length, length_z or length), strict=True):
        scaled = (axis - axis[0]) / step + rng.random()
        positions.append(scaled)
        sizes.append(int(scaled[-1]) + 4)
    values = rng.standard_normal(sizes, dtype=np.float32)
    for dimension, position in enumerate(positions):
        values = _spline(values, position.astype(np.float32), dimension)
    return values


def _spline(values: Array, positions: Array, dimension: int) -> Array:
    base = np.floor(positions).astype(int)
    t = positions - base
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3])
    weights /= np.sqrt((weights**2).sum(axis=0))
    along = [1, 1, 1]
    along[dimension] = -1
    result = np.take(values, base, dimension) * weights[0].reshape(along)
    for k in (1, 2, 3):
        result += np.take(values, base + k, dimension) * weights[k].reshape(along)
    return result


def ball(
    grid: Grid, centre: Sequence[float | Array], radii: Sequence[float | Array], turn: float = 0.0
) -> Array:
    """Approximate signed distance in mm to an ellipsoid, negative inside; `turn`: radians about z.

    Centre and radii may vary over the grid. An infinite radius makes a cylinder. First-order distance
    f/|∇f| of f = |p/r| − 1, scaled by |p/r|.
    """
    dx, dy = grid.x - centre[0], grid.y - centre[1]
    if turn:
        dx, dy = np.cos(turn) * dx + np.sin(turn) * dy, np.cos(turn) * dy - np.sin(turn) * dx
    parts = [dx / radii[0], dy / radii[1], (grid.z - centre[2]) / radii[2]]
    reach = np.sqrt(sum(part**2 for part in parts))
    slope = np.sqrt(sum((part / radius) ** 2 for part, radius in zip(parts, radii, strict=True)))
    return (reach * (reach - 1) / np.maximum(slope, 1e-6)).astype(np.float32)


def inside(distance: Array, width: float | Array) -> Array:
    """Membership 0…1 of a structure with a border blurred over about `width` mm."""
    return 0.5 - 0.5 * np.tanh(distance / width)


def paint(shape: tuple[int, int, int], base: float, layers: Sequence[tuple[Array, float | Array]]) -> Array:
    """Signal of `base`, over which each (membership, value) is laid in turn."""
    signal = np.full(shape, base, np.float32)
    for membership, value in layers:
        signal += membership * (value - signal)
    return signal


@dataclass(frozen=True)
class Scanner:
    """How a site's scanner turns signal (tissue about 0…1.5) into stored values."""

    noise: float  # deviation of each of the two Gaussian parts of Rician noise
    blur_mm: float  # in plane
    bias: float  # deviation of the logarithm of the receive field
    gamma: float = 1.0  # tone curve: signal ** gamma
    scale: float = 300.0  # stored value of signal 1

    def acquire(
        self, rng: np.random.Generator, grid: Grid, signal: Array, gain: Array | float = 1.0
    ) -> Array:
        """Stored values as float32, non-negative. `gain`: receive field of a surface coil."""
        sigma = [self.blur_mm / grid.spacing[0], self.blur_mm / grid.spacing[1], 0.35]
        signal = ndimage.gaussian_filter(signal, sigma, truncate=3)
        signal = np.maximum(signal, 0) ** np.float32(self.gamma)
        signal *= gain * np.exp(np.float32(self.bias) * field(rng, grid, 70.0))
        real = signal + np.float32(self.noise) * rng.standard_normal(grid.shape, dtype=np.float32)
        imaginary = np.float32(self.noise) * rng.standard_normal(grid.shape, dtype=np.float32)
        return np.hypot(real, imaginary) * np.float32(self.scale)


def to_int16(values: Array) -> NDArray[np.int16]:
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)
