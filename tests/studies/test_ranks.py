"""Ranks within a column: the printed ones come out of the printed numbers."""

import math
from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from synthetic import CONFIG

from segtrail.studies import published, ranks
from segtrail.studies.published import Printed

COLUMN_MEASURES = {"ECE%": ("ece_fg", 3), "U-E": ("u_e", 3), "BnF": ("bnf", 2), "Dice": ("dice", 3)}


def test_every_printed_rank_follows_from_the_printed_numbers():
    columns = defaultdict(dict)
    for one in published.read(CONFIG / "published" / "jungo2019.csv"):
        if one.table == "Table 1":
            columns[one.column][one.row] = one
    assert len(columns) == 8
    for column, rows in columns.items():
        measure, digits = COLUMN_MEASURES[column.split()[-1]]
        values = {row: one.number for row, one in rows.items()}
        found = ranks.dense(values, digits, ranks.orientation(measure) > 0)
        assert found == {row: ranks.published(one) for row, one in rows.items()}


def test_equal_after_rounding_share_a_rank_and_a_missing_number_has_none():
    values = {"a": 0.87449, "b": 0.8736, "c": None, "d": 0.9, "e": math.nan, "f": 0.5}
    assert ranks.dense(values, 3, True) == {"a": 2, "b": 2, "c": None, "d": 1, "e": None, "f": 3}
    assert ranks.dense(values, 3, False) == {"a": 2, "b": 2, "c": None, "d": 3, "e": None, "f": 1}
    assert ranks.dense({"a": None}, 3, True) == {"a": None}


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12), st.integers(0, 4), st.booleans())
def test_ranks_are_those_of_scipy_and_have_no_gap(values, digits, higher):
    found = ranks.dense({str(i): value for i, value in enumerate(values)}, digits, higher)
    rounded = [round(value, digits) for value in values]
    expected = rankdata([-value if higher else value for value in rounded], method="dense")
    assert list(found.values()) == expected.astype(int).tolist()
    assert all(b - a <= 1 for a, b in pairwise(sorted({0, *found.values()})))


@pytest.mark.parametrize(
    ("note", "rank"), [("rank 4", 4), ("rank 12; sic", 12), ("", None), ("ranked 4", None), ("rank 0", None)]
)
def test_the_printed_rank_stands_in_the_note(note, rank):
    assert ranks.published(Printed("T", "r", "c", "0.5", note=note)) == rank


def test_more_is_better_of_overlap_and_benefit_and_less_of_errors():
    better = ("dice", "u_e", "u_e_val", "bnf", "bnf_val", "precision", "recall", "error_recall_val")
    worse = ("nll", "ece_fg", "hd95", "mean_uncertainty", "seg_entropy")
    assert {ranks.orientation(name) for name in better} == {1}
    assert {ranks.orientation(name) for name in worse} == {-1}
