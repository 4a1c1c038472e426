"""A dermoscopic picture: a pigmented lesion with an irregular, fading border. Class 1 is the lesion."""

import numpy as np
from scipy import ndimage

from .planning import PlannedSubject
from .shapes import Array, Drawing, Grid, ball, field, inside, paint

CHANNELS = ("red", "green", "blue")


def draw(subject: PlannedSubject, full: bool, rng: np.random.Generator, scan: np.random.Generator) -> Drawing:
    """Channels red, green, blue as uint8 of shape (X, Y, 1); one unit of length is 1 % of the width."""
    width, height = (1022, 767) if full else (int(rng.integers(72, 81)), int(rng.integers(56, 65)))
    pixel = 100 / width
    grid = Grid((width, height, 1), (pixel, pixel, 1))
    radius = rng.uniform(11, 26)
    lesion = ball(
        grid,
        (rng.uniform(-8, 8), rng.uniform(-6, 6), 0),
        (radius * rng.uniform(0.9, 1.25), radius * rng.uniform(0.7, 1.05), np.inf),
        rng.uniform(0, np.pi),
    )
    lesion = lesion + 0.09 * radius * field(rng, grid, 0.5 * radius) + 0.05 * radius * field(rng, grid, 5)
    classes = _largest_piece(lesion < 0)
    layers = _layers(grid, rng, lesion, fade=rng.uniform(1.5, 5.0))
    skin = np.array([0.86, 0.66, 0.58]) * rng.uniform(0.85, 1.1) + rng.uniform(-0.05, 0.05, 3)
    brown = skin * (1 - rng.uniform(0.35, 0.9) * np.array([0.55, 0.75, 0.85]))
    corner = np.sqrt((grid.x / 62) ** 2 + (grid.y / 55) ** 2)
    light = (1.04 - 0.12 * corner**2) * inside(50 * (corner - rng.uniform(0.95, 1.6)), 2.0)
    texture = 1 + 0.02 * field(rng, grid, 3) + 0.04 * field(rng, grid, 30)
    channels = {}
    for index, name in enumerate(CHANNELS):
        colours = {
            "pigment": brown[index],
            "spot": 0.6 * brown[index],
            "freckle": 0.85 * skin[index],
            "hair": 0.18,
        }
        signal = paint(
            grid.shape, float(skin[index]), [(member, colours[tissue]) for member, tissue in layers]
        )
        noisy = signal * texture * light + 0.02 * scan.standard_normal(grid.shape, dtype=np.float32)
        channels[name] = np.clip(np.rint(255 * noisy), 0, 255).astype(np.uint8)
    return Drawing(channels, classes, (1.0, 1.0, 1.0))


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    pieces, _ = ndimage.label(mask)
    return (pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])).astype(np.uint8)


def _layers(grid: Grid, rng: np.random.Generator, lesion: Array, fade: float) -> list[tuple[Array, str]]:
    """Freckles, the lesion (patchy, fading outwards), darker spots in it, hairs over all."""
    border = lesion + 1.2 * field(rng, grid, 8)
    patches = np.clip(0.8 + 0.2 * field(rng, grid, 9), 0.3, 1.0)
    spots = inside(-6 * (field(rng, grid, 5) - 0.7), 3.0) * inside(border + 3, 3.0)
    freckles = inside(-6 * (field(rng, grid, 4) - 1.9), 2.0)
    hairs = np.zeros(grid.shape, np.float32)
    for _ in range(int(rng.integers(0, 4))):
        angle, offset, bend = rng.uniform(0, np.pi), rng.uniform(-35, 35), rng.uniform(-0.004, 0.004)
        along = np.cos(angle) * grid.x + np.sin(angle) * grid.y
        across = np.cos(angle) * grid.y - np.sin(angle) * grid.x - offset + bend * along**2
        hairs = np.maximum(hairs, 0.8 * inside(np.abs(across) - 0.4, 0.4))
    return [
        (freckles, "freckle"),
        (inside(border, fade) * patches, "pigment"),
        (spots, "spot"),
        (hairs, "hair"),
    ]
