"""All slices (2D) or volumes (3D) of some subjects as one tensor on the device."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..config import Model
from ..errors import ConfigError
from ..files import sha256_of
from ..source import code_hash
from .unet import layout_of


class Labelled(Protocol):
    """What training needs of a prepared subject."""

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

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images, channels last in memory, and labels as int64."""
        images = self.images[index].contiguous(memory_format=layout_of(self.images.dim() - 2))
        return images, self.labels[index].long()


def stack(subjects: Sequence[Labelled], dims: int, device: torch.device) -> Stack:
    """Raises ConfigError where the subjects do not fit one tensor."""
    shapes = {(len(one.image), *one.image.shape[-dims:]) for one in subjects}
    if len(shapes) != 1:
        raise ConfigError(
            f"{len(shapes)} shapes (channels, …) among {len(subjects)} subjects: {sorted(shapes)[:4]}",
            expected="subjects of one shape" + (" in plane" if dims == 2 else ""),
            remedy="end the cohort's recipe with centre_crop_or_pad",
        )
    images = [np.moveaxis(one.image, 0, 1) if dims == 2 else one.image[None] for one in subjects]
    labels = [one.label if dims == 2 else one.label[None] for one in subjects]
    counts = torch.tensor([len(part) for part in labels])
    return Stack(
        torch.from_numpy(np.concatenate(images)).to(device),
        torch.from_numpy(np.concatenate(labels)).to(device),
        torch.repeat_interleave(torch.arange(len(subjects)), counts).to(device),
        tuple(one.subject for one in subjects),
    )


def fingerprint(
    model: Model,
    train: Sequence[Labelled],
    val: Sequence[Labelled],
    classes: int,
    seed_parts: tuple[str | int, ...],
    device: torch.device,
) -> str:
    """The key of a training: equal for two that would give the same weights."""
    digest = hashlib.sha256()
    for one in (*train, *val):
        digest.update(f"{one.subject}{one.image.shape}".encode())
        digest.update(np.ascontiguousarray(one.image).data)
        digest.update(np.ascontiguousarray(one.label).data)
    return sha256_of(
        {
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
