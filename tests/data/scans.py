"""Small invented scans, and cohorts to prepare them with."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from segtrail.config import Cohort
from segtrail.data.subject import Subject

SPACING = (0.8, 1.1, 4.0)


def affine_of(spacing: tuple[float, float, float]) -> np.ndarray:
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = (60, 40, -12)
    return affine


def ball(shape: tuple[int, int, int], radius: float = 0.6) -> np.ndarray:
    """A label (X, Y, Z): 2 inside 1 inside 0, off centre."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    distance = np.sqrt(sum((axis - 0.1) ** 2 for axis in axes))
    return ((distance < radius).astype(np.uint8) + (distance < radius / 2)).astype(np.uint8)


def write(folder: Path, name: str, image: np.ndarray, label: np.ndarray, spacing=SPACING) -> Subject:
    """One subject of as many channels as `image` (C, X, Y, Z) has."""
    folder.mkdir(parents=True, exist_ok=True)
    channels = {}
    for index, array in enumerate(image):
        channels[f"c{index}"] = folder / f"{name}_c{index}.nii"
        nib.save(nib.Nifti1Image(array, affine_of(spacing)), channels[f"c{index}"])
    path = folder / f"{name}_seg.nii"
    nib.save(nib.Nifti1Image(label, affine_of(spacing)), path)
    return Subject(name, f"patient_{name}", channels, path, site="S", group="G", frame="ED")


def noise(shape: tuple[int, int, int], seed: int = 0, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, (channels, *shape)).astype(np.float32)


def cohort(
    *recipe: dict,
    channels: Sequence[str] = ("c0", "c1"),
    classes: Sequence[int] = (2, 1),
    mask: str | None = None,
) -> Cohort:
    """A cohort whose class k is the label value `classes[k - 1]`; `mask` names a channel."""
    segments = [{"name": f"label {value}", "numeral": "I", "labels": [value]} for value in classes]
    return Cohort.model_validate(
        {
            "title": "test",
            "datasets": ["d"],
            "channels": channels,
            "segments": segments,
            "split": {"parts": {"train": {"size": 1}}},
            "recipe": recipe,
            "box": {"in_plane_mm": 8, "slices": 2},
            "mask": None if mask is None else {"channel": mask},
        }
    )


SHAPE = (21, 17, 6)


def zyx(array: np.ndarray) -> np.ndarray:
    return np.swapaxes(array, -1, -3)
