"""The paper's sentences, tested on the run's measures: claims.csv.

A part of a claim is one comparison: supported where its effect has the claimed direction and is significant
after Holm's correction over all parts of the study, refused where the opposite is, undecided otherwise. A
claim is supported when all of its parts are, and refused when one is.
"""

from collections.abc import Mapping, Sequence
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..audit.bounds import audit
from ..audit.study import entries, impossible
from ..config import Run, Study
from ..config.results import MeanCell
from ..files import seed_of, write_text
from ..measures.statistics import holm
from . import schema
from .cases import Cases
from .comparisons import Result, Trials, comparisons
from .published import Printed, read, recipe

SUPPORTED, REFUSED, UNDECIDED = "supported", "refused", "undecided"


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
    in_print = printed_means(study, printed)
    rows = []
    for (claim, number, _), result, p in zip(parts, results, corrected, strict=True):
        as_printed = printed_effect(result, in_print)
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
                "printed_effect": as_printed,
                "printed_direction": direction(result.sign * as_printed),
                "verdict": verdict(result, p, study.measures.alpha),
                "reason": result.reason,
            }
        )
    later = ("claim_verdict", "data")
    table = pd.DataFrame(rows, columns=[name for name in schema.CLAIMS.columns if name not in later])
    if table.empty:
        return table.assign(claim_verdict="", data="")
    table["claim_verdict"] = table.groupby("claim")["verdict"].transform(overall)
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
    return "as claimed" if agreement > 0 else "opposite" if agreement < 0 else "no difference"


def printed_means(study: Study, printed: Sequence[Printed]) -> dict[tuple[Any, ...], float]:
    """(cohort, part, predictor, size, measure, region, segment) → the printed mean in the measure's own
    units, where it can be right."""
    faults = impossible(study, audit(entries(study, printed)))
    result = {}
    for one in printed:
        cell = recipe(one, study)
        if isinstance(cell, MeanCell) and one.place not in faults:
            place = (
                cell.cohort,
                cell.part,
                cell.predictor,
                cell.size,
                cell.measure,
                cell.region,
                cell.segment,
            )
            result[place] = one.number / cell.factor
    return result


def printed_effect(result: Result, means: Mapping[tuple[Any, ...], float]) -> float:
    """The same difference between the printed means; NaN where the paper prints none for both sides."""
    if result.printed_pair is None:
        return nan
    a, b = (means.get(place) for place in result.printed_pair)
    return nan if a is None or b is None else a - b
