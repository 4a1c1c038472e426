"""Precision and recall of detecting errors by their uncertainty (Jungo 2019, supplement)."""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...config.figure import ErrorDetectionCurves
from .common import TWO_COLUMNS, legend_row, notes, panel, predictor_lines
from .source import Source


def paint(spec: ErrorDetectionCurves, source: Source) -> Figure:
    figure = Figure(figsize=(TWO_COLUMNS, 3.7), layout="constrained")
    places = figure.add_gridspec(2, len(spec.cohorts), height_ratios=[0.15, 1])
    legend = figure.add_subplot(places[0, :])
    axes = [figure.add_subplot(places[1, column]) for column in range(len(spec.cohorts))]
    lines: list[str] = []
    for ax, cohort in zip(axes, spec.cohorts, strict=True):
        ax.set_title(source.title(cohort))
        panel(ax, partial(_curves, ax, spec, source, cohort, lines))
        ax.set_xlabel("Precision of detecting errors")
    axes[0].set_ylabel("Recall of detecting errors")
    legend_row(legend, axes)
    notes(
        figure,
        [
            "A point for each threshold of the uncertainty, joined in their order: means over subjects. "
            "Ring: the threshold of the best U-E. Precision is 1 where nothing is uncertain, recall 1 where "
            "nothing is wrong.",
            *lines,
        ],
    )
    return figure


def _curves(ax: Axes, spec: ErrorDetectionCurves, source: Source, cohort: str, lines: list[str]) -> None:
    source.cohort(cohort)
    thresholds = source.cases.thresholds
    if thresholds is None:
        raise ValueError(f"{source.study_id} counts no errors (key measures.errors)")
    beyond = 0
    for name, style in predictor_lines(source.study, spec.predictors).items():
        best, _ = source.cases.threshold(cohort, spec.part, name, None, "u_e")
        place = (cohort, spec.part, name, source.cases.size(cohort, name, None))
        precision, recall = (
            thresholds.curves(place, measure).mean() for measure in ("error_precision", "error_recall")
        )
        ax.plot(precision, recall, linewidth=0.9, markersize=3.5, markeredgewidth=0, **style)
        ax.plot(
            precision[best],
            recall[best],
            color=style["color"],
            linestyle="none",
            marker="o",
            markersize=7.5,
            markerfacecolor="none",
            markeredgewidth=0.9,
        )
        low, high = spec.x_limits
        beyond += int((~precision.between(low, high)).sum())
    ax.set_xlim(*spec.x_limits)
    ax.set_ylim(-0.02, 1.02)
    if beyond:
        count = len(spec.predictors) * len(precision)
        lines.append(f"{source.title(cohort)}: {beyond} of {count} points lie beyond the axis.")
