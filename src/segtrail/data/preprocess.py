"""Preprocessing: from a scan to an array ready to train on, by the recipe of a cohort."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from ..config import Cohort, Segment
from ..config.recipe import ZScore
from ..errors import ConfigError, DataError
from ..files import atomic_folder, sha256_of_file, write_json
from .geometry import Geometry, to_original_grid
from .items import Item
from .prepared import Prepared, file_name, load, load_folder, save
from .steps import Population, State, run_step
from .subject import Subject
from .volumes import GRID_TOLERANCE, Volume, apart, read_channels

__all__ = [
    "Item",
    "Population",
    "Prepared",
    "file_name",
    "load",
    "load_folder",
    "population_statistics",
    "prepare",
    "prepare_many",
    "save",
    "to_original_grid",
]

T = TypeVar("T")
R = TypeVar("R")


def prepare(
    subject: Subject, dataset: str, part: str, cohort: Cohort, population: Population | None = None
) -> Prepared:
    """Reads one subject and runs the cohort's recipe.

    `population` holds the training part's statistics that `population_statistics` returns, where the
    recipe asks for them. Raises DataError where the scan cannot be used: a missing channel or label, an
    unreadable file, grids that differ, values that are not finite, nothing but one value, or a
    foreground or a mask that the recipe has cut away. Raises ConfigError if `population` is needed and
    missing.
    """
    state = _read(subject, cohort)
    foreground = bool(state.label.any())
    for step in cohort.recipe:
        run_step(state, step, population)
    if foreground and not state.label.any():
        raise DataError(
            "no foreground is left after the recipe",
            subject=subject.id,
            file=subject.label,
            expected="a recipe that keeps at least a part of the foreground",
            remedy="look at the crop steps of the cohort's recipe",
        )
    if state.mask is not None and not state.mask.any():
        raise DataError(
            f"an empty mask: no voxel of channel {cohort.mask.channel if cohort.mask else ''} is above 0",
            subject=subject.id,
            file=subject.channels[cohort.mask.channel] if cohort.mask else None,
            expected="voxels above 0 in the scan, and a recipe that keeps some of them (cohort key mask)",
            remedy="look at the scan; or set on_bad_subject: exclude",
        )
    return Prepared(
        subject=subject.id,
        patient=subject.patient,
        dataset=dataset,
        site=subject.site,
        group=subject.group,
        frame=subject.frame,
        part=part,
        image=np.ascontiguousarray(state.image),
        label=np.ascontiguousarray(state.label),
        geometry=state.geometry,
        mask=None if state.mask is None else np.ascontiguousarray(state.mask),
    )


def population_statistics(
    items: Sequence[Item],
    cohort: Cohort,
    jobs: int = 1,
    on_bad_subject: Literal["stop", "exclude"] = "stop",
) -> Population:
    """Mean and deviation per channel over every voxel of the training part, for z_score over population.

    The voxels are those that reach the step, after all steps before it. Only items of part `train` are
    read. Sums are float64 and are joined in the order of the subjects (Chan, Golub and LeVeque 1983,
    The American Statistician 37:242, eq. 2.1), so that `jobs` changes nothing. Empty if the recipe has no
    such step; raises ConfigError if it has two. A subject that cannot be used raises its DataError, or is
    passed over with `exclude` (`prepare_many` excludes and counts it).
    """
    places = [index for index, step in enumerate(cohort.recipe) if _over_population(step)]
    if not places:
        return {}
    if len(places) > 1:
        raise ConfigError("recipe: two z_score steps over population", expected="at most one")
    shortened = cohort.model_copy(update={"recipe": cohort.recipe[: places[0]]})
    train = sorted((i for i in items if i.part == "train"), key=lambda i: (i.dataset, i.subject.id))
    if not train:
        raise ConfigError("recipe: z_score over population, but there are no training subjects")
    count, mean, squares = 0, np.zeros(len(cohort.channels)), np.zeros(len(cohort.channels))
    with _in_order(partial(_moments, cohort=shortened), train, jobs) as moments:
        for result in moments:
            if isinstance(result, DataError):
                if on_bad_subject == "stop":
                    raise result
                continue
            n, m, s = result
            shift = m - mean
            mean = mean + shift * n / (count + n)
            squares = squares + s + shift**2 * count * n / (count + n)
            count += n
    if count == 0:
        raise DataError("no training subject is usable", remedy="correct the scans, or the cohort's recipe")
    deviation = np.sqrt(squares / count)
    return {
        channel: {"mean": float(mean[c]), "std": float(deviation[c]), "n": count}
        for c, channel in enumerate(cohort.channels)
    }


def prepare_many(
    items: Sequence[Item],
    cohort: Cohort,
    folder: str | Path,
    *,
    jobs: int = 1,
    on_bad_subject: Literal["stop", "exclude"] = "stop",
    rejected: Mapping[tuple[str, str], DataError] | None = None,
    population: Population | None = None,
) -> dict[str, Any]:
    """Prepares the items into `folder`: `<dataset>__<subject>.npz` each, and `manifest.json`.

    The manifest, also returned, holds `subjects`, sorted: dataset, subject, patient, part, site, group,
    frame, file, sha256 and excluded (the reason; empty for those that are there). A subject that is
    `rejected` or cannot be used raises its DataError (the first in that order), or with `exclude` is left
    out and counted; training and validation must keep at least one. The folder appears complete or stays as
    it was; its bytes depend on neither `jobs` nor time.
    """
    ordered = sorted(items, key=lambda item: (item.dataset, item.subject.id))
    with atomic_folder(folder) as temporary:
        work = partial(
            _prepare_into,
            cohort=cohort,
            folder=temporary,
            rejected=dict(rejected or {}),
            population=population,
        )
        entries = []
        with _in_order(work, ordered, jobs) as results:
            for item, result in zip(ordered, results, strict=True):
                if isinstance(result, DataError) and on_bad_subject == "stop":
                    raise result
                entries.append(_entry(item, result))
        _check_parts(entries)
        manifest = {"subjects": entries}
        write_json(temporary / "manifest.json", manifest)
    return manifest


def _prepare_into(
    item: Item,
    *,
    cohort: Cohort,
    folder: Path,
    rejected: dict[tuple[str, str], DataError],
    population: Population | None,
) -> str | DataError:
    """Writes one subject; its file's sha256, or what is wrong with it."""
    if (item.dataset, item.subject.id) in rejected:
        return rejected[item.dataset, item.subject.id]
    try:
        prepared = prepare(item.subject, item.dataset, item.part, cohort, population)
    except DataError as error:
        return error
    path = folder / file_name(item.dataset, item.subject.id)
    save(path, prepared)
    return sha256_of_file(path)


def _entry(item: Item, result: str | DataError) -> dict[str, str]:
    about = {name: getattr(item.subject, name) for name in ("patient", "site", "group", "frame")}
    about |= {"dataset": item.dataset, "subject": item.subject.id, "part": item.part}
    if isinstance(result, str):
        return {**about, "file": file_name(item.dataset, item.subject.id), "sha256": result, "excluded": ""}
    place = f"{Path(result.file).name}: " if result.file else ""
    wanted = f" (expected: {result.expected})" if result.expected else ""
    return {**about, "file": "", "sha256": "", "excluded": f"{place}{result.found}{wanted}"}


def _check_parts(entries: Sequence[dict[str, str]]) -> None:
    """A test chunk may lose all its subjects; training cannot go on without any."""
    for part in ("train", "val"):
        reasons = [entry["excluded"] for entry in entries if entry["part"] == part]
        if reasons and all(reasons):
            raise DataError(
                f"all {len(reasons)} subjects of part {part} are excluded, the first for: {reasons[0]}",
                remedy="correct the scans, or the cohort's recipe",
            )


def _moments(item: Item, *, cohort: Cohort) -> tuple[int, np.ndarray, np.ndarray] | DataError:
    """Voxels, mean and summed squared deviations (float64, per channel) of one subject."""
    try:
        image = prepare(item.subject, item.dataset, item.part, cohort).image
    except DataError as error:
        return error
    image = image.reshape(len(cohort.channels), -1)
    mean = image.mean(axis=1, dtype=np.float64)
    squares = np.array([np.square(channel - m).sum() for channel, m in zip(image, mean, strict=True)])
    return image.shape[1], mean, squares


def _over_population(step: object) -> bool:
    return isinstance(step, ZScore) and step.over == "population"


@contextmanager
def _in_order(work: Callable[[T], R], items: Sequence[T], jobs: int) -> Iterator[Iterator[R]]:
    """The results in the order of the items, from up to `jobs` processes.

    A context and no generator, so that the processes end when the caller leaves, also by an error.
    """
    if jobs <= 1 or len(items) <= 1:
        yield map(work, items)
        return
    with ProcessPoolExecutor(min(jobs, len(items))) as pool:
        try:
            yield pool.map(work, items)
        finally:
            pool.shutdown(cancel_futures=True)


# --- reading -------------------------------------------------------------------------------------


def _read(subject: Subject, cohort: Cohort) -> State:
    """The cohort's channels and classes as they are in the files."""
    wanted = list(dict.fromkeys([*cohort.channels, *([cohort.mask.channel] if cohort.mask else [])]))
    missing = [channel for channel in wanted if channel not in subject.channels]
    if missing:
        raise DataError(
            f"channels {', '.join(subject.channels)}; missing: {', '.join(missing)}",
            subject=subject.id,
            expected=f"the cohort's channels {', '.join(cohort.channels)}"
            + (f", and {cohort.mask.channel} for its mask" if cohort.mask else ""),
            remedy="correct the cohort's channels or add the files",
        )
    if subject.label is None:
        raise DataError("no reference label", subject=subject.id, remedy="leave the subject out of the split")
    first: Volume | None = None
    mask: np.ndarray | None = None
    for path, names in _files(subject, wanted).items():
        for name, volume in zip(names, _volumes(subject, path, names), strict=True):
            if first is None:
                first = volume
                image = np.empty((len(cohort.channels), *first.array.shape[::-1]), np.float32)
            _check_grid(subject, path, volume, first)
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused
                channel = volume.array.T.astype(np.float32)
            if name in cohort.channels:
                image[cohort.channels.index(name)] = channel
            if cohort.mask is not None and name == cohort.mask.channel:
                mask = channel > 0
            if not np.isfinite(channel).all():
                raise DataError(
                    "NaN or infinite values", subject=subject.id, file=path, expected="finite values"
                )
    assert first is not None
    (reference,) = _volumes(subject, subject.label, [None])
    _check_grid(subject, subject.label, reference, first)
    return State(
        subject=subject.id,
        channels=tuple(cohort.channels),
        image=image,
        label=class_indices(reference.array.T, cohort.segments),
        geometry=Geometry.of_scan(first.array.shape, first.affine, first.spacing),
        nonzero=_nonzero(image, cohort),
        mask=mask,
    )


def class_indices(label: np.ndarray, segments: Sequence[Segment]) -> np.ndarray:
    """Label values → class indices (uint8): segment k of the cohort is class k+1, all the rest 0."""
    classes = np.zeros(label.shape, np.uint8)
    for index, segment in enumerate(segments, start=1):
        for value in segment.labels:
            classes[label == value] = index
    return classes


def _nonzero(image: np.ndarray, cohort: Cohort) -> np.ndarray | None:
    """Where the raw values are not 0, if the recipe asks for it."""
    wanted = any(isinstance(step, ZScore) and step.over == "nonzero" for step in cohort.recipe)
    return image != 0 if wanted else None


def _files(subject: Subject, channels: Sequence[str]) -> dict[Path, list[str]]:
    """file → its channels; those of a picture or of a 4-D scan share one."""
    files: dict[Path, list[str]] = {}
    for channel in channels:
        files.setdefault(subject.channels[channel], []).append(channel)
    return files


def _volumes(subject: Subject, path: Path, channels: Sequence[str | None]) -> list[Volume]:
    try:
        return read_channels(path, channels)
    except DataError as error:
        raise DataError(**{**error.as_dict(), "subject": subject.id}) from error


def _check_grid(subject: Subject, path: Path, volume: Volume, first: Volume) -> None:
    distance = apart(volume, first)
    if distance > GRID_TOLERANCE * min(first.spacing):
        raise DataError(
            f"shape {volume.array.shape}, corners up to {distance:.3g} mm apart",
            subject=subject.id,
            file=path,
            expected=f"the grid of the first channel, shape {first.array.shape}",
            remedy="resample the file to the grid of the first channel",
        )
