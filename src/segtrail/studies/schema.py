"""What the tables of a study hold, checked whenever one is read or made."""

from pathlib import Path

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaError, SchemaErrors

from ..config import PART_NAMES
from ..errors import ArtifactError

_TEXT = pa.Column(str)
_PART = pa.Column(str, pa.Check.isin(PART_NAMES))
_REGION = pa.Column(str, pa.Check.isin(("volume", "box", "mask")))
_COUNT = pa.Column(int, pa.Check.ge(0), coerce=True)
_NUMBER = pa.Column(float, nullable=True, coerce=True)
_VERDICT = pa.Column(str, pa.Check.isin(("supported", "refused", "undecided")))
_IN_PRINT = pa.Column(
    str, pa.Check.isin(("as claimed", "opposite", "equal", "impossible as printed", "not printed"))
)
_CLAIM_IN_PRINT = pa.Column(
    str,
    pa.Check.isin(("supported", "supported as far as printed", "mixed", "refused", "cannot be told")),
)
_COUNT_OR_NONE = pa.Column(pd.Int64Dtype(), pa.Check.ge(0), nullable=True)
_DRAW = {
    "study": _TEXT,
    "cohort": _TEXT,
    "dataset": _TEXT,
    "part": _PART,
    "subject": _TEXT,
    "predictor": _TEXT,
    "size": pa.Column(int, pa.Check.ge(1), coerce=True),
    "draw": _COUNT,
}
_PREDICTION = _DRAW | {"region": _REGION}
_ONE_DRAW = ["cohort", "part", "dataset", "subject", "predictor", "size", "draw"]
_ONE_PREDICTION = [*_ONE_DRAW, "region"]


def _one_row_per(columns: list[str]) -> pa.Check:
    return pa.Check(
        lambda table: not table.duplicated(columns).any(), error=f"two rows for one {', '.join(columns)}"
    )


MEASURES = pa.DataFrameSchema(
    _PREDICTION
    | {
        "site": _TEXT,
        "model": _TEXT,
        "samples": _COUNT,
        "segment": _COUNT,
        "measure": _TEXT,
        "value": _NUMBER,
        "n": _COUNT,
    },
    checks=_one_row_per([*_ONE_PREDICTION, "segment", "measure"]),
    name="measures",
)
# Bins of the largest probability (confidence: its sum, correct: voxels whose class is right), or of the
# foreground's probability (confidence: its sum, correct: voxels that are foreground).
RELIABILITY = pa.DataFrameSchema(
    _PREDICTION
    | {"of": pa.Column(str, pa.Check.isin(("confidence", "foreground")))}
    | {"bin": _COUNT, "count": _COUNT, "confidence": _NUMBER, "correct": _COUNT},
    checks=_one_row_per([*_ONE_PREDICTION, "of", "bin"]),
    name="reliability",
)
# Voxels of the whole volume, right and wrong, and those of them whose uncertainty exceeds the threshold.
ERRORS = pa.DataFrameSchema(
    _DRAW
    | {"threshold": pa.Column(float, coerce=True)}
    | dict.fromkeys(("tp", "fp", "tn", "fn", "tpu", "fpu", "tnu", "fnu"), _COUNT),
    checks=_one_row_per([*_ONE_DRAW, "threshold"]),
    name="errors",
)
MEMBERS = pa.DataFrameSchema(
    {
        "cohort": _TEXT,
        "model": _TEXT,
        "member": _COUNT,
        "epochs": _COUNT,
        "best_epoch": _COUNT,
        "val_dice": _NUMBER,
        "dead_classes": _TEXT,
        "restarts": _COUNT,
        "parameters": _COUNT,
    },
    checks=_one_row_per(["cohort", "model", "member"]),
    name="members",
)
SUBJECTS = pa.DataFrameSchema(
    {
        "cohort": _TEXT,
        "dataset": _TEXT,
        "part": _PART,
        "patient": _TEXT,
        "subject": _TEXT,
        "site": _TEXT,
        "group": _TEXT,
        "frame": _TEXT,
        "excluded": _TEXT,
    },
    checks=_one_row_per(["cohort", "dataset", "part", "subject"]),
    name="subjects",
)
_COUNTS = ["n", "n_undefined", "n_excluded", "n_members", "dead_members", "published_rank", "rank"]
_CELL_TEXTS = ("study", "table", "row", "column", "unit", "published", "published_lo", "published_hi")
_CELL_NUMBERS = ("reproduced", "lo", "hi", "boot_lo", "boot_hi")
CELLS = pa.DataFrameSchema(
    dict.fromkeys(_CELL_TEXTS, _TEXT)
    | dict.fromkeys(_CELL_NUMBERS, _NUMBER)
    | dict.fromkeys(_COUNTS, _COUNT_OR_NONE)
    | {"beside_measure": _TEXT, "beside": _NUMBER, "verdict": _TEXT, "reason": _TEXT},
    checks=[
        _one_row_per(["study", "table", "row", "column"]),
        pa.Check(
            lambda table: table["reproduced"].notna() | (table["reason"] != ""),
            error="a cell that is not computed has a reason",
        ),
    ],
    strict=True,
    ordered=True,
    name="cells",
)
_CLAIM_TEXTS = ("text", "where", "note", "kind", "cohort", "segment", "a", "b", "measure", "region")
_CLAIM_NUMBERS = ("effect", "lo", "hi", "p", "p_corrected")
CLAIMS = pa.DataFrameSchema(
    {"claim": _TEXT, "part": _COUNT}
    | dict.fromkeys(_CLAIM_TEXTS, _TEXT)
    | dict.fromkeys(_CLAIM_NUMBERS, _NUMBER)
    | {"n": _COUNT_OR_NONE, "direction": _TEXT, "printed_effect": _NUMBER}
    | {"printed_verdict": _IN_PRINT, "printed_reason": _TEXT}
    | {
        "verdict": _VERDICT,
        "reason": _TEXT,
        "claim_verdict": _VERDICT,
        "claim_printed_verdict": _CLAIM_IN_PRINT,
    }
    | {"data": pa.Column(str, pa.Check.isin(("phantom", "real")))},
    checks=_one_row_per(["claim", "part"]),
    strict=True,
    ordered=True,
    name="claims",
)
AUDIT = pa.DataFrameSchema(
    {"study": _TEXT, "rule": _TEXT, "where": _TEXT}
    | {"status": pa.Column(str, pa.Check.isin(("holds", "violated", "not applicable"))), "margin": _NUMBER}
    | dict.fromkeys(("sentence", "repair", "places", "text"), _TEXT)
    | {"data": pa.Column(str, pa.Check.isin(("phantom", "real")))},
    strict=True,
    ordered=True,
    name="audit",
)
NUMBERS = {
    "audit": ["margin"],
    "cells": [*_CELL_NUMBERS, *_COUNTS, "beside"],
    "claims": ["part", *_CLAIM_NUMBERS, "n", "printed_effect"],
}


def read(path: str | Path, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """A parquet table that is what its schema says. ArtifactError tells what is not."""
    try:
        return schema.validate(pd.read_parquet(path))
    except (SchemaError, SchemaErrors, OSError, ValueError) as error:
        raise _unlike(error, path, schema) from error


def read_csv(path: str | Path, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """cells.csv, claims.csv or audit.csv with the types of its schema; texts, the printed numbers too, as
    they stand. ArtifactError tells what is not as its schema says."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for name in table.columns.intersection(NUMBERS[schema.name]):
            table[name] = pd.to_numeric(table[name])
        return schema.validate(table.astype(dict.fromkeys(table.columns.intersection(_COUNTS), "Int64")))
    except (SchemaError, SchemaErrors, OSError, ValueError) as error:
        raise _unlike(error, path, schema) from error


def _unlike(error: Exception, path: str | Path, schema: pa.DataFrameSchema) -> ArtifactError:
    return ArtifactError(
        (str(error).splitlines() or [type(error).__name__])[0],
        file=path,
        expected=f"a table of {schema.name} as this version writes it",
        remedy="delete it and run again: its rule makes it anew",
    )
