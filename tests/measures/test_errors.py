"""Against known answers, a plain reference, scikit-learn, and what a correction does to Dice."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from sklearn.calibration import calibration_curve

from segtrail.measures import errors, kernels
from segtrail.measures.errors import REGIONS, ErrorCounts, count_probabilities, count_uncertainty, rescaled
from segtrail.measures.overlap import dice

THRESHOLDS = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
BINS = 10
FIELDS = list(ErrorCounts.__dataclass_fields__)


def counted(p, y, predicted=None, mask=None, thresholds=THRESHOLDS, bins=BINS):
    p, y = np.asarray(p, np.float32), np.asarray(y, np.uint8)
    predicted = p > 0.5 if predicted is None else np.asarray(predicted)
    mask = None if mask is None else np.asarray(mask, bool)
    return count_probabilities(p, predicted.astype(np.uint8), y, mask, thresholds, bins)


def from_uncertainty(u, predicted, y, thresholds=THRESHOLDS):
    u = np.asarray(u, np.float32)
    return count_uncertainty(
        u, np.asarray(predicted, np.uint8), np.asarray(y, np.uint8), None, thresholds, BINS
    )


def plain(p, u, predicted, y, mask):
    """The same numbers by boolean masks and numpy's digitize, one after another, in float64."""
    found = {}
    edges = np.linspace(0, 1 + 1e-8, BINS + 1)
    for region, inside in zip(REGIONS, (np.ones(len(p), bool), mask), strict=True):
        q, truth = p[inside].astype(float), y[inside] == 1
        number = np.digitize(q, edges) - 1
        gaps = [
            (np.mean(number == b), truth[number == b].mean() - q[number == b].mean())
            for b in range(BINS)
            if (number == b).any()
        ]
        found[region, "ece_fg"] = sum(share * abs(gap) for share, gap in gaps)
        found[region, "signed_ce"] = np.mean([gap for _, gap in gaps])
        found[region, "mean_uncertainty"] = u[inside].astype(float).mean()
    right = predicted == y
    kinds = [right & (predicted == 1), ~right & (predicted == 1), right & (predicted == 0)]
    kinds.append(~right & (predicted == 0))
    found["voxels"] = tuple(int(kind.sum()) for kind in kinds)
    for t, threshold in enumerate(THRESHOLDS):
        above = u > np.float32(threshold)
        found[t] = tuple(int((kind & above).sum()) for kind in kinds)
        if above.any() or not right.all():
            found[t, "u_e"] = dice(above, ~right)
    return found


def same(got, wanted):
    assert got.voxels == wanted.pop("voxels")
    for key, value in wanted.items():
        match key:
            case int(t):
                assert got.uncertain(t) == value
            case (str(region), name):
                assert getattr(got, name)(region) == pytest.approx(value, abs=1e-6), key
            case (t, name):
                assert getattr(got, name)(t) == pytest.approx(value, abs=1e-12), key


# Some values lie exactly on the edges of bins.
rngs = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def random_case(rng, voxels):
    p = rng.beta(0.3, 0.3, voxels).astype(np.float32)
    on_edge = rng.random(voxels) < 0.2
    p[on_edge] = (rng.integers(0, BINS + 1, on_edge.sum()) / BINS).astype(np.float32)
    y = (rng.random(voxels) < 0.3 + 0.5 * p).astype(np.uint8)
    mask = rng.random(voxels) < 0.4
    mask[0] = True
    return p, y, mask


@settings(deadline=None, max_examples=80)
@given(rng=rngs, voxels=st.integers(1, 400))
def test_probabilities_give_what_the_formulas_give(rng, voxels):
    p, y, mask = random_case(rng, voxels)
    predicted = (p > 0.5).astype(np.uint8)
    u = errors.entropy(p)
    np.testing.assert_allclose(u, scipy_entropy([p, 1 - p.astype(float)], base=2), atol=1e-6)
    same(counted(p, y, predicted, mask), plain(p, u, predicted, y, mask))


@settings(deadline=None, max_examples=80)
@given(rng=rngs, voxels=st.integers(1, 400))
def test_uncertainties_give_what_the_formulas_give(rng, voxels):
    u, y, mask = random_case(rng, voxels)
    predicted = rng.integers(0, 2, voxels).astype(np.uint8)
    got = count_uncertainty(u, predicted, y, mask, THRESHOLDS, BINS)
    p = (predicted * (1 - u / 2) + (1 - predicted) * (u / 2)).astype(np.float32)
    same(got, plain(p, u, predicted, y, mask))


def test_bins_agree_with_scikit_learn():
    rng = np.random.default_rng(3)
    p = rng.random(20_000).astype(np.float32)
    y = (rng.random(20_000) < p**1.3).astype(np.uint8)
    got = counted(p, y)
    share, mean = calibration_curve(y, p, n_bins=BINS)
    assert got.signed_ce("volume") == pytest.approx((share - mean).mean(), abs=1e-6)
    weights = np.histogram(p, BINS, (0, 1))[0] / len(p)
    assert got.ece_fg("volume") == pytest.approx((weights * abs(share - mean)).sum(), abs=1e-6)


def test_perfectly_calibrated():
    got = counted([0.25] * 4 + [0.75] * 4, [1, 0, 0, 0, 1, 1, 1, 0])
    assert (got.ece_fg("volume"), got.signed_ce("volume")) == (0, 0)
    assert got.voxels == (3, 1, 3, 1)


def test_constant_probability():
    got = counted([0.25] * 10, [1] * 5 + [0] * 5)
    assert got.ece_fg("volume") == pytest.approx(0.25)
    assert got.signed_ce("volume") == pytest.approx(0.25)  # underconfident
    assert got.mean_uncertainty("volume") == pytest.approx(0.811278, abs=1e-6)
    # Everything is uncertain up to .8, and half of it is wrong: 2·5 / (5 + 10).
    assert [got.u_e(t) for t in range(11)] == pytest.approx([2 / 3] * 9 + [0] * 2)
    assert [got.error_precision(t) for t in (0, 10)] == [0.5, 1]
    assert [got.error_recall(t) for t in (0, 10)] == [1, 0]


def test_sure_and_always_wrong():
    got = counted([0, 0, 1, 1, 1], [1, 1, 0, 0, 0])
    assert got.ece_fg("volume") == 1
    assert got.signed_ce("volume") == 0  # one bin says too little, one too much
    assert got.voxels == (0, 3, 0, 2)
    assert (got.u_e(0), got.bnf(0), got.error_recall(0), got.error_precision(0)) == (0, False, 0, 1)
    assert (got.dice(), got.precision(), got.recall(), got.mean_uncertainty("volume")) == (0, 0, 0, 0)


def test_signed_error_counts_every_bin_alike_and_ece_every_voxel():
    got = counted([0.05] * 98 + [0.95] * 2, [0] * 98 + [1, 0])
    assert got.signed_ce("volume") == pytest.approx((-0.05 - 0.45) / 2)
    assert got.ece_fg("volume") == pytest.approx(0.98 * 0.05 + 0.02 * 0.45)


def test_empty_prediction():
    got = counted([0.1, 0.4, 0.01, 0.02], [1, 1, 0, 0])
    assert (got.dice(), got.recall()) == (0, 0)
    assert np.isnan(got.precision())
    assert not any(got.bnf(t) for t in range(11))


def test_empty_reference():
    got = counted([0.6, 0.99, 0.01], [0, 0, 0])
    assert (got.dice(), got.precision()) == (0, 0)
    assert np.isnan(got.recall())
    assert got.uncertain(0) == (0, 2, 1, 0)
    assert not any(got.bnf(t) for t in range(11))
    assert counted([0.1, 0.2], [0, 0]).dice() == 1


def test_certain_and_right():
    got = counted([0, 0, 1], [0, 0, 1], thresholds=[0, 0.5])
    assert np.isnan(got.u_e(0))
    assert np.isnan(got.u_e(1))
    assert (got.error_precision(0), got.error_recall(0), got.bnf(0), got.dice()) == (1, 1, False, 1)
    assert (got.ece_fg("volume"), got.mean_uncertainty("volume")) == (0, 0)


def test_everything_uncertain():
    got = counted([0.5] * 6, [1, 1, 0, 0, 0, 0])  # ties are background
    assert got.voxels == (0, 0, 4, 2)
    assert all(got.uncertain(t) == got.voxels for t in range(11))
    assert got.u_e(10) == pytest.approx(2 * 2 / (2 + 6))
    assert got.bin_n[0, 4] == 6  # with the edges at k (1 + 1e-8) / 10, .5 lies in the bin below


def test_hand_computed_case():
    #                       TP    TP   FP    FP    TN    FN
    got = from_uncertainty([0.25, 0.8, 0.92, 0.12, 0.92, 0.44], [1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 1])
    assert got.voxels == (2, 2, 1, 1)
    at_half, at_most = THRESHOLDS.index(0.5), THRESHOLDS.index(0.8)
    assert got.uncertain(at_half) == (1, 1, 1, 0)
    assert got.u_e(at_half) == pytest.approx(2 * 1 / (3 + 3))
    assert got.error_precision(at_half) == pytest.approx(1 / 3)
    assert got.error_recall(at_half) == pytest.approx(1 / 3)
    assert not got.bnf(at_half)  # 1·2 > 1·5 does not hold
    assert got.uncertain(at_most) == (0, 1, 1, 0)  # .8 does not exceed .8
    assert got.bnf(at_most)  # 1·2 > 0
    # Foreground's probability .875, .6, .54, .94, .46, .22, each in a bin of its own.
    assert got.ece_fg("volume") == pytest.approx((0.125 + 0.4 + 0.54 + 0.94 + 0.46 + 0.78) / 6)
    assert got.signed_ce("volume") == pytest.approx((0.125 + 0.4 - 0.54 - 0.94 - 0.46 + 0.78) / 6)
    assert got.mean_uncertainty("volume") == pytest.approx(3.45 / 6)
    assert got.precision() == 0.5
    assert got.recall() == pytest.approx(2 / 3)
    assert got.dice() == pytest.approx(4 / 7)


def test_what_lies_on_a_threshold_does_not_exceed_it():
    on = np.array(THRESHOLDS, np.float32)
    above = np.nextafter(on, np.float32(1))
    zeros = np.zeros(11)
    assert [from_uncertainty(on, zeros, zeros).uncertain(t)[2] for t in range(11)] == list(range(10, -1, -1))
    assert [from_uncertainty(above, zeros, zeros).uncertain(t)[2] for t in range(11)] == list(
        range(11, 0, -1)
    )


def test_entropy_exceeds_a_threshold_where_the_formula_does():
    """Along all probabilities, each threshold of entropy is passed at its root, and again beyond one half."""
    p = np.linspace(0, 1, 20_001, dtype=np.float32)
    got = counted(p, np.zeros(len(p)))
    exact = scipy_entropy([p.astype(float), 1 - p.astype(float)], base=2)
    for t, threshold in enumerate(THRESHOLDS):
        assert sum(got.uncertain(t)) == np.count_nonzero(exact > threshold)


@settings(deadline=None, max_examples=150)
@given(rng=rngs, voxels=st.integers(1, 60))
def test_corrections_benefit_where_dice_rises(rng, voxels):
    predicted, y = (rng.random((2, voxels)) < rng.random()).astype(np.uint8)
    y[rng.integers(voxels)] = 1  # Dice of two empty masks is a convention
    u = rng.random(voxels).astype(np.float32)
    got = from_uncertainty(u, predicted, y, [0.3, 0.7])
    before = dice(predicted == 1, y == 1)
    assert got.dice() == pytest.approx(before)
    tp, fp, _, fn = got.voxels
    for t, threshold in enumerate((0.3, 0.7)):
        tpu, fpu, tnu, fnu = got.uncertain(t)
        uncertain = u > np.float32(threshold)
        removed = dice((predicted == 1) & ~uncertain, y == 1)
        added = dice((predicted == 1) | uncertain, y == 1)
        assert got.bnf(t) == (removed - before > 1e-12)
        assert errors.addition(tp, fp, fn, tnu, fnu) == (added - before > 1e-12)
        assert errors.removal_gain(tp, fp, fn, tpu, fpu) == pytest.approx(removed - before)


@settings(deadline=None, max_examples=50)
@given(rng=rngs, voxels=st.integers(1, 500))
def test_counts_add_up_over_any_partition_and_order(rng, voxels):
    p, y, mask = random_case(rng, voxels)
    whole = counted(p, y, mask=mask)
    part = rng.integers(0, 3, voxels)
    pieces = [counted(p[part == k], y[part == k], mask=mask[part == k]) for k in rng.permutation(3)]
    summed = pieces[0] + pieces[1] + pieces[2]
    for name in FIELDS:
        np.testing.assert_allclose(getattr(summed, name), getattr(whole, name), rtol=1e-12, atol=1e-12)
    assert (summed.counts.dtype, summed.bin_n.dtype, summed.bin_p.dtype) == (np.int64, np.int64, np.float64)


def test_more_voxels_than_one_block_hold():
    p, y, mask = random_case(np.random.default_rng(8), 3 * errors.BLOCK + 5)
    predicted = (p > 0.5).astype(np.uint8)
    same(counted(p, y, predicted, mask), plain(p, errors.entropy(p), predicted, y, mask))


@pytest.mark.parametrize("bins", [1, 3, 7, 10, 20])
def test_bins_are_closed_on_the_left(bins):
    edges = np.linspace(0, 1 + 1e-8, bins + 1)[:-1]
    on = np.array(
        [np.float32(e) if np.float32(e) >= e else np.nextafter(np.float32(e), np.float32(1)) for e in edges]
    )
    below = np.nextafter(on[1:], np.float32(0))
    assert counted(on, np.zeros(bins), bins=bins).bin_n[0].tolist() == [1] * bins
    got = counted(below, np.zeros(bins - 1), bins=bins).bin_n[0].tolist()
    assert got == [1] * (bins - 1) + [0]
    assert counted([1.0], [1], bins=bins).bin_n[0, -1] == 1


def test_formulas_take_columns_of_tables():
    rng = np.random.default_rng(1)
    cases = [counted(*random_case(rng, 50)[:2]) for _ in range(5)]
    columns = np.array([[*one.voxels, *one.uncertain(3)] for one in cases]).T
    tp, fp, _, fn, tpu, fpu, tnu, fnu = columns
    assert errors.u_e(fp, fn, tpu, fpu, tnu, fnu).tolist() == [one.u_e(3) for one in cases]
    assert errors.bnf(tp, fp, fn, tpu, fpu).tolist() == [one.bnf(3) for one in cases]
    assert errors.error_precision(tpu, fpu, tnu, fnu).tolist() == [one.error_precision(3) for one in cases]
    assert errors.error_recall(fp, fn, fpu, fnu).tolist() == [one.error_recall(3) for one in cases]
    bins = [np.stack([getattr(one, name)[0] for one in cases]) for name in ("bin_n", "bin_p", "bin_positive")]
    assert errors.ece_fg(*bins).tolist() == [one.ece_fg("volume") for one in cases]
    assert errors.signed_ce(*bins).tolist() == [one.signed_ce("volume") for one in cases]


def test_a_region_without_voxels_is_undefined():
    for got in (counted([0.2], [1]), counted([0.2], [1], mask=[False]), counted([], [], mask=[])):
        assert got.n("mask") == 0
        for name in ("ece_fg", "signed_ce", "mean_uncertainty"):
            assert np.isnan(getattr(got, name)("mask"))
    assert counted([], []).n("volume") == 0


def test_rescaling_is_linear_and_squeezed():
    raw = np.array([[3.0, 5.0], [11.0, 4.0]], np.float32)
    np.testing.assert_allclose(rescaled(raw, 3, 11, squeeze=0.01), [[0.01, 0.255], [0.99, 0.1325]], rtol=1e-6)
    assert rescaled(raw, 3, 11).dtype == np.float32
    assert (rescaled(raw[0], 4, 4.5, squeeze=0, clip=True) == [0, 1]).all()
    assert (rescaled(np.full(3, 7, np.float32), 7, 7) == np.float32(1e-5)).all()


@pytest.mark.parametrize(("lo", "hi", "clip"), [(4, 11, False), (3, 10, False), (5, 4, True)])
def test_a_range_that_does_not_fit_is_refused(lo, hi, clip):
    with pytest.raises(ValueError, match="expected"):
        rescaled(np.array([3.0, 11.0], np.float32), lo, hi, clip=clip)


def test_no_number_is_refused_when_rescaled():
    with pytest.raises(ValueError, match="nan"):
        rescaled(np.array([3.0, np.nan], np.float32), 3, 11, clip=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.01, 1.01])
def test_what_is_no_probability_is_refused(bad):
    p = np.full(20_000, 0.5, np.float32)
    p[-1] = bad
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="outside"):
        counted(p, np.zeros(20_000), np.zeros(20_000))
    with pytest.raises(ValueError, match="outside"):
        from_uncertainty(p, np.zeros(20_000), np.zeros(20_000))


def test_arguments_that_do_not_fit_are_refused():
    half = np.full(4, 0.5, np.float32)
    with pytest.raises(ValueError, match="shapes"):
        counted(half, [0, 1])
    with pytest.raises(ValueError, match="shapes"):
        counted(half.reshape(2, 2), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="y: classes"):
        counted(half, [0, 1, 2, 0])
    with pytest.raises(ValueError, match="predicted: classes"):
        counted(half, [0, 1, 1, 0], np.array([0, 0, 0, 2]))
    for thresholds in ([], [0.5, 0.5], [0.6, 0.5], [-0.1], [1.0]):
        with pytest.raises(ValueError, match="thresholds"):
            counted(half, [0, 1, 1, 0], thresholds=thresholds)


def test_read_only_strided_and_wider_arrays_give_the_same():
    p, y, mask = random_case(np.random.default_rng(7), 300)
    predicted = (p > 0.5).astype(np.uint8)
    expected = counted(p, y, predicted, mask)
    arrays = [np.repeat(a, 2) for a in (p.astype(np.float64), predicted, y, mask)]
    for array in arrays:
        array.setflags(write=False)
    got = count_probabilities(*(array[::2] for array in arrays), THRESHOLDS, BINS)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
    assert len(kernels.add_errors.signatures) == 1, "the kernel was compiled for a second type"


def test_the_formulas_alone_do_not_load_numba():
    script = "import sys, segtrail.measures.errors; print('numba' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "False"
