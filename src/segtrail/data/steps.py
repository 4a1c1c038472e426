"""The steps of a recipe, one function each; config/recipe.py says what each step's options mean."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..config import recipe
from ..errors import ConfigError, DataError
from .geometry import Geometry, Grid, Ints, grid_of_shape, grid_of_spacing, resample

COLOURS = ("red", "green", "blue")
Population = dict[str, dict[str, float]]  # channel → mean, std, n


@dataclass
class State:
    """A subject on its way through a recipe; arrays are slices first and may be changed in place."""

    subject: str
    channels: tuple[str, ...]
    image: np.ndarray  # (C, Z, Y, X) float32
    label: np.ndarray  # (Z, Y, X) uint8, class indices
    geometry: Geometry
    nonzero: np.ndarray | None  # (C, Z, Y, X) bool: the raw value is not 0
    mask: np.ndarray | None = None  # (Z, Y, X) bool: the raw value of the mask's channel is above 0


def run_step(state: State, step: recipe.Step, population: Population | None) -> None:
    """Changes the state by one step. Raises DataError if the subject cannot take it."""
    match step:
        case recipe.ResampleToSpacing():
            _resample(state, grid_of_spacing(state.geometry, step.spacing))
        case recipe.ResampleToShape():
            _resample(state, grid_of_shape(state.geometry, step.shape))
        case recipe.CentreCropOrPad():
            _centre_crop_or_pad(state, step.shape)
        case recipe.CropToLabel():
            _crop_to_label(state, step.classes, step.margin_mm)
        case recipe.Window():
            np.clip(state.image, step.low, step.high, out=state.image)
        case recipe.FillOutside():
            state.image[:, ~_of_classes(state, step.classes)] = step.value
        case recipe.ResizePicture():
            _resize_picture(state, step.shape, step.jpeg_quality)
        case recipe.MinMax():
            _min_max(state, step.over, step.lower_percentile, step.upper_percentile)
        case recipe.ZScore():
            _z_score(state, step.over, population)


# --- geometry ------------------------------------------------------------------------------------


def _resample(state: State, grid: Grid) -> None:
    state.image = np.stack([resample(channel, grid, order=1) for channel in state.image])
    state.label = resample(state.label, grid, order=0)
    if state.nonzero is not None:
        masks = [resample(mask.view(np.uint8), grid, order=0) for mask in state.nonzero]
        state.nonzero = np.stack(masks).view(bool)
    if state.mask is not None:
        state.mask = resample(state.mask.view(np.uint8), grid, order=0).view(bool)
    state.geometry = state.geometry.overlaid(grid)


def _resize_picture(state: State, shape: tuple[int, int], jpeg_quality: int | None) -> None:
    """By Pillow: the colours as one 8-bit picture, label and masks each by itself."""
    order = _picture_order(state)
    with Image.fromarray(_pixels(state, order)) as before:
        picture = before.resize(shape, Image.Resampling.BILINEAR)
    if jpeg_quality is not None:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=jpeg_quality)
        picture = Image.open(file)
    values = np.asarray(picture, np.float32).reshape(shape[1], shape[0], len(order))
    state.image = np.ascontiguousarray(values.transpose(2, 0, 1)[np.argsort(order), None])
    state.label = _nearest(state.label, shape)
    if state.nonzero is not None:
        state.nonzero = np.stack([_nearest(mask, shape) for mask in state.nonzero])
    if state.mask is not None:
        state.mask = _nearest(state.mask, shape)
    state.geometry = state.geometry.overlaid(grid_of_shape(state.geometry, (*shape, None)))


def _picture_order(state: State) -> list[int]:
    """The channels' indices in the order red, green, blue; JPEG does not treat colours alike."""
    if len(state.channels) == 1:
        return [0]
    if sorted(state.channels) == sorted(COLOURS):
        return [state.channels.index(colour) for colour in COLOURS]
    raise ConfigError(
        f"recipe: resize_picture of the channels {', '.join(state.channels)}",
        expected="red, green and blue, or one channel",
    )


def _pixels(state: State, order: list[int]) -> np.ndarray:
    """(Y, X, 3) or (Y, X) uint8. Raises DataError for what is no 8-bit picture."""
    slices = state.image.shape[1]
    if slices != 1:
        raise _no_picture(state, f"{slices} slices")
    colours = state.image[order, 0].transpose(1, 2, 0)
    with np.errstate(invalid="ignore"):  # what is no 8-bit value is refused below
        pixels = colours.astype(np.uint8)
    if not np.array_equal(pixels, colours):
        raise _no_picture(state, f"values from {colours.min():g} to {colours.max():g}")
    return pixels[:, :, 0] if len(order) == 1 else pixels


def _no_picture(state: State, found: str) -> DataError:
    return DataError(
        found,
        subject=state.subject,
        expected="one slice of whole numbers from 0 to 255 (recipe step resize_picture)",
        remedy="take resample_to_shape for volumes; let resize_picture be the first step for pictures",
    )


def _nearest(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """One slice (1, Y, X) of uint8 or bool, resized to `shape` (x, y)."""
    with Image.fromarray(array[0].astype(np.uint8)) as picture:
        values = np.array(picture.resize(shape, Image.Resampling.NEAREST))
    return values.astype(array.dtype)[None]


def _centre_crop_or_pad(state: State, shape: Sequence[int | None]) -> None:
    old = state.geometry.shape
    x, y, z = (n if new is None else new for n, new in zip(old, shape, strict=True))
    # Halves are cut off towards 0, so that a crop undoes a pad.
    sx, sy, sz = (int((n - new) / 2) for n, new in zip(old, (x, y, z), strict=True))
    _block(state, (sx, sy, sz), (x, y, z))


def _crop_to_label(state: State, classes: list[int] | None, margin_mm: float) -> None:
    chosen = _of_classes(state, classes)
    if not chosen.any():
        raise DataError(
            f"no voxel of {'any class' if classes is None else f'the classes {classes}'}",
            subject=state.subject,
            expected="a label to crop to (recipe step crop_to_label)",
        )
    start, shape = [], []
    for axis, (n, spacing) in enumerate(zip(state.geometry.shape, state.geometry.spacing, strict=True)):
        others = tuple(other for other in range(3) if other != 2 - axis)
        found = np.flatnonzero(chosen.any(axis=others))
        margin = math.ceil(margin_mm / spacing - 1e-6)
        first, last = max(0, int(found[0]) - margin), min(n - 1, int(found[-1]) + margin)
        start.append(first)
        shape.append(last - first + 1)
    _block(state, (start[0], start[1], start[2]), (shape[0], shape[1], shape[2]))


def _block(state: State, start: Ints, shape: Ints) -> None:
    """Cuts out a block (x, y, z); what lies beyond gets each channel's minimum, label 0."""
    if start == (0, 0, 0) and shape == state.geometry.shape:
        return
    minima = [float(channel.min()) for channel in state.image]
    image = [_cut(channel, start, shape, low) for channel, low in zip(state.image, minima, strict=True)]
    state.image = np.stack(image)
    state.label = _cut(state.label, start, shape, 0)
    if state.nonzero is not None:
        state.nonzero = np.stack([_cut(mask, start, shape, False) for mask in state.nonzero])
    if state.mask is not None:
        state.mask = _cut(state.mask, start, shape, False)
    sx, sy, sz = start
    state.geometry = state.geometry.overlaid(Grid(shape, offset=(float(sx), float(sy), float(sz))))


def _cut(array: np.ndarray, start: Ints, shape: Ints, fill: float) -> np.ndarray:
    source, target = [], []
    for first, wanted, n in zip(start[::-1], shape[::-1], array.shape, strict=True):
        low, high = max(0, first), min(n, first + wanted)
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    if all(s.stop - s.start == n for s, n in zip(source, shape[::-1], strict=True)):
        return array[tuple(source)]
    block = np.full(shape[::-1], fill, array.dtype)
    block[tuple(target)] = array[tuple(source)]
    return block


def _of_classes(state: State, classes: list[int] | None) -> np.ndarray:
    return state.label > 0 if classes is None else np.isin(state.label, classes)


# --- intensities ---------------------------------------------------------------------------------


def _min_max(state: State, over: str, lower: float, upper: float) -> None:
    parts = list(zip(state.channels, state.image, strict=True))
    for name, channel in parts if over == "channel" else [(" ".join(state.channels), state.image)]:
        # A percentile sorts; the minimum and the maximum do not.
        bounds = (channel.min(), channel.max())
        if lower > 0 or upper < 100:
            bounds = np.percentile(channel, [lower, upper])
        low, high = (np.float32(bound) for bound in bounds)
        if not low < high:
            raise _constant(state, name, f"percentiles {lower} and {upper} are both {low:g}", "min_max")
        np.clip(channel, low, high, out=channel)
        channel -= low
        channel /= high - low


def _z_score(state: State, over: str, population: Population | None) -> None:
    for index, name in enumerate(state.channels):
        channel = state.image[index]
        mask = state.nonzero[index] if over == "nonzero" and state.nonzero is not None else None
        if over == "population":
            if population is None or name not in population:
                raise ConfigError(
                    f"recipe: z_score over population, without statistics of channel {name}",
                    remedy="pass what population_statistics returns",
                )
            mean, deviation = population[name]["mean"], population[name]["std"]
        else:
            values = channel if mask is None else channel[mask]
            # A constant's computed deviation need not be exactly 0.
            if values.size == 0 or values.min() == values.max():
                raise _constant(
                    state, name, f"{values.size} voxels, all of one value, over the {over}", "z_score"
                )
            mean, deviation = values.mean(dtype=np.float64), values.std(dtype=np.float64)
        channel -= np.float32(mean)
        channel /= np.float32(deviation)
        if mask is not None:
            channel[~mask] = 0


def _constant(state: State, channel: str, found: str, step: str) -> DataError:
    return DataError(
        f"channel {channel}: {found}",
        subject=state.subject,
        expected=f"values that differ (recipe step {step})",
        remedy="look at the scan and at the steps before; or set on_bad_subject: exclude",
    )
