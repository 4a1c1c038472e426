"""What one job has to handle, counted from the configuration: its costs are rates times these numbers.

Subjects are taken to be as large as the median of those whose records a real run has already, else as their
data set's `typical`; a `crop_to_label` is not counted, since only the labels tell what it leaves.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ..config import Model, Predictor
from ..config.recipe import CentreCropOrPad, ResampleToShape, ResampleToSpacing, ResizePicture, Step
from ..errors import ConfigError
from ..files import read_json
from ..layout import Layout
from .jobs import WHOLE, Job

Shape = tuple[int, int, int]  # voxels (x, y, z)
Spacing = tuple[float, float, float]  # mm

# What the small phantoms measure; the full ones are as large as the scans they imitate.
SMALL_PHANTOMS: dict[str, tuple[Shape, Spacing]] = {
    "brain": ((58, 66, 9), (3.0, 3.0, 6.0)),
    "heart": ((70, 68, 9), (2.05, 2.05, 9.0)),
    "prostate": ((68, 68, 9), (1.4, 1.4, 4.0)),
    "skin": ((76, 60, 1), (1.0, 1.0, 1.0)),
}
UNITS = {
    "job": "1: what a job costs however little it does",
    "subject": "subjects",
    "scan Mvoxel": "10⁶ voxels of all channels and the label, as distributed",
    "largest scan Mvoxel": "the same of the largest subjects that are worked on at once",
    "array MB": "prepared arrays: for each voxel after the recipe 4 bytes a channel and 1 the label",
    "weights MB": "4 bytes for each parameter of the networks",
    "batch MB": "4 bytes for each voxel of one batch and each filter of the outer-most level",
    "GFLOP 2D": "10⁹ operations of 2D networks: training takes three passes, validation one; of MC dropout "
    "each pass counts whole; a multiplication and an addition are two",
    "GFLOP 3D": "the same of 3D networks",
    "segmentation MB": "a byte for each voxel",
    "posterior MB": "2 bytes for each member, class and voxel, and 4 for an uncertainty of its own",
    "largest posterior MB": "the same of one subject",
    "draw Mvoxel": "10⁶ voxels × classes × sets of members that are measured",
    "error Mvoxel": "10⁶ voxels × sets of members whose errors are counted",
    "largest error Mvoxel": "10⁶ voxels of the largest subject whose errors are counted",
    "surface Mvoxel": "10⁶ voxels × segments × sets of members whose surfaces are measured",
    "kept MB": "of one subject: a byte a voxel for each of those sets, and the maps",
    "map MB": "2 bytes for each map, class and voxel",
    "thousand rows": "rows of measures of the whole study",
}
SLICES = 16  # slices of a pass when a 2D network samples


@dataclass(frozen=True)
class Sized:
    """The subjects of one data set that a job handles: how many, their size before and after the recipe."""

    count: int
    channels: int
    scan: int  # voxels of one channel
    shape: Shape  # after the recipe

    @property
    def scan_mvoxel(self) -> float:
        """Of one subject, its label counted as a channel."""
        return self.scan * (self.channels + 1) / 1e6

    @property
    def voxels(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Counted:
    """The quantities of every job of one run."""

    layout: Layout
    _known: dict[tuple[str, ...], dict[str, float]] = field(default_factory=dict)

    def of(self, job: Job) -> dict[str, float]:
        """unit → how much of it the job handles; units it has nothing of are left out.

        Raises ConfigError where neither records nor a `typical` tell how large a data set's scans are.
        """
        # Members of one model cost the same, and so do figures.
        key = (job.step, *(value for name, value in job.of.items() if name not in ("member", "figure")))
        if key not in self._known:
            self._known[key] = {"job": 1.0} | self._counted(job.step, job.of)
        return self._known[key]

    def _counted(self, step: str, of: dict[str, str]) -> dict[str, float]:
        match step:
            case "phantom":
                return self._phantom(**of)
            case "index":
                return {"subject": len(self.layout.subjects[of["dataset"]])}
            case "population":
                return self._read(of["study"], of["cohort"], "train")
            case "preprocess":
                return self._prepared(of["study"], of["cohort"], of["chunk"])
            case "train":
                return self._trained(of["study"], of["cohort"], of["model"])
            case "predictions":
                return self._predicted(of["study"], of["cohort"], of["model"])
            case "sample":
                return self._sampled(of["study"], of["cohort"], of["posterior"], of["chunk"])
            case "measure":
                return self._measured(of["study"], of["cohort"], of["posterior"], of["chunk"])
            case "collect" | "cells" | "claims" | "figure":
                return {"thousand rows": self.rows(of["study"]) / 1e3}
        return {}

    def processes(self, job: Job) -> int:
        """How many processes the job works with at once."""
        if job.step != "preprocess":
            return 1
        return preprocess_threads(self._chunks[job.of["study"], job.of["cohort"]][job.of["chunk"]].total())

    # --- subjects --------------------------------------------------------------------------------

    @cached_property
    def sizes(self) -> dict[str, tuple[Shape, Spacing]]:
        """Shape and spacing of a usual scan of each data set."""
        return {name: usual_size(self.layout, name) for name in self.layout.run.datasets}

    @cached_property
    def _chunks(self) -> dict[tuple[str, str], dict[str, Counter[str]]]:
        """(study, cohort) → chunk → how many subjects of which data set."""
        return {
            (study, cohort): {
                chunk: Counter(dataset for dataset, _ in subjects)
                for chunk, subjects in self.layout.chunks(study, cohort).items()
            }
            for study, content in self.layout.run.studies.items()
            for cohort in content.cohorts
        }

    def subjects(self, study: str, cohort: str, *chunks: str) -> list[Sized]:
        """The subjects of some chunks, by data set."""
        return self._sized(
            study, cohort, sum((self._chunks[study, cohort][chunk] for chunk in chunks), Counter())
        )

    def _sized(self, study: str, cohort: str, counts: Mapping[str, int]) -> list[Sized]:
        chosen = self.layout.run.studies[study].cohorts[cohort]
        result = []
        for dataset, count in counts.items():
            shape, spacing = self.sizes[dataset]
            result.append(
                Sized(
                    count, len(chosen.channels), math.prod(shape), shape_after(chosen.recipe, shape, spacing)
                )
            )
        return result

    # --- what each step handles ------------------------------------------------------------------

    def _phantom(self, dataset: str) -> dict[str, float]:
        count, channels = len(self.layout.planned[dataset]), len(self.layout.run.datasets[dataset].channels)
        one = math.prod(self.sizes[dataset][0]) * (channels + 1) / 1e6
        return {"subject": count, "scan Mvoxel": count * one, "largest scan Mvoxel": one}

    def _read(self, study: str, cohort: str, chunk: str, at_once: int = 1) -> dict[str, float]:
        found = self.subjects(study, cohort, chunk)
        return {
            "scan Mvoxel": sum(part.count * part.scan_mvoxel for part in found),
            "largest scan Mvoxel": at_once * max(part.scan_mvoxel for part in found),
        }

    def _prepared(self, study: str, cohort: str, chunk: str) -> dict[str, float]:
        found = self.subjects(study, cohort, chunk)
        at_once = preprocess_threads(sum(part.count for part in found))
        return self._read(study, cohort, chunk, at_once) | {"array MB": _array_mb(found)}

    def _trained(self, study: str, cohort: str, name: str) -> dict[str, float]:
        model, once = self._model(study, cohort, name), self._flops(study, cohort, name)
        # Members of folds see one subject more or less.
        wanted = self.layout.trained_on(study, cohort, name, "000")
        train, val = (
            self._sized(study, cohort, Counter(dataset for dataset, _ in wanted[part])) for part in WHOLE
        )
        voxels = [_voxels(parts) for parts in (train, val)]
        operations = (3 * voxels[0] + voxels[1]) * once
        if model.auxiliary is not None and model.auxiliary.input == "features":
            operations += sum(voxels) * self._flops(study, cohort, model.auxiliary.model)
        largest = max(train, key=lambda part: part.voxels)
        return {
            # All that is there is read, also what the member is trained without.
            "array MB": _array_mb(self.subjects(study, cohort, *WHOLE)),
            "batch MB": _batch_mb(model, largest, min(model.training.batch_size, _images(model, train))),
            "weights MB": self._weights_mb(study, cohort, name),
            f"GFLOP {model.dims}D": model.training.epochs * operations / 1e9,
        }

    def _predicted(self, study: str, cohort: str, name: str) -> dict[str, float]:
        model = self._model(study, cohort, name)
        found = self.subjects(study, cohort, *self.layout.predicted(study, cohort, name))
        return {
            f"GFLOP {model.dims}D": _voxels(found) * self._flops(study, cohort, name) / 1e9,
            "weights MB": model.members * self._weights_mb(study, cohort, name),
            "batch MB": _batch_mb(model, max(found, key=lambda part: part.voxels), SLICES),
            "segmentation MB": _voxels(found) / 1e6,
        }

    def _sampled(self, study: str, cohort: str, posterior: str, chunk: str) -> dict[str, float]:
        name = self.layout.model_of(study, posterior)
        model, once = self._model(study, cohort, name), self._flops(study, cohort, name)
        classes = len(self.layout.run.studies[study].cohorts[cohort].segments) + 1
        found, weights = self.subjects(study, cohort, chunk), self._weights_mb(study, cohort, name)
        largest = max(found, key=lambda part: part.voxels)
        passes = max(predictor.samples or 1 for predictor in self._predictors(study, cohort, posterior))
        if model.auxiliary is not None:
            once += self._flops(study, cohort, model.auxiliary.model)
            weights += self._weights_mb(study, cohort, model.auxiliary.model)
        uncertain = model.auxiliary is not None or model.aleatoric is not None
        one = model.members * (classes * 2 + 4 * uncertain) / 1e6
        return {
            f"GFLOP {model.dims}D": model.members * passes * _voxels(found) * once / 1e9,
            "weights MB": model.members * weights,
            "batch MB": _batch_mb(model, largest, SLICES if model.dims == 2 else 1),
            "posterior MB": _voxels(found) * one,
            "largest posterior MB": largest.voxels * one,
        }

    def _measured(self, study: str, cohort: str, posterior: str, chunk: str) -> dict[str, float]:
        content = self.layout.run.studies[study]
        classes = len(content.cohorts[cohort].segments) + 1
        members = self._model(study, cohort, self.layout.model_of(study, posterior)).members
        found = self.subjects(study, cohort, chunk)
        voxels, largest = _voxels(found), max(part.voxels for part in found)
        sets = [sets_of(predictor, members) for predictor in self._predictors(study, cohort, posterior)]
        maps = sum(one.maps for one in sets) if self.layout.keeps_maps(study, cohort, posterior) else 0
        surfaces = sum(one.with_surface for one in sets) if content.measures.surface else 0
        errors = content.measures.errors is not None
        return {
            "error Mvoxel": errors * sum(one.measured for one in sets) * voxels / 1e6,
            "largest error Mvoxel": errors * largest / 1e6,
            "draw Mvoxel": sum(one.measured for one in sets) * voxels * classes / 1e6,
            "surface Mvoxel": surfaces * voxels * (classes - 1) / 1e6,
            "kept MB": largest * (surfaces + maps * classes * 2) / 1e6,
            "map MB": voxels * maps * classes * 2 / 1e6,
        }

    def rows(self, study: str) -> int:
        """Rows of measures of a whole study."""
        total, content = 0, self.layout.run.studies[study]
        for cohort, chosen in content.cohorts.items():
            found = self.subjects(study, cohort, *self.layout.measured_chunks(study, cohort))
            subjects, segments = sum(part.count for part in found), len(chosen.segments)
            each = 4 * (1 + (chosen.box is not None)) + 2 * segments
            if content.measures.errors is not None:
                each += 3 * (1 + (chosen.mask is not None)) + 2
            for posterior in self.layout.posteriors(study):
                members = self._model(study, cohort, self.layout.model_of(study, posterior)).members
                for predictor in self._predictors(study, cohort, posterior):
                    sets = sets_of(predictor, members)
                    surfaces = sets.with_surface * segments if content.measures.surface else 0
                    total += subjects * (sets.in_rows * each + surfaces)
        return total

    def _model(self, study: str, cohort: str, name: str) -> Model:
        return self.layout.run.studies[study].model(cohort, name)

    def _network(self, study: str, cohort: str, name: str) -> tuple[Model, int, int]:
        """A model, and the channels and classes of its network."""
        model, chosen = self._model(study, cohort, name), self.layout.run.studies[study].cohorts[cohort]
        channels = len(chosen.channels)
        if model.auxiliary is None:
            return model, channels, len(chosen.segments) + 1
        if model.auxiliary.input == "features":
            return model, self._model(study, cohort, model.auxiliary.model).filters[0], 2
        return model, channels + 1, 2

    def _flops(self, study: str, cohort: str, name: str) -> float:
        return flops_per_voxel(*self._network(study, cohort, name))

    def _weights_mb(self, study: str, cohort: str, name: str) -> float:
        return parameters(*self._network(study, cohort, name)) * 4 / 1e6

    def _predictors(self, study: str, cohort: str, posterior: str) -> list[Predictor]:
        content = self.layout.run.studies[study]
        return [content.predictor(cohort, name) for name in self.layout.posteriors(study)[posterior]]


# --- sizes ---------------------------------------------------------------------------------------


def usual_size(layout: Layout, dataset: str) -> tuple[Shape, Spacing]:
    """Median of the subjects that a real run has read, else the data set's `typical`; small phantoms theirs.

    Raises ConfigError where nothing tells it.
    """
    described = layout.run.datasets[dataset]
    if layout.run.drawn:
        phantom = described.phantoms[layout.run.scale]
        if phantom.size == "small":
            return SMALL_PHANTOMS[phantom.anatomy]
    elif read := _read_sizes(layout.data(dataset) / "records"):
        shapes, spacings = zip(*read, strict=True)
        x, y, z = (round(median(axis)) for axis in zip(*shapes, strict=True))
        a, b, c = (median(axis) for axis in zip(*spacings, strict=True))
        return (x, y, z), (a, b, c)
    if described.typical is None:
        raise ConfigError(
            f"nothing tells how large the scans of {dataset} are",
            file=f"config/datasets/{dataset}.yaml",
            expected="`typical`, or scans that the workflow has read",
            remedy=f"run snakemake -n once with data.{dataset} set, or describe `typical` (docs/config.md)",
        )
    return described.typical.shape, described.typical.spacing


def _read_sizes(folder: Path) -> list[tuple[list[int], list[float]]]:
    found = [
        record["found"] for path in sorted(folder.glob("*.json")) if "found" in (record := read_json(path))
    ]
    return [(one["shape"], one["spacing"]) for one in found]


def shape_after(recipe: Sequence[Step], shape: Shape, spacing: Spacing) -> Shape:
    """The shape (x, y, z) that a recipe gives a scan."""
    for step in recipe:
        if isinstance(step, ResampleToSpacing):
            wanted = [old if new is None else new for old, new in zip(spacing, step.spacing, strict=True)]
            x, y, z = (
                max(1, round(n * old / new)) for n, old, new in zip(shape, spacing, wanted, strict=True)
            )
            shape, spacing = (x, y, z), (wanted[0], wanted[1], wanted[2])
        elif isinstance(step, ResizePicture):
            shape = (*step.shape, shape[2])
        elif isinstance(step, ResampleToShape | CentreCropOrPad):
            x, y, z = (n if new is None else new for n, new in zip(shape, step.shape, strict=True))
            if isinstance(step, ResampleToShape):
                a, b, c = (old * n / new for old, n, new in zip(spacing, shape, (x, y, z), strict=True))
                spacing = (a, b, c)
            shape = (x, y, z)
        elif isinstance(step, ResizePicture):
            shape = (*step.shape, shape[2])
    return shape


def preprocess_threads(subjects: int) -> int:
    """Processes of a preprocessing job: each should have enough subjects to be worth its start."""
    return min(4, max(1, subjects // 16))


def _array_mb(found: Sequence[Sized]) -> float:
    return sum(part.count * part.voxels * (4 * part.channels + 1) for part in found) / 1e6


def _batch_mb(model: Model, largest: Sized, images: int) -> float:
    image = math.prod(largest.shape[: model.dims])
    return images * image * model.filters[0] * 4 / 1e6


def _voxels(found: Sequence[Sized]) -> int:
    return sum(part.count * part.voxels for part in found)


def _images(model: Model, found: Sequence[Sized]) -> int:
    """Slices in 2D, volumes in 3D."""
    return sum(part.count * (part.shape[2] if model.dims == 2 else 1) for part in found)


# --- networks and measures -----------------------------------------------------------------------


def flops_per_voxel(model: Model, channels: int, classes: int) -> float:
    """Floating-point operations of one pass of the network for each voxel of its input."""
    return 2 * sum(
        weights / 2 ** (model.dims * level) for level, weights in _weights(model, channels, classes)
    )


def parameters(model: Model, channels: int, classes: int) -> int:
    """Weights of the convolutions; batch norms and biases are a hundredth of them."""
    # A transposed convolution of stride 2 has 2^dims weights for each that acts on one output voxel.
    ups = sum(a * b for a, b in pairwise(model.filters)) * (2**model.dims - 1)
    return (ups if model.architecture == "unet" else 0) + sum(
        weights for _, weights in _weights(model, channels, classes)
    )


def _weights(model: Model, channels: int, classes: int) -> Iterator[tuple[int, int]]:
    """(level, weights that act on each voxel of that level) of every convolution of `models.networks`."""
    kernel, filters = 3**model.dims, model.filters
    if model.architecture == "pointwise":
        yield 0, sum(a * b for a, b in pairwise([channels, *filters, classes]))
        return
    plain = model.architecture == "unet"
    for level, (before, here) in enumerate(pairwise([channels, *filters])):
        yield level, kernel * (before * here + here * here)
    for level, (here, deeper) in enumerate(pairwise(filters)):
        yield level, deeper * here * (1 if plain else kernel) + kernel * (2 * here * here + here * here)
    heads = 2 if model.aleatoric else 1
    yield 0, heads * (filters[0] * classes + (0 if plain else kernel * filters[0] ** 2))


class Sets(NamedTuple):
    """How many sets of members a predictor looks at; `studies.measure.draws_of` makes them."""

    measured: int
    in_rows: int
    with_surface: int
    maps: int


def sets_of(predictor: Predictor, members: int) -> Sets:
    if predictor.kind != "ensemble":
        return Sets(members, members, members, 1)
    drawn = {
        size: min(predictor.draws, math.comb(members, size)) for size in {*predictor.sizes, *predictor.maps}
    }
    in_rows = sum(drawn[size] for size in predictor.sizes)
    only_maps = len(set(predictor.maps) - set(predictor.sizes))
    maps = len({*predictor.maps, predictor.table_size})
    return Sets(in_rows + only_maps, in_rows, drawn[predictor.table_size], maps)
