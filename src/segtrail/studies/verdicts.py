"""Whether the run's value of a cell agrees with the printed one."""

import numpy as np

from ..config import Run
from ..config.results import Cell, PatientsCell, Tolerance
from .published import Printed

WITHIN = "within published interval"
DIRECTION = "direction only"
OUTSIDE = "outside published interval"
IMPOSSIBLE = "impossible as printed"
PHANTOM = "phantom, not comparable"
NOT_COMPUTED = "not computed"
NOT_PRINTED = "not printed"

# Where no interval is printed and the study says no other tolerance, this share of the printed value either
# way counts as within it.
TOLERANCE = 0.15


def judge(
    run: Run,
    printed: Printed,
    cell: Cell,
    ours: float | None,
    against: tuple[Printed, float | None] | None,
    fault: str | None,
) -> tuple[str, list[str]]:
    """A verdict and its reasons. `against` is the row of comparison: its printed number and ours."""
    reasons = [f"as printed: {fault}"] if fault else []
    if ours is None:
        return NOT_COMPUTED, reasons
    if run.phantom:
        return PHANTOM, reasons
    if fault:
        return IMPOSSIBLE, reasons
    if isinstance(cell, PatientsCell):
        return (WITHIN if ours == printed.number else OUTSIDE), ["a count has to be equal"]
    lo, hi = printed.interval or _tolerated(printed.number, cell.tolerance)
    if printed.interval is None:
        reasons.append(f"no interval printed: within {_told(cell.tolerance)} of the value counts")
    if lo <= ours <= hi:
        return WITHIN, reasons
    if against is not None and against[1] is not None:
        theirs = np.sign(printed.number - against[0].number)
        if theirs != 0 and np.sign(ours - against[1]) == theirs:
            return DIRECTION, [f"{'above' if theirs > 0 else 'below'} {cell.against}, as printed", *reasons]
    return OUTSIDE, reasons


def _tolerated(value: float, tolerance: Tolerance | None) -> tuple[float, float]:
    absolute = tolerance.absolute if tolerance else None
    reach = abs(value) * _share(tolerance) if absolute is None else absolute
    return value - reach, value + reach


def _told(tolerance: Tolerance | None) -> str:
    absolute = tolerance.absolute if tolerance else None
    return f"{100 * _share(tolerance):g} %" if absolute is None else f"{absolute:g}"


def _share(tolerance: Tolerance | None) -> float:
    return TOLERANCE if tolerance is None or tolerance.relative is None else tolerance.relative
