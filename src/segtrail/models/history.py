"""What the history of a training decides: learning rate, best epoch, when to stop, dead classes."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from ..config import Training
from ..files import atomic

# restart, epoch (from 1), learning_rate, train_loss, val_dice_1…, val_dice (their mean); one row an epoch
Row = dict[str, float]


def best_epoch(rows: Sequence[Row]) -> int:
    """Index of the first epoch with the highest validation Dice; of the last where that is 0.

    An error network may never think an error more likely than not: by the first of equal epochs it would stay
    as untrained as it began.
    """
    first = _first_best(rows)
    return first if rows[first]["val_dice"] > 0 else len(rows) - 1


def _first_best(rows: Sequence[Row]) -> int:
    return max(range(len(rows)), key=lambda index: rows[index]["val_dice"])


def learning_rate(rows: Sequence[Row], training: Training) -> float:
    """The next epoch's rate: × factor each time `patience` epochs pass without a rise above `threshold`;
    without a plateau rule, what it was.

    Mehrtash 2020 §VI.A: "reduced … if the average validation Dice score did not improve by 0.001 in 10
    epochs".
    """
    rate, highest, waited, plateau = training.learning_rate, -math.inf, 0, training.plateau
    if plateau is None:
        return rate
    for row in rows:
        waited += 1
        if row["val_dice"] > highest + plateau.threshold:
            highest, waited = row["val_dice"], 0
        elif waited == plateau.patience:
            rate, waited = rate * plateau.factor, 0
    return rate


def finished(rows: Sequence[Row], training: Training) -> bool:
    """All epochs done, or `early_stopping` epochs, where there is such a number, without a better validation
    Dice."""
    if not rows or len(rows) >= training.epochs:
        return bool(rows)
    patience = training.early_stopping
    return patience is not None and len(rows) - 1 - _first_best(rows) >= patience


def class_dice(row: Row) -> list[float]:
    """Validation Dice of the foreground classes, in order."""
    count = sum(name.startswith("val_dice_") for name in row)
    return [row[f"val_dice_{k}"] for k in range(1, count + 1)]


def dead_classes(rows: Sequence[Row], training: Training) -> list[int]:
    """The classes that were not learnt, by their validation Dice at the best epoch."""
    dice = class_dice(rows[best_epoch(rows)])
    return [k for k, value in enumerate(dice, start=1) if value < training.dead_class.dice]


def write_history(path: str | Path, history: Sequence[Row]) -> None:
    """CSV with every digit and no times: the same training gives the same bytes."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        columns = ["restart", "epoch", "learning_rate", "train_loss"]
        columns += [f"val_dice_{k + 1}" for k in range(len(class_dice(history[0])))] + ["val_dice"]
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
