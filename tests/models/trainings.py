"""Small subjects and models that the tests of models and posteriors train on."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segtrail.config import Model
from segtrail.joblog import job
from segtrail.models.training import train_member

CLASSES = 3


@dataclass(frozen=True, eq=False)
class Labelled:
    subject: str
    image: np.ndarray  # (C, Z, Y, X) float32
    label: np.ndarray  # (Z, Y, X) uint8
    dataset: str = "drawn"


def subjects(count: int, seed: int = 0, size: int = 16, depth: int = 2, channels: int = 1) -> list[Labelled]:
    """Two bright squares, one inside the other, at random places in noise."""
    rng = np.random.default_rng(seed)
    result = []
    for number in range(count):
        label = np.zeros((depth, size, size), np.uint8)
        for plane in label:
            y, x = rng.integers(0, size // 2, 2)
            plane[y : y + size // 2, x : x + size // 2] = 1
            plane[y + 2 : y + size // 2 - 2, x + 2 : x + size // 2 - 2] = 2
        image = label / 2 + rng.normal(0, 0.1, (channels, *label.shape))
        result.append(Labelled(f"s{number}", image.astype(np.float32), label))
    return result


def model(**changes: object) -> Model:
    """A small network and a short training; `training` is laid over, the rest replaced."""
    training = {"epochs": 3, "batch_size": 4, "learning_rate": 0.01} | dict(changes.pop("training", {}))
    values = {
        "title": "test",
        "filters": [4, 8, 16],
        "loss": "cross_entropy",
        "class_weights": "inverse_frequency",
        "activation": "softmax",
        "members": 1,
        "training": training,
    }
    if changes.get("activation") == "sigmoid":
        values |= {"loss": "dice", "class_weights": "uniform"}
    return Model.model_validate(values | changes)


def train(
    folder: Path,
    one: Model,
    *,
    device: str = "cpu",
    log: logging.Logger = logging.getLogger("test"),  # noqa: B008
    **changes: object,
) -> Path:
    """Trains a member into `folder`; returns its weights file. The history is beside it."""
    arguments = {"train": subjects(6), "val": subjects(2, seed=1), "seed_parts": (1, "member")} | changes
    train_member(
        one,
        classes=CLASSES,
        weights_path=folder / "000.safetensors",
        history_path=folder / "000.csv",
        resume_dir=folder / "resume",
        log=log,
        device=device,
        **arguments,
    )
    return folder / "000.safetensors"


def long_training() -> tuple[Model, dict[str, object]]:
    """Long enough to be killed in the middle; every kind of state matters in it."""
    one = model(
        activation="sigmoid",
        dropout={"rate": 0.5, "levels": 2},
        training={"epochs": 40, "plateau": {"patience": 2, "threshold": 0.05}},
    )
    return one, {"train": subjects(10, size=32)}


if __name__ == "__main__":
    import sys

    with job(Path(sys.argv[1]) / "train.log") as log:
        one, changes = long_training()
        train(Path(sys.argv[1]), one, log=log, **changes)
