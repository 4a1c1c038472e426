"""Calibration of a whole data set, and the share of its subjects that are miscalibrated."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrail.studies.pooled import Bins, Pool, limits, pooled_interval, resamples, share, share_interval

PLACE = ("c", "test", "p", 1, "mask")


def rows(subject: str, bins: dict[int, tuple[int, float, int]], draw: int = 0, **other: str) -> list[dict]:
    """bin → (voxels, Σ p, foreground voxels)"""
    place = {"cohort": "c", "part": "test", "predictor": "p", "size": 1, "region": "mask", "of": "foreground"}
    place |= {"dataset": "d", "subject": subject, "draw": draw} | other
    return [
        place | {"bin": b, "count": n, "confidence": p, "correct": y} for b, (n, p, y) in sorted(bins.items())
    ]


def pool(*found: list[dict], bins: int = 2) -> Pool:
    return Bins.of(pd.DataFrame([row for one in found for row in one])).pool(PLACE, bins)


A = rows("a", {0: (10, 1.0, 0), 1: (10, 9.0, 10)})
B = rows("b", {0: (30, 3.0, 6)})


def test_bins_are_added_up_over_subjects_before_an_error_is_taken():
    both = pool(A, B)
    # Bin 0: 40 voxels, Σp 4, 6 foreground. Bin 1: 10, 9, 10.
    assert both.error("ece_fg").tolist() == pytest.approx([(2 + 1) / 50])
    assert both.error("signed_ce").tolist() == pytest.approx([(2 / 40 + 1 / 10) / 2])
    # The subjects' own: they would not cancel.
    own = [pool(one).error("ece_fg")[0] for one in (A, B)]
    assert own == pytest.approx([2 / 20, 3 / 30])


def test_of_several_draws_the_mean_is_taken_after_pooling():
    second = rows("a", {0: (10, 5.0, 0)}, draw=1) + rows("b", {0: (30, 5.0, 0)}, draw=1)
    both = pool(A, B, second)
    assert both.error("ece_fg").tolist() == pytest.approx([(3 / 50 + 10 / 40) / 2])


def test_other_bins_and_regions_are_not_mixed_in():
    other = rows("a", {0: (99, 0.0, 99)}, of="confidence") + rows("a", {0: (99, 0.0, 99)}, region="volume")
    assert pool(A, B, other).error("ece_fg") == pool(A, B).error("ece_fg")


def test_the_order_of_rows_does_not_matter():
    assert np.array_equal(pool(B[::-1], A[::-1]).sums, pool(A, B).sums)


@st.composite
def pools(draw):
    found = []
    for subject in range(draw(st.integers(1, 5))):
        bins = {}
        for b in range(3):
            n = draw(st.integers(0, 50))
            if n:
                bins[b] = (n, n * (b + draw(st.floats(0, 1))) / 3, draw(st.integers(0, n)))
        found.append(rows(f"s{subject}", bins or {0: (1, 0.1, 1)}))
    return pool(*found, bins=3)


@settings(max_examples=40, deadline=None)
@given(pools(), st.sampled_from(["ece_fg", "signed_ce"]), st.integers(0, 2**32))
def test_a_weight_is_a_subject_counted_so_often(found, measure, seed):
    rng = np.random.default_rng(seed)
    count = len(found.subjects)
    drawn = rng.integers(0, count, count)
    weights = np.bincount(drawn, minlength=count)[None].astype(float)
    repeated = Pool(found.subjects[drawn], found.sums[:, drawn])
    np.testing.assert_allclose(found.error(measure, weights), repeated.error(measure), rtol=1e-12)
    assert 0 <= abs(found.error(measure)[0]) <= 1
    n, p, y = found.sums.sum(axis=(1, 2))
    gaps = (y - p)[n > 0] / n[n > 0]
    expected = gaps.mean() if measure == "signed_ce" else (np.abs(gaps) * n[n > 0]).sum() / n.sum()
    assert found.error(measure)[0] == pytest.approx(expected)


def test_resamples_draw_as_many_subjects_as_there_are():
    drawn = np.concatenate(list(resamples(7, 1201, np.random.default_rng(0))))
    assert drawn.shape == (1201, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert drawn.mean() == 1


def test_the_interval_is_around_the_value_and_of_equal_subjects_has_no_width():
    rng = np.random.default_rng(3)
    different = [rows(f"s{i}", {0: (100, 20.0, int(rng.integers(0, 60)))}) for i in range(30)]
    found = pool(*different)
    lo, hi = pooled_interval(found, "signed_ce", 1000, np.random.default_rng(0))
    assert lo < found.error("signed_ce")[0] < hi
    equal = pool(*(rows(f"s{i}", {0: (100, 20.0, 30)}) for i in range(5)))
    assert pooled_interval(equal, "ece_fg", 300, np.random.default_rng(0)) == pytest.approx((0.1, 0.1))
    assert np.isnan(pooled_interval(pool(A), "ece_fg", 300, np.random.default_rng(0))).all()


# --- subjects beyond τ ------------------------------------------------------------------------------


def level(gap: float, subjects: int = 4) -> Pool:
    """A predictor whose pooled bins are `gap` too low, whichever subjects are drawn."""
    return pool(*(rows(f"s{i}", {0: (100, 20.0, round(20 + 100 * gap))}) for i in range(subjects)))


def test_the_limit_is_a_percentile_over_the_predictors_interpolated_linearly():
    # 90 % of the way through three: 1.8 steps from the first.
    assert limits([level(0.1), level(0.3), level(0.2)], 90) == pytest.approx([0.28])
    assert limits([level(0.1), level(0.3), level(0.2)], 0) == pytest.approx([0.1])


def test_shares_lie_strictly_beyond_the_limit():
    scores, limit = np.array([0.5, 0.28, 0.1, -0.28, -0.3]), np.array([0.28])
    assert share(scores, limit, "underconfident").tolist() == [20.0]
    assert share(scores, limit, "overconfident").tolist() == [20.0]


def test_with_a_negative_limit_a_subject_is_both():
    scores, limit = np.array([0.0, 0.3, -0.3]), np.array([-0.1])
    assert share(scores, limit, "underconfident").tolist() == pytest.approx([200 / 3])
    assert share(scores, limit, "overconfident").tolist() == pytest.approx([200 / 3])


def test_the_limit_moves_with_the_resample():
    # Two kinds of subjects: the limit lies at what the pooled bins of those drawn say.
    found = pool(
        *(rows(f"s{i}", {0: (100, 20.0, 20 + 40 * (i % 2))}) for i in range(4)),
    )
    weights = np.array([[4.0, 0, 0, 0], [0, 2, 0, 2], [1, 1, 1, 1]])
    assert limits([found], 90, weights) == pytest.approx([0.0, 0.4, 0.2])
    scores = np.array([0.0, 0.4, 0.0, 0.4])
    assert share(scores, limits([found], 90, weights), "underconfident", weights).tolist() == [0, 0, 50]


def test_the_interval_of_a_share_is_in_per_cent_around_it():
    scores = np.linspace(-0.5, 0.5, 40)
    pools = [level(gap, 40) for gap in (0.1, 0.2)]
    value = share(scores, limits(pools, 90), "underconfident")[0]
    lo, hi = share_interval(scores, pools, 90, "underconfident", 1000, np.random.default_rng(0))
    assert 0 <= lo < value < hi <= 100
    # 95 % of a binomial share of 40.
    assert hi - lo == pytest.approx(2 * 1.96 * np.sqrt(value * (100 - value) / 40), rel=0.15)
    again = share_interval(scores, pools, 90, "underconfident", 1000, np.random.default_rng(0))
    assert again == (lo, hi)
