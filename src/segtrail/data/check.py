"""What a data set holds, and what the pipeline would refuse: every pixel is read, once."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..config import Dataset
from ..errors import DataError
from ..files import sha256_of_file
from . import metaimage
from .readers import list_subjects
from .readers.collect import of_subject
from .subject import Listing, Subject
from .volumes import GRID_TOLERANCE, PICTURES, Volume, apart, decode, read_bytes

# Odd but usable, and so a warning.
FAR_SPACING = 3.0  # times the data set's median, or the median divided by it
FAR_INTENSITY = 100.0  # the same for a channel's largest value
CLIPPED = 0.005  # share of voxels that have the largest value
WORTH_A_POOL = 8  # fewer subjects are read sooner than processes start


@dataclass(frozen=True)
class SubjectRow:
    """What one subject's files hold."""

    id: str
    patient: str
    site: str
    group: str
    frame: str
    shape: tuple[int, ...]  # (x, y, z) voxels
    spacing: tuple[float, ...]  # (x, y, z) mm
    dtype: str  # of the images
    labels: dict[int, int]  # label value → voxels
    intensity: dict[str, tuple[float, float]]  # channel → smallest and largest value
    files: dict[str, str]  # path relative to the root → sha256
    clipped: tuple[str, ...] = ()  # channels in which CLIPPED of the voxels or more have the largest value

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class CheckReport:
    """Everything that `segtrail check` tells."""

    dataset: Dataset
    root: Path
    listing: Listing
    rows: list[SubjectRow]  # the subjects that are in order
    problems: list[DataError]  # what the pipeline refuses
    warnings: list[str] = field(default_factory=list)

    @property
    def labelled_subjects(self) -> int:
        """Patients with a reference label, those that are refused for another reason too."""
        return len(self.listing.labelled)

    def as_dict(self) -> dict[str, Any]:
        """For programs: counts, problems, warnings and a row for each subject that is in order."""
        return {
            "layout": self.dataset.layout,
            "root": str(self.root),
            "channels": self.dataset.channels,
            "labels": self.dataset.labels,
            "labelled_subjects": self.labelled_subjects,
            "usable_subjects": len({row.patient for row in self.rows}),
            "usable_images": len(self.rows),
            "sites": Counter(row.site for row in self.rows),
            "groups": Counter(row.group for row in self.rows),
            "frames": Counter(row.frame for row in self.rows),
            "warnings": self.warnings,
            "problems": [problem.as_dict() for problem in self.problems],
            "subjects": [row.as_dict() for row in self.rows],
        }


def check_dataset(root: Path, dataset: Dataset, jobs: int = 1) -> CheckReport:
    """Reads a whole data set with `jobs` processes.

    Raises DataError if `root` cannot be read or holds no subject; what is wrong with single subjects is
    in the report.
    """
    listing = list_subjects(root, dataset)
    outcomes = inspect_many(listing.subjects, dataset, root, jobs)
    rows = [outcome for outcome in outcomes if isinstance(outcome, SubjectRow)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, DataError)]
    if not listing.labelled:
        refused.append(
            DataError(
                "no subject with a reference label",
                file=root,
                expected="at least one",
                remedy="add the labels, or give another folder as the root",
            )
        )
    warnings = [*listing.warnings, *_warnings(rows, dataset)]
    return CheckReport(dataset, Path(root), listing, rows, [*listing.problems, *refused], warnings)


def inspect_many(
    subjects: Sequence[Subject], dataset: Dataset, root: Path, jobs: int = 1
) -> list[SubjectRow | DataError]:
    """`inspect` for each subject, in their order, with `jobs` processes; an error takes the row's place."""
    work = partial(_outcome, dataset=dataset, root=root)
    with tqdm(total=len(subjects), desc="reading", unit="subject", leave=False, disable=None) as bar:
        outcomes = []
        for outcome in _in_order(work, subjects, jobs):
            outcomes.append(outcome)
            bar.update()
    return outcomes


def _in_order(work: Any, subjects: Sequence[Subject], jobs: int) -> Iterator[SubjectRow | DataError]:
    jobs = min(jobs, len(subjects) // WORTH_A_POOL)
    if jobs <= 1:
        yield from map(work, subjects)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(work, subjects, chunksize=WORTH_A_POOL)


def _outcome(subject: Subject, dataset: Dataset, root: Path) -> SubjectRow | DataError:
    try:
        return inspect(subject, dataset, root)
    except DataError as error:
        return error


def inspect(subject: Subject, dataset: Dataset, root: Path) -> SubjectRow:
    """Reads one subject's files, each once.

    Raises DataError for what the pipeline refuses: a file that is missing or damaged, a spacing that is
    not above 0, grids that differ, values that are not finite, a constant channel, label values outside
    the data set's scheme, no foreground.
    """
    try:
        return _inspect(subject, dataset, root)
    except DataError as error:
        if error.subject is None:
            raise of_subject(error, subject.id) from error
        raise


def _inspect(subject: Subject, dataset: Dataset, root: Path) -> SubjectRow:
    if subject.label is None:
        raise DataError("no reference label", expected="a label", remedy="take the subject out of the folder")
    hashes: dict[Path, str] = {}
    by_file: dict[Path, list[str]] = defaultdict(list)
    for channel, path in subject.channels.items():
        by_file[path].append(channel)
    first: Volume | None = None
    intensity, clipped, types = {}, [], set()
    for path, channels in by_file.items():
        for channel, volume in zip(channels, _read(path, channels, hashes), strict=True):
            first = first or volume
            _check_grid(path, volume, first)
            low, high = _range(path, channel, volume.array)
            intensity[channel] = (low, high)
            types.add(volume.array.dtype.name)
            if (
                path.suffix not in PICTURES
                and np.count_nonzero(volume.array == high) > CLIPPED * volume.array.size
            ):
                clipped.append(channel)
    if first is None:
        raise DataError("no channels", expected=f"the channels {', '.join(dataset.channels)}")
    (label,) = _read(subject.label, [None], hashes)
    _check_grid(subject.label, label, first)
    counts = _label_counts(subject.label, label.array, dataset)
    hashes |= {path: sha256_of_file(path) for path in metaimage.voxel_files(subject.files)}
    return SubjectRow(
        id=subject.id,
        patient=subject.patient,
        site=subject.site,
        group=subject.group,
        frame=subject.frame,
        shape=first.array.shape,
        spacing=tuple(round(s, 6) for s in first.spacing),
        dtype=", ".join(sorted(types)),
        labels=counts,
        intensity=intensity,
        files={os.path.relpath(path, root): digest for path, digest in sorted(hashes.items())},
        clipped=tuple(clipped),
    )


def _read(path: Path, channels: Sequence[str | None], hashes: dict[Path, str]) -> list[Volume]:
    content = read_bytes(path)
    hashes[path] = hashlib.sha256(content).hexdigest()
    return decode(path, content, channels)


def _check_grid(path: Path, volume: Volume, first: Volume) -> None:
    distance = apart(volume, first)
    if distance > GRID_TOLERANCE * min(first.spacing):
        found = f"shape {_by(volume.array.shape)}, spacing {_by(volume.spacing)} mm"
        if np.isfinite(distance):
            found += f", corners up to {distance:.3g} mm apart"
        raise DataError(
            found,
            file=path,
            expected=f"the grid of the first channel: shape {_by(first.array.shape)}, "
            f"spacing {_by(first.spacing)} mm, the same origin and directions",
            remedy="resample the file to the grid of the first channel, or copy both again from one source",
        )


def _range(path: Path, channel: str, array: np.ndarray) -> tuple[float, float]:
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise DataError(
            f"{bad} of {array.size} voxels of {channel} are NaN or infinite",
            file=path,
            expected="finite values",
            remedy="convert the image again, or replace these voxels by the background's value",
        )
    if low == high:
        raise DataError(
            f"{channel} is {low:g} everywhere",
            file=path,
            expected="an image with more than one value",
            remedy="convert the image again, or leave the subject out",
        )
    if max(-low, high) > float(np.finfo(np.float32).max):
        raise DataError(
            f"values from {low:g} to {high:g}",
            file=path,
            expected="values that float32 can hold",
            remedy="rescale the image",
        )
    return low, high


def _label_counts(path: Path, array: np.ndarray, dataset: Dataset) -> dict[int, int]:
    if array.dtype == np.uint8:
        histogram = np.bincount(array.ravel(order="K"), minlength=1)
        values, counts = np.flatnonzero(histogram), histogram[histogram > 0]
    else:
        values, counts = np.unique(array, return_counts=True)
    scheme = sorted({0, *dataset.labels})
    # An empty scheme is that of a layout which does not say what its labels mean.
    whole = np.isfinite(values) & (values == np.round(values))
    allowed = np.isin(values, scheme) if dataset.labels else whole
    if not allowed.all():
        strange = [f"{value:g} ({count} voxels)" for value, count in zip(values, counts, strict=True)]
        strange = [text for text, ok in zip(strange, allowed, strict=True) if not ok]
        more = f" and {len(strange) - 5} more values" if len(strange) > 5 else ""
        raise DataError(
            f"labels {', '.join(strange[:5])}{more}",
            file=path,
            expected=f"the labels {', '.join(map(str, scheme))}" if dataset.labels else "whole numbers",
            remedy="correct the label map, or add the values to the data set's YAML",
        )
    found = {int(value): int(count) for value, count in zip(values, counts, strict=True)}
    if set(found) <= {0}:
        raise DataError(
            "an empty label: no voxel is foreground",
            file=path,
            expected=f"at least one voxel of {', '.join(str(v) for v in scheme if v) or 'any label but 0'}",
            remedy="correct the label map, or leave the subject out",
        )
    return found


def _by(values: Sequence[float]) -> str:
    return " × ".join(f"{value:g}" for value in values)


# --- odd but usable ------------------------------------------------------------------------------


def _warnings(rows: Sequence[SubjectRow], dataset: Dataset) -> list[str]:
    if not rows:
        return []
    warnings = []
    if any(row.site for row in rows) or dataset.layout == "brats":
        unknown = [row.id for row in rows if not row.site]
        warnings += _named(unknown, "with an unknown site")
    spacing = np.array([row.spacing for row in rows])
    median = _by(np.round(np.median(spacing, axis=0), 3))
    warnings += _named(
        [rows[i].id for i in _far(spacing, FAR_SPACING)],
        f"with a spacing {FAR_SPACING:g} times above or below the median {median} mm",
    )
    for channel in dataset.channels:
        high = np.array([max(abs(v) for v in row.intensity[channel]) for row in rows])
        warnings += _named(
            [f"{rows[i].id}: {high[i]:g}" for i in _far(high[:, None], FAR_INTENSITY)],
            f"with largest values of {channel} {FAR_INTENSITY:g} times above or below the median "
            f"{np.median(high):g}",
        )
        warnings += _named(
            [row.id for row in rows if channel in row.clipped],
            f"with {CLIPPED:.1%} or more of the voxels of {channel} at the largest value: clipped",
        )
    for value, name in dataset.labels.items():
        warnings += _named(
            [row.id for row in rows if value not in row.labels], f"without label {value} ({name})"
        )
    return warnings


def _far(values: np.ndarray, factor: float) -> np.ndarray:
    """The rows of `values` (N, axes) with an entry that many times above or below the column's median."""
    median = np.median(values, axis=0)
    return np.flatnonzero(((values > factor * median) | (values * factor < median)).any(axis=1))


def _named(ids: Sequence[str], what: str) -> list[str]:
    """One line for all the subjects that something is said about."""
    if not ids:
        return []
    names = ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
    return [f"{len(ids)} {what} ({names})"]
