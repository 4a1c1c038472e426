"""Calibration and out-of-distribution examples with histograms (Mehrtash 2020, Figure 1)."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...config.figure import ShiftExample, ShiftExamples
from ..cases import NotComputedError
from .common import (
    TWO_COLUMNS,
    case_note,
    channel_of,
    dice_of,
    histogram,
    largest_slice,
    notes,
    overlay_note,
    probability_bar,
    say_not_computed,
    show_map,
    show_scan,
    view,
    write_in,
)
from .source import Source, predictor_title


def paint(spec: ShiftExamples, source: Source) -> Figure:
    rows = len(spec.examples)
    figure = Figure(figsize=(TWO_COLUMNS, 1.78 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, 4, squeeze=False, width_ratios=[1, 1, 1, 1.15])
    lines = []
    for axes, example in zip(grid, spec.examples, strict=True):
        try:
            lines.append(_example(axes, spec, source, example))
        except NotComputedError as missing:
            for ax in axes:
                say_not_computed(ax, str(missing))
        axes[0].set_ylabel(example.label)
    titles = ["Scan and reference"]
    for name, state in ((spec.uncalibrated, "uncalibrated"), (spec.calibrated, "calibrated")):
        titles.append(f"{predictor_title(source.study.predictors[name].title)}, {state}")
    for ax, title in zip(grid[0], titles, strict=False):
        ax.set_title(title)
    probability_bar(figure, grid[:, :3].ravel())
    notes(figure, [*lines, f"Slices: the largest reference area. {overlay_note(spec.mask_below)}"])
    return figure


def _example(axes: Sequence[Axes], spec: ShiftExamples, source: Source, example: ShiftExample) -> str:
    case = source.pick(spec.cohort, example.pick)
    prepared = source.prepared(case)
    seen = view(prepared, largest_slice(prepared, spec.segment))
    channel = channel_of(source, case, spec.channels)
    show_scan(axes[0], seen, channel, spec.segment)
    for ax, name in zip(axes[1:3], (spec.uncalibrated, spec.calibrated), strict=True):
        size = source.study.predictor(spec.cohort, name).table_size
        maps = source.probabilities(case, name, size)
        show_map(ax, seen, channel, maps[spec.segment], spec.segment, spec.mask_below)
        write_in(ax, f"Dice {dice_of(maps, prepared.label, spec.segment):.2f}")
    histogram(axes[3], maps[spec.segment], maps.argmax(axis=0) == spec.segment, "C0")
    entropy = source.value(case, spec.calibrated, size, "seg_entropy", segment=spec.segment)
    axes[3].set_ylabel("Share of voxels")
    axes[3].set_title(rf"calibrated, $\overline{{\mathcal{{H}}}}$ = {entropy:.2f} nats")
    return case_note(example.label, case)
