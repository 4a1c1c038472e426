"""The threshold of U-E and BnF: the best mean on a part, and each subject's values there."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrail.config.study import ErrorDetection
from segtrail.studies.thresholds import Thresholds

TEST, VAL = ("c", "test", "p", 1), ("c", "val", "p", 1)
NAMES = ("tp", "fp", "tn", "fn", "tpu", "fpu", "tnu", "fnu")


def row(subject: str, threshold: float, found: int, wasted: int, part: str = "test", draw: int = 0) -> dict:
    """Ten wrong voxels (six of them false positives), `found` of them uncertain, and `wasted` right ones."""
    counts = {"tp": 50, "fp": 6, "tn": 100, "fn": 4}
    fpu = min(found, 6)
    counts |= {"tpu": 0, "fpu": fpu, "tnu": wasted, "fnu": found - fpu}
    place = {"study": "s", "cohort": "c", "dataset": "d", "part": part, "subject": subject, "predictor": "p"}
    return place | {"size": 1, "draw": draw, "threshold": threshold} | counts


def of(rows: list[dict], picked_on: str = "same") -> Thresholds:
    return Thresholds.of(pd.DataFrame(rows), ErrorDetection(picked_on=picked_on))


def u_e(found: int, wasted: int) -> float:
    return 2 * found / (10 + found + wasted)


def test_the_threshold_with_the_best_mean_is_taken_for_all_subjects():
    # a is best at .1, b at .5; of both .1 is better.
    found = of([row("a", 0.1, 10, 0), row("a", 0.5, 2, 0), row("b", 0.1, 5, 5), row("b", 0.5, 6, 2)])
    assert found.curves(TEST, "u_e").mean().tolist() == pytest.approx(
        [(u_e(10, 0) + u_e(5, 5)) / 2, (u_e(2, 0) + u_e(6, 2)) / 2]
    )
    assert found.best(TEST, "u_e") == 0.1
    values = found.values(TEST, "u_e")
    assert values["value"].to_dict() == pytest.approx({("d", "a"): 1.0, ("d", "b"): 0.5})
    assert values[["defined", "predictions"]].to_numpy().tolist() == [[1, 1], [1, 1]]


def test_of_equal_means_the_lowest_threshold_is_taken():
    assert of([row("a", 0.5, 4, 0), row("a", 0.1, 4, 0), row("a", 0.3, 1, 0)]).best(TEST, "u_e") == 0.1


def test_a_subject_without_errors_and_without_uncertainty_is_left_out_of_the_mean():
    right = row("b", 0.1, 0, 0) | {"fp": 0, "fn": 0}
    others = [row("a", 0.1, 2, 0), row("a", 0.5, 1, 0), row("e", 0.1, 0, 3), row("e", 0.5, 0, 0)]
    found = of([right, right | {"threshold": 0.5}, *others])
    curves = found.curves(TEST, "u_e")
    assert curves.loc[("d", "b")].isna().all()
    assert curves[0.1].mean() == pytest.approx((u_e(2, 0) + 0) / 2)
    assert found.values(TEST, "u_e")["defined"].to_dict() == {("d", "a"): 1, ("d", "b"): 0, ("d", "e"): 1}


def test_where_nothing_is_defined_the_values_are_undefined():
    right = row("a", 0.1, 0, 0) | {"fp": 0, "fn": 0}
    assert of([right, right | {"threshold": 0.5}]).values(TEST, "u_e")["value"].isna().all()


def test_the_mean_over_draws_comes_first():
    # By single predictions .5 would win for a's best draw; by subjects' means .1 does.
    draws = [row("a", 0.1, 5, 0, draw=0), row("a", 0.1, 5, 0, draw=1)]
    draws += [row("a", 0.5, 9, 0, draw=0), row("a", 0.5, 0, 0, draw=1)]
    found = of(draws)
    assert found.best(TEST, "u_e") == 0.1
    assert found.values(TEST, "u_e")["predictions"].tolist() == [2]
    assert found.curves(TEST, "u_e").loc[("d", "a"), 0.5] == pytest.approx(u_e(9, 0) / 2)


PARTS = [row("a", 0.1, 10, 0), row("a", 0.5, 2, 0), row("v", 0.1, 1, 0, "val"), row("v", 0.5, 9, 0, "val")]


def test_on_the_validation_part_another_threshold_may_be_best():
    found = of(PARTS)
    assert (found.picked(TEST, "u_e"), found.picked(TEST, "u_e_val")) == (0.1, 0.5)
    assert found.values(TEST, "u_e_val")["value"].tolist() == pytest.approx([u_e(2, 0)])


def test_a_study_may_pick_all_of_them_on_the_validation_part():
    found = of(PARTS, picked_on="val")
    assert found.picked(TEST, "u_e") == 0.5
    assert found.values(TEST, "bnf").equals(found.values(TEST, "bnf_val"))


def test_precision_and_recall_of_errors_are_told_at_the_threshold_of_u_e():
    # Recall and benefit alone would take .1, where everything is uncertain.
    found = of([row("a", 0.1, 10, 90), row("a", 0.5, 8, 1)])
    assert found.best(TEST, "bnf") == 0.1
    assert found.picked(TEST, "error_recall") == found.picked(TEST, "error_precision") == 0.5
    assert found.values(TEST, "error_recall")["value"].tolist() == [0.8]
    assert found.values(TEST, "error_precision")["value"].tolist() == [8 / 9]


def test_benefit_is_a_share_of_subjects():
    lost = row("b", 0.1, 6, 0) | {"tpu": 50}
    found = of([row("a", 0.1, 6, 0), lost])
    assert found.values(TEST, "bnf")["value"].tolist() == [1.0, 0.0]


@st.composite
def tables(draw):
    thresholds = draw(st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.9]), min_size=1, max_size=4, unique=True))
    rows = []
    for subject in range(draw(st.integers(1, 4))):
        for number in range(draw(st.integers(1, 2))):
            for threshold in thresholds:
                found, wasted = draw(st.integers(0, 10)), draw(st.integers(0, 20))
                rows.append(row(f"s{subject}", threshold, found, wasted, draw=number))
    return draw(st.permutations(rows))


@settings(max_examples=40, deadline=None)
@given(tables(), st.sampled_from(["u_e", "bnf", "error_recall"]))
def test_no_threshold_has_a_better_mean_and_the_order_of_rows_does_not_matter(rows, measure):
    found = of(rows)
    by = "u_e" if measure == "error_recall" else measure
    means = found.curves(TEST, by).mean()
    assert means[found.best(TEST, measure)] == means.max()
    again = of(sorted(rows, key=lambda one: (one["threshold"], one["subject"], one["draw"])))
    pd.testing.assert_frame_equal(found.values(TEST, measure), again.values(TEST, measure), check_exact=True)
    flat = pd.DataFrame(rows)
    flat["u_e"] = 2 * (flat.fpu + flat.fnu) / (flat.fp + flat.fn + flat.tpu + flat.fpu + flat.tnu + flat.fnu)
    by_subject = flat.groupby(["threshold", "subject"])["u_e"].mean()
    np.testing.assert_allclose(
        by_subject.groupby("threshold").mean(), found.curves(TEST, "u_e").mean(), rtol=1e-12
    )
