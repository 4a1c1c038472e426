"""The paper's sentences, tested on the run's measures: claims.csv.

A part of a claim is one comparison: supported where its effect has the claimed direction and is significant
after Holm's correction over all parts of the study, refused where the opposite is, undecided otherwise. A
claim is supported when all of its parts are, and refused when one is.

Beside it stands what the paper's own numbers say of the same comparison, as far as it prints them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path

import numpy as np
import pandas as pd

from ..audit.bounds import audit
from ..audit.findings import TOLERANCE, Place
from ..audit.study import entries, impossible
from ..config import Run, Study
from ..config.results import MeanCell
from ..files import write_text
from ..measures.statistics import holm
from ..seeds import seed_of
from . import schema
from .cases import Cases
from .comparisons import Mean, Result, Trials, comparisons
from .published import Printed, read, recipe
from .verdicts import IMPOSSIBLE

SUPPORTED, REFUSED, UNDECIDED = "supported", "refused", "undecided"
# Of a comparison's printed numbers; or IMPOSSIBLE.
AS_CLAIMED, OPPOSITE, EQUAL, NOT_PRINTED = "as claimed", "opposite", "equal", "not printed"
# Of a claim's; or SUPPORTED, REFUSED.
SUPPORTED_SO_FAR, MIXED, UNTOLD = "supported as far as printed", "mixed", "cannot be told"


def write_claims(
    run: Run, study_id: str, *, measures: str | Path, published: str | Path, out: str | Path
) -> None:
    """Writes claims.csv from a study's measures and the printed numbers."""
    table = compute(run, study_id, read(published), schema.read(measures, schema.MEASURES))
    write_text(out, table.to_csv(index=False, lineterminator="\n"))


def compute(run: Run, study_id: str, printed: Sequence[Printed], measures: pd.DataFrame) -> pd.DataFrame:
    """One row per comparison; see schema.CLAIMS. `effect` is a − b, r, or a reduction in per cent."""
    study = run.studies[study_id]
    cases = Cases.of(run, study_id, measures)
    parts = [
        (claim, number, comparison)
        for claim in study.claims
        for number, comparison in enumerate(one for part in claim.parts for one in comparisons(cases, part))
    ]
    trials = Trials(len(parts), study.measures.alpha, study.measures.bootstrap)
    results = [
        comparison.result(
            np.random.default_rng(seed_of(run.seed, study_id, "claims", claim.id, number)), trials
        )
        for claim, number, comparison in parts
    ]
    corrected = holm([result.p for result in results])
    means = PrintedMeans.of(study, printed)
    rows = []
    for (claim, number, _), result, p in zip(parts, results, corrected, strict=True):
        printed_effect, printed_verdict, printed_reason = in_print(result, means)
        rows.append(
            {
                "claim": claim.id,
                "part": number,
                "text": claim.text,
                "where": claim.where,
                "note": claim.note,
                "kind": result.kind,
                "cohort": result.cohort,
                "segment": result.segment,
                "a": result.a,
                "b": result.b,
                "measure": result.measure,
                "region": result.region,
                "effect": result.effect,
                "lo": result.lo,
                "hi": result.hi,
                "p": result.p,
                "p_corrected": p,
                "n": result.n,
                "direction": direction(result.sign * result.effect),
                "printed_effect": printed_effect,
                "printed_verdict": printed_verdict,
                "printed_reason": printed_reason,
                "verdict": verdict(result, p, study.measures.alpha),
                "reason": result.reason,
            }
        )
    later = ("claim_verdict", "claim_printed_verdict", "data")
    table = pd.DataFrame(rows, columns=[name for name in schema.CLAIMS.columns if name not in later])
    if table.empty:
        return table.assign(**dict.fromkeys(later, ""))
    table["claim_verdict"] = table.groupby("claim")["verdict"].transform(overall)
    table["claim_printed_verdict"] = table.groupby("claim")["printed_verdict"].transform(overall_in_print)
    table["data"] = "phantom" if run.phantom else "real"
    return schema.CLAIMS.validate(table.astype({"n": "Int64"}))


def verdict(result: Result, p_corrected: float, alpha: float) -> str:
    """Of one part. A claimed size is supported by a significant estimate within the limits, and refused by an
    interval that lies outside them. Without a p nothing is decided."""
    agreement = result.sign * result.effect
    significant = p_corrected < alpha
    if significant and agreement < 0:
        return REFUSED
    low, high = result.limits or (-inf, inf)
    lo, hi = sorted((result.sign * result.lo, result.sign * result.hi))
    if hi < low or lo > high:
        return REFUSED
    return SUPPORTED if significant and agreement > 0 and low <= agreement <= high else UNDECIDED


def overall(verdicts: pd.Series) -> str:
    """The claim's verdict from those of its parts."""
    if (verdicts == REFUSED).any():
        return REFUSED
    return SUPPORTED if (verdicts == SUPPORTED).all() else UNDECIDED


def direction(agreement: float) -> str:
    """In words, whether or not significant."""
    if np.isnan(agreement):
        return ""
    return AS_CLAIMED if agreement > 0 else OPPOSITE if agreement < 0 else "no difference"


# --- the same comparison in print ---------------------------------------------------------------------


@dataclass(frozen=True)
class PrintedMeans:
    """The printed means in their measures' own units, and why some of them cannot be right."""

    found: Mapping[Mean, tuple[Printed, float]]
    """mean → (its cell, its factor)"""
    faults: Mapping[Place, str]

    @classmethod
    def of(cls, study: Study, printed: Sequence[Printed]) -> "PrintedMeans":
        cells = [(one, recipe(one, study)) for one in printed]
        means = {
            Mean(
                cell.cohort, cell.part, cell.predictor, cell.size, cell.measure, cell.region, cell.segment
            ): (
                one,
                cell.factor,
            )
            for one, cell in cells
            if isinstance(cell, MeanCell) and cell.dataset is None
        }
        return cls(means, impossible(study, audit(entries(study, printed))))

    def value(self, side: Sequence[Mean]) -> float:
        return float(np.mean([self.found[mean][0].number / self.found[mean][1] for mean in side]))

    def slack(self, side: Sequence[Mean]) -> float:
        return float(np.mean([self.found[mean][0].slack / self.found[mean][1] for mean in side]))

    def told_apart(self, a: Sequence[Mean], b: Sequence[Mean]) -> bool:
        """Rounding to the same digits keeps the order of two numbers; otherwise they have to lie further
        apart than it may have moved them."""
        difference = abs(self.value(a) - self.value(b))
        if len(a) == len(b) == 1 and self.slack(a) == self.slack(b):
            return difference > 0
        return difference > self.slack(a) + self.slack(b) + TOLERANCE


def in_print(result: Result, means: PrintedMeans) -> tuple[float, str, str]:
    """(effect, verdict, why it cannot be told) of a comparison's printed numbers: the same difference, and
    its direction alone. What is significant they do not tell."""
    if result.sides is None:
        if result.kind in ("paired", "unpaired"):
            return nan, NOT_PRINTED, "the run leaves out a cohort, and does not know its segments"
        return nan, NOT_PRINTED, f"only printed means are compared, and this is of kind {result.kind}"
    both = [*result.sides[0], *result.sides[1]]
    if missing := [mean for mean in both if mean not in means.found]:
        return nan, NOT_PRINTED, f"not printed: {'; '.join(str(mean) for mean in missing)}"
    faults = {
        f"{' / '.join(place)}: {means.faults[place]}"
        for mean in both
        if (place := means.found[mean][0].place) in means.faults
    }
    if faults:
        return nan, IMPOSSIBLE, "; ".join(sorted(faults))
    a, b = result.sides
    effect = means.value(a) - means.value(b)
    if not means.told_apart(a, b):
        return effect, EQUAL, "the printed digits do not tell them apart"
    return effect, AS_CLAIMED if result.sign * effect > 0 else OPPOSITE, ""


def overall_in_print(verdicts: pd.Series) -> str:
    """The claim's verdict from those of its printed comparisons."""
    agree, oppose = (verdicts == AS_CLAIMED), (verdicts == OPPOSITE).any()
    if oppose:
        return MIXED if agree.any() else REFUSED
    if agree.all():
        return SUPPORTED
    return SUPPORTED_SO_FAR if agree.any() else UNTOLD
