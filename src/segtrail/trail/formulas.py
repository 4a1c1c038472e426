"""Formulas and their sources, read from the docstrings of the code that computes them.

A docstring's first paragraphs say what is computed, its line `Source:` where a paper defines it. Nothing is
imported: a trail is told without the libraries that computed it.
"""

import ast
import inspect
import re
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from ..config.results import Cell, CorrelationCell, MeanCell, PatientsCell, ReductionCell
from ..source import PACKAGE

# Where each formula stands: module and name in it.
DEFINED = {
    "nll": ("measures.calibration", "Tally.nll"),
    "brier_sum": ("measures.calibration", "Tally.brier_sum"),
    "brier_mean": ("measures.calibration", "Tally.brier_mean"),
    "ece_conf": ("measures.calibration", "Tally.ece_conf"),
    "dice": ("measures.calibration", "Tally.dice"),
    "seg_entropy": ("measures.calibration", "Tally.seg_entropy"),
    "hd95": ("measures.surface", "hd95"),
    "box": ("measures.calibration", "foreground_box"),
    "predictor": ("config.model", "Predictor"),
    "mean": ("config.results", "MeanCell"),
    "patients": ("config.results", "PatientsCell"),
    "reduction_percent": ("config.results", "ReductionCell"),
    "correlation_min": ("config.results", "CorrelationCell"),
    "correlation_max": ("config.results", "CorrelationCell"),
    "logit_dice": ("measures.statistics", "logit_dice"),
    "pearson": ("measures.statistics", "pearson"),
    "case_percentiles": ("measures.statistics", "case_percentiles"),
    "bootstrap_mean": ("measures.statistics", "bootstrap_mean"),
    "reduction_interval": ("studies.cases", "reduction_interval"),
}
SECTION = re.compile(r"^(Args|Returns|Raises|Source):", re.MULTILINE)


@dataclass(frozen=True)
class Formula:
    """What a name stands for."""

    of: str  # measure, region, prediction, cell, or interval: what it is the formula of
    name: str  # a key of DEFINED
    text: str
    source: str  # paper, section, equation
    defined: str  # file:line of the code, in the clone

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def formula(of: str, name: str) -> Formula:
    text, source, defined = _read(name)
    return Formula(of, name, text, source, defined)


def formulas(cell: Cell) -> list[Formula]:
    """Those of one cell: what is measured, on what, how it becomes one number, and its intervals."""
    found = [formula("cell", cell.statistic)]
    if isinstance(cell, CorrelationCell):
        found += [formula("measure", name) for name in ("dice", "logit_dice", "seg_entropy")]
    if isinstance(cell, MeanCell | ReductionCell):
        found.append(formula("measure", cell.measure))
        if cell.region == "box":
            found.append(formula("region", "box"))
    if isinstance(cell, MeanCell) and cell.beside is not None:
        found.append(formula("beside", cell.beside))
    if not isinstance(cell, PatientsCell):
        found.append(formula("prediction", "predictor"))
    return found + [formula("interval", name) for name in intervals(cell).values()]


def intervals(cell: Cell) -> dict[str, str]:
    """What the intervals of a cell (lo, hi, and boot_lo, boot_hi of cells.csv) are of, and their formulas."""
    if isinstance(cell, MeanCell):
        return {"cases": "case_percentiles", "value": "bootstrap_mean"}
    if isinstance(cell, ReductionCell):
        return {"cases": "case_percentiles", "value": "reduction_interval"}
    return {"value": "pearson"} if isinstance(cell, CorrelationCell) else {}


@cache
def _read(name: str) -> tuple[str, str, str]:
    """Text, source and place of a formula. LookupError where its docstring does not tell them."""
    module, qualified = DEFINED[name]
    file = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    node: Any = ast.parse(file.read_text(encoding="utf-8"))
    for part in qualified.split("."):
        node = next(child for child in node.body if getattr(child, "name", None) == part)
    text, source = parts(ast.get_docstring(node) or "")
    if not (text and source):
        raise LookupError(f"{module}.{qualified}: its docstring has no formula or no Source")
    return text, source, f"{file.relative_to(PACKAGE.parents[1])}:{node.lineno}"


def parts(docstring: str) -> tuple[str, str]:
    """What a docstring says is computed, and its source, each on one line."""
    pieces = SECTION.split(inspect.cleandoc(docstring))
    sections = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    source = sections.get("Source", "").strip().split("\n\n")[0]
    return " ".join(pieces[0].split()), " ".join(source.split())
