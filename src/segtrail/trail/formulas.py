"""Formulas and their sources, read from the docstrings of the code that computes them.

A docstring's first paragraphs say what is computed, its line `Source:` where a paper defines it. Nothing is
imported: a trail is told without the libraries that computed it.
"""

import ast
import inspect
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from ..config.results import (
    Cell,
    CorrelationCell,
    MeanCell,
    PatientsCell,
    PooledCell,
    ReductionCell,
    ShareCell,
)
from ..source import PACKAGE
from ..studies.thresholds import ON_VAL, PICKED_BY, is_at_threshold

# Where each formula stands: module and name in it.
DEFINED = {
    "nll": ("measures.calibration", "Tally.nll"),
    "brier_sum": ("measures.calibration", "Tally.brier_sum"),
    "brier_mean": ("measures.calibration", "Tally.brier_mean"),
    "ece_conf": ("measures.calibration", "Tally.ece_conf"),
    "dice": ("measures.calibration", "Tally.dice"),
    "seg_entropy": ("measures.calibration", "Tally.seg_entropy"),
    "hd95": ("measures.surface", "hd95"),
    "ece_fg": ("measures.errors", "ece_fg"),
    "signed_ce": ("measures.errors", "signed_ce"),
    "mean_uncertainty": ("measures.errors", "ErrorCounts.mean_uncertainty"),
    "precision": ("measures.errors", "ErrorCounts.precision"),
    "recall": ("measures.errors", "ErrorCounts.recall"),
    "u_e": ("measures.errors", "u_e"),
    "bnf": ("measures.errors", "bnf"),
    "error_precision": ("measures.errors", "error_precision"),
    "error_recall": ("measures.errors", "error_recall"),
    "removal_gain": ("measures.errors", "removal_gain"),
    "addition": ("measures.errors", "addition"),
    "bins": ("measures.errors", "ErrorCounts"),
    "entropy": ("measures.errors", "entropy"),
    "count_uncertainty": ("measures.errors", "count_uncertainty"),
    "rescale": ("config.model", "Rescale"),
    "auxiliary": ("config.model", "Auxiliary"),
    "aleatoric": ("config.model", "Aleatoric"),
    "threshold": ("studies.thresholds", "Thresholds.best"),
    "box": ("measures.calibration", "foreground_box"),
    "mask": ("config.cohort", "Mask"),
    "predictor": ("config.model", "Predictor"),
    "mean": ("config.results", "MeanCell"),
    "patients": ("config.results", "PatientsCell"),
    "reduction_percent": ("config.results", "ReductionCell"),
    "correlation_min": ("config.results", "CorrelationCell"),
    "correlation_max": ("config.results", "CorrelationCell"),
    "pooled": ("config.results", "PooledCell"),
    "underconfident": ("config.results", "ShareCell"),
    "overconfident": ("config.results", "ShareCell"),
    "limits": ("studies.pooled", "limits"),
    "logit_dice": ("measures.statistics", "logit_dice"),
    "pearson": ("measures.statistics", "pearson"),
    "case_percentiles": ("measures.statistics", "case_percentiles"),
    "bootstrap_mean": ("measures.statistics", "bootstrap_mean"),
    "reduction_interval": ("studies.cases", "reduction_interval"),
    "pooled_interval": ("studies.pooled", "pooled_interval"),
    "share_interval": ("studies.pooled", "share_interval"),
}
# Measures of the foreground's probability, and those of where the uncertainty is; see `_uncertainty`.
OF_FOREGROUND = frozenset({"ece_fg", "signed_ce"})
OF_UNCERTAINTY = frozenset({"mean_uncertainty", *PICKED_BY})
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


def formulas(cell: Cell, kinds: Collection[str] = ()) -> list[Formula]:
    """Those of one cell: what is measured, on what, how it becomes one number, and its intervals. `kinds` are
    those of its predictors."""
    found = [formula("cell", cell.statistic)]
    if isinstance(cell, CorrelationCell):
        found += [formula("measure", name) for name in ("dice", "logit_dice", "seg_entropy")]
    measures = [cell.measure] if isinstance(cell, MeanCell | ReductionCell | PooledCell) else []
    if isinstance(cell, ShareCell):
        measures = ["signed_ce"]
        found.append(formula("limit τ", "limits"))
    found += [formula("measure", name.removesuffix(ON_VAL)) for name in measures]
    if isinstance(cell, MeanCell) and cell.beside is not None:
        measures.append(cell.beside)
        if (name := cell.beside.removesuffix(ON_VAL)) != cell.measure:
            found.append(formula("beside", name))
    if any(is_at_threshold(name) for name in measures):
        found.append(formula("threshold", "threshold"))
    if getattr(cell, "region", "volume") in ("box", "mask"):
        found.append(formula("region", cell.region))  # type: ignore[union-attr]
    found += _uncertainty({name.removesuffix(ON_VAL) for name in measures}, kinds)
    if not isinstance(cell, PatientsCell):
        found.append(formula("prediction", "predictor"))
    return found + [formula("interval", name) for _, name, _, _ in intervals(cell)]


def _uncertainty(measures: Collection[str], kinds: Collection[str]) -> list[Formula]:
    """What the uncertainty of each kind of predictor is, and the foreground's probability that follows from
    it where the uncertainty is not its entropy."""
    learnt = [kind for kind in ("auxiliary", "aleatoric") if kind in kinds]
    found = []
    if OF_FOREGROUND & set(measures):
        found.append(formula("bins", "bins"))
    if OF_UNCERTAINTY & set(measures) and set(kinds) - set(learnt):
        found.append(formula("uncertainty", "entropy"))
    if (OF_FOREGROUND | OF_UNCERTAINTY) & set(measures) and learnt:
        found += [formula("uncertainty", name) for name in (*learnt, "rescale")]
        found.append(formula("probability", "count_uncertainty"))
    return found


def intervals(cell: Cell) -> list[tuple[str, str, str, str]]:
    """What the intervals of a cell are of, their formulas, and the columns of cells.csv that hold their
    ends."""
    resampled = ("boot_lo", "boot_hi")
    if isinstance(cell, MeanCell):
        return [("cases", "case_percentiles", "lo", "hi"), ("value", "bootstrap_mean", *resampled)]
    if isinstance(cell, ReductionCell):
        return [("cases", "case_percentiles", "lo", "hi"), ("value", "reduction_interval", *resampled)]
    if isinstance(cell, PooledCell):
        return [("value", "pooled_interval", *resampled)]
    if isinstance(cell, ShareCell):
        return [("value", "share_interval", *resampled)]
    return [("value", "pearson", "lo", "hi")] if isinstance(cell, CorrelationCell) else []


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
