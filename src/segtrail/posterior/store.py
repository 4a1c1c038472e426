"""A posterior on disk: the arrays of each subject and beside them a text that says what they are."""

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import ArtifactError
from ..files import atomic, read_json, write_json

AXES = ("member", "z", "class", "y", "x")
# Half the distance of neighbouring float16 numbers in [0.5, 1].
MAX_ERROR = 2.0**-12


class Arrays(NamedTuple):
    """What is to be filled for one subject."""

    probabilities: NDArray[np.float16]  # (members, Z, K, Y, X)
    uncertainty: NDArray[np.float32] | None  # (members, Z, Y, X), raw: of any unit and size

    def of_member(self, index: int) -> "Arrays":
        """One member's share: (Z, K, Y, X) and (Z, Y, X)."""
        own = None if self.uncertainty is None else self.uncertainty[index]
        return Arrays(self.probabilities[index], own)


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

    @property
    def uncertainty(self) -> NDArray[np.float32] | None:
        """(members, Z, Y, X) as the network gives it, on disk until read; None where it gives none."""
        if self.about["uncertainty_range"] is None:
            return None
        return np.load(uncertainty_path(self.path), mmap_mode="r", allow_pickle=False)

    def range(self, member: int) -> tuple[float, float]:
        """Smallest and largest raw uncertainty of one member; equal where it is constant.

        Raises ArtifactError where the posterior has no uncertainty of its own.
        """
        if self.about["uncertainty_range"] is None:
            raise _without_uncertainty(self.path, self.about)
        low, high = self.about["uncertainty_range"][member]
        return float(low), float(high)

    def slices(self) -> Iterator[NDArray[np.float16]]:
        """Z arrays (members, K, Y, X), one in memory at a time.

        The file is mapped anew for each slice: pages of a mapping that stays would count as the job's memory.
        """
        for z in range(self.about["shape"][1]):
            yield np.array(self.probabilities[:, z])

    def uncertainty_slices(self) -> Iterator[NDArray[np.float32]]:
        """Z arrays (members, Y, X) of raw uncertainty, read as `slices` does; ArtifactError as `range`."""
        for z in range(self.about["shape"][1]):
            if (uncertainty := self.uncertainty) is None:
                raise _without_uncertainty(self.path, self.about)
            yield np.array(uncertainty[:, z])


def array_path(folder: str | Path, dataset: str, subject: str) -> Path:
    return Path(folder) / f"{dataset}__{subject}.npy"


def uncertainty_path(path: Path) -> Path:
    """The raw uncertainty beside a subject's probabilities."""
    return path.with_suffix(".uncertainty.npy")


@contextmanager
def writing(
    folder: str | Path,
    dataset: str,
    subject: str,
    shape: tuple[int, ...],
    about: dict[str, Any],
    uncertain: bool = False,
) -> Iterator[Arrays]:
    """Yields arrays on disk to be filled: probabilities of `shape` (members, Z, K, Y, X) and, if `uncertain`,
    raw uncertainty (members, Z, Y, X). They appear complete or not at all.

    `about` should name the model, the members, T (`samples`) and the key of what it was made from; the rest
    of the description is added here, `uncertainty_range` among it: each member's smallest and largest. Raises
    ArtifactError where the disk is too full for the arrays, before anything is computed, and where an
    uncertainty is not a finite number.
    """
    path = array_path(folder, dataset, subject)
    members, depth, _, height, width = shape
    ranges = None
    with ExitStack() as stack:
        probabilities = stack.enter_context(_array(path, np.float16, shape))
        uncertainty = None
        if uncertain:
            file = _array(uncertainty_path(path), np.float32, (members, depth, height, width))
            uncertainty = stack.enter_context(file)
        yield Arrays(probabilities, uncertainty)
        if uncertainty is not None:
            ranges = [_range(one, subject, index) for index, one in enumerate(uncertainty)]
    description = {
        "kind": "probabilities",
        "dtype": "float16",
        "max_error": MAX_ERROR,
        "axes": list(AXES),
        "shape": list(shape),
        "uncertainty_range": ranges,
        "dataset": dataset,
        "subject": subject,
    }
    write_json(path.with_suffix(".json"), about | description)


@contextmanager
def _array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """An array on disk, with room for all of it."""
    with atomic(path, np.dtype(dtype).itemsize * math.prod(shape)) as temporary:
        array = np.lib.format.open_memmap(temporary, "w+", dtype, shape)
        # A full disk under a mapped file would end the process by SIGBUS, without a word.
        with temporary.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, os.fstat(handle.fileno()).st_size)
        yield array
        array.flush()
        del array


def _range(uncertainty: NDArray[np.float32], subject: str, member: int) -> list[float]:
    low, high = float(uncertainty.min()), float(uncertainty.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ArtifactError(
            f"an uncertainty from {low} to {high} by member {member:03d}",
            subject=subject,
            expected="finite numbers",
            remedy="look at the member's history; where σ overflows, set aleatoric.sigma to softplus",
        )
    return [low, high]


def load(folder: str | Path, dataset: str, subject: str) -> Posterior:
    """The posterior of one subject, not yet read into memory.

    Raises ArtifactError if it is missing, damaged, another subject's or not of the kind that is read here.
    """
    path = array_path(folder, dataset, subject)
    try:
        about = read_json(path.with_suffix(".json"))
        posterior = Posterior(path, about)
        array = posterior.probabilities
        ranges, uncertainty = about["uncertainty_range"], posterior.uncertainty
    except (OSError, ValueError, EOFError, KeyError) as error:
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
    if uncertainty is not None:
        members, depth, _, height, width = array.shape
        shape, wanted = (uncertainty.dtype, uncertainty.shape, len(ranges)), (members, depth, height, width)
        if shape != (np.dtype(np.float32), wanted, members):
            raise ArtifactError(
                f"{uncertainty.dtype} {uncertainty.shape}, ranges of {len(ranges)} members",
                subject=subject,
                file=uncertainty_path(path),
                expected=f"float32 {wanted}, as its probabilities",
            )
    return posterior


def _without_uncertainty(path: Path, about: dict[str, Any]) -> ArtifactError:
    return ArtifactError(
        f"the posterior {about.get('predictor')} has no uncertainty of its own",
        subject=about.get("subject"),
        file=path,
        expected="one of a predictor of kind aleatoric or auxiliary",
    )
