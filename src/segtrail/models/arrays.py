"""All slices (2D) or volumes (3D) of some subjects as one tensor on the device."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..config import Model
from ..errors import ArtifactError, ConfigError
from ..files import sha256_of
from ..source import code_hash
from .networks import layout_of


class Labelled(Protocol):
    """What training needs of a prepared subject."""

    @property
    def dataset(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def image(self) -> np.ndarray: ...  # (C, Z, Y, X) float32
    @property
    def label(self) -> np.ndarray: ...  # (Z, Y, X) uint8


@dataclass(frozen=True, eq=False)
class Stack:
    """N slices or volumes, ready to be picked by index."""

    images: Tensor  # (N, C, Y, X) or (N, C, Z, Y, X) float32
    labels: Tensor  # (N, …) uint8
    owners: Tensor  # (N,) int64, index into subjects
    subjects: tuple[str, ...]
    segmentations: Tensor | None = None  # (N, …) uint8, a further channel of the images

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        return self.images.shape[1] + (self.segmentations is not None)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images, channels last in memory, and labels as int64."""
        images = self.images[index]
        if self.segmentations is not None:
            images = torch.cat([images, self.segmentations[index].unsqueeze(1).float()], 1)
        images = images.contiguous(memory_format=layout_of(self.images.dim() - 2))
        return images, self.labels[index].long()


def stack(
    subjects: Sequence[Labelled],
    dims: int,
    device: torch.device,
    segmentations: Sequence[np.ndarray] | None = None,
    not_black: bool = False,
) -> Stack:
    """Raises ConfigError where the subjects do not fit one tensor, or none is left.

    With `segmentations` (Z, Y, X) of the subjects, labels tell where these are wrong (1). With `not_black`,
    slices or volumes without a value above 0 in any channel are left out.
    """
    if not subjects:
        raise ConfigError(
            "a member has no subjects to train on, or none to be chosen on",
            expected="at least one subject in each",
            remedy="larger parts in the cohort's split, or other folds of the model",
        )
    shapes = {(len(one.image), *one.image.shape[-dims:]) for one in subjects}
    if len(shapes) != 1:
        raise ConfigError(
            f"{len(shapes)} shapes (channels, …) among {len(subjects)} subjects: {sorted(shapes)[:4]}",
            expected="subjects of one shape" + (" in plane" if dims == 2 else ""),
            remedy="end the cohort's recipe with centre_crop_or_pad",
        )
    images = [np.moveaxis(one.image, 0, 1) if dims == 2 else one.image[None] for one in subjects]
    kept = [_not_black(image) if not_black else np.ones(len(image), bool) for image in images]
    if not np.concatenate(kept).any():
        raise ConfigError(
            f"training.slices = 'not_black', but none of {sum(map(len, kept))} images has a value above 0",
            expected="images with positive values after the cohort's recipe",
            remedy="training.slices: all, or another recipe",
        )

    def joined(parts: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(_joined(parts, kept)).to(device)

    def planes(volumes: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [volume if dims == 2 else volume[None] for volume in volumes]

    labels = joined(planes([one.label for one in subjects]))
    given = None if segmentations is None else joined(planes(segmentations))
    counts = torch.tensor([int(part.sum()) for part in kept])
    return Stack(
        joined(images),
        labels if given is None else (labels != given).to(torch.uint8),
        torch.repeat_interleave(torch.arange(len(subjects)), counts).to(device),
        tuple(one.subject for one in subjects),
        given,
    )


def _not_black(images: np.ndarray) -> np.ndarray:
    black: np.ndarray = images.max(axis=tuple(range(1, images.ndim))) <= 0
    return ~black  # one with a NaN stays, for the training to stop at


def _joined(parts: Sequence[np.ndarray], kept: Sequence[np.ndarray]) -> np.ndarray:
    """What is kept of the parts, one after the other; filled in place, as a copy may not fit in memory."""
    result = np.empty((sum(int(keep.sum()) for keep in kept), *parts[0].shape[1:]), parts[0].dtype)
    start = 0
    for part, keep in zip(parts, kept, strict=True):
        stop = start + int(keep.sum())
        result[start:stop] = part if keep.all() else part[keep]
        start = stop
    return result


def read_segmentations(folder: Path, subjects: Sequence[Labelled]) -> list[np.ndarray]:
    """The segmentations (Z, Y, X) uint8 that the job predictions left of the subjects, mapped from disk.

    Raises ArtifactError where one is missing, or of another shape or type than the subject's label.
    """
    found = []
    for one in subjects:
        file = folder / f"{one.dataset}__{one.subject}.npy"
        try:
            segmentation = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ArtifactError(
                f"{type(error).__name__}: {error}",
                subject=one.subject,
                file=file,
                expected="a segmentation by the member that has not seen the subject",
                remedy="delete the folder and run again",
            ) from error
        if segmentation.shape != one.label.shape or segmentation.dtype != np.uint8:
            raise ArtifactError(
                f"a segmentation {segmentation.shape} of {segmentation.dtype}",
                subject=one.subject,
                file=file,
                expected=f"{one.label.shape} of uint8, as the label",
                remedy="delete the folder and run again",
            )
        found.append(segmentation)
    return found


def fingerprint(
    model: Model,
    train: Sequence[Labelled],
    val: Sequence[Labelled],
    classes: int,
    seed_parts: tuple[str | int, ...],
    device: torch.device,
    segmentations: Sequence[np.ndarray] | None = None,
    base: str | None = None,
) -> str:
    """The key of a training: equal for two that would give the same weights.

    `segmentations` are those of `train` and `val`, in order; `base` is the sha256 of the segmentation member.
    """
    digest = hashlib.sha256()
    for one in (*train, *val):
        digest.update(f"{one.subject}{one.image.shape}".encode())
        digest.update(np.ascontiguousarray(one.image).data)
        digest.update(np.ascontiguousarray(one.label).data)
    for segmentation in segmentations or ():
        digest.update(np.ascontiguousarray(segmentation).data)
    return sha256_of(
        {
            "base": base,
            "data": digest.hexdigest(),
            "train": len(train),
            "model": model.trained_by(),
            "classes": classes,
            "seed": [str(part) for part in seed_parts],
            "code": code_hash("models.training"),
            "torch": torch.__version__,
            "device": device.type,
        }
    )
