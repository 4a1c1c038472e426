"""Maps of ensembles of growing size (Mehrtash 2020, supplement, Figures 5 and 6)."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...config.figure import SizeExample, SizeMaps
from ..cases import NotComputedError
from .common import (
    case_note,
    channel_of,
    dice_of,
    largest_slice,
    notes,
    overlay_note,
    probability_bar,
    say_not_computed,
    segment_title,
    show_map,
    show_scan,
    view,
    write_in,
)
from .source import Source, predictor_title

PANEL = 1.2  # in


def paint(spec: SizeMaps, source: Source) -> Figure:
    counts = [len(_sizes(spec, source, example.cohort)) for example in spec.examples]
    columns = 1 + max([1, *counts])
    rows = [(example, segment) for example in spec.examples for segment in example.segments]
    figure = Figure(figsize=(PANEL * columns + 1.1, PANEL * len(rows) + 1.0), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    lines = []
    for axes, (example, segment) in zip(grid, rows, strict=True):
        try:
            lines.append(_row(axes, spec, source, example, segment))
        except NotComputedError as missing:
            for ax in axes:
                say_not_computed(ax, str(missing))
        axes[0].set_ylabel(_row_title(source, example.cohort, segment))
    grid[0, 0].set_title("Scan")
    previous: list[int] = []
    for axes, (example, _) in zip(grid, rows, strict=True):
        sizes = _sizes(spec, source, example.cohort)
        if sizes != previous:
            for ax, size in zip(axes[1:], sizes, strict=False):
                ax.set_title(f"M = {size}")
        previous = sizes
    probability_bar(figure, grid.ravel())
    shown = predictor_title(source.study.predictors[spec.predictor].title)
    notes(figure, [*lines, f"{shown}, the first draw of each size M.", overlay_note(spec.mask_below)])
    return figure


def _sizes(spec: SizeMaps, source: Source, cohort: str) -> list[int]:
    return source.study.predictor(cohort, spec.predictor).maps if cohort in source.study.cohorts else []


def _row_title(source: Source, cohort: str, segment: int) -> str:
    if cohort not in source.study.cohorts:
        return source.title(cohort)
    return f"{source.title(cohort)} {segment_title(source.study.cohorts[cohort].segments[segment - 1])}"


def _row(axes: list[Axes], spec: SizeMaps, source: Source, example: SizeExample, segment: int) -> str:
    case = source.pick(example.cohort, example.pick)
    sizes = _sizes(spec, source, example.cohort)
    if not sizes:
        raise NotComputedError(f"no map sizes are set for {spec.predictor} in cohort {example.cohort}")
    prepared = source.prepared(case)
    seen = view(prepared, largest_slice(prepared, segment))
    channel = channel_of(source, case, spec.channels)
    show_scan(axes[0], seen, channel, segment)
    for ax, size in zip(axes[1:], sizes, strict=False):
        maps = source.probabilities(case, spec.predictor, size)
        show_map(ax, seen, channel, maps[segment], segment, spec.mask_below)
        write_in(ax, f"Dice {dice_of(maps, prepared.label, segment):.2f}")
    for ax in axes[1 + len(sizes) :]:
        say_not_computed(ax, f"{source.title(example.cohort)} has {len(sizes)} sizes")
    return case_note(source.title(example.cohort), case)
