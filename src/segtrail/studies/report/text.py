"""Numbers and names as the page writes them."""

import math
import re
from collections.abc import Iterable

import pandas as pd
from markupsafe import Markup, escape

MINUS = "−"
NONE = "–"
GAUGE_WIDTH = 88


def number(value: float, places: int) -> str:
    """With the digits that the paper prints; a dash where there is none."""
    return NONE if math.isnan(value) else signed(f"{value:.{places}f}")


def significant(value: float) -> str:
    """Three significant digits."""
    return NONE if math.isnan(value) else signed(f"{value:.3g}")


def signed(text: str) -> str:
    """With a true minus sign."""
    return text.replace("-", MINUS, 1) if text.startswith("-") else text


def counted(one: int, noun: str, many: str = "") -> str:
    """`1 cell`, `2 cells`."""
    return f"{one:,} {noun if one == 1 else many or noun + 's'}"


def hours(seconds: float) -> str:
    """To a tenth, so that the page does not change with every breath of the machine."""
    told = round(seconds / 3600, 1)
    return f"{told:,.1f}" if told or not seconds else "< 0.1"


def spread(values: pd.Series, places: int) -> str:
    """Median and range."""
    middle, low, high = (f"{value:.{places}f}" for value in (values.median(), values.min(), values.max()))
    return middle if low == high else f"{middle} ({low} to {high})"


def loss_names(text: str) -> Markup:
    """`Brain (EN L_DSC)` with its loss as the paper sets it; a slash may end a line."""
    safe = str(escape(text)).replace("/", "/<wbr>")
    return Markup(re.sub(r"\bL_(\w+)", r"ℒ<sub>\1</sub>", safe))


def slug(text: str) -> str:
    """A part of an id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "none"


def anchors(study: str, places: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """place → the id of its cell, `mehrtash2020--table-ii--brain-l-ce--nll`; no two are equal."""
    found: dict[tuple[str, ...], str] = {}
    taken: set[str] = set()
    for place in places:
        plain = "--".join(slug(part) for part in (study, *place))
        choices = (plain if count == 1 else f"{plain}-{count}" for count in range(1, len(taken) + 2))
        found[place] = next(choice for choice in choices if choice not in taken)
        taken.add(found[place])
    return found


def step_anchor(step: str) -> str:
    """The id of a step that several trails share."""
    return f"step--{slug(step)}"


# --- published beside ours --------------------------------------------------------------------------


def difference(
    published: float, printed: tuple[float, float] | None, ours: float
) -> tuple[str, str, float | None]:
    """Ours minus published: (text, its unit, size to sort by), in units of half the published interval; in
    per cent where none is printed, as it stands where zero is printed."""
    if math.isnan(ours) or math.isnan(published):
        return "", "", None
    by = ours - published
    if printed and printed[1] > printed[0]:
        steps = by / ((printed[1] - printed[0]) / 2)
        return signed(f"{steps:+.2f}"), "", abs(steps)
    # Sizes in other units are sorted behind those in half-intervals.
    if published == 0:
        return signed(f"{by:+.2g}"), "absolute", 1e9 + abs(by)
    return signed(f"{100 * by / abs(published):+.0f}"), "%", 1e6 + abs(by / published)


def gauge(
    published: float, printed: tuple[float, float] | None, ours: float, lo: float, hi: float, kind: str
) -> Markup:
    """A strip on which both values and intervals lie; the text beside it says the same."""
    if math.isnan(ours) or math.isnan(published) or (printed is None and math.isnan(lo)):
        return Markup("")
    low, high = printed or (published, published)
    values = [published, low, high, ours] + ([] if math.isnan(lo) else [lo, hi])
    span = max(values) - min(values) or abs(published) or 1.0
    start, span = min(values) - 0.05 * span, 1.1 * span

    def x(value: float) -> str:
        return f"{GAUGE_WIDTH * (value - start) / span:.1f}"

    def line(name: str, left: float, right: float, y: int) -> str:
        return f'<path class="{name}" d="M{x(left)} {y}H{x(right)}"/>'

    parts = [line("printed", low, high, 5)] if printed else []
    parts.append(f'<path class="tick" d="M{x(published)} 1V9"/>')
    if not math.isnan(lo):
        parts.append(line(f"spread {kind}", lo, hi, 13))
    parts.append(f'<circle class="ours {kind}" cx="{x(ours)}" cy="13" r="3"/>')
    size = f'viewBox="0 0 {GAUGE_WIDTH} 17" width="{GAUGE_WIDTH}" height="17"'
    return Markup(f'<svg class="gauge" {size} aria-hidden="true">{"".join(parts)}</svg>')
