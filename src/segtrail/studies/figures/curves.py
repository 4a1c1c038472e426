"""A measure against the number of models in the ensemble (Mehrtash 2020, Figure 2; supplement, Figure 4)."""

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ...config.figure import EnsembleCurves
from ...measures.statistics import bootstrap_mean
from ...seeds import seed_of
from .common import TWO_COLUMNS, panel
from .source import Source, predictor_title

MARKERS = "osD^"
REGION_TITLES = {"volume": "whole volume", "box": "bounding box"}


def paint(spec: EnsembleCurves, source: Source) -> Figure:
    height = 0.6 + 1.75 * len(spec.regions)
    figure = Figure(figsize=(TWO_COLUMNS, height), layout="constrained")
    grid = figure.subplots(len(spec.regions), len(spec.cohorts), squeeze=False)
    for row, region in zip(grid, spec.regions, strict=True):
        for ax, cohort in zip(row, spec.cohorts, strict=True):
            ax.set_title(f"{source.title(cohort)}, {REGION_TITLES[region]}")
            panel(ax, partial(_curves, ax, spec, source, cohort, region))
        row[0].set_ylabel(spec.label)
    for ax in grid[-1]:
        ax.set_xlabel("Models in the ensemble, M")
    lines = next(
        (ax.get_legend_handles_labels() for ax in grid.flat if ax.get_legend_handles_labels()[0]), None
    )
    if lines:
        figure.legend(*lines, loc="outside lower center", ncols=len(lines[0]))
    return figure


def curve(rows: pd.DataFrame, interval: str | None, resamples: int, seed: int) -> pd.DataFrame:
    """mean, lo, hi, cases, draws for each size; lo and hi as `EnsembleCurves.interval` says, else NaN."""
    found = {}
    for size in sorted(rows["size"].unique().tolist()):
        at_size = rows[rows["size"] == size]
        by_case = at_size.groupby(["part", "dataset", "subject"])["value"].mean().dropna()
        lo = hi = float("nan")
        if interval == "cases":
            lo, hi = np.percentile(by_case, [2.5, 97.5])
        elif interval == "draws":
            lo, hi = np.percentile(at_size.groupby("draw")["value"].mean().dropna(), [2.5, 97.5])
        elif interval == "mean":
            rng = np.random.default_rng(seed_of(seed, size))
            lo, hi = bootstrap_mean(by_case.to_numpy(), resamples, rng)
        found[size] = (by_case.mean(), lo, hi, len(by_case), at_size["draw"].nunique())
    return pd.DataFrame.from_dict(found, orient="index", columns=["mean", "lo", "hi", "cases", "draws"])


def _curves(ax: Axes, spec: EnsembleCurves, source: Source, cohort: str, region: str) -> None:
    settings = source.study.measures
    for number, name in enumerate(spec.predictors):
        rows = source.rows(cohort, spec.parts, name, spec.measure, region)
        points = curve(rows, spec.interval, settings.bootstrap, source.run.seed)
        colour = f"C{number}"
        ax.plot(
            points.index,
            points["mean"],
            marker=MARKERS[number],
            color=colour,
            label=predictor_title(source.study.predictors[name].title),
        )
        if spec.interval:
            ax.fill_between(points.index, points["lo"], points["hi"], color=colour, alpha=0.15, linewidth=0)
            for edge in ("lo", "hi"):
                ax.plot(points.index, points[edge], color=colour, linewidth=0.7, linestyle="--")
        if number == 0 and 1 in points.index:
            ax.axhline(float(points["mean"].loc[1]), color=colour, linestyle=":", linewidth=0.9)
    ax.set_xscale("log")
    ax.set_xticks(points.index, [str(size) for size in points.index])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(bottom=0)
    cases, draws = int(points["cases"].max()), int(points["draws"].max())
    ax.text(
        0.97,
        0.95,
        f"{cases} cases, n = {draws} draws",
        transform=ax.transAxes,
        ha="right",
        va="top",
        fontsize=6,
        color="#444444",
    )
