"""A paper's claims: the verdict on our measures beside that on the printed numbers."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from . import text
from .states import tally


def of_run(claims: pd.DataFrame) -> list[dict[str, Any]]:
    """One view per claim, in the study's order, from claims.csv."""
    return [_claim(parts) for _, parts in claims.groupby("claim", sort=False)]


def _claim(parts: pd.DataFrame) -> dict[str, Any]:
    first = parts.iloc[0]
    return {
        "id": first["claim"],
        "text": first["text"],
        "where": first["where"],
        "note": first["note"],
        "ours": first["claim_verdict"],
        "in_print": first["claim_printed_verdict"],
        "parts": [_part(part) for part in parts.to_dict(orient="records")],
        "part_verdicts": tally(parts["verdict"]),
        "printed_verdicts": tally(parts["printed_verdict"]),
    }


def _part(part: Mapping[Any, Any]) -> dict[str, Any]:
    lo, hi, p, n, printed = (part[name] for name in ("lo", "hi", "p_corrected", "n", "printed_effect"))
    return {
        "where": ", ".join(name for name in (part["cohort"], part["segment"]) if name),
        "pair": f"{part['a']} against {part['b']}" if part["b"] else part["a"],
        "measure": " ".join([part["measure"], *([f"({part['region']})"] if part["region"] else [])]),
        "effect": text.significant(part["effect"]),
        "interval": text.NONE if math.isnan(lo) else f"{text.significant(lo)} to {text.significant(hi)}",
        "p": text.NONE if math.isnan(p) else f"{p:.2g}",
        "n": text.NONE if pd.isna(n) else int(n),
        "direction": part["direction"] or text.NONE,
        "verdict": part["verdict"],
        "reason": part["reason"],
        "printed": "" if math.isnan(printed) else text.significant(printed),
        "printed_verdict": part["printed_verdict"],
        "printed_reason": part["printed_reason"],
    }
