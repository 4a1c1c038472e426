"""Cases at several levels of confidence (Mehrtash 2020, supplement, Figure 7)."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...config.figure import ConfidenceExamples, ConfidenceTarget, Pick
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
    view,
)
from .source import Source, predictor_title


def paint(spec: ConfidenceExamples, source: Source) -> Figure:
    columns = max(len(target.picks) for target in spec.targets)
    figure = Figure(figsize=(TWO_COLUMNS, 3.1 * len(spec.targets) + 0.8), layout="constrained")
    grid = figure.subplots(
        2 * len(spec.targets), columns, squeeze=False, height_ratios=[1.8, 1] * len(spec.targets)
    )
    lines = []
    for number, target in enumerate(spec.targets):
        for column, pick in enumerate(target.picks):
            above, below = grid[2 * number, column], grid[2 * number + 1, column]
            try:
                lines.append(_example(above, below, spec, source, target, pick))
            except NotComputedError as missing:
                say_not_computed(above, str(missing))
                below.axis("off")
        grid[2 * number, 0].set_ylabel(_target_title(source, target))
        grid[2 * number + 1, 0].set_ylabel("Share of voxels")
    probability_bar(figure, grid[::2].ravel())
    shown = predictor_title(source.study.predictors[spec.predictor].title)
    shown += ", the first draw; the slice with the largest reference area. "
    notes(figure, [*lines, shown + overlay_note(spec.mask_below)])
    return figure


def _target_title(source: Source, target: ConfidenceTarget) -> str:
    if target.cohort not in source.study.cohorts:
        return source.title(target.cohort)
    segment = source.study.cohorts[target.cohort].segments[target.segment - 1]
    return f"{source.title(target.cohort)}, {segment.name}"


def _example(
    above: Axes, below: Axes, spec: ConfidenceExamples, source: Source, target: ConfidenceTarget, pick: Pick
) -> str:
    case = source.pick(target.cohort, pick)
    prepared = source.prepared(case)
    size = source.study.predictor(target.cohort, spec.predictor).table_size
    maps = source.probabilities(case, spec.predictor, size)
    seen = view(prepared, largest_slice(prepared, target.segment))
    channel = channel_of(source, case, spec.channels)
    show_map(above, seen, channel, maps[target.segment], target.segment, spec.mask_below)
    entropy = source.value(case, spec.predictor, size, "seg_entropy", segment=target.segment)
    dice = dice_of(maps, prepared.label, target.segment)
    above.set_title(rf"$\overline{{\mathcal{{H}}}}$ = {entropy:.2f} nats, Dice = {dice:.2f}")
    histogram(below, maps[target.segment], maps.argmax(axis=0) == target.segment, "C0")
    return case_note(f"{source.title(target.cohort)}, {pick.rank}", case)
