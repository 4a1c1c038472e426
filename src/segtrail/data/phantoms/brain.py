"""A skull-stripped brain with a glioma: edema around an enhancing rim around a core.

Classes 1 core (necrotic and non-enhancing), 2 edema, 3 enhancing: the order of BraTS' labels 1, 2, 4.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .planning import PlannedSubject
from .shapes import Array, Drawing, Grid, Scanner, ball, field, inside, paint, to_int16

CHANNELS = ("t1", "t1ce", "t2", "flair")

# Signal of each tissue; white matter of T1 is 1. Relative values as in MRI of 1.5-3 T.
SIGNAL = {
    "t1": {"white": 1.0, "grey": 0.78, "csf": 0.32, "edema": 0.74, "core": 0.56, "rim": 0.72, "vessel": 0.7},
    "t1ce": {
        "white": 1.0,
        "grey": 0.80,
        "csf": 0.32,
        "edema": 0.76,
        "core": 0.58,
        "rim": 1.7,
        "vessel": 1.75,
    },
    "t2": {"white": 0.55, "grey": 0.72, "csf": 1.50, "edema": 1.10, "core": 1.22, "rim": 0.90, "vessel": 0.5},
    "flair": {
        "white": 0.62,
        "grey": 0.76,
        "csf": 0.26,
        "edema": 1.28,
        "core": 1.0,
        "rim": 1.05,
        "vessel": 0.6,
    },
}

# CBICA is the reference; TCIA's collection is older: noisier, flatter, weaker enhancement.
REFERENCE = Scanner(noise=0.05, blur_mm=1.0, bias=0.08)
SCANNERS = {
    "": REFERENCE,
    "CBICA": REFERENCE,
    "TCIA": Scanner(noise=0.07, blur_mm=1.5, bias=0.13, gamma=0.92, scale=450.0),
    "2013": Scanner(noise=0.06, blur_mm=1.3, bias=0.05, gamma=1.2, scale=180.0),
}
CONTRAST = {
    "": 1.0,
    "CBICA": 1.0,
    "TCIA": 0.85,
    "2013": 0.9,
}  # factor on what sets the tumour off from white matter


def draw(subject: PlannedSubject, full: bool, rng: np.random.Generator, scan: np.random.Generator) -> Drawing:
    """Channels t1, t1ce, t2, flair as int16, 0 outside the brain."""
    shape, spacing = _size(full, rng)
    radii = [rng.uniform(63, 69), rng.uniform(78, 86), rng.uniform(58, 64)]
    # Only the brain's box is drawn; the rest of the volume is zero.
    inner = [min(n, int(2 * (r + 8) / step)) for n, r, step in zip(shape, radii, spacing, strict=True)]
    grid = Grid(inner, spacing, (0, 0, 0 if full else 6))
    distance = ball(grid, (0, 0, 0), radii) + 2.0 * field(rng, grid, 28)
    brain = distance < 0
    ventricles = _ventricles(grid, rng)
    edema, tumour, rim = _tumour(grid, rng, subject.group, distance, ventricles)
    classes = _classes(brain, edema, tumour, rim, closed=subject.group != "LGG")
    contrast = CONTRAST[subject.site] * rng.uniform(0.75, 1.1)
    enhancement = CONTRAST[subject.site] * rng.uniform(0.7, 1.15) * (0.6 if subject.group == "LGG" else 1.0)
    layers = _layers(grid, rng, distance, ventricles, edema, tumour, rim)
    texture = 1 + 0.04 * field(rng, grid, 7) + 0.03 * field(rng, grid, 3)
    padding = [((n - m) // 2, n - m - (n - m) // 2) for n, m in zip(shape, inner, strict=True)]
    channels = {}
    for name in CHANNELS:
        value = _tumour_signal(SIGNAL[name], contrast, enhancement if name == "t1ce" else contrast)
        signal = paint(grid.shape, value["white"], [(member, value[tissue]) for member, tissue in layers])
        scanned = SCANNERS[subject.site].acquire(scan, grid, signal * texture)
        channels[name] = np.pad(np.where(brain, np.maximum(to_int16(scanned), 1), np.int16(0)), padding)
    return Drawing(channels, np.pad(classes, padding), spacing)


def _size(full: bool, rng: np.random.Generator) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    if full:
        return (240, 240, 155), (1.0, 1.0, 1.0)
    in_plane = float(rng.choice([2.8, 3.0, 3.2]))
    shape = (int(rng.integers(56, 61)), int(rng.integers(64, 69)), int(rng.integers(8, 11)))
    return shape, (in_plane, in_plane, 6.0)


def _ventricles(grid: Grid, rng: np.random.Generator) -> Array:
    """Two curved lateral ventricles beside the midline."""
    width, turn = rng.uniform(4.5, 8.5), rng.uniform(0.12, 0.3)
    halves = [ball(grid, (side * 10, 0, 8), (width, 30, 12), side * turn) for side in (-1, 1)]
    return np.minimum(*halves) + 1.2 * field(rng, grid, 10)


def _tumour(
    grid: Grid, rng: np.random.Generator, group: str, brain: Array, ventricles: Array
) -> tuple[Array, Array, Array]:
    """Signed distances of the edema's and the tumour's outer border, and the rim's thickness in mm."""
    centre = [
        rng.choice([-1, 1]) * rng.uniform(24, 32),
        rng.uniform(-32, 34),
        grid.z.mean() + rng.uniform(-9, 9),
    ]
    low_grade = group == "LGG"
    radius = rng.uniform(15, 24) if low_grade else rng.uniform(17, 25)
    radii = [radius * rng.uniform(0.85, 1.2) for _ in range(3)]
    tumour = ball(grid, centre, radii, rng.uniform(0, np.pi)) + 2.0 * field(rng, grid, 12)
    tumour = np.maximum(tumour, brain + 4)
    reach = rng.uniform(3, 8) if low_grade else rng.uniform(7, 15)
    shift = [c + rng.uniform(-0.6, 0.6) * reach for c in centre]
    edema = ball(grid, shift, [r + reach for r in radii], rng.uniform(0, np.pi)) + 4.5 * field(rng, grid, 16)
    edema = np.minimum(np.maximum(edema, 2 - ventricles), tumour - 3)
    thickness = rng.uniform(-1, 3) + 3.0 * field(rng, grid, 12) if low_grade else None
    if thickness is None:
        thickness = np.clip(rng.uniform(4.0, 6.5) * (1 + 0.35 * field(rng, grid, 12)), 3.0, 11.0)
    return edema, tumour, np.minimum(thickness, 0.5 * min(radii))


def _classes(
    brain: NDArray[np.bool_], edema: Array, tumour: Array, rim: Array, closed: bool
) -> NDArray[np.uint8]:
    mass = (tumour < 0) & brain
    core = mass & (tumour < -rim)
    in_plane = ndimage.generate_binary_structure(2, 1)[:, :, None]
    if closed:
        core &= ndimage.binary_erosion(mass, in_plane)
    around = ((edema < 0) | ndimage.binary_dilation(mass, in_plane)) & brain
    classes = np.where(around, np.uint8(2), np.uint8(0))
    classes[mass] = 3
    classes[core] = 1
    return classes


def _layers(
    grid: Grid,
    rng: np.random.Generator,
    brain: Array,
    ventricles: Array,
    edema: Array,
    tumour: Array,
    rim: Array,
) -> list[tuple[Array, str]]:
    """Memberships, in painting order. The image's borders wander about the label's: no reader is exact."""
    folds = field(rng, grid, 9)
    cortex = inside(-(brain + 8 + 6 * folds), 1.5)
    nuclei = np.minimum(*[ball(grid, (side * 20, 4, 0), (8, 15, 14)) for side in (-1, 1)])
    sulci = inside(-(brain + 9), 3.0) * inside(9 * (np.abs(folds - 0.4) - 0.16), 1.2) * 0.75
    midline = np.abs(grid.x + 1.2 * field(rng, grid, 25)) - 1.5
    fissure = inside(np.maximum(midline, 22 - np.abs(grid.y)), 1.2)
    # Bright spots that are no tumour: aged white matter beside the ventricles, sinus and choroid vessels.
    aged = (
        inside(ventricles - rng.uniform(-1, 4), 2.0) * inside(-8 * (field(rng, grid, 11) - 0.3), 6.0) * 0.55
    )
    sinus = ball(grid, (0, -76, 0), (4, 6, np.inf))
    choroid = np.minimum(*[ball(grid, (side * 11, -14, 8), (2.5, 7, 9)) for side in (-1, 1)])
    edema_border = edema + 2.2 * field(rng, grid, 9)
    tumour_border = tumour + 1.0 * field(rng, grid, 8)
    core_border = tumour_border + rim + 0.8 * field(rng, grid, 8)
    return [
        (cortex, "grey"),
        (inside(nuclei, 2.0) * 0.8, "grey"),
        (aged, "edema"),
        (np.maximum(inside(ventricles, 1.2), np.maximum(fissure, sulci)), "csf"),
        (inside(np.minimum(sinus, choroid), 1.5) * 0.8, "vessel"),
        (inside(edema_border, 4.0) * (0.85 + 0.12 * field(rng, grid, 12)), "edema"),
        (inside(tumour_border, 1.5), "rim"),
        (inside(core_border, 1.8), "core"),
    ]


def _tumour_signal(signal: dict[str, float], contrast: float, enhancement: float) -> dict[str, float]:
    """The tissues' signal with the tumour's difference to white matter scaled."""
    factor = {"edema": contrast, "core": contrast, "rim": enhancement}
    white = signal["white"]
    return {name: white + factor.get(name, 1.0) * (value - white) for name, value in signal.items()}
