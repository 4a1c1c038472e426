"""Members' probabilities for subjects: one pass, or the mean of T with dropout (Mehrtash 2020 §VI.C).

Ensembles need nothing of their own here: every member's probabilities are kept, means of any of them are
taken when they are measured. Computed in float32, in whatever precision the members were trained.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import Model, Predictor
from ..data.prepared import Prepared, load_folder
from ..errors import ConfigError
from ..files import atomic_folder, sha256_of
from ..models.checkpoints import Member, load_member
from ..models.devices import pick
from ..models.unet import UNet, folded, layout_of, probabilities
from ..seeds import seed_of
from .store import writing

# Slices a pass. The dropout masks depend on it.
SLICES = 16


def sample_chunk(
    members: Sequence[str | Path],
    arrays: str | Path,
    predictor: Predictor,
    seed_parts: tuple[str | int, ...],
    out: str | Path,
    log: logging.Logger,
    device: str = "auto",
) -> None:
    """Writes the posterior of every subject in the folder `arrays` into the folder `out`.

    `members` are weights files; `seed_parts` and the member's file name seed the dropout. The folder appears
    complete or not at all. `device` as in `train_member`.
    """
    place = pick(device, log)
    loaded = [load_member(path) for path in members]
    networks = [folded(member.network).to(place) for member in loaded]
    with atomic_folder(out) as temporary:
        for prepared in load_folder(arrays):
            about = _about(loaded, members, predictor, seed_parts, prepared)
            depth, height, width = prepared.label.shape
            shape = (len(loaded), depth, loaded[0].classes, height, width)
            with writing(temporary, prepared.dataset, prepared.subject, shape, about) as array:
                for index, network in enumerate(networks):
                    seed = seed_of(*seed_parts, Path(members[index]).stem, prepared.dataset, prepared.subject)
                    sample(network, loaded[index].model, predictor, prepared.image, seed, array[index])
            log.info("%s: %d members", prepared.subject, len(loaded))


@torch.inference_mode()
def sample(
    network: UNet,
    model: Model,
    predictor: Predictor,
    image: NDArray[np.float32],
    seed: int,
    out: NDArray[np.float16],
) -> None:
    """One member's probabilities (Z, K, Y, X) for an image (C, Z, Y, X), into `out`.

    For `mc_dropout` the mean over T passes, dropout on, batch norm as in evaluation; no sample is kept.
    """
    network.eval()
    if predictor.kind == "mc_dropout":
        if model.dropout is None:
            raise ConfigError(
                f"predictor {predictor.title} (mc_dropout) reads a model without dropout",
                remedy="set the model's dropout, or another model for the predictor",
            )
        network.dropout.train()
    torch.manual_seed(seed)
    device = next(network.parameters()).device
    for slices, images in _batches(image, model.dims, device):
        if predictor.kind == "mc_dropout" and predictor.samples is not None:
            p = mc_mean(network, model, images, predictor.samples)
        else:
            p = probabilities(network(images), model)
        p = p if model.dims == 2 else p[0].transpose(0, 1)
        out[slices] = p.half().cpu().numpy()


def mc_mean(network: UNet, model: Model, images: Tensor, samples: int) -> Tensor:
    """Mean probabilities of `samples` passes; what dropout does not reach is computed once."""
    features = network.prefix(images)
    total = probabilities(network.rest(features), model)
    for _ in range(samples - 1):
        total += probabilities(network.rest(features), model)
    return total / samples


def _batches(image: NDArray[np.float32], dims: int, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """The image as the network takes it: batches of slices, or one volume."""
    tensor = torch.from_numpy(image).to(device)
    if dims == 3:
        yield slice(None), tensor[None].contiguous(memory_format=layout_of(3))
        return
    for start in range(0, image.shape[1], SLICES):
        slices = slice(start, min(start + SLICES, image.shape[1]))
        yield slices, tensor[:, slices].transpose(0, 1).contiguous(memory_format=layout_of(2))


def _about(
    loaded: Sequence[Member],
    paths: Sequence[str | Path],
    predictor: Predictor,
    seed_parts: tuple[str | int, ...],
    prepared: Prepared,
) -> dict[str, object]:
    made_from = {
        "predictor": predictor.posterior,
        "model": predictor.model,
        "members": [Path(path).stem for path in paths],
        "member_keys": [member.about["key"] for member in loaded],
        "samples": predictor.samples or 0,
        "seed": [str(part) for part in seed_parts],
    }
    return made_from | {"key": sha256_of(made_from | {"subject": [prepared.dataset, prepared.subject]})}
