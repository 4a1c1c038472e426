"""What the kinds of figure share: scans, overlays, contours, histograms, notes, the phantom mark."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patheffects import AbstractPathEffect, withStroke
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from ... import config
from ...data.prepared import Prepared
from ...measures.overlap import dice
from ..cases import NotComputedError
from .source import Case, Source

TWO_COLUMNS = 7.16  # in
OPACITY = 0.6
MARGIN_MM = 15.0
HISTOGRAM_BINS = 20
PREDICTOR_MARKERS = "os^Dv*PX"
LINE_STYLES: list[Any] = ["-", (0, (2.5, 1.2)), (0, (1, 1))]
WARNING = "#b3261e"
HALO: list[AbstractPathEffect] = [withStroke(linewidth=1.4, foreground="black")]


@dataclass(frozen=True)
class View:
    """One axial slice of a case, cropped to the foreground's surroundings and turned as radiologists look
    at it (anterior up, the patient's right on the left)."""

    prepared: Prepared
    z: int
    rows: slice
    columns: slice

    @property
    def aspect(self) -> float:
        _, y, x = self.prepared.spacing_zyx
        return y / x

    def plane(self, volume: NDArray[Any]) -> NDArray[Any]:
        """The slice of a volume (Z, Y, X) as it is shown, first row on top."""
        plane = volume[self.z, self.rows, self.columns]
        across, along, _ = aff2axcodes(self.prepared.geometry.affine)
        if along in ("A", "S"):
            plane = plane[::-1]
        if across == "R":
            plane = plane[:, ::-1]
        return plane

    def grey(self, channel: int) -> NDArray[np.float64]:
        """The scan's slice between its 1st and 99th percentile, 0…1."""
        plane = self.plane(self.prepared.image[channel]).astype(float)
        low, high = np.percentile(plane, [1, 99])
        return np.clip((plane - low) / (high - low if high > low else 1.0), 0, 1)


def largest_slice(prepared: Prepared, segment: int | None = None) -> int:
    """The slice with the largest reference area of a segment; of all foreground if it has none."""
    label = prepared.label
    area = ((label > 0) if segment is None else (label == segment)).sum(axis=(1, 2))
    return int((area if area.any() else (label > 0).sum(axis=(1, 2))).argmax())


def spread_slices(prepared: Prepared, count: int) -> list[int]:
    """`count` slices spread evenly inside the reference's extent."""
    inside = np.flatnonzero((prepared.label > 0).any(axis=(1, 2)))
    if not len(inside):
        inside = np.arange(len(prepared.label))
    places = np.linspace(inside[0], inside[-1], count + 2)[1:-1]
    return [int(z) for z in np.rint(places)]


def view(prepared: Prepared, z: int) -> View:
    """A square window around the whole volume's foreground (the image's centre if it has none), the same for
    every slice of a case."""
    foreground: NDArray[np.bool_] = np.asarray((prepared.label > 0).any(axis=0))
    if not foreground.any():
        foreground = ~foreground
    spacing = prepared.spacing_zyx[1:]
    windows = []
    extents = [np.flatnonzero(foreground.any(axis=1)), np.flatnonzero(foreground.any(axis=0))]
    widest = max((e[-1] - e[0] + 1) * mm for e, mm in zip(extents, spacing, strict=True)) + 2 * MARGIN_MM
    for extent, mm, length in zip(extents, spacing, foreground.shape, strict=True):
        wanted = min(length, round(widest / mm))
        start = min(max(0, round((extent[0] + extent[-1] + 1 - wanted) / 2)), length - wanted)
        windows.append(slice(start, start + wanted))
    return View(prepared, z, windows[0], windows[1])


def channel_of(source: Source, case: Case, channels: dict[str, str]) -> int:
    names = source.study.cohorts[case.cohort].channels
    return names.index(channels[case.cohort]) if case.cohort in channels else 0


def show_scan(ax: Axes, seen: View, channel: int, segment: int | None = None) -> None:
    """The scan alone, with the reference boundary of a segment (of all foreground)."""
    _blank(ax)
    ax.imshow(seen.grey(channel), cmap="gray", vmin=0, vmax=1, aspect=seen.aspect)
    _boundary(ax, seen, segment)


def show_map(
    ax: Axes, seen: View, channel: int, probability: NDArray[np.float32], segment: int, mask_below: float
) -> None:
    """A class's probability (Z, Y, X) over the scan, and the reference boundary.

    Scan and overlay are blended here, so that an SVG holds one small picture at the map's own resolution.
    """
    _blank(ax)
    grey = np.repeat(seen.grey(channel)[..., None], 3, axis=2)
    plane = seen.plane(probability)
    colour = mpl.colormaps[mpl.rcParams["image.cmap"]](plane)[..., :3]
    opacity = np.where(plane > mask_below, OPACITY, 0.0)[..., None]
    ax.imshow((1 - opacity) * grey + opacity * colour, aspect=seen.aspect)
    _boundary(ax, seen, segment)


def _blank(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _boundary(ax: Axes, seen: View, segment: int | None) -> None:
    label = seen.plane(seen.prepared.label)
    mask = (label > 0) if segment is None else (label == segment)
    if mask.any():
        line = ax.contour(mask.astype(float), levels=[0.5], colors="white", linewidths=0.8)
        line.set_path_effects(HALO)


def write_in(ax: Axes, text: str) -> None:
    """A short text in a map's corner, legible on any ground."""
    ax.text(
        0.03, 0.03, text, transform=ax.transAxes, color="white", fontsize=6, va="bottom", path_effects=HALO
    )


def probability_bar(figure: Figure | SubFigure, axes: Iterable[Axes]) -> None:
    """The colours of `show_map`, before they are blended with the scan."""
    mappable = ScalarMappable(Normalize(0, 1), mpl.rcParams["image.cmap"])
    bar = figure.colorbar(mappable, ax=list(axes), fraction=0.025, pad=0.01, aspect=30)
    bar.set_label("Class probability")
    bar.outline.set_linewidth(0.5)


def overlay_note(mask_below: float) -> str:
    masked = f" where above {mask_below:g}" if mask_below else ""
    return f"Class probabilities are overlaid{masked}; white: reference boundary."


def histogram(ax: Axes, probability: NDArray[np.float32], predicted: NDArray[np.bool_], colour: str) -> None:
    """Class probabilities over the predicted segment of the whole volume, as shares of its voxels."""
    values = probability[predicted]
    if not len(values):
        raise NotComputedError("the predicted segment is empty")
    shares = np.full(len(values), 1 / len(values))
    ax.hist(values, bins=HISTOGRAM_BINS, range=(0, 1), weights=shares, color=colour, linewidth=0)
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_xlabel("Class probability")


def dice_of(probabilities: NDArray[np.float32], label: NDArray[np.uint8], segment: int) -> float:
    """Dice of the arg-max of the map that is shown."""
    return dice(probabilities.argmax(axis=0) == segment, label == segment)


def panel(ax: Axes, paint: Callable[[], None]) -> None:
    """Paints one panel; where this run has no data for it, the panel says so and why."""
    try:
        paint()
    except NotComputedError as missing:
        say_not_computed(ax, str(missing))


def say_not_computed(ax: Axes, reason: str) -> None:
    ax.clear()
    _blank(ax)
    ax.set_facecolor("#f2f2f2")
    width = ax.get_position().width * ax.figure.get_figure(root=True).get_figwidth()
    text = textwrap.fill(f"not computed: {reason}", max(14, int(width / 0.062)))
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=5.5, color="#444444")


def predictor_lines(study: config.Study, predictors: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Predictor → how its curve is drawn: the colour tells the model, dashes a further predictor of the same
    one, the marker the predictor."""
    models = list(dict.fromkeys(study.predictors[name].model for name in predictors))
    drawn: dict[str, dict[str, Any]] = {}
    for name, marker in zip(predictors, cycle(PREDICTOR_MARKERS)):
        model = study.predictors[name].model
        before = sum(study.predictors[other].model == model for other in drawn)
        drawn[name] = {
            "color": f"C{models.index(model)}",
            "linestyle": LINE_STYLES[before % len(LINE_STYLES)],
            "marker": marker,
            "label": study.predictors[name].title,
        }
    return drawn


def legend_row(ax: Axes, axes: Iterable[Axes]) -> None:
    """The curves' names in an empty panel of their own, which the phantom mark cannot cover."""
    ax.axis("off")
    drawn = (other.get_legend_handles_labels() for other in axes)
    if handles := next((found for found in drawn if found[0]), None):
        ax.legend(*handles, loc="center", ncols=4, handlelength=3.2, columnspacing=2.5)


def notes(figure: Figure, lines: Iterable[str]) -> None:
    """Small print below a figure: which cases, by which rule."""
    unique = list(dict.fromkeys(lines))
    wide = int(figure.get_figwidth() / 0.047)
    text = "\n".join(textwrap.fill(line, wide, subsequent_indent="   ") for line in unique)
    if text:
        figure.supxlabel(text, x=0.01, ha="left", fontsize=5.5, color="#333333")


def segment_title(segment: config.Segment) -> str:
    """Numeral and name on two lines, a long name on three."""
    return f"{segment.numeral}\n" + segment.name.replace(" ", "\n" if len(segment.name) > 15 else " ")


def case_note(label: str, case: Case) -> str:
    return f"{label}: {case.name} ({case.rule})"


def mark_phantom(figure: Figure) -> None:
    """Nobody may take a figure made from phantoms for a reproduction.

    The large mark lies behind the axes, so that no colour or curve is changed; each picture of a scan
    carries its own.
    """
    for ax in figure.get_axes():
        if ax.images:
            ax.text(
                0.97,
                0.97,
                "phantom",
                transform=ax.transAxes,
                color=WARNING,
                fontsize=5.5,
                ha="right",
                va="top",
                path_effects=[withStroke(linewidth=1.4, foreground="white")],
            )
        else:
            ax.patch.set_alpha(0)
    figure.suptitle(
        "PHANTOM DATA: not comparable with the published figure", color=WARNING, fontsize=7, fontweight="bold"
    )
    figure.text(
        0.5,
        0.5,
        "PHANTOM",
        color=WARNING,
        alpha=0.1,
        fontsize=figure.get_figwidth() * 11,
        fontweight="bold",
        rotation=25,
        ha="center",
        va="center",
        zorder=-1,
    )
