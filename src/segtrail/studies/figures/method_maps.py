"""One case under every predictor, with reliability diagrams (Mehrtash 2020, supplement, Figures 1 to 3)."""

from collections.abc import Iterable
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...config.figure import MethodMaps
from ..cases import NotComputedError
from .common import (
    TWO_COLUMNS,
    View,
    case_note,
    channel_of,
    largest_slice,
    notes,
    overlay_note,
    panel,
    probability_bar,
    say_not_computed,
    segment_title,
    show_map,
    show_scan,
    view,
    write_in,
)
from .source import Case, Source, predictor_title


def paint(spec: MethodMaps, source: Source) -> Figure:
    segments = source.study.cohorts[spec.cohort].segments if spec.cohort in source.study.cohorts else [None]
    rows = len(segments)
    figure = Figure(figsize=(TWO_COLUMNS, 0.95 * rows + 2.25), layout="constrained")
    grid = figure.subplots(
        rows + 1, len(spec.predictors) + 1, squeeze=False, height_ratios=[1] * rows + [1.15]
    )
    try:
        case = source.pick(spec.cohort, spec.pick)
    except NotComputedError as missing:
        for ax in grid.flat:
            say_not_computed(ax, str(missing))
        return figure
    prepared = source.prepared(case)
    seen = view(prepared, largest_slice(prepared))
    channel = channel_of(source, case, spec.channels)
    for number, segment in enumerate(source.study.cohorts[spec.cohort].segments, start=1):
        show_scan(grid[number - 1, 0], seen, channel, number)
        grid[number - 1, 0].set_ylabel(segment_title(segment))
    grid[0, 0].set_title("Scan")
    for column, name in enumerate(spec.predictors, start=1):
        grid[0, column].set_title(predictor_title(source.study.predictors[name].title))
        size = source.study.predictor(spec.cohort, name).table_size
        _maps(grid[:-1, column], spec, source, case, seen, channel, name, size)
        panel(
            grid[-1, column],
            partial(_reliability, grid[-1, column], source, case, name, size),
        )
    grid[-1, 1].set_ylabel("Accuracy")
    for ax in grid[-1, 2:]:
        ax.tick_params(labelleft=False)
    grid[-1, 0].axis("off")
    minimum = source.study.measures.reliability_min_count
    grid[-1, 0].text(
        0.0,
        0.6,
        f"Reliability,\nwhole volume;\nbins with more\nthan {minimum} voxels",
        transform=grid[-1, 0].transAxes,
        va="center",
        fontsize=6.5,
    )
    probability_bar(figure, grid[:-1].ravel())
    place = f"Slice {seen.z + 1} of {len(prepared.label)}, the one with the largest foreground."
    which = "Single models and MC dropout: member 0; ensembles: the first draw."
    notes(figure, [f"{case_note('Case', case)}. {place} {overlay_note(spec.mask_below)} {which}"])
    return figure


def _maps(
    axes: Iterable[Axes],
    spec: MethodMaps,
    source: Source,
    case: Case,
    seen: View,
    channel: int,
    predictor: str,
    size: int,
) -> None:
    try:
        maps = source.probabilities(case, predictor, size)
    except NotComputedError as missing:
        for ax in axes:
            say_not_computed(ax, str(missing))
        return
    for segment, ax in enumerate(axes, start=1):
        show_map(ax, seen, channel, maps[segment], segment, spec.mask_below)
        dice = source.value(case, predictor, size, "dice", segment=segment)
        write_in(ax, f"Dice {dice:.2f}")


def _reliability(ax: Axes, source: Source, case: Case, predictor: str, size: int) -> None:
    """Accuracy against confidence, bins above the minimum count; the values are those of this volume."""
    bins = source.bins(case, predictor, size)
    minimum = source.study.measures.reliability_min_count
    shown = bins[bins["count"] > minimum]
    ax.plot([0, 1], [0, 1], color="#888888", linestyle="--", linewidth=0.8)
    ax.plot(shown["confidence"] / shown["count"], shown["correct"] / shown["count"], marker="o", markersize=3)
    ax.set_xlim(0, 1.02)
    ax.set_ylim(0, 1.02)
    ax.set_aspect("equal")
    ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    ax.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    ece = 100 * source.value(case, predictor, size, "ece_conf")
    nll, brier = (source.value(case, predictor, size, measure) for measure in ("nll", "brier_sum"))
    ax.set_xlabel(f"Confidence\nECE {ece:.2f} %\nNLL {nll:.3f}\nBrier {brier:.3f}")
