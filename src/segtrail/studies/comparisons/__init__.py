"""The single comparisons that the parts of a claim consist of, each with its effect, interval and p."""

from collections.abc import Callable, Iterator
from typing import Any

from ...config.claims import Comparison
from ..cases import Cases
from . import calibration, correlations, means, ranking
from .single import Comparing, Mean, Result, Trials

__all__ = ["Comparing", "Mean", "Result", "Trials", "comparisons"]

KINDS: dict[str, Callable[[Cases, Any], Iterator[Comparing]]] = {
    "paired": means.paired,
    "alike": means.alike,
    "unpaired": means.unpaired,
    "regions": means.between_regions,
    "cohorts": means.between_cohorts,
    "differ": means.differing,
    "level": means.level,
    "reduction": means.reduced,
    "failures": means.failures,
    "correlation": correlations.correlated,
    "association": correlations.associated,
    "agreement": correlations.agreeing,
    "between_predictors": correlations.between_predictors,
    "pooled": calibration.averaged_out,
    "miscalibrated": calibration.miscalibrated,
    "rank_sums": ranking.rank_sums,
    "no_best": ranking.no_best,
}


def comparisons(cases: Cases, part: Comparison) -> Iterator[Comparing]:
    """The single comparisons of one part of a claim."""
    return KINDS[part.kind](cases, part)
