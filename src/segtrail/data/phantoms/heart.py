"""A short-axis stack of the heart: the left ventricle in its ring of myocardium, the right one beside it.

Classes 1 right ventricle, 2 myocardium, 3 left ventricle, as ACDC numbers them. Slices run from base to
apex. Both frames of a patient share one anatomy; at end-systole the cavities are smaller, the wall thicker.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .planning import PlannedSubject
from .shapes import Array, Drawing, Grid, Scanner, ball, field, inside, paint, to_int16

CHANNELS = ("cine",)
SCANNER = Scanner(noise=0.05, blur_mm=1.1, bias=0.2, scale=230.0)

# ACDC's groups: factors on the left cavity, the wall, the right cavity, and on the systolic contraction.
GROUPS = {
    "": (1.0, 1.0, 1.0, 1.0),
    "NOR": (1.0, 1.0, 1.0, 1.0),
    "DCM": (1.2, 0.9, 0.95, 0.4),
    "HCM": (0.9, 1.6, 0.95, 1.1),
    "MINF": (1.1, 0.9, 1.0, 0.5),
    "RV": (0.92, 1.0, 1.3, 0.8),
}


@dataclass(frozen=True)
class Ventricles:
    """Signed distances in mm, and the height t along the long axis: 0 at the base, 1 at the apex."""

    left: Array
    outer: Array  # the myocardium's outer border
    right: Array
    height: Array


def draw(subject: PlannedSubject, full: bool, rng: np.random.Generator, scan: np.random.Generator) -> Drawing:
    """Channel cine as int16."""
    grid, base, length = _size(full, rng)
    systole = subject.frame == "ES"
    shape = _ventricles(grid, rng, subject.group, base, length, systole)
    signal = _signal(grid, rng, shape)
    values = to_int16(SCANNER.acquire(scan, grid, signal))
    return Drawing({"cine": values}, _classes(shape), grid.spacing)


def _size(full: bool, rng: np.random.Generator) -> tuple[Grid, float, float]:
    """The grid, the base's z and the long axis in mm."""
    thickness = float(rng.choice([5.0, 8.0, 10.0, 10.0])) if full else float(rng.choice([8.0, 9.0, 10.0]))
    slices = (
        int(np.clip(round(rng.uniform(85, 105) / thickness), 6, 18)) if full else int(rng.integers(7, 11))
    )
    length = (slices - rng.uniform(1.4, 2.2)) * thickness
    if full:
        in_plane = float(rng.choice([1.3672, 1.4063, 1.5625, 1.6797]))
        size = (216, 256) if rng.random() < 0.5 else (256, 216)
        middle = (25.0, 30.0)
    else:
        in_plane = float(np.round(rng.uniform(1.9, 2.2), 2))
        size = (int(rng.integers(68, 73)), int(rng.integers(64, 73)))
        middle = (rng.uniform(-17, -7), rng.uniform(-8, 8))
    grid = Grid((*size, slices), (in_plane, in_plane, thickness), (*middle, 0))
    return grid, float(grid.axes[2][0]) + rng.uniform(0.3, 0.9) * thickness, length


def _ventricles(
    grid: Grid, rng: np.random.Generator, group: str, base: float, length: float, systole: bool
) -> Ventricles:
    cavity, wall, right, contraction = GROUPS[group]
    radius = rng.uniform(21, 26) * cavity
    wall_mm = rng.uniform(7.5, 9.5) * wall
    right_mm = rng.uniform(0.95, 1.1) * radius * right
    shorter = rng.uniform(0.24, 0.34) * contraction
    turn = rng.uniform(-0.5, 0.3)
    wander, wall_noise, right_noise = (
        field(rng, grid, 22, 40),
        field(rng, grid, 24, 40),
        field(rng, grid, 22, 40),
    )
    tilt_x, tilt_y = rng.uniform(-0.12, 0.12, 2)
    if systole:
        base, length = base + 0.12 * contraction * length, length * (1 - 0.12 * contraction)
        wall_mm = wall_mm * (1 + 1.2 * shorter)
        radius, right_mm = radius * (1 - shorter), right_mm * (1 - 0.7 * shorter)
    height = (grid.z - base) / length
    t = np.clip(height, 0, 1)
    left_radius = np.maximum(radius * (1 - t**2.4) ** 0.55, 0.5)
    x, y = tilt_x * (grid.z - base), tilt_y * (grid.z - base)
    left = ball(grid, (x, y, 0), (left_radius, 1.08 * left_radius, np.inf), turn) + 0.9 * wander
    outer = left - np.maximum(wall_mm * (1 - 0.25 * t) * (1 + 0.13 * wall_noise), 4.0)
    outer_radius = left_radius + wall_mm
    right_radius = np.maximum(right_mm * np.sqrt(np.maximum(1 - (t / 0.88) ** 2, 0)), 0.5)
    away = outer_radius * 0.92
    right_distance = ball(
        grid,
        (x - away * np.cos(turn), y - away * np.sin(turn), 0),
        (right_radius, np.minimum(1.3 * right_radius, 0.98 * outer_radius), np.inf),
        turn - 0.15,
    )
    right_distance = np.maximum(right_distance + 1.6 * right_noise, -outer)
    right_distance = np.where(t < 0.86, right_distance, np.float32(20))
    left = np.where(left_radius > 3.5, left, np.float32(20))
    return Ventricles(left, outer, right_distance.astype(np.float32), np.broadcast_to(height, grid.shape))


def _classes(shape: Ventricles) -> NDArray[np.uint8]:
    """Labels from base to apex; the ring is closed, and the right ventricle is one piece in each slice."""
    seen = (shape.height >= 0) & (shape.height < 1.04)
    left = (shape.left < 0) & seen
    ring = ndimage.binary_dilation(left, np.ones((3, 3, 1), bool))
    wall = (ring | (shape.outer < 0)) & seen & ~left
    right = (shape.right < 0) & seen & ~left & ~wall
    beside = ndimage.binary_dilation(wall, ndimage.generate_binary_structure(2, 1)[:, :, None])
    for z in range(right.shape[2]):
        pieces, count = ndimage.label(right[:, :, z])
        if count:
            sizes = np.bincount(pieces.ravel())[1:]
            largest = pieces == 1 + int(np.argmax(sizes))
            touches = bool((largest & beside[:, :, z]).any())
            right[:, :, z] = largest if touches and sizes.max() >= 6 else False
    classes = np.zeros(left.shape, np.uint8)
    classes[right], classes[wall], classes[left] = 1, 2, 3
    return classes


def _signal(grid: Grid, rng: np.random.Generator, shape: Ventricles) -> Array:
    """Balanced steady-state signal: blood 1, muscle about 0.4, lung dark, fat bright."""
    muscle = rng.uniform(0.34, 0.52)
    blood = 1 + 0.09 * field(rng, grid, 14)
    # The label is one reader's border; the image's lies somewhat elsewhere.
    left = shape.left + 0.9 * field(rng, grid, 9, 20)
    outer = shape.outer + 1.1 * field(rng, grid, 12, 20)
    right = shape.right + 1.2 * field(rng, grid, 9, 20)
    muscles = [(rng.uniform(6, 11), side * rng.uniform(6, 11), 0) for side in (-1, 1)]
    papillary = np.minimum(*[ball(grid, place, (rng.uniform(2, 4), 3.2, np.inf)) for place in muscles])
    trabeculae = np.clip(0.5 * field(rng, grid, 6, 20) - 0.2, 0, 0.6) * inside(np.abs(right + 3), 3.0)
    fat_around = inside(np.abs(outer - 2.5), 2.0) * inside(-6 * (field(rng, grid, 18, 40) - 0.35), 4.0)
    layers = [
        *_thorax(grid, rng, muscle),
        (fat_around * 0.85, 1.1),
        (inside(np.minimum(outer, right - 3.0), 1.4), muscle),
        (inside(right, 1.4), 0.95 * blood),
        (trabeculae, muscle),
        (inside(outer, 1.2), muscle * (1 + 0.08 * field(rng, grid, 10))),
        (inside(left, 1.3), blood),
        (inside(papillary, 1.5) * inside(left + 1.5, 2.0) * (shape.height > 0.15) * 0.75, muscle),
    ]
    return paint(grid.shape, 0.02, layers)


def _thorax(grid: Grid, rng: np.random.Generator, muscle: float) -> list[tuple[Array, float | Array]]:
    """Chest wall, lungs, liver, stomach, aorta and spine about the heart at the origin."""
    body = ball(grid, (25, 40, 0), (165, 108, np.inf))
    body = body + 3 * field(rng, grid, 60)
    lung_left = ball(grid, (70, 12, 0), (58, 70, np.inf)) + 3 * field(rng, grid, 30)
    lung_right = ball(grid, (-92, 5, 0), (52, 75, np.inf)) + 3 * field(rng, grid, 30)
    liver = ball(grid, (-55 + rng.uniform(-8, 8), 78, 0), (95, 48, np.inf)) + 4 * field(rng, grid, 30)
    stomach = ball(grid, (72, 88, 0), (38, 30, np.inf)) + 4 * field(rng, grid, 25)
    aorta = ball(grid, (48 + rng.uniform(-5, 5), 62 + rng.uniform(-5, 5), 0), (11, 11, np.inf))
    spine = ball(grid, (20, 108, 0), (22, 19, np.inf))
    liver_signal = muscle * rng.uniform(0.9, 1.4)
    return [
        (inside(body, 1.5), 1.15),
        (inside(body + 13 + 3 * field(rng, grid, 30), 2.0), muscle * 1.1),
        (inside(body + 24, 3.0), 0.5 + 0.12 * field(rng, grid, 16)),
        (inside(np.minimum(lung_left, lung_right), 2.5), 0.1 + 0.05 * np.abs(field(rng, grid, 5))),
        (inside(liver, 2.0), liver_signal * (1 + 0.1 * field(rng, grid, 12))),
        (inside(stomach, 2.5), 0.55 + 0.25 * field(rng, grid, 14)),
        (inside(spine, 2.0), 0.6 + 0.08 * field(rng, grid, 9)),
        (inside(aorta, 1.5), 0.95),
    ]
