"""What a paper says of its numbers, held against them: cases by hand, and planted contradictions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from segtrail.audit.paper import audit_printed
from segtrail.audit.statements import RULES, fitting_sizes, p_of
from segtrail.config.audit import KINDS, Audit
from segtrail.errors import ConfigError
from segtrail.studies.published import Printed

CELLS = {
    ("T", "a", "Dice"): "0.80",
    ("T", "b", "Dice"): "0.79",
    ("T", "a", "IoU"): "0.70",
    ("T", "b", "IoU"): "0.66",
    ("T", "a", "NLL"): "0.40",
    ("T", "b", "NLL"): "0.20",
}
TABLES: dict[str, Any] = {
    "T": {
        "rows": {"a": {}, "b": {}},
        "columns": {"Dice": {"measure": "dice"}, "IoU": {"measure": "iou"}, "NLL": {"measure": "nll"}},
    }
}


def check(statement: dict[str, Any], cells=None, tables=None, notes=None) -> list:
    """The findings of one statement."""
    printed = [
        Printed(*place, value, note=(notes or {}).get(place, "")) for place, value in (cells or CELLS).items()
    ]
    rules = Audit.model_validate(
        {"title": "t", "tables": tables or TABLES, "statements": [{"says": "so", "where": "§1", **statement}]}
    )
    found = [one for one in audit_printed(printed, rules, "rules.yaml") if one.status != "not applicable"]
    names = {RULES[statement["kind"]], "rank sums", "one n for a row"}
    return [one for one in found if one.rule in names]


def text(value: str, **more) -> dict[str, Any]:
    return {"text": value, "what": "it", **more}


def test_every_kind_of_statement_has_a_rule():
    assert set(RULES) == set(KINDS)


@pytest.mark.parametrize(("total", "margin", "status"), [("285", 0, "holds"), ("265", -20, "violated")])
def test_counts_are_exact(total, margin, status):
    parts = [text("100"), text("25"), text("160")]
    (one,) = check({"kind": "total", "parts": parts, "total": text(total)})
    assert (one.margin, one.status) == (margin, status)
    assert "285" in one.repair or status == "holds"
    assert one.where == "§1"


@pytest.mark.parametrize(
    ("value", "status", "margin"),
    [
        ("0.80", "holds", 0.0),
        ("0.79", "violated", -0.01),  # one number rounded twice to two digits has the same digits
        ("0.8", "holds", 0.055),
        ("0.804", "holds", 0.0015),
        ("0.806", "violated", -0.0005),
    ],
)
def test_text_against_table(value, status, margin):
    (one,) = check({"kind": "same", "a": text(value), "b": {"cell": ["T", "a", "Dice"]}})
    assert one.status == status
    assert one.margin == pytest.approx(margin)
    assert one.places == (("T", "a", "Dice"),)


def test_at_most_adds_up_what_rounding_leaves():
    parts = [text("60"), text("41")]
    (one,) = check({"kind": "at_most", "parts": parts, "limit": text("100", slack=0)})
    assert (one.status, one.margin) == ("holds", 0.0)
    (one,) = check({"kind": "at_most", "parts": parts, "limit": text("99", slack=0)})
    assert (one.status, one.margin) == ("violated", -1.0)


def test_order_of_rows_follows_the_measure():
    pairs = {"pairs": [["a", "b"]], "columns": ["Dice", "NLL"], "table": "T"}
    dice, nll = check({"kind": "rows", **pairs})
    assert (dice.status, nll.status) == ("holds", "violated")
    assert nll.margin == pytest.approx(-0.2)
    assert "1 hold and 1 do not" in nll.repair
    dice, nll = check({"kind": "rows", **pairs, "relation": "stronger"})
    assert (dice.status, nll.status) == ("holds", "holds")


def test_order_of_columns_leaves_out_the_sign():
    cells = {("T", "a", "x"): "-0.76", ("T", "a", "y"): "0.68"}
    tables = {
        "T": {
            "rows": {"a": {}},
            "columns": {"x": {"measure": "correlation"}, "y": {"measure": "correlation"}},
        }
    }
    (one,) = check({"kind": "columns", "table": "T", "rows": ["a"], "pairs": [["y", "x"]]}, cells, tables)
    assert (one.status, round(one.margin, 9)) == ("violated", -0.08)
    (one,) = check({"kind": "columns", "table": "T", "rows": ["a"], "pairs": [["x", "y"]]}, cells, tables)
    assert one.status == "holds"


def ranked(values: list[str], ranks: list[int], **more):
    rows = [f"r{i}" for i in range(len(values))]
    cells = {("T", row, "E"): value for row, value in zip(rows, values, strict=True)}
    notes = {("T", row, "E"): f"rank {rank}" for row, rank in zip(rows, ranks, strict=True)}
    tables = {"T": {"rows": {row: {} for row in rows}, "columns": {"E": {"measure": "ece_fg"}}}}
    return check({"kind": "ranks", "table": "T", "columns": ["E"], **more}, cells, tables, notes)


def test_dense_ranks_share_a_rank_and_leave_none_out():
    assert {one.status for one in ranked(["0.3", "0.1", "0.1", "0.2"], [3, 1, 1, 2])} == {"holds"}
    wrong = [one for one in ranked(["0.3", "0.1", "0.1", "0.2"], [4, 1, 1, 3]) if one.status == "violated"]
    assert [one.repair for one in wrong] == ["its rank is 3", "its rank is 2"]


@settings(max_examples=50)
@given(values=st.lists(st.integers(0, 9), min_size=2, max_size=12))
def test_dense_ranks_are_those_of_scipy(values):
    ranks = stats.rankdata(values, method="dense").astype(int).tolist()
    assert all(one.status == "holds" for one in ranked([f"0.{v}" for v in values], ranks))
    ranks[0] += 1
    assert sum(one.status == "violated" for one in ranked([f"0.{v}" for v in values], ranks)) == 1


def test_the_row_said_to_be_first_has_the_smallest_sum():
    sums = ranked(["0.3", "0.1"], [2, 1], first="r1")[-1]
    assert (sums.rule, sums.status, sums.margin) == ("rank sums", "holds", 1.0)
    sums = ranked(["0.3", "0.1"], [2, 1], first="r0")[-1]
    assert (sums.status, sums.repair) == ("violated", "r1 is first")


def spearman(rho: str, p: str, n: int):
    cells = {("T", "a", "rho"): rho, ("T", "a", "p"): p}
    columns = {"rho": {"measure": "correlation"}, "p": {"measure": "p_value"}}
    tables = {"T": {"rows": {"a": {}}, "columns": columns}}
    return check({"kind": "p_values", "tables": ["T"], "pairs": [["rho", "p"]], "n": n}, cells, tables)


def test_p_is_that_of_scipy():
    rng = np.random.default_rng(1)
    for n in (5, 20, 55):
        x, y = rng.normal(size=n), rng.normal(size=n)
        rho, p = stats.spearmanr(x, y)
        assert p_of(abs(rho), n) == pytest.approx(p, rel=1e-9)
    assert p_of(1.0, 10) == 0.0
    assert p_of(0.0, 10) == pytest.approx(1.0)


@settings(max_examples=60)
@given(n=st.integers(6, 200), rho=st.floats(-0.99, 0.99))
def test_a_printed_p_fits_its_own_n(n, rho):
    p = p_of(abs(rho), n)
    one, row = spearman(f"{rho:.2f}", f"{p:.1e}", n)
    assert one.status == row.status == "holds"


def test_a_p_of_fewer_cases_is_found():
    one, row = spearman("-0.76", f"{p_of(0.76, 40):.1e}", 55)
    assert one.status == row.status == "violated"
    # By hand: ρ of −.765 to −.755 has this p (±.05e-8) at no other n.
    assert one.repair == "fits n = 40, not 55"
    assert row.margin == 40 - 55


def test_p_values_that_no_size_gives():
    one, _ = spearman("0.01", "1e-300", 55)
    assert one.repair == "fits no n, not 55"
    assert fitting_sizes((0.0, 0.0), (0.0, 0.1)) == (1, 0)


def test_percentages_of_a_count():
    shares = [text("70"), text("20"), text("10")]
    (one,) = check({"kind": "shares", "shares": shares, "of": text("285")})
    assert one.status == "holds"
    assert "200/57/28" in one.sentence
    (one,) = check({"kind": "shares", "shares": shares, "of": text("4")})
    assert one.status == "violated"


def test_dice_and_iou_of_one_image_and_of_a_mean():
    pair = {"rows": ["a"], "dice": ["T", "Dice"], "iou": ["T", "IoU"]}
    (mean,) = check({"kind": "dice_iou", **pair, "averaged": True})
    assert mean.status == "holds"  # .80/1.20 = .667 ≤ .70 ≤ .80
    (one,) = check({"kind": "dice_iou", **pair, "averaged": False})
    assert one.status == "violated"
    assert one.margin == pytest.approx(0.805 / 1.195 - 0.695)
    assert "holds if both are means over images" in one.repair
    (low,) = check({"kind": "dice_iou", **pair, "averaged": True}, CELLS | {("T", "a", "IoU"): "0.60"})
    assert low.margin == pytest.approx(0.605 - 0.795 / 1.205)


@settings(max_examples=60)
@given(dice=st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_no_images_break_the_bounds_of_dice_and_iou(dice):
    iou = [d / (2 - d) for d in dice]
    cells = CELLS | {("T", "a", "Dice"): f"{np.mean(dice):.6f}", ("T", "a", "IoU"): f"{np.mean(iou):.6f}"}
    (one,) = check(
        {"kind": "dice_iou", "rows": ["a"], "dice": ["T", "Dice"], "iou": ["T", "IoU"], "averaged": True},
        cells,
    )
    assert one.status == "holds"
    if "at most" in one.sentence:
        share = int(one.sentence.split("at most ")[1].split("%")[0]) / 100
        assert np.mean([0.2 <= d <= 0.9 for d in dice]) <= share + 0.006


@settings(max_examples=60)
@given(members=st.integers(2, 6), voxels=st.integers(1, 20), seed=st.integers(0, 999))
def test_no_ensemble_of_all_members_is_worse_than_their_mean(members, voxels, seed):
    p = np.random.default_rng(seed).uniform(0.01, 0.99, (members, voxels))
    nll = -np.log(p).mean(), -np.log(p.mean(axis=0)).mean()
    cells = CELLS | {("T", "a", "NLL"): f"{nll[0]:.5f}", ("T", "b", "NLL"): f"{nll[1]:.5f}"}
    (one,) = check({"kind": "ensembles", "tables": ["T"], "pairs": [["b", "a"]], "columns": ["NLL"]}, cells)
    assert one.status == "holds"


def test_an_ensemble_that_is_worse_than_its_members_is_found():
    (one,) = check({"kind": "ensembles", "tables": ["T"], "pairs": [["a", "b"]], "columns": ["NLL"]})
    assert (one.status, round(one.margin, 9)) == ("violated", -0.2)


def test_a_larger_ensemble_cannot_lose_what_a_smaller_one_gained():
    terms = {"single": {"cell": ["T", "a", "NLL"]}, "ensemble": {"cell": ["T", "b", "NLL"]}}
    (one,) = check({"kind": "reduction", **terms, "percent": text("62")})
    assert one.margin == pytest.approx(0.385 * 0.405 - 0.195)
    assert one.repair == "needs a reduction of at most 52 %, or a NLL of at least 0.51"
    (one,) = check({"kind": "reduction", **terms, "percent": text("44")})
    assert one.status == "holds"


def test_rows_that_must_agree():
    shared = {"kind": "shared", "table": "T", "rows": ["a", "b"], "columns": ["Dice"]}
    (one,) = check(shared)
    assert (one.status, round(one.margin, 9)) == ("violated", -0.01)
    (one,) = check(shared, CELLS | {("T", "b", "Dice"): "0.80"})
    assert one.status == "holds"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            {"kind": "same", "a": {"cell": ["U", "a", "Dice"]}, "b": text("1")},
            ["U / a / Dice", "its tables: T"],
        ),
        ({"kind": "same", "a": {"cell": ["T", "c", "Dice"]}, "b": text("1")}, ["rows there: a, b"]),
        (
            {"kind": "same", "a": {"cell": ["T", "a", "Dise"]}, "b": text("1")},
            ["columns there: Dice, IoU, NLL"],
        ),
        ({"kind": "rows", "table": "T", "pairs": [["a", "z"]], "columns": ["NLL"]}, ["T / z / NLL"]),
        ({"kind": "ranks", "table": "V", "columns": ["NLL"]}, ["V / (any) / NLL", "its tables: T"]),
        ({"kind": "p_values", "tables": ["W"], "pairs": [["x", "y"]], "n": 9}, ["its tables: T"]),
    ],
)
def test_a_statement_about_what_is_not_printed_is_refused(statement, named):
    with pytest.raises(ConfigError) as caught:
        check(statement)
    for part in ("rules.yaml", *named):
        assert part in str(caught.value)
