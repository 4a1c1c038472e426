"""Dice against segment entropy (Mehrtash 2020, Figure 3; supplement, Figure 8)."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ...config.figure import EntropyScatter, ScatterCase, ScatterPanel
from ...measures.statistics import logit_dice, pearson
from ..cases import NotComputedError
from .common import (
    TWO_COLUMNS,
    case_note,
    channel_of,
    dice_of,
    histogram,
    notes,
    overlay_note,
    panel,
    probability_bar,
    say_not_computed,
    show_map,
    spread_slices,
    view,
    write_in,
)
from .source import Case, Source, predictor_title

MARKERS = "o^sD"
DICE_TICKS = [0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]


def paint(spec: EntropyScatter, source: Source) -> Figure:
    heights = [2.9] + [1.75 * len(spec.cases)] * bool(spec.cases)
    figure = Figure(figsize=(TWO_COLUMNS, sum(heights) + 0.3 + 0.15 * len(spec.cases)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    marked: list[tuple[ScatterCase, Case]] = []
    reasons: dict[str, str] = {}
    for case in spec.cases:
        try:
            marked.append((case, source.pick(case.cohort, case.pick)))
        except NotComputedError as missing:
            reasons[case.label] = str(missing)
    axes = parts[0].subplots(1, len(spec.panels), squeeze=False)[0]
    for letter, ax, chosen in zip("ABCDEF", axes, spec.panels, strict=False):
        ax.set_title(f"({letter}) {source.title(chosen.cohort)}")
        panel(ax, partial(_scatter, ax, spec, source, chosen, marked))
    axes[0].set_ylabel("logit Dice")
    if spec.cases:
        _case_rows(parts[1], spec, source, {case.label: found for case, found in marked}, reasons)
    shown = predictor_title(source.study.predictors[spec.predictor].title)
    lines = [case_note(case.label, found) for case, found in marked]
    if marked:
        lines.append(f"Maps and histograms: the first draw of {shown}; scatter plots: means over draws.")
        lines.append(overlay_note(spec.mask_below))
    notes(figure, lines)
    return figure


def _scatter(
    ax: Axes,
    spec: EntropyScatter,
    source: Source,
    chosen: ScatterPanel,
    marked: list[tuple[ScatterCase, Case]],
) -> None:
    segments = source.cases.segments(chosen.cohort)
    points = source.cases.clouds(chosen.cohort, chosen.parts, spec.predictor, None, segments)
    points = points.set_index(["part", "dataset", "subject", "segment"])
    pairs = sum(
        len(source.cases.values(chosen.cohort, part, spec.predictor, None, "dice", "volume", segment))
        for part in chosen.parts
        for segment in segments
    )
    if points.empty:
        raise NotComputedError(f"no case of {chosen.cohort} has both measures defined")
    x, y = points["seg_entropy"].to_numpy(), points["logit_dice"].to_numpy()
    groups = points.index.get_level_values(chosen.mark)
    names = _group_names(source, chosen)
    for number, (group, name) in enumerate(names.items()):
        inside = groups == group
        ax.scatter(
            x[inside],
            y[inside],
            s=11,
            marker=MARKERS[number],
            color=f"C{number}",
            alpha=0.8,
            linewidth=0.3,
            edgecolor="white",
            label=f"{name} ({inside.sum()})",
        )
    summary = _regression(ax, x, y, pairs - len(points))
    ax.set_title(f"{ax.get_title()}\n{summary}", fontsize=7)
    for case, found in marked:
        if case.cohort == chosen.cohort:
            key = (found.part, found.dataset, found.subject, case.segment)
            if key in points.index:
                at = points.index.get_loc(key)
                left, above = x[at] > x.mean(), y[at] < y.mean()
                ax.annotate(
                    case.label,
                    (x[at], y[at]),
                    xytext=(-14 if left else 14, 9 if above else -14),
                    ha="right" if left else "left",
                    textcoords="offset points",
                    fontsize=6.5,
                    fontweight="bold",
                    arrowprops={"arrowstyle": "->", "linewidth": 0.7, "shrinkB": 2},
                )
    ax.set_xlabel(r"Segment entropy $\overline{\mathcal{H}}(\hat{S})$ (nats)")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), handletextpad=0.2)
    right = ax.secondary_yaxis("right")
    low, high = ax.get_ylim()
    clip = source.study.measures.dice_clip
    ticks = [tick for tick in DICE_TICKS if low <= logit_dice(np.array([tick]), clip)[0] <= high]
    right.set_yticks(logit_dice(np.array(ticks), clip), [f"{tick:g}" for tick in ticks])
    if chosen == spec.panels[-1]:
        right.set_ylabel("Dice")


def _group_names(source: Source, chosen: ScatterPanel) -> dict[str | int, str]:
    cohort = source.study.cohorts[chosen.cohort]
    if chosen.mark == "dataset":
        return {name: source.run.datasets[name].title.split()[0] for name in cohort.datasets}
    return {
        number: f"{segment.numeral} {segment.name}" for number, segment in enumerate(cohort.segments, start=1)
    }


def _regression(ax: Axes, x: np.ndarray, y: np.ndarray, undefined: int) -> str:
    """Draws least squares of logit Dice on entropy; Pearson's r with its 2-tailed p, as a text."""
    found = pearson(x, y)
    parts = [f"n = {found.n}"] + [f"{undefined} undefined"] * bool(undefined)
    if np.isnan(found.r):
        return ", ".join(["r undefined", *parts])
    slope, intercept = np.polyfit(x, y, 1)
    ends = np.array([x.min(), x.max()])
    ax.plot(ends, slope * ends + intercept, color="#222222", linewidth=1.1)
    return ", ".join([f"r = {found.r:.2f}", f"p = {found.p:.1e}", *parts]).replace("-", "−")


def _case_rows(
    part: SubFigure, spec: EntropyScatter, source: Source, cases: dict[str, Case], reasons: dict[str, str]
) -> None:
    grid = part.subplots(
        len(spec.cases), spec.slices + 1, squeeze=False, width_ratios=[1] * spec.slices + [1.1]
    )
    for axes, case in zip(grid, spec.cases, strict=True):
        try:
            if case.label in reasons:
                raise NotComputedError(reasons[case.label])
            _case_row(axes, spec, source, case, cases[case.label])
        except NotComputedError as missing:
            for ax in axes:
                say_not_computed(ax, str(missing))
        axes[0].set_ylabel(case.label)
    probability_bar(part, grid[:, :-1].ravel())


def _case_row(
    axes: Sequence[Axes], spec: EntropyScatter, source: Source, case: ScatterCase, found: Case
) -> None:
    """Slices of one case and the histogram over its predicted segment."""
    prepared = source.prepared(found)
    size = source.study.predictor(case.cohort, spec.predictor).table_size
    maps = source.probabilities(found, spec.predictor, size)
    channel = channel_of(source, found, spec.channels)
    for ax, z in zip(axes, spread_slices(prepared, spec.slices), strict=False):
        show_map(ax, view(prepared, z), channel, maps[case.segment], case.segment, spec.mask_below)
        write_in(ax, f"slice {z + 1}/{len(prepared.label)}")
    entropy = source.value(found, spec.predictor, size, "seg_entropy", segment=case.segment)
    dice = dice_of(maps, prepared.label, case.segment)
    predicted = maps.argmax(axis=0) == case.segment
    panel(axes[-1], lambda: histogram(axes[-1], maps[case.segment], predicted, "C0"))
    axes[-1].set_ylabel("Share of voxels")
    axes[-1].set_title(rf"$\overline{{\mathcal{{H}}}}$ = {entropy:.2f} nats, Dice = {dice:.2f}")
