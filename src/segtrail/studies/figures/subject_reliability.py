"""Calibration of a data set beside that of single subjects (Jungo 2019, Figure 1)."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...config.figure import Example, SubjectReliability
from ..cases import NotComputedError
from ..pooled import Pool
from .common import TWO_COLUMNS, case_note, legend_row, notes, panel, predictor_lines, say_not_computed
from .source import Case, Source

MARKED = 4  # a marker at every fourth bin
TITLES = {
    "underconfident": "underconfident",
    "overconfident": "overconfident",
    "calibrated": "well-calibrated",
}
# How each kind of example is found: a key of the subjects' signed errors, the smallest first, in words.
RULES: dict[str, tuple[Callable[["pd.Series[float]"], "pd.Series[float]"], str]] = {
    "underconfident": (lambda errors: -errors, "highest"),
    "overconfident": (lambda errors: errors, "lowest"),
    "calibrated": (lambda errors: errors.abs(), "nearest to 0"),
}


def paint(spec: SubjectReliability, source: Source) -> Figure:
    columns, rows = 1 + len(spec.examples), len(spec.cohorts)
    figure = Figure(figsize=(TWO_COLUMNS, 1.05 + 1.72 * rows), layout="constrained")
    places = figure.add_gridspec(1 + rows, columns, height_ratios=[0.24] + [1] * rows)
    legend = figure.add_subplot(places[0, :])
    grid = np.array(
        [[figure.add_subplot(places[1 + row, column]) for column in range(columns)] for row in range(rows)]
    )
    lines = []
    for row, cohort in zip(grid, spec.cohorts, strict=True):
        row[0].set_ylabel(f"{source.title(cohort)}\nFraction of foreground")
        panel(row[0], partial(_curves, row[0], spec, source, cohort, None))
        shown = []
        for ax, example in zip(row[1:], spec.examples, strict=True):
            ax.tick_params(labelleft=False)
            try:
                case = _example(spec, source, cohort, example)
                _curves(ax, spec, source, cohort, case)
            except NotComputedError as missing:
                say_not_computed(ax, str(missing))
                continue
            shown.append(case_note(example.label, case))
        where = " (voxels inside the mask)" if spec.regions.get(cohort) == "mask" else ""
        lines.append(f"{source.title(cohort)}{where}: {'; '.join(shown) or 'no subjects'}.")
    # A panel without data was cleared.
    titles = ["Data set (D)", *(f"{example.label}: {TITLES[example.shows]}" for example in spec.examples)]
    for ax, title in zip(grid[0], titles, strict=True):
        ax.set_title(title)
    for ax in grid[-1]:
        ax.set_xlabel("Probability of foreground")
    for ax in grid[:-1].flat:
        ax.tick_params(labelbottom=False)
    legend_row(legend, grid.flat)
    notes(figure, [*lines, _small_print(spec)])
    return figure


def _small_print(spec: SubjectReliability) -> str:
    few = f"at least {spec.min_count} " if spec.min_count > 1 else ""
    rule = ""
    if spec.examples:
        rule = (
            f"e: signed calibration error, mean over the {len(spec.predictors)} predictors; by it subjects "
            "are picked where the paper's own is not there. "
        )
    return (
        f"{rule}Above the diagonal: underconfident. Each bin that holds {few}voxels stands at its mean "
        f"probability, every {MARKED}th with a marker."
    )


def _example(spec: SubjectReliability, source: Source, cohort: str, example: Example) -> Case:
    """The paper's subject where the part has it, or else the one that the rule finds."""
    errors = _signed_errors(spec, source, cohort).sort_index()
    if errors.empty:
        raise NotComputedError(f"signed_ce is undefined for every {spec.part} subject of {cohort}")
    named = example.subjects.get(cohort)
    if there := [of for of in errors.index if of[1] == named]:
        return source.case(cohort, spec.part, there[0], "the paper's")
    key, words = RULES[example.shows]
    if example.shows != "calibrated" and key(errors).min() >= 0:
        raise NotComputedError(f"none of {len(errors)} {spec.part} subjects of {cohort} is {example.shows}")
    dataset, subject = errors.index[int(key(errors).argmin())]
    return source.case(
        cohort, spec.part, (dataset, subject), f"e {words} of {len(errors)} {spec.part} subjects"
    )


def _signed_errors(spec: SubjectReliability, source: Source, cohort: str) -> "pd.Series[float]":
    """Each subject's signed calibration error, mean over the predictors."""
    source.cohort(cohort)
    region = spec.regions.get(cohort, "volume")
    columns = [
        source.cases.values(cohort, spec.part, name, None, "signed_ce", region, 0)["value"]
        for name in spec.predictors
    ]
    return pd.concat(columns, axis=1).mean(axis=1, skipna=False).dropna()


def _curves(ax: Axes, spec: SubjectReliability, source: Source, cohort: str, case: Case | None) -> None:
    """One panel: of a case, or of all subjects together."""
    region = spec.regions.get(cohort, "volume")
    source.cohort(cohort)
    ax.plot([0, 1], [0, 1], color="#888888", linestyle="--", linewidth=0.8)
    for number, (name, style) in enumerate(predictor_lines(source.study, spec.predictors).items()):
        voxels, probability, foreground = _bins(
            source.cases.pool(cohort, spec.part, name, None, region), case
        )
        shown = voxels >= spec.min_count
        ax.plot(
            probability[shown] / voxels[shown],
            foreground[shown] / voxels[shown],
            linewidth=0.9,
            markersize=3.2,
            markeredgewidth=0,
            # Curves that lie on each other show each other's markers.
            markevery=(number % MARKED, MARKED) if shown.sum() >= MARKED else None,
            **style,
        )
    if case is not None:
        error = _signed_errors(spec, source, cohort).loc[(case.dataset, case.subject)]
        text = f"e = {error:+.3f}".replace("-", "−")
        ax.text(0.04, 0.95, text, transform=ax.transAxes, va="top", fontsize=6)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_aspect("equal")
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])


def _bins(pool: Pool, case: Case | None) -> NDArray[np.float64]:
    """(3, bins): voxels, their summed probability, those that are foreground; all draws together, of a case
    or of all subjects."""
    if case is not None:
        pool = pool.of(pd.Index([(case.dataset, case.subject)]))
    return np.asarray(pool.sums.sum(axis=(1, 2)))
