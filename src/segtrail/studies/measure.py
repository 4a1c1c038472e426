"""Rows of measures from posteriors and references: one streaming pass over a subject for all predictors."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..config import Box, Measures, Predictor
from ..config.study import ErrorDetection
from ..data.prepared import Prepared, file_name, iter_folder
from ..files import atomic_folder, read_json
from ..measures import calibration
from ..measures import errors as detection
from ..measures.calibration import Tally, foreground_box, tally_volume
from ..measures.draws import draw_subsets
from ..measures.errors import ErrorCounts
from ..measures.surface import hd95
from ..posterior import store
from ..seeds import seed_of
from .collect import write_parquet

_PLACE = [(name, pa.string()) for name in ("study", "cohort", "dataset", "part", "subject")]
_DRAW = [("predictor", pa.string()), ("size", pa.int64()), ("draw", pa.int64())]
ROWS = pa.schema(
    [
        *_PLACE,
        ("site", pa.string()),
        ("model", pa.string()),
        *_DRAW,
        ("samples", pa.int64()),
        ("segment", pa.int64()),
        ("region", pa.string()),
        ("measure", pa.string()),
        ("value", pa.float64()),
        ("n", pa.int64()),
    ]
)
RELIABILITY = pa.schema(
    [
        *_PLACE,
        *_DRAW,
        ("region", pa.string()),
        ("of", pa.string()),
        ("bin", pa.int64()),
        ("count", pa.int64()),
        ("confidence", pa.float64()),
        ("correct", pa.int64()),
    ]
)
_ERROR_COUNTS = ("tp", "fp", "tn", "fn", "tpu", "fpu", "tnu", "fnu")
ERRORS = pa.schema(
    [*_PLACE, *_DRAW, ("threshold", pa.float64()), *((name, pa.int64()) for name in _ERROR_COUNTS)]
)


@dataclass
class SubjectMeasures:
    """What one posterior says about one subject."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    reliability: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    maps: dict[str, NDArray[np.float16]] = field(default_factory=dict)


@dataclass(frozen=True)
class OwnUncertainty:
    """What the networks themselves say of one subject's uncertainty, in a unit of their own."""

    slices: Iterable[NDArray[np.float32]]  # Z arrays (members, Y, X), one in memory at a time
    of_members: Sequence[tuple[float, float]]  # smallest and largest in the subject, by member
    of_part: tuple[float, float] | None = None  # smallest and largest in a part, where predictors ask for it


@dataclass(frozen=True)
class Draw:
    """One set of members whose mean probability is evaluated, and what for."""

    predictor: str
    size: int
    draw: int
    members: tuple[int, ...]
    in_rows: bool = True
    with_surface: bool = True
    keep_map: bool = False


def draws_of(name: str, predictor: Predictor, members: int, seed: int) -> list[Draw]:
    """The sets of members that a predictor evaluates; the same for every subject.

    `single` and `mc_dropout` look at each member alone. `ensemble` draws `draws` sets of each size M
    from all members without replacement (Mehrtash 2020 §VI.D); surface distances only at `table_size`.
    """
    if predictor.kind != "ensemble":
        return [Draw(name, 1, member, (member,), keep_map=member == 0) for member in range(members)]
    result = []
    for size in sorted({*predictor.sizes, *predictor.maps}):
        subsets = draw_subsets(members, size, predictor.draws, seed_of(seed, name, size))
        for number, subset in enumerate(subsets):
            in_rows = size in predictor.sizes
            keep_map = number == 0 and (size in predictor.maps or size == predictor.table_size)
            if in_rows or keep_map:
                chosen = tuple(int(member) for member in np.flatnonzero(subset))
                surface = in_rows and size == predictor.table_size
                result.append(Draw(name, size, number, chosen, in_rows, surface, keep_map))
    return result


def measure_subject(
    slices: Iterable[NDArray[np.float16]],
    members: int,
    prepared: Prepared,
    predictors: Mapping[str, Predictor],
    box: Box | None,
    settings: Measures,
    seed: int,
    own: OwnUncertainty | None = None,
    keep_maps: bool = True,
) -> SubjectMeasures:
    """All measures of the predictors that read one posterior, for one subject.

    `slices` are Z arrays (members, K, Y, X) of probabilities, one in memory at a time; `own` belongs to
    predictors that are rescaled. Nothing is measured in the region box without a `box`.
    """
    draws = [
        draw
        for name, predictor in predictors.items()
        for draw in draws_of(name, predictor, members, seed)
        if draw.in_rows or keep_maps
    ]
    maps: dict[Draw, list[NDArray[np.float16]]] = {d: [] for d in draws if d.keep_map and keep_maps}

    def mapped() -> Iterator[NDArray[np.float16]]:
        for stack in slices:
            for draw, kept in maps.items():
                kept.append(stack[list(draw.members)].mean(axis=0, dtype=np.float32).astype(np.float16))
            yield stack

    inside = np.zeros(prepared.label.shape, bool)
    if box is not None:
        inside = foreground_box(prepared.label, prepared.spacing_zyx, box.in_plane_mm, box.slices)
    surface = [settings.surface and draw.with_surface for draw in draws]
    errors = _Errors(draws, predictors, prepared, settings.errors, own) if settings.errors else None
    tallies, labels = tally_volume(
        mapped(),
        prepared.label,
        inside,
        np.array([[member in draw.members for member in range(members)] for draw in draws]),
        settings.ece_bins,
        settings.nll_clip,
        keep=np.array(surface),
        watch=errors.watch if errors else None,
    )
    segmentations = iter(labels)
    result = SubjectMeasures(
        maps={f"{draw.predictor}__M{draw.size}": np.stack(kept, axis=1) for draw, kept in maps.items()}
    )
    regions = [name for name in calibration.REGIONS if name != "box" or box is not None]
    for number, (draw, tally) in enumerate(zip(draws, tallies, strict=True)):
        segmentation = next(segmentations) if surface[number] else None
        if draw.in_rows:
            place = {"predictor": draw.predictor, "size": draw.size, "draw": draw.draw}
            result.rows += [place | row for row in _rows(tally, regions, segmentation, prepared)]
            result.reliability += [place | row for row in _reliability(tally, regions)]
            if errors is not None:
                result.rows += [place | row for row in errors.rows(number)]
                result.reliability += [place | row for row in errors.reliability(number)]
                result.errors += [place | row for row in errors.counts(number)]
    return result


class _Errors:
    """What uncertainty says of errors, counted for each draw while `tally_volume` passes over the subject."""

    def __init__(
        self,
        draws: Sequence[Draw],
        predictors: Mapping[str, Predictor],
        prepared: Prepared,
        settings: ErrorDetection,
        own: OwnUncertainty | None,
    ) -> None:
        self._draws, self._predictors, self._own = draws, predictors, own
        self._label, self._mask = prepared.label, prepared.mask
        self._settings = settings
        self._found: dict[int, ErrorCounts] = {}
        self._raw = iter(own.slices) if own else iter(())
        self._z, self._slice = -1, np.empty(0, np.float32)

    def watch(
        self, z: int, number: int, part: slice, p: NDArray[np.float32], predicted: NDArray[np.uint8]
    ) -> None:
        """Counts `part` of the voxels of slice z for draw `number`; a `WatchSlices` of `calibration`."""
        draw = self._draws[number]
        if not draw.in_rows:
            return
        truth = self._label[z].ravel()[part]
        inside = None if self._mask is None else self._mask[z].ravel()[part]
        choices = (self._settings.thresholds, self._settings.bins)
        if self._predictors[draw.predictor].rescale is None:
            found = detection.count_probabilities(p[1], predicted, truth, inside, *choices)
        else:
            uncertainty = self._uncertainty(z, draw, part)
            found = detection.count_uncertainty(uncertainty, predicted, truth, inside, *choices)
        self._found[number] = self._found[number] + found if number in self._found else found

    def _uncertainty(self, z: int, draw: Draw, part: slice) -> NDArray[np.float32]:
        """In [0, 1], of `part` of the voxels of slice z."""
        rescale, own = self._predictors[draw.predictor].rescale, self._own
        (member,) = draw.members
        assert rescale is not None
        assert own is not None, f"{draw.predictor} has no uncertainty of its own"
        if z != self._z:  # slices come one after another
            self._z, self._slice = z, next(self._raw)
        chosen = own.of_members[member] if rescale.over == "subject" else own.of_part
        assert chosen is not None, f"{draw.predictor} is rescaled over a part whose range is not given"
        raw = self._slice[member].ravel()[part]
        return detection.rescaled(raw, *chosen, rescale.squeeze, clip=rescale.over == "validation")

    @property
    def _regions(self) -> list[str]:
        return [name for name in detection.REGIONS if name != "mask" or self._mask is not None]

    def rows(self, number: int) -> list[dict[str, Any]]:
        """Rows of measures.parquet of one draw; those at a threshold are made from `counts`."""
        found = self._found[number]
        rows = []
        for region in self._regions:
            values = {
                "ece_fg": found.ece_fg(region),
                "signed_ce": found.signed_ce(region),
                "mean_uncertainty": found.mean_uncertainty(region),
            }
            rows += [_row(0, region, measure, value, found.n(region)) for measure, value in values.items()]
        tp, fp, _, fn = found.voxels
        rows.append(_row(0, "volume", "precision", found.precision(), tp + fp))
        rows.append(_row(0, "volume", "recall", found.recall(), tp + fn))
        return rows

    def reliability(self, number: int) -> list[dict[str, Any]]:
        """Rows of reliability.parquet of one draw: bins of the foreground's probability."""
        found = self._found[number]
        rows = []
        for region in self._regions:
            index = detection.REGIONS.index(region)
            bins = (found.bin_n[index], found.bin_p[index], found.bin_positive[index])
            rows += _bins("foreground", region, *bins)
        return rows

    def counts(self, number: int) -> list[dict[str, Any]]:
        """Rows of errors.parquet of one draw, one for each threshold."""
        found = self._found[number]
        return [
            {
                "threshold": threshold,
                **dict(zip(_ERROR_COUNTS, (*found.voxels, *found.uncertain(t)), strict=True)),
            }
            for t, threshold in enumerate(self._settings.thresholds)
        ]


def _rows(
    tally: Tally, regions: Sequence[str], segmentation: NDArray[np.uint8] | None, prepared: Prepared
) -> list[dict[str, Any]]:
    rows = []
    for region in regions:
        values = {
            "nll": tally.nll(region),
            "brier_sum": tally.brier_sum(region),
            "brier_mean": tally.brier_mean(region),
            "ece_conf": tally.ece_conf(region),
        }
        count = int(tally.n[calibration.REGIONS.index(region)])
        rows += [_row(0, region, measure, value, count) for measure, value in values.items()]
    for segment in range(1, len(tally.reference)):
        reference, predicted = int(tally.reference[segment]), int(tally.predicted[segment])
        rows.append(_row(segment, "volume", "dice", tally.dice(segment), reference + predicted))
        rows.append(_row(segment, "volume", "seg_entropy", tally.seg_entropy(segment), predicted))
        if segmentation is not None:
            distance = hd95(segmentation == segment, prepared.label == segment, prepared.spacing_zyx)
            rows.append(_row(segment, "volume", "hd95", distance, reference + predicted))
    return rows


def _row(segment: int, region: str, measure: str, value: float, n: int) -> dict[str, Any]:
    return {"segment": segment, "region": region, "measure": measure, "value": float(value), "n": n}


def _reliability(tally: Tally, regions: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for region in regions:
        index = calibration.REGIONS.index(region)
        bins = (tally.bin_n[index], tally.bin_confidence[index], tally.bin_correct[index])
        rows += _bins("confidence", region, *bins)
    return rows


def _bins(
    of: str,
    region: str,
    count: NDArray[np.int64],
    confidence: NDArray[np.float64],
    correct: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Rows of reliability.parquet, without those of empty bins."""
    return [
        {
            "region": region,
            "of": of,
            "bin": number,
            "count": int(count[number]),
            "confidence": float(confidence[number]),
            "correct": int(correct[number]),
        }
        for number in range(len(count))
        if count[number]
    ]


def measure_chunk(
    posteriors: str | Path,
    arrays: str | Path,
    predictors: Mapping[str, Predictor],
    box: Box | None,
    settings: Measures,
    seed: int,
    place: Mapping[str, str],
    out: Any,
    ranges: str | Path | None = None,
    keep_maps: bool = True,
) -> None:
    """Measures every subject of a chunk; writes `out.measures`, `out.reliability`, `out.errors` (parquet; the
    last without rows where no errors are measured) and `out.maps`.

    `place` (study, cohort) goes into the first columns. `ranges` (JSON: min, max) is the range of the part
    over which predictors are rescaled, if they are. `out.maps` is a folder, empty without `keep_maps`, with
    one .npz per subject: the mean probabilities (K, Z, Y, X) float16 that figures show, named
    <predictor>__M<size>.
    """
    (model,) = {predictor.model for predictor in predictors.values()}
    of_part = None
    if ranges is not None:
        found_range = read_json(ranges)
        of_part = (found_range["min"], found_range["max"])
    tables: dict[str, list[dict[str, Any]]] = {"measures": [], "reliability": [], "errors": []}
    with atomic_folder(out.maps) as maps:
        for prepared in iter_folder(arrays):
            posterior = store.load(posteriors, prepared.dataset, prepared.subject)
            own = None
            if any(predictor.rescale for predictor in predictors.values()):
                of_members = [posterior.range(member) for member in range(posterior.members)]
                own = OwnUncertainty(posterior.uncertainty_slices(), of_members, of_part)
            found = measure_subject(
                posterior.slices(),
                posterior.members,
                prepared,
                predictors,
                box,
                settings,
                seed,
                own,
                keep_maps,
            )
            about = {**place, "dataset": prepared.dataset, "part": prepared.part, "subject": prepared.subject}
            more = {"site": prepared.site, "model": model, "samples": posterior.about["samples"]}
            tables["measures"] += [{**about, **more, **row} for row in found.rows]
            tables["reliability"] += [{**about, **row} for row in found.reliability]
            tables["errors"] += [{**about, **row} for row in found.errors]
            if found.maps:
                file = maps / file_name(prepared.dataset, prepared.subject)
                np.savez_compressed(file, allow_pickle=False, **found.maps)
    for name, schema in (("measures", ROWS), ("reliability", RELIABILITY), ("errors", ERRORS)):
        write_parquet(pa.Table.from_pylist(tables[name], schema), getattr(out, name))
