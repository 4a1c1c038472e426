"""Trained members and the states of unfinished ones, as safetensors files."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..config import Model
from ..errors import ArtifactError
from ..files import atomic
from .networks import Network, build, channels_last

# safetensors writes its metadata in random order, so all of it is one JSON text: equal content, equal bytes.
ABOUT = "segtrail"


@dataclass(frozen=True, eq=False)
class Member:
    """A trained member, ready to predict."""

    network: Network  # in eval mode, on the CPU
    model: Model
    classes: int
    about: dict[str, Any]  # what its file says of its training


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes tensors and what they are, whole or not at all; the same content gives the same bytes.

    Raises ArtifactError where the disk is full.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # save_file would leave a file of its own when it is killed, and hides the system's errors.
    content = save(plain, {ABOUT: json.dumps(about, sort_keys=True)})
    with atomic(path, len(content)) as temporary:
        temporary.write_bytes(content)


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote; raises ArtifactError if the file is damaged or something else."""
    with _reading(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _about(file)  # noqa: SIM118 (no mapping)


def load_about(path: str | Path) -> dict[str, Any]:
    """What the tensors in a file are, without reading them; raises ArtifactError as `load_tensors`."""
    with _reading(path) as file:
        return _about(file)


@contextmanager
def _reading(path: str | Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactError(
            f"{type(error).__name__}: {error}",
            file=path,
            expected="weights or a training state written by segtrail",
            remedy="delete the file and run again",
        ) from error


def _about(file: safe_open) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((file.metadata() or {})[ABOUT])
    return about


def load_member(path: str | Path) -> Member:
    """Reads one member's weights; `about` holds `key`, `training` (a row of members.parquet) and more."""
    tensors, about = load_tensors(path)
    try:
        # What a member was trained by leaves out the keys that do not shape it.
        model = Model.model_validate({"title": "", "members": 1, **about["model"]})
        network = build(model, about["in_channels"], about["classes"])
        network.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"not the weights of its model: {error}", file=path) from error
    return Member(channels_last(network).eval().requires_grad_(False), model, about["classes"], about)


def resume_state(
    path: Path, key: str, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """An unfinished training's state, or None where there is none; another training's is refused."""
    if not path.exists():
        return None
    tensors, about = load_tensors(path)
    if about["key"] != key:
        raise ArtifactError(
            f"the state of another training (key {about['key'][:16]})",
            file=path,
            expected=f"key {key[:16]}: the same data, model, seed, code and kind of device",
            remedy=f"remove {path.parent} to train anew",
        )
    # Copies: what is read is a view of the mapped file, which NFS cannot remove while it is used.
    return {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}, about
