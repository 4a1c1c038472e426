"""What members say about subjects: their probabilities, and the uncertainty that a network gives of its own.

One pass; the mean of T with dropout on (Mehrtash 2020 §VI.C, Jungo 2019 §2.3); a noise head's σ or an error
network's probability beside the probabilities (Jungo 2019 §2.3). Ensembles need nothing of their own here:
every member's probabilities are kept, means of any of them are taken when they are measured. Computed in
float32, in whatever precision the members were trained.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import Model, Predictor
from ..data.prepared import Prepared, iter_folder
from ..errors import ArtifactError, ConfigError
from ..files import atomic_folder, sha256_of
from ..models.checkpoints import Member, load_member
from ..models.devices import pick
from ..models.networks import (
    Network,
    UNet,
    UpsamplingUNet,
    dropouts,
    folded,
    layout_of,
    logits_of,
    probabilities,
    split_noise,
)
from ..seeds import seed_of
from .store import Arrays, writing

# Slices a pass. The dropout masks depend on it.
SLICES = 16
# Kinds of predictor whose network gives an uncertainty of its own.
UNCERTAIN = ("aleatoric", "auxiliary")


def sample_chunk(
    members: Sequence[str | Path],
    arrays: str | Path,
    predictor: Predictor,
    seed_parts: tuple[str | int, ...],
    out: str | Path,
    log: logging.Logger,
    device: str = "auto",
    base: Sequence[str | Path] = (),
) -> None:
    """Writes the posterior of every subject in the folder `arrays` into the folder `out`.

    `members` are weights files; `seed_parts` and the member's file name seed the dropout. `base` are the
    weights of the segmentation members whose errors the members of an auxiliary model tell: that of the same
    file name. The folder appears complete or not at all. `device` as in `train_member`. Raises ConfigError
    for a predictor that does not fit its model, ArtifactError for weights that do not belong together.
    """
    place = pick(device, log)
    loaded = [load_member(path) for path in members]
    bases = [ready(one, place) for one in _bases(loaded, members, predictor, base)]
    dropping = predictor.kind == "mc_dropout"
    loaded = [ready(member, place, dropping) for member in loaded]
    classes = (bases or loaded)[0].classes
    uncertain = predictor.kind in UNCERTAIN
    with atomic_folder(out) as temporary:
        for prepared in iter_folder(arrays):
            about = _about(loaded, bases, members, predictor, seed_parts, prepared)
            depth, height, width = prepared.label.shape
            shape = (len(loaded), depth, classes, height, width)
            with writing(temporary, prepared.dataset, prepared.subject, shape, about, uncertain) as into:
                for index, member in enumerate(loaded):
                    seed = seed_of(*seed_parts, Path(members[index]).stem, prepared.dataset, prepared.subject)
                    segments = bases[index] if bases else None
                    sample(member, predictor, prepared.image, seed, into.of_member(index), segments)
            log.info("%s: %d members", prepared.subject, len(loaded))


def ready(member: Member, device: torch.device, dropping: bool = False) -> Member:
    """The member on its device, batch norm folded wherever no dropout that acts lies before it."""
    return replace(member, network=folded(member.network, dropping).to(device))


@torch.inference_mode()
def sample(
    member: Member,
    predictor: Predictor,
    image: NDArray[np.float32],
    seed: int,
    out: Arrays,
    base: Member | None = None,
) -> None:
    """What one member says of an image (C, Z, Y, X): fills `out` of one member.

    Probabilities (Z, K, Y, X): for `mc_dropout` the mean over T passes, dropout on, batch norm as in
    evaluation, no sample kept; for `aleatoric` those of the logits without noise; for `auxiliary` those of
    `base`. Uncertainty (Z, Y, X): for `aleatoric` the deviation σ ≥ 0 of the predicted class's logit, for
    `auxiliary` the probability of an error.

    Source: Jungo 2019, §2.3, and its public code (σ of the predicted class).
    """
    fits = (predictor.kind == "auxiliary") == (base is not None)
    if not fits or (predictor.kind in UNCERTAIN) != (out.uncertainty is not None):
        raise ValueError(f"a predictor of kind {predictor.kind} with base {base} and arrays {out}")
    member.network.eval()
    if predictor.kind == "mc_dropout":
        if member.model.dropout is None:
            raise ConfigError(
                f"predictor {predictor.title} (mc_dropout) reads a model without dropout",
                remedy="set the model's dropout, or another model for the predictor",
            )
        dropouts(member.network, on=True)
    torch.manual_seed(seed)
    device = next(member.network.parameters()).device
    for slices, images in batches(image, member.model.dims, device):
        uncertainty = None
        if predictor.kind == "mc_dropout" and predictor.samples is not None:
            p = mc_mean(member.network, member.model, images, predictor.samples)
        elif predictor.kind == "aleatoric":
            p, uncertainty = _with_noise(member, images)
        elif base is not None:
            p, uncertainty = _with_errors(member, base, images)
        else:
            p = passed(member, images)
        out.probabilities[slices] = slices_first(p.half(), member.model.dims).cpu().numpy()
        if out.uncertainty is not None and uncertainty is not None:
            out.uncertainty[slices] = (
                slices_first(uncertainty[:, None], member.model.dims)[:, 0].cpu().numpy()
            )


def passed(member: Member, images: Tensor) -> Tensor:
    """Class probabilities (N, K, …) float32 of one pass."""
    return probabilities(logits_of(member.network(images), member.model), member.model)


def mc_mean(network: Network, model: Model, images: Tensor, samples: int) -> Tensor:
    """Mean probabilities of `samples` passes; what dropout does not reach in a UNet is computed once."""
    one_pass = (
        partial(network.rest, network.prefix(images))
        if isinstance(network, UNet)
        else partial(network, images)
    )
    total = probabilities(logits_of(one_pass(), model), model)
    for _ in range(samples - 1):
        total += probabilities(logits_of(one_pass(), model), model)
    return total / samples


def predicted(p: Tensor) -> Tensor:
    """Class indices (N, …) int64 of class probabilities (N, K, …); of equal ones the first.

    Of the probabilities as they are kept, in float16: so it is the segmentation that is measured.
    """
    return p.half().float().argmax(1)


def _with_noise(member: Member, images: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (N, K, …) without noise, and σ (N, …) of the predicted class's logit."""
    logits, sigma = split_noise(member.network(images), member.model)
    p = probabilities(logits, member.model)
    return p, sigma.gather(1, predicted(p)[:, None])[:, 0]


def _with_errors(member: Member, base: Member, images: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (N, K, …) of the segmentation member; by the auxiliary one, that (N, …) of an error."""
    if _reads_features(member):
        network = cast(UNet | UpsamplingUNet, base.network)
        features = network.features(images)
        p = probabilities(logits_of(network.from_features(features), base.model), base.model)
        return p, passed(member, features)[:, 1]
    p = passed(base, images)
    seen = torch.cat([images, predicted(p)[:, None].float()], 1)
    return p, passed(member, seen.contiguous(memory_format=layout_of(member.model.dims)))[:, 1]


def _reads_features(member: Member) -> bool:
    return member.model.auxiliary is not None and member.model.auxiliary.input == "features"


def batches(image: NDArray[np.float32], dims: int, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """An image (C, Z, Y, X) as the network takes it: batches of slices, or one volume."""
    tensor = torch.from_numpy(image).to(device)
    if dims == 3:
        yield slice(None), tensor[None].contiguous(memory_format=layout_of(3))
        return
    for start in range(0, image.shape[1], SLICES):
        slices = slice(start, min(start + SLICES, image.shape[1]))
        yield slices, tensor[:, slices].transpose(0, 1).contiguous(memory_format=layout_of(2))


def slices_first(maps: Tensor, dims: int) -> Tensor:
    """A network's maps of a batch, (N, K, Y, X) or (1, K, Z, Y, X), as (Z, K, Y, X)."""
    return maps if dims == 2 else maps[0].transpose(0, 1)


def _bases(
    loaded: Sequence[Member],
    members: Sequence[str | Path],
    predictor: Predictor,
    base: Sequence[str | Path],
) -> list[Member]:
    """The segmentation member of each auxiliary one; none for other predictors."""
    if predictor.kind != "auxiliary":
        return []
    by_name = {Path(path).stem: path for path in base}
    result = []
    for member, path in zip(loaded, members, strict=True):
        if member.model.auxiliary is None:
            raise ConfigError(
                f"predictor {predictor.title} (auxiliary) reads a model that is none",
                remedy="set the model's auxiliary, or another model for the predictor",
            )
        if Path(path).stem not in by_name:
            raise ArtifactError(
                f"segmentation members {', '.join(sorted(by_name)) or '(none)'}",
                file=path,
                expected=f"{Path(path).stem} among them: member m tells the errors of member m",
            )
        found = load_member(by_name[Path(path).stem])
        if found.model.dims != member.model.dims:
            raise ConfigError(
                f"dims {member.model.dims} of an auxiliary model, {found.model.dims} of what it looks at",
                file=path,
                expected="the same",
                remedy="set the model's dims, or name another one in auxiliary.model",
            )
        # An error network on features can be used with no other member: its input would mean another thing.
        if _reads_features(member) and member.about.get("base") != found.about["key"]:
            raise ArtifactError(
                f"trained on the features of the member with key {str(member.about.get('base'))[:16]}",
                file=path,
                expected=f"key {found.about['key'][:16]}, that of {by_name[Path(path).stem]}",
                remedy="delete the file and run again",
            )
        result.append(found)
    return result


def _about(
    loaded: Sequence[Member],
    bases: Sequence[Member],
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
        "base_keys": [member.about["key"] for member in bases],
        "samples": predictor.samples or 0,
        "seed": [str(part) for part in seed_parts],
    }
    return made_from | {"key": sha256_of(made_from | {"subject": [prepared.dataset, prepared.subject]})}
