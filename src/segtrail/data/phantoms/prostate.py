"""A T2-weighted pelvis with the prostate: a bright peripheral zone about a nodular transition zone.

Classes 1 peripheral zone, 2 transition zone (Decathlon's numbers); a data set with one label has both in
it. x runs to the patient's left, y to the back, z to the head.
"""

from dataclasses import dataclass

import numpy as np

from .planning import PlannedSubject
from .shapes import Array, Drawing, Grid, Scanner, ball, field, inside, paint, to_int16

CHANNELS = ("t2",)
SCANNERS = {
    "": Scanner(noise=0.045, blur_mm=0.8, bias=0.10),  # one 3 T scanner, phased-array coil (PROSTATEx)
    "phased_array": Scanner(noise=0.07, blur_mm=1.2, bias=0.18, gamma=0.8, scale=500.0),
    "endorectal": Scanner(noise=0.05, blur_mm=0.9, bias=0.15, scale=420.0),
}
COIL_GAIN, COIL_REACH_MM = 3.0, 20.0


@dataclass(frozen=True)
class Gland:
    """Signed distances in mm of the gland and its transition zone, and the radii about which it was drawn."""

    whole: Array
    transition: Array
    radii: tuple[float, float, float]


def draw(subject: PlannedSubject, full: bool, rng: np.random.Generator, scan: np.random.Generator) -> Drawing:
    """Channel t2 as int16."""
    endorectal = subject.site == "endorectal"
    grid = _size(subject.site, full, rng)
    gland = _gland(grid, rng, endorectal, full)
    classes = np.where(gland.whole < 0, np.where(gland.transition < 0, 2, 1), 0).astype(np.uint8)
    coil = _rectum(grid, rng, gland, endorectal)
    signal = _signal(grid, rng, gland, coil, endorectal)
    # A coil in the rectum receives what lies near it, and little of the rest.
    gain = 0.55 + COIL_GAIN * np.exp(-np.maximum(coil, 0) / COIL_REACH_MM) if endorectal else 1.0
    values = to_int16(SCANNERS[subject.site].acquire(scan, grid, signal, gain))
    return Drawing({"t2": values}, classes, grid.spacing)


def _size(site: str, full: bool, rng: np.random.Generator) -> Grid:
    middle = (rng.uniform(-4, 4), rng.uniform(-4, 6), 0)
    if not full:
        in_plane = float(np.round(rng.uniform(1.3, 1.5) if site == "" else rng.uniform(1.2, 1.7), 2))
        size = int(rng.integers(64, 73))
        return Grid((size, size, int(rng.integers(8, 11))), (in_plane, in_plane, 4.0), middle)
    if site == "":
        return Grid((384, 384, int(rng.integers(19, 24))), (0.5, 0.5, 3.0), middle)
    in_plane = float(rng.choice([0.5, 0.5625, 0.625]))
    return Grid(
        (320, 320, int(rng.integers(18, 30))), (in_plane, in_plane, float(rng.choice([3.0, 3.6]))), middle
    )


def _gland(grid: Grid, rng: np.random.Generator, endorectal: bool, full: bool) -> Gland:
    size = rng.uniform(0.85, 1.2)
    radii = (25 * size * rng.uniform(0.92, 1.08), 17 * size * rng.uniform(0.9, 1.15), rng.uniform(14, 18))
    if full:
        radii = (radii[0], radii[1], radii[2] * 1.3)
    # The rectum (more so a balloon in it) dents the gland from behind.
    dent = rng.uniform(6, 10) if endorectal else rng.uniform(1, 4)
    if endorectal:
        radii = (radii[0] * 1.12, radii[1] * 0.82, radii[2])
    behind = np.clip(grid.y / radii[1], 0, 1)
    shift = dent * behind * np.exp(-((grid.x / (0.55 * radii[0])) ** 2))
    whole = ball(grid, (0, -shift, 0), radii) + 1.3 * field(rng, grid, 16)
    share = rng.uniform(0.62, 0.8)
    transition = ball(
        grid, (0, -0.2 * radii[1] - shift, 3), (share * radii[0], share * radii[1], 0.85 * radii[2])
    )
    transition = np.maximum(transition + 1.2 * field(rng, grid, 10), whole + 1.0)
    return Gland(whole, transition, radii)


def _rectum(grid: Grid, rng: np.random.Generator, gland: Gland, endorectal: bool) -> Array:
    """The rectum's lumen, or the balloon of an endorectal coil."""
    depth = gland.radii[1]
    if endorectal:
        radius = rng.uniform(15, 19)
        distance = ball(grid, (rng.uniform(-2, 2), depth + radius - 5, 0), (1.15 * radius, radius, np.inf))
    else:
        radius = rng.uniform(8, 13)
        distance = ball(grid, (rng.uniform(-5, 5), depth + radius + 4, 0), (1.2 * radius, radius, np.inf))
        distance = distance + 1.5 * field(rng, grid, 15)
    return np.maximum(distance, 2.5 - gland.whole)


def _signal(grid: Grid, rng: np.random.Generator, gland: Gland, rectum: Array, endorectal: bool) -> Array:
    peripheral = rng.uniform(0.72, 1.0)
    nodules = np.clip(0.5 + 0.2 * field(rng, grid, 7) + 0.1 * field(rng, grid, 3.5), 0.2, 1.0)
    lesion = inside(-6 * (field(rng, grid, 13) - 1.1), 3.0)  # dark foci, as cancers are
    whole = gland.whole + 1.1 * field(rng, grid, 8)
    transition = gland.transition + 1.0 * field(rng, grid, 8)
    stroma = inside(ball(grid, (0, -gland.radii[1], 2), (12, 5, 16)), 3.0)
    capsule = inside(np.abs(whole - 0.6), 0.9) * np.clip(0.45 + 0.3 * field(rng, grid, 14), 0, 1)
    content = 0.04 if endorectal else float(rng.choice([0.06, 0.3, 0.6]))
    layers = [
        *_pelvis(grid, rng, gland),
        (inside(rectum - 3.0, 1.2) * 0.85, 0.38),
        (inside(rectum, 1.2), content),
        (inside(whole, 1.3), peripheral * (1 + 0.1 * field(rng, grid, 6)) - 0.35 * lesion),
        (inside(transition, 1.5), nodules),
        (stroma * 0.8, 0.25),
        (capsule, 0.28),
    ]
    return paint(grid.shape, 0.02, layers)


def _pelvis(grid: Grid, rng: np.random.Generator, gland: Gland) -> list[tuple[Array, float | Array]]:
    """Fat, muscles, bones, bladder, seminal vesicles and the veins about the gland at the origin."""
    wide, deep, high = gland.radii
    body = ball(grid, (0, 5, 0), (170, 115, np.inf))
    levator = np.abs(np.abs(grid.x) - wide - 4.5 + 0.012 * grid.y**2) - 2.0 + 1.2 * field(rng, grid, 14)
    obturator = _pair(grid, (wide + 20, -4, 0), (11, 26, np.inf)) + 2 * field(rng, grid, 20)
    bone = _pair(grid, (wide + 47, -6, 0), (20, 24, np.inf))
    pubis = ball(grid, (0, -deep - 24, -6), (26, 10, 22)) + 1.5 * field(rng, grid, 18)
    bladder = ball(grid, (0, -8, high + 14), (30, 24, 16)) + 1.5 * field(rng, grid, 18)
    vesicles = _pair(grid, (12, deep + 1, high + 1), (15, 5.5, 6)) + 1.0 * field(rng, grid, 8)
    # Veins beside and before the gland are as bright as its peripheral zone: an ambiguous border.
    near = inside(np.abs(gland.whole - 4), 3.0)
    veins = near * inside(-5 * (field(rng, grid, 9) - 0.2), 3.0)
    return [
        (inside(body, 2.0), 0.62 + 0.07 * field(rng, grid, 14)),
        (inside(bone, 2.5), 0.45 + 0.05 * field(rng, grid, 10)),
        (inside(obturator, 1.8), 0.2 + 0.02 * field(rng, grid, 8)),
        (inside(levator, 1.2) * inside(np.abs(grid.y) - 26, 4.0), 0.22),
        (inside(pubis, 2.0), 0.32),
        (veins * 0.8, 0.9),
        (inside(vesicles, 1.5), 0.85 + 0.2 * field(rng, grid, 5)),
        (inside(bladder - 2.5, 1.5), 0.3),
        (inside(bladder, 1.5), 1.35),
    ]


def _pair(grid: Grid, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Array:
    """The same ellipsoid left and right of the midline."""
    x, y, z = centre
    return np.minimum(ball(grid, (-x, y, z), radii), ball(grid, (x, y, z), radii))
