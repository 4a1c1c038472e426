"""Trains one member: one network, one seed (Mehrtash 2020 §VI.A; Jungo 2019 §2).

Data lie on the device as one tensor. All random numbers of an epoch come from (seed parts, epoch), so a
killed training that goes on from its last saved epoch ends with the bytes of an undisturbed one (on the CPU;
on a GPU some sums have no fixed order). The state after an epoch is the network, Adam's moments, the best
weights so far and the history; learning rate, best epoch and early stopping follow from the history alone.
"""

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.adam import adam
from tqdm import tqdm

from ..config import Model
from ..errors import ArtifactError, ConfigError, SegtrailError
from ..files import clear_parts, read_json, sha256_of_file
from ..seeds import seed_of
from .arrays import Labelled, Stack, fingerprint, read_segmentations, stack
from .auxiliary import CLASSES, Base
from .checkpoints import load_about, resume_state, save_tensors
from .devices import pick
from .history import Row, best_epoch, class_dice, dead_classes, finished, learning_rate, write_history
from .kept import DONE, SUMS, keep, link
from .losses import Loss, make_loss
from .networks import Network, build, channels_last, logits_of, probabilities

BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8


@dataclass(eq=False)
class State:
    """A member in training, at the end of an epoch."""

    network: Network
    means: list[Tensor]  # Adam's running means of gradients, one per parameter
    squares: list[Tensor]  # and of their squares
    best: dict[str, Tensor] = field(default_factory=dict)  # the network at its best epoch
    restart: int = 0
    history: list[Row] = field(default_factory=list)  # of all restarts

    @property
    def rows(self) -> list[Row]:
        """The history since the last restart, one row an epoch."""
        return [row for row in self.history if row["restart"] == self.restart]


@dataclass(frozen=True, eq=False)
class Setting:
    """What stays the same during a training."""

    model: Model
    classes: int
    seed_parts: tuple[str | int, ...]
    train: Stack
    val: Stack
    loss: Loss
    device: torch.device
    base: Base | None = None  # the segmentation member whose feature maps are the input

    @property
    def channels(self) -> int:
        """Channels of what the network reads."""
        return self.train.channels if self.base is None else self.base.member.model.filters[0]

    def inputs(self, images: Tensor) -> Tensor:
        """What the network reads of images (N, C, …), in float32 whatever the training's precision."""
        return images if self.base is None else self.base.features(images)

    def seed(self, state: State, *what: str | int) -> int:
        return seed_of(*self.seed_parts, state.restart, *what)


def train_member(
    model: Model,
    train: Sequence[Labelled],
    val: Sequence[Labelled],
    *,
    classes: int,
    seed_parts: tuple[str | int, ...],
    weights_path: str | Path,
    history_path: str | Path,
    resume_dir: str | Path,
    log: logging.Logger,
    progress: bool = True,
    device: str = "auto",
    base: str | Path | None = None,
    segmentations: str | Path | None = None,
) -> None:
    """Trains a member, or goes on from the state in `resume_dir`; writes its best weights and its history.

    A member that is trained already is not trained again, also where its weights have been deleted since:
    `resume_dir` keeps links to them. The process may end at any moment: the state of the last finished epoch
    is on disk. No other process may train the same member at the same time (`joblog.job` sees to that).
    `classes` counts the background. An auxiliary member has two classes, right and wrong: with `base`, the
    weights of a segmentation member, it learns that member's errors from its feature maps; with
    `segmentations`, a folder of <dataset>__<subject>.npy (Z, Y, X) uint8, it learns their errors from the
    image and them. `device` is `cpu`, `cuda` or `auto` (a GPU where there is one). `progress` shows a line on
    a terminal, never elsewhere.

    Raises ConfigError if there is no GPU for `cuda` or if subjects, model and what it learns from do not fit
    together, ArtifactError if the state in `resume_dir`, `base` or a segmentation is damaged or the disk
    full, and SegtrailError if the loss is not finite.
    """
    weights_path, history_path, resume_dir = Path(weights_path), Path(history_path), Path(resume_dir)
    place = pick(device, log)
    _check_sources(model, base, segmentations)
    given = None if segmentations is None else read_segmentations(Path(segmentations), [*train, *val])
    key = fingerprint(
        model, train, val, classes, seed_parts, place, given, None if base is None else sha256_of_file(base)
    )
    # This also lists the folders, without which NFS may not yet see what another node has just written.
    for path in (weights_path, history_path, state_file(resume_dir, key)):
        clear_parts(path)
    if _found_finished(weights_path, history_path, resume_dir, key, log):
        return
    loaded = None if base is None else Base(Path(base), model, place)
    setting = _setting(model, train, val, classes, seed_parts, place, log, loaded, given)
    state = _begin_or_resume(setting, resume_dir, key, log)
    with tqdm(total=model.training.epochs, disable=None if progress else True, leave=False) as bar:
        while True:
            _run_epochs(setting, state, resume_dir, key, log, bar)
            dead = dead_classes(state.rows, model.training)
            rule = model.training.dead_class
            if not dead or rule.action == "keep" or state.restart >= rule.restarts:
                break
            log.warning("classes %s were not learnt: restart %d", dead, state.restart + 1)
            state = _begin(setting, state.restart + 1, state.history)
    about = _about(setting, state, key)
    # The weights last: where they are, the training is done and the history is theirs.
    weights_path.unlink(missing_ok=True)
    write_history(history_path, state.history)
    save_tensors(weights_path, state.best, about)
    _keep_finished(weights_path, history_path, resume_dir, key, log)
    log.info("done: %s", about["training"])
    if dead:
        log.warning("dead classes %s: validation Dice below %g at the best epoch", dead, rule.dice)


# --- one epoch -----------------------------------------------------------------------------------


def _run_epochs(
    setting: Setting, state: State, resume_dir: Path, key: str, log: logging.Logger, bar: tqdm
) -> None:
    training = setting.model.training
    while not finished(state.rows, training):
        rows = state.rows
        rate = learning_rate(rows, training)
        loss = _train_epoch(setting, state, len(rows), rate)
        dice = validate(setting, state.network)
        row = {"restart": state.restart, "epoch": len(rows) + 1, "learning_rate": rate, "train_loss": loss}
        row |= {f"val_dice_{k}": value for k, value in enumerate(dice, start=1)}
        state.history.append(row | {"val_dice": sum(dice) / len(dice)})
        if best_epoch(state.rows) == len(rows):
            state.best = {name: tensor.clone() for name, tensor in state.network.state_dict().items()}
        _save(state, resume_dir, key)
        log.info("epoch %d: %s", len(rows) + 1, " ".join(f"{k} {v:.4g}" for k, v in list(row.items())[2:]))
        bar.n = len(rows) + 1
        bar.set_postfix_str(f"loss {loss:.3f} dice {state.history[-1]['val_dice']:.3f}")


def _train_epoch(setting: Setting, state: State, epoch: int, rate: float) -> float:
    """One pass over all training slices in random order; returns the mean loss."""
    network = state.network.train()
    order = torch.Generator().manual_seed(setting.seed(state, "order", epoch))
    torch.manual_seed(setting.seed(state, "dropout", epoch))
    shuffled = torch.randperm(len(setting.train), generator=order).to(setting.device)
    # Batches of nearly equal size, none larger than asked for: a last batch of one would upset batch norm.
    batches = shuffled.tensor_split(_batches(setting))
    steps = [torch.tensor(float(epoch * len(batches)), device=setting.device) for _ in state.means]
    losses = []
    for batch in batches:
        images, labels = setting.train.batch(batch)
        inputs = setting.inputs(images)
        with _precision(setting):
            outputs = network(inputs)
        loss = setting.loss(outputs, labels)
        network.zero_grad()
        loss.backward()
        _adam(state, steps, rate)
        losses.append(loss.detach())
    # Looked at once an epoch: asking a GPU after each step would make it wait.
    values = torch.stack(losses).tolist()
    for index, value in enumerate(values):
        if not math.isfinite(value):
            owners = setting.train.owners[batches[index]].unique().tolist()
            raise SegtrailError(
                f"loss {value} in epoch {epoch + 1}, step {index + 1} of {len(values)}, "
                f"learning rate {rate:g}",
                subject=", ".join(setting.train.subjects[owner] for owner in owners),
                expected="a finite loss",
                remedy="look at these subjects' intensities, or lower training.learning_rate",
            )
    return float(sum(v * len(b) for v, b in zip(values, batches, strict=True)) / len(shuffled))


@torch.no_grad()
def _adam(state: State, steps: list[Tensor], rate: float) -> None:
    """One step of torch's Adam as a function: the class torch.optim.Adam imports the compiler, 3 s a job."""
    parameters = list[Tensor](state.network.parameters())
    adam(
        parameters,
        [parameter.grad for parameter in parameters if parameter.grad is not None],
        state.means,
        state.squares,
        [],
        steps,
        fused=True,
        amsgrad=False,
        beta1=BETAS[0],
        beta2=BETAS[1],
        lr=rate,
        weight_decay=0.0,
        eps=ADAM_EPSILON,
        maximize=False,
    )


@torch.inference_mode()
def validate(setting: Setting, network: Network) -> list[float]:
    """Dice of each foreground class, mean over validation volumes.

    2I/S, 1 where a class is in neither mask; or (2I+1)/(S+1), as the public code of Jungo 2019 does on ISIC
    (`training.selection`). I are the voxels of the class in both masks, S those in the one and in the other.
    """
    network.eval()
    val, classes = setting.val, setting.classes
    counts = torch.zeros(len(val.subjects) * classes**2, dtype=torch.int64, device=setting.device)
    everything = torch.arange(len(val), device=setting.device)
    for index in everything.split(setting.model.training.batch_size):
        images, labels = val.batch(index)
        inputs = setting.inputs(images)
        with _precision(setting):
            outputs = network(inputs)
        predicted = probabilities(logits_of(outputs, setting.model), setting.model).argmax(1)
        owners = val.owners[index].view(-1, *[1] * (labels.dim() - 1))
        cells = (owners * classes + labels) * classes + predicted
        counts += cells.ravel().bincount(minlength=len(counts))
    confusion = counts.view(-1, classes, classes).cpu()  # subject, reference, prediction
    overlap = confusion.diagonal(dim1=1, dim2=2)[:, 1:].double()
    sizes = (confusion.sum(1) + confusion.sum(2))[:, 1:].double()
    if setting.model.training.selection == "dice_smooth":
        dice = (2 * overlap + 1) / (sizes + 1)
    else:
        dice = torch.where(sizes > 0, 2 * overlap / sizes, 1.0)
    means: list[float] = dice.mean(0).tolist()
    return means


def _precision(setting: Setting) -> torch.autocast:
    wanted = setting.model.training.precision == "bfloat16"
    return torch.autocast(setting.device.type, torch.bfloat16, enabled=wanted)


def _batches(setting: Setting) -> int:
    return math.ceil(len(setting.train) / setting.model.training.batch_size)


# --- beginning, saving, going on -----------------------------------------------------------------


def _setting(
    model: Model,
    train: Sequence[Labelled],
    val: Sequence[Labelled],
    classes: int,
    seed_parts: tuple[str | int, ...],
    device: torch.device,
    log: logging.Logger,
    base: Base | None,
    segmentations: Sequence[np.ndarray] | None,
) -> Setting:
    given = (
        (None, None) if segmentations is None else (segmentations[: len(train)], segmentations[len(train) :])
    )
    training = stack(train, model.dims, device, given[0], model.training.slices == "not_black")
    validation = stack(val, model.dims, device, given[1])
    if model.auxiliary is not None:
        classes = CLASSES
    if base is not None:
        training, validation = (
            base.errors(part, model.training.batch_size) for part in (training, validation)
        )
    counts = torch.cat([training.labels.ravel(), validation.labels.ravel()]).bincount(minlength=classes)
    if not counts.all():
        log.warning("voxels of each class in training and validation data: %s", counts.tolist())
    loss = make_loss(model, counts)
    setting = Setting(model, classes, seed_parts, training, validation, loss, device, base)
    poolings = 0 if model.architecture == "pointwise" else len(model.filters) - 1
    inner = [-(-size // 2**poolings) for size in training.images.shape[2:]]
    if math.prod(inner) == 1 and len(training) // _batches(setting) == 1:
        raise ConfigError(
            f"{len(training)} training images of {tuple(training.images.shape[2:])}, "
            f"{model.training.batch_size} a batch",
            expected="more than one voxel in the inner-most level of each batch, for its batch norm",
            remedy="another training.batch_size, or larger images",
        )
    return setting


def _check_sources(model: Model, base: str | Path | None, segmentations: str | Path | None) -> None:
    """Raises ConfigError where a member is not given what its model learns from, and nothing else."""
    learns = model.auxiliary.input if model.auxiliary else "labels"
    if (base is not None, segmentations is not None) != (learns == "features", learns == "segmentation"):
        raise ConfigError(
            f"a training on {learns} with base {base} and segmentations {segmentations}",
            expected="base for an auxiliary of input features, segmentations for one of input segmentation",
        )


def _begin(setting: Setting, restart: int, history: list[Row]) -> State:
    """A new network; its weights depend on the seed parts and the restart only."""
    torch.manual_seed(seed_of(*setting.seed_parts, restart, "weights"))
    network = build(setting.model, setting.channels, setting.classes)
    network = channels_last(network.to(setting.device))
    means, squares = ([torch.zeros_like(p) for p in network.parameters()] for _ in range(2))
    return State(network, means, squares, restart=restart, history=history)


def _begin_or_resume(setting: Setting, folder: Path, key: str, log: logging.Logger) -> State:
    saved = resume_state(state_file(folder, key), key, setting.device)
    if saved is None:
        log.info("begins on %s: %d images, key %s", setting.device, len(setting.train), key[:16])
        return _begin(setting, 0, [])
    tensors, about = saved
    state = _begin(setting, about["restart"], about["history"])
    parts = {
        part: {n.removeprefix(f"{part}."): t for n, t in tensors.items() if n.startswith(f"{part}.")}
        for part in ("network", "best", "mean", "square")
    }
    state.network.load_state_dict(parts["network"])
    state.best = parts["best"]
    for index, (name, _) in enumerate(state.network.named_parameters()):
        state.means[index].copy_(parts["mean"][name])
        state.squares[index].copy_(parts["square"][name])
    log.info("goes on after epoch %d, restart %d", len(state.rows), state.restart)
    return state


def state_file(folder: Path, key: str) -> Path:
    """Where an unfinished training keeps its state; one of another configuration has another name."""
    return folder / f"{key[:16]}.safetensors"


def _save(state: State, folder: Path, key: str) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    for (name, _), mean, square in zip(
        state.network.named_parameters(), state.means, state.squares, strict=True
    ):
        tensors |= {f"mean.{name}": mean, f"square.{name}": square}
    save_tensors(
        state_file(folder, key), tensors, {"key": key, "restart": state.restart, "history": state.history}
    )


def _about(setting: Setting, state: State, key: str) -> dict[str, Any]:
    """What the weights file says of its training; no times: the same training, the same bytes."""
    rows = state.rows
    best = rows[best_epoch(rows)]
    return {
        "key": key,
        **({} if setting.base is None else {"base": setting.base.key}),
        "model": setting.model.trained_by(),
        "in_channels": setting.channels,
        "classes": setting.classes,
        "device": setting.device.type,
        "val_dice": class_dice(best),
        "training": {
            "epochs": len(rows),
            "best_epoch": best["epoch"],
            "val_dice": best["val_dice"],
            "dead_classes": ",".join(map(str, dead_classes(rows, setting.model.training))),
            "restarts": state.restart,
            "parameters": sum(parameter.numel() for parameter in state.network.parameters()),
        },
    }


# --- the end of a training ------------------------------------------------------------------------


def _found_finished(weights: Path, history: Path, folder: Path, key: str, log: logging.Logger) -> bool:
    """Whether the training of this key is done; where only its links are left, they become files again.

    A job that has to start once more (requeued after its end, or started by a new controller) loses its
    outputs before it runs, and would train for days to make them anew.
    """
    kept, sums = _kept(weights, history, folder), folder / SUMS
    if _is_finished(weights, history, key, sums):
        log.info("already trained: %s", weights)
    elif _is_finished(*kept, key, sums):
        for source, target in zip(reversed(kept), (history, weights), strict=True):
            link(source, target)
            target.touch()  # a link is as old as the file: Snakemake would find it older than its inputs
        log.info("already trained: kept in %s; remove it to train anew", folder / DONE)
    else:
        return False
    _keep_finished(weights, history, folder, key, log)
    return True


def _kept(weights: Path, history: Path, folder: Path) -> tuple[Path, Path]:
    return folder / DONE / weights.name, folder / DONE / history.name


def _is_finished(weights: Path, history: Path, key: str, sums: Path) -> bool:
    """Whether the files are those of the finished training of this key, and undamaged: a link has the bytes
    of the file, also those that were damaged since."""
    if not (weights.exists() and history.exists() and sums.exists()):
        return False
    try:
        return read_json(sums) == _sums(weights, history) and bool(load_about(weights)["key"] == key)
    except (ArtifactError, KeyError):
        return False  # not ours: it is replaced when the training is done


def _sums(weights: Path, history: Path) -> dict[str, str]:
    return {path.name: sha256_of_file(path) for path in (weights, history)}


def _keep_finished(weights: Path, history: Path, folder: Path, key: str, log: logging.Logger) -> None:
    """Leaves in the resume folder what the training made, as links, and nothing else."""
    if not _is_finished(*_kept(weights, history, folder), key, folder / SUMS):
        shutil.rmtree(folder / DONE, ignore_errors=True)
    try:
        keep(folder, (history, weights), _sums(weights, history))
    except OSError as error:
        log.info("without links to the weights in %s: %s", folder / DONE, error.strerror)
        shutil.rmtree(folder / DONE, ignore_errors=True)
    for entry in list(folder.iterdir()):
        if entry.name not in (DONE, SUMS):
            entry.unlink()
