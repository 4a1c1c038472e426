"""The paper's sentences, tested on the run's measures: claims.csv.

A part of a claim is one comparison: supported where its effect has the claimed direction and is significant
after Holm's correction over all parts of the study, refused where the opposite is, undecided otherwise. A
claim is supported when all of its parts are, and refused when one is.

Beside it stands what the paper's own numbers say of the same comparison, as far as it prints them.
"""

from collections.abc import Sequence
from math import inf
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import Run
from ..files import write_text
from ..measures.statistics import holm
from ..seeds import seed_of
from . import schema
from .cases import Cases
from .comparisons import Result, Trials, comparisons
from .comparisons.page import AS_CLAIMED, EQUAL, NOT_PRINTED, OPPOSITE, Page, no_means
from .published import Printed, read

__all__ = [
    "AS_CLAIMED",
    "EQUAL",
    "MIXED",
    "NOT_PRINTED",
    "OPPOSITE",
    "REFUSED",
    "SUPPORTED",
    "SUPPORTED_SO_FAR",
    "UNDECIDED",
    "UNTOLD",
    "compute",
    "verdict",
    "write_claims",
]

SUPPORTED, REFUSED, UNDECIDED = "supported", "refused", "undecided"
# Of a claim's; or SUPPORTED, REFUSED.
SUPPORTED_SO_FAR, MIXED, UNTOLD = "supported as far as printed", "mixed", "cannot be told"


def write_claims(
    run: Run,
    study_id: str,
    *,
    measures: str | Path,
    reliability: str | Path,
    errors: str | Path,
    published: str | Path,
    out: str | Path,
) -> None:
    """Writes claims.csv from a study's parquet tables and the printed numbers."""
    table = compute(
        run,
        study_id,
        read(published),
        schema.read(measures, schema.MEASURES),
        schema.read(errors, schema.ERRORS),
        schema.read(reliability, schema.RELIABILITY),
    )
    write_text(out, table.to_csv(index=False, lineterminator="\n"))


def compute(
    run: Run,
    study_id: str,
    printed: Sequence[Printed],
    measures: pd.DataFrame,
    errors: pd.DataFrame | None = None,
    reliability: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row per comparison; see schema.CLAIMS. `effect` is a − b, a correlation, a share or a reduction in
    per cent, or a difference of rank sums; `errors` and `reliability` as in `Cases.of`."""
    study = run.studies[study_id]
    cases = Cases.of(run, study_id, measures, errors, reliability)
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
    page = Page.of(study, printed)
    rows = []
    for (claim, number, comparison), result, p in zip(parts, results, corrected, strict=True):
        told = comparison.in_print or no_means
        printed_effect, printed_verdict, printed_reason = told(comparison.known, page)
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
                "direction": direction(result.agreement),
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
    significant = p_corrected < alpha
    if significant and result.agreement < 0:
        return REFUSED
    low, high = result.limits or (-inf, inf)
    lo, hi = sorted((result.sign * result.lo, result.sign * result.hi))
    if hi < low or lo > high:
        return REFUSED
    inside = low <= result.sign * result.effect <= high
    return SUPPORTED if significant and result.agreement > 0 and inside else UNDECIDED


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


def overall_in_print(verdicts: pd.Series) -> str:
    """The claim's verdict from those of its printed comparisons."""
    agree, oppose = (verdicts == AS_CLAIMED), (verdicts == OPPOSITE).any()
    if oppose:
        return MIXED if agree.any() else REFUSED
    if agree.all():
        return SUPPORTED
    return SUPPORTED_SO_FAR if agree.any() else UNTOLD
