"""A posterior on disk: one array per subject and beside it a text that says what it is."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArtifactError
from ..files import atomic, read_json, write_json

AXES = ("member", "z", "class", "y", "x")
# Half the distance of neighbouring float16 numbers in [0.5, 1].
MAX_ERROR = 2.0**-12


@dataclass(frozen=True, eq=False)
class Posterior:
    """What each member says about one subject."""

    path: Path
    about: dict[str, Any]

    @property
    def members(self) -> int:
        return int(self.about["shape"][0])

    @property
    def probabilities(self) -> NDArray[np.float16]:
        """(members, Z, K, Y, X), on disk until read."""
        return np.load(self.path, mmap_mode="r", allow_pickle=False)

    def slices(self) -> Iterator[NDArray[np.float16]]:
        """Z arrays (members, K, Y, X), one in memory at a time.

        The file is mapped anew for each slice: pages of a mapping that stays would count as the job's memory.
        """
        for z in range(self.about["shape"][1]):
            yield np.array(self.probabilities[:, z])


def array_path(folder: str | Path, dataset: str, subject: str) -> Path:
    return Path(folder) / f"{dataset}__{subject}.npy"


@contextmanager
def writing(
    folder: str | Path, dataset: str, subject: str, shape: tuple[int, ...], about: dict[str, Any]
) -> Iterator[NDArray[np.float16]]:
    """Yields an array (members, Z, K, Y, X) float16 on disk to be filled; it appears complete or not at all.

    `about` should name the model, the members, T (`samples`) and the key of what it was made from; the rest
    of the description is added here. Raises ArtifactError, before anything is computed, where the disk is
    too full for the array.
    """
    path = array_path(folder, dataset, subject)
    with atomic(path, 2 * math.prod(shape)) as temporary:
        array = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
        # A full disk under a mapped file would end the process by SIGBUS, without a word.
        with temporary.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, os.fstat(handle.fileno()).st_size)
        yield array
        array.flush()
        del array
    description = {
        "kind": "probabilities",
        "dtype": "float16",
        "max_error": MAX_ERROR,
        "axes": list(AXES),
        "shape": list(shape),
        "dataset": dataset,
        "subject": subject,
    }
    write_json(path.with_suffix(".json"), about | description)


def load(folder: str | Path, dataset: str, subject: str) -> Posterior:
    """The posterior of one subject, not yet read into memory.

    Raises ArtifactError if it is missing, damaged, another subject's or not of the kind that is read here.
    """
    path = array_path(folder, dataset, subject)
    try:
        about = read_json(path.with_suffix(".json"))
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(
            f"{type(error).__name__}: {error}",
            subject=subject,
            file=path,
            expected="a posterior (.npy) and its description (.json)",
            remedy="delete the folder and run again",
        ) from error
    expected = {
        "kind": "probabilities",
        "dtype": str(array.dtype),
        "axes": list(AXES),
        "shape": list(array.shape),
        "dataset": dataset,
        "subject": subject,
    }
    found = {name: about.get(name) for name in expected}
    if found != expected or about["dtype"] != "float16":
        raise ArtifactError(f"described as {found}", subject=subject, file=path, expected=str(expected))
    return Posterior(path, about)
