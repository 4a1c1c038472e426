from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.utils import resample

from segtrail.measures.statistics import (
    bootstrap_mean,
    case_percentiles,
    holm,
    logit_dice,
    paired_bootstrap,
    pearson,
    spearman,
)

NAN = float("nan")


def rng():
    return np.random.default_rng(3)


def test_case_percentiles_leave_undefined_cases_out():
    values = np.arange(101.0)
    assert case_percentiles(values) == (2.5, 97.5)
    assert case_percentiles([*values, NAN, NAN]) == (2.5, 97.5)
    assert np.isnan(case_percentiles([NAN])).all()
    assert case_percentiles([7.0]) == (7.0, 7.0)


def test_bootstrap_mean_agrees_with_a_plain_bootstrap_and_the_normal_interval():
    values = rng().normal(2, 1, 200)
    lo, hi = bootstrap_mean(values, 10_000, rng())
    half = 1.96 * values.std() / np.sqrt(200)
    assert (lo, hi) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    state = np.random.RandomState(0)
    means = [resample(values, random_state=state).mean() for _ in range(4000)]
    assert (lo, hi) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.015)
    assert bootstrap_mean([*values, NAN], 10_000, rng()) == (lo, hi)


def test_bootstrap_mean_of_degenerate_cases():
    assert np.isnan(bootstrap_mean([], 100, rng())).all()
    assert np.isnan(bootstrap_mean([1.0], 100, rng())).all()
    assert bootstrap_mean([1.0, 1.0, 1.0], 100, rng()) == (1.0, 1.0)


def test_bootstrap_interval_covers_as_it_says():
    source = np.random.default_rng(11)
    intervals = [bootstrap_mean(source.exponential(1, 60), 500, source) for _ in range(200)]
    assert 0.86 < np.mean([lo <= 1 <= hi for lo, hi in intervals]) < 0.98


def test_paired_bootstrap_finds_a_small_consistent_difference():
    base = rng().normal(0, 10, 60)
    better = base - 0.5 + rng().normal(0, 0.2, 60)
    got = paired_bootstrap(base, better, 10_000, rng())
    assert got.effect == pytest.approx((base - better).mean())
    assert got.lo < 0.5 < got.hi
    assert got.p == pytest.approx(2 / 10_001)
    assert got.n == 60
    swapped = paired_bootstrap(better, base, 10_000, rng())
    assert swapped.p == got.p
    assert (swapped.effect, swapped.lo, swapped.hi) == pytest.approx((-got.effect, -got.hi, -got.lo))


def test_paired_bootstrap_p_is_near_that_of_the_t_test():
    a = rng().normal(0, 1, 80)
    b = a + np.random.default_rng(8).normal(0.12, 0.5, 80)
    got = paired_bootstrap(a, b, 20_000, rng())
    assert got.p == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.02)
    assert 0.005 < got.p < 0.5


def test_paired_bootstrap_of_degenerate_pairs():
    same = paired_bootstrap([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 100, rng())
    assert (same.effect, same.lo, same.hi, same.p, same.n) == (0, 0, 0, 1, 3)
    undefined = paired_bootstrap([1.0, NAN, 3.0, 5.0], [0.0, 1.0, NAN, 3.0], 100, rng())
    assert undefined.n == 2
    assert undefined.effect == 1.5
    one = paired_bootstrap([1.0], [0.0], 100, rng())
    assert (one.effect, one.n) == (1, 1)
    assert np.isnan([one.p, one.lo, one.hi]).all()
    with pytest.raises(ValueError, match="lengths"):
        paired_bootstrap([1.0], [1.0, 2.0], 100, rng())


def test_hundred_resamples_cannot_reach_the_papers_level():
    got = paired_bootstrap(np.arange(50.0) + 100, np.zeros(50), 100, rng())
    assert got.p == 2 / 101 > 0.01


@given(st.lists(st.one_of(st.floats(0, 1), st.just(NAN)), max_size=7))
def test_holm_is_the_closed_test_with_bonferroni(p):
    """By definition: a hypothesis' corrected p is the largest Bonferroni p of all sets that contain it."""
    tested = [i for i, value in enumerate(p) if not np.isnan(value)]
    expected = np.full(len(p), NAN)
    for i in tested:
        sets = (s for size in range(1, len(tested) + 1) for s in combinations(tested, size) if i in s)
        expected[i] = max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets)
    np.testing.assert_allclose(holm(p), expected)


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_logit_dice_is_clipped_at_both_ends():
    got = logit_dice([0.0, 0.5, 0.9, 1.0], 1e-3)
    np.testing.assert_allclose(got, special.logit([1e-3, 0.5, 0.9, 1 - 1e-3]), atol=1e-12)
    assert np.isnan(logit_dice([NAN], 1e-3)).all()


def test_pearson_agrees_with_numpy_and_leaves_undefined_pairs_out():
    x = rng().normal(size=50)
    y = x + rng().normal(size=50)[::-1]
    got = pearson(x, y)
    assert got.r == pytest.approx(np.corrcoef(x, y)[0, 1])
    t = got.r * np.sqrt(48 / (1 - got.r**2))
    assert got.p == pytest.approx(2 * stats.t.sf(abs(t), 48))
    z, half = np.arctanh(got.r), 1.959964 / np.sqrt(47)
    assert (got.lo, got.hi) == pytest.approx((np.tanh(z - half), np.tanh(z + half)))
    assert pearson([*x, NAN, 1.0], [*y, 1.0, NAN]) == got
    assert got.n == 50


@pytest.mark.parametrize(
    ("x", "y", "n"), [([], [], 0), ([1.0, 2.0], [1.0, 2.0], 2), ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], 3)]
)
def test_pearson_of_degenerate_pairs_is_nan(x, y, n):
    got = pearson(x, y)
    assert got.n == n
    assert np.isnan([got.r, got.p, got.lo, got.hi]).all()
    with pytest.raises(ValueError, match="lengths"):
        pearson([1.0], [1.0, 2.0])


def test_spearman_is_pearson_of_the_ranks_and_leaves_undefined_pairs_out():
    x = rng().normal(size=40)
    y = np.round(np.exp(x) + rng().normal(size=40)[::-1])  # with ties
    got = spearman(x, y)
    assert got.r == pytest.approx(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])
    assert got.p == pytest.approx(2 * stats.t.sf(abs(got.r) * np.sqrt(38 / (1 - got.r**2)), 38))
    half = 1.959964 * np.sqrt((1 + got.r**2 / 2) / 37)
    assert (got.lo, got.hi) == pytest.approx(
        (np.tanh(np.arctanh(got.r) - half), np.tanh(np.arctanh(got.r) + half))
    )
    assert spearman([*x, NAN, 1.0], [*y, 1.0, NAN]) == got
    # At the end of its interval a correlation would be just significant.
    assert spearman(x, y, against=got.hi).p == pytest.approx(0.05, abs=1e-6)
    assert spearman(x, y, against=got.lo).p == pytest.approx(0.05, abs=1e-6)
    assert spearman(x, y, against=got.r).p == pytest.approx(1)


def test_spearman_of_degenerate_pairs_is_nan():
    for x, y in (([], []), ([1.0, 2.0], [1.0, 2.0]), ([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])):
        assert np.isnan([value for value in spearman(x, y) if value != len(x)]).all()
    perfect = spearman(np.arange(9.0), np.arange(9.0) ** 3, against=0.5)
    assert (perfect.r, perfect.lo, perfect.hi, perfect.p) == (1, 1, 1, 0)
    with pytest.raises(ValueError, match="lengths"):
        spearman([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="against"):
        spearman([1.0], [1.0], against=1.0)
