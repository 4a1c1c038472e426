"""Rows of measures from posteriors and references: one streaming pass over a subject for all predictors."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..config import Box, Measures, Predictor
from ..data.prepared import Prepared, file_name, load_folder
from ..files import atomic_folder
from ..measures.calibration import REGIONS, Tally, foreground_box, tally_volume
from ..measures.draws import draw_subsets
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
        ("bin", pa.int64()),
        ("count", pa.int64()),
        ("confidence", pa.float64()),
        ("correct", pa.int64()),
    ]
)


@dataclass
class SubjectMeasures:
    """What one posterior says about one subject."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    reliability: list[dict[str, Any]] = field(default_factory=list)
    maps: dict[str, NDArray[np.float16]] = field(default_factory=dict)


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
    box: Box,
    settings: Measures,
    seed: int,
) -> SubjectMeasures:
    """All measures of the predictors that read one posterior, for one subject.

    `slices` are Z arrays (members, K, Y, X) of probabilities, one in memory at a time.
    """
    draws = [
        draw for name, predictor in predictors.items() for draw in draws_of(name, predictor, members, seed)
    ]
    maps: dict[Draw, list[NDArray[np.float16]]] = {draw: [] for draw in draws if draw.keep_map}

    def mapped() -> Iterator[NDArray[np.float16]]:
        for stack in slices:
            for draw, kept in maps.items():
                kept.append(stack[list(draw.members)].mean(axis=0, dtype=np.float32).astype(np.float16))
            yield stack

    tallies, labels = tally_volume(
        mapped(),
        prepared.label,
        foreground_box(prepared.label, prepared.spacing_zyx, box.in_plane_mm, box.slices),
        np.array([[member in draw.members for member in range(members)] for draw in draws]),
        settings.ece_bins,
        settings.nll_clip,
        keep=np.array([draw.with_surface for draw in draws]),
    )
    segmentations = iter(labels)
    result = SubjectMeasures(
        maps={f"{draw.predictor}__M{draw.size}": np.stack(kept, axis=1) for draw, kept in maps.items()}
    )
    for draw, tally in zip(draws, tallies, strict=True):
        segmentation = next(segmentations) if draw.with_surface else None
        if draw.in_rows:
            place = {"predictor": draw.predictor, "size": draw.size, "draw": draw.draw}
            result.rows += [place | row for row in _rows(tally, segmentation, prepared)]
            result.reliability += [place | row for row in _reliability(tally)]
    return result


def _rows(tally: Tally, segmentation: NDArray[np.uint8] | None, prepared: Prepared) -> list[dict[str, Any]]:
    rows = []
    for index, region in enumerate(REGIONS):
        values = {
            "nll": tally.nll(region),
            "brier_sum": tally.brier_sum(region),
            "brier_mean": tally.brier_mean(region),
            "ece_conf": tally.ece_conf(region),
        }
        count = int(tally.n[index])
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


def _reliability(tally: Tally) -> list[dict[str, Any]]:
    return [
        {
            "region": region,
            "bin": number,
            "count": int(tally.bin_n[index, number]),
            "confidence": float(tally.bin_confidence[index, number]),
            "correct": int(tally.bin_correct[index, number]),
        }
        for index, region in enumerate(REGIONS)
        for number in range(tally.bin_n.shape[1])
        if tally.bin_n[index, number]
    ]


def measure_chunk(
    posteriors: str | Path,
    arrays: str | Path,
    predictors: Mapping[str, Predictor],
    box: Box,
    settings: Measures,
    seed: int,
    place: Mapping[str, str],
    out: Any,
) -> None:
    """Measures every subject of a chunk; writes `out.measures`, `out.reliability` (parquet) and `out.maps`.

    `place` (study, cohort) goes into the first columns. `out.maps` is a folder with one .npz per subject: the
    mean probabilities (K, Z, Y, X) float16 that figures show, named <predictor>__M<size>.
    """
    (model,) = {predictor.model for predictor in predictors.values()}
    rows: list[dict[str, Any]] = []
    reliability: list[dict[str, Any]] = []
    with atomic_folder(out.maps) as maps:
        for prepared in load_folder(arrays):
            posterior = store.load(posteriors, prepared.dataset, prepared.subject)
            found = measure_subject(
                posterior.slices(), posterior.members, prepared, predictors, box, settings, seed
            )
            about = {**place, "dataset": prepared.dataset, "part": prepared.part, "subject": prepared.subject}
            samples = posterior.about["samples"]
            rows += [
                {**about, "site": prepared.site, "model": model, "samples": samples, **row}
                for row in found.rows
            ]
            reliability += [{**about, **row} for row in found.reliability]
            file = maps / file_name(prepared.dataset, prepared.subject)
            np.savez_compressed(file, allow_pickle=False, **found.maps)
    write_parquet(pa.Table.from_pylist(rows, ROWS), out.measures)
    write_parquet(pa.Table.from_pylist(reliability, RELIABILITY), out.reliability)
