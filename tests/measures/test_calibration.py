"""Against scikit-learn, torchmetrics, MONAI, a plain reference, and by hand."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_dice
from sklearn.metrics import brier_score_loss, confusion_matrix, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from segtrail.measures import calibration, kernels
from segtrail.measures.calibration import REGIONS, foreground_box, tally, tally_subsets, tally_volume

FIELDS = list(calibration.Tally.__dataclass_fields__)


def softmax_field(rng, classes, voxels, dtype=np.float32):
    logits = rng.normal(scale=2, size=(classes, voxels))
    p = np.exp(logits) / np.exp(logits).sum(axis=0)
    return p.astype(dtype)


def plain(p, y, box, bins, clip=1e-7):
    """The measures by their formulas, one after another, in float64."""
    p = p.astype(np.float32).astype(float)
    edges = (np.arange(bins + 1) / bins).astype(np.float32)
    found = {}
    for region, mask in zip(REGIONS, (np.ones(len(y), bool), box), strict=True):
        q, t = p[:, mask], y[mask]
        confidence, correct = q.max(axis=0), q.argmax(axis=0) == t
        found[region, "nll"] = -np.log(np.maximum(q[t, np.arange(len(t))], clip)).mean()
        found[region, "brier_sum"] = ((q - np.eye(len(p))[t].T) ** 2).sum(axis=0).mean()
        found[region, "ece_conf"] = sum(
            inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
            for inside in ((confidence > lo) & (confidence <= hi) for lo, hi in pairwise(edges))
            if inside.any()
        )
    return found


probabilities = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@settings(deadline=None, max_examples=60)
@given(
    rng=probabilities,
    classes=st.integers(2, 5),
    voxels=st.integers(1, 200),
    bins=st.sampled_from([1, 10, 15, 20]),
)
def test_one_pass_gives_what_the_formulas_give(rng, classes, voxels, bins):
    p = softmax_field(rng, classes, voxels, rng.choice([np.float16, np.float32]))
    y = rng.integers(0, classes, voxels).astype(np.uint8)
    box = rng.random(voxels) < 0.5
    box[0] = True
    got, labels = tally(p, y, box, bins)
    for (region, name), value in plain(p, y, box, bins).items():
        assert getattr(got, name)(region) == pytest.approx(value, abs=1e-6), (region, name)
    assert got.brier_mean("box") == pytest.approx(got.brier_sum("box") / classes)
    np.testing.assert_array_equal(labels, p.argmax(axis=0))
    assert got.n.tolist() == [voxels, box.sum()]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("bins", [10, 20])
def test_agrees_with_scikit_learn_torchmetrics_and_monai(classes, bins):
    rng = np.random.default_rng(classes * bins)
    p = softmax_field(rng, classes, 50_000)
    y = rng.integers(0, classes, p.shape[1]).astype(np.uint8)
    box = rng.random(len(y)) < 0.3
    got, labels = tally(p, y, box, bins)
    for (region, name), value in plain(p, y, box, bins).items():
        assert getattr(got, name)(region) == pytest.approx(value, abs=1e-6), (region, name)
    p64 = p.astype(float) / p.astype(float).sum(axis=0)
    assert got.nll("volume") == pytest.approx(log_loss(y, p64.T, labels=range(classes)), abs=1e-6)
    # scikit-learn leaves the second of two classes out by default
    brier = brier_score_loss(y, p64.T, labels=range(classes), scale_by_half=False)
    assert got.brier_sum("volume") == pytest.approx(brier, abs=1e-6)
    ece = multiclass_calibration_error(
        torch.from_numpy(p.T), torch.from_numpy(y).long(), classes, n_bins=bins
    )
    assert got.ece_conf("volume") == pytest.approx(float(ece), abs=1e-5)
    matrix = confusion_matrix(y, labels, labels=range(classes))
    np.testing.assert_array_equal(got.reference, matrix.sum(axis=1))
    np.testing.assert_array_equal(got.predicted, matrix.sum(axis=0))
    np.testing.assert_array_equal(got.true_positive, np.diag(matrix))
    one_hot = [torch.from_numpy(np.eye(classes, dtype=np.float32)[a].T[None]) for a in (labels, y)]
    np.testing.assert_allclose([got.dice(k) for k in range(classes)], compute_dice(*one_hot)[0], atol=1e-6)


def test_hand_computed_case():
    # voxel:         right, .8   wrong, .6   right, .5 (edge)   right, 1
    p = np.array([[0.8, 0.25, 0.5, 0.0], [0.2, 0.6, 0.25, 0.0], [0.0, 0.15, 0.25, 1.0]], dtype=np.float32)
    y = np.array([0, 0, 0, 2], dtype=np.uint8)
    got, labels = tally(p, y, np.array([True, True, False, False]), bins=2)
    assert labels.tolist() == [0, 1, 0, 2]
    assert got.nll("volume") == pytest.approx(-np.log(0.8 * 0.25 * 0.5) / 4)
    assert got.nll("box") == pytest.approx(-np.log(0.8 * 0.25) / 2)
    brier = [0.08, 0.75**2 + 0.6**2 + 0.15**2, 0.25 + 2 * 0.0625, 0]
    assert got.brier_sum("volume") == pytest.approx(np.mean(brier))
    # .5 falls into (0, .5]: gap .5 of one voxel; (.5, 1]: two of three right, confidence 2.4
    assert got.ece_conf("volume") == pytest.approx(0.5 / 4 + 0.4 / 4)
    count, confidence, accuracy = got.reliability("volume")
    assert count.tolist() == [1, 3]
    np.testing.assert_allclose(confidence, [0.5, 0.8], rtol=1e-6)
    np.testing.assert_allclose(accuracy, [1, 2 / 3])
    assert [got.dice(k) for k in range(3)] == [0.8, 0.0, 1.0]
    assert got.seg_entropy(1) == pytest.approx(-0.6 * np.log(0.6) - 0.4 * np.log(0.4))
    assert got.seg_entropy(2) == 0


@pytest.mark.parametrize("bins", [2, 3, 7, 10, 20, 49])
def test_bins_are_closed_on_the_right(bins):
    edges = (np.arange(1, bins + 1) / bins).astype(np.float32)
    above = np.nextafter(edges[:-1], np.float32(1))
    p = np.concatenate([edges, above])[None]  # one unnormalised class: it is the confidence
    got, _ = tally(p, np.zeros(p.shape[1], np.uint8), np.zeros(p.shape[1], bool), bins)
    assert got.bin_n[0].tolist() == [1] + [2] * (bins - 1)


def test_votes_of_saturated_members_lie_on_the_edge():
    votes = np.array([[[1.0], [0.0]]] * 7 + [[[0.0], [1.0]]] * 3, dtype=np.float16)  # 7 of 10 for class 0
    truth, box = np.zeros(1, np.uint8), np.zeros(1, bool)
    (got,), _ = tally_subsets(votes, truth, box, np.ones((1, 10), bool), 10)
    assert got.bin_n[0].tolist() == [0] * 6 + [1] + [0] * 3  # (.6, .7]


def test_probability_zero_and_the_clip():
    p = np.zeros((2, 3), dtype=np.float16)  # sigmoids that all say no
    got, labels = tally(p, np.array([0, 1, 1], np.uint8), np.ones(3, bool), 10, clip=1e-5)
    assert labels.tolist() == [0, 0, 0]
    assert got.bin_n[0, 0] == 3
    assert got.nll("volume") == pytest.approx(-np.log(1e-5))
    assert got.brier_sum("volume") == 1
    sure_and_wrong, _ = tally(np.array([[1.0], [0.0]]), np.array([1], np.uint8), np.ones(1, bool), 10)
    assert sure_and_wrong.nll("box") == pytest.approx(-np.log(1e-7))


def test_unnormalised_sigmoids_are_taken_as_they_are():
    p = np.array([[0.9], [0.8]], dtype=np.float32)
    got, _ = tally(p, np.zeros(1, np.uint8), np.ones(1, bool), 10)
    assert got.brier_sum("volume") == pytest.approx(0.01 + 0.64)
    assert got.ece_conf("volume") == pytest.approx(0.1)


def test_rounding_above_one_counts_as_one():
    got, _ = tally(
        np.array([[1 + kernels.SLACK / 2]], np.float32), np.zeros(1, np.uint8), np.ones(1, bool), 10
    )
    assert (got.nll("box"), got.ece_conf("box"), got.bin_n[0, 9]) == (0, 0, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.01, 1.5])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_no_probability_is_refused(bad, dtype):
    p = np.full((2, 40_000), 0.5, dtype)
    p[1, -1] = bad
    with pytest.raises(ValueError, match="outside"):
        tally(p, np.zeros(40_000, np.uint8), np.zeros(40_000, bool), 10)


def test_every_float16_is_widened_exactly_or_refused():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    out = np.empty(2**16, np.float32)
    kernels.widen(every.view(np.uint16), out.view(np.uint32), out)
    with np.errstate(invalid="ignore"):
        finite = every >= 0
    finite &= np.isfinite(every)
    np.testing.assert_array_equal(out[finite], every[finite].astype(np.float32))
    assert (out[~finite] > 65535).all()


def test_arguments_that_do_not_fit_are_refused():
    p, y, box = np.full((2, 5), 0.5), np.zeros(5, np.uint8), np.zeros(5, bool)
    with pytest.raises(ValueError, match="shapes"):
        tally(p, y[:4], box, 10)
    with pytest.raises(ValueError, match="classes"):
        tally(p, y + 2, box, 10)
    with pytest.raises(ValueError, match="clip"):
        tally(p, y, box, 10, clip=0)
    with pytest.raises(ValueError, match="no members"):
        tally_subsets(p[None], y, box, np.zeros((1, 1), bool), 10)
    with pytest.raises(ValueError, match="subsets"):
        tally_subsets(p[None], y, box, np.ones((1, 2), bool), 10)
    with pytest.raises(ValueError, match="segment"):
        tally(p, y, box, 10)[0].seg_entropy(0)


def test_empty_is_nan_and_dice_of_nothing_is_one():
    p = np.array([[0.9, 0.8], [0.1, 0.2], [0, 0]], dtype=np.float32)
    got, _ = tally(p, np.zeros(2, np.uint8), np.zeros(2, bool), 10)
    measures = (got.nll, got.brier_sum, got.brier_mean, got.ece_conf)
    assert all(np.isnan(measure("box")) and not np.isnan(measure("volume")) for measure in measures)
    assert got.n[1] == 0
    assert got.dice(2) == 1
    assert np.isnan(got.seg_entropy(2))
    nothing, labels = tally(p[:, :0], np.zeros(0, np.uint8), np.zeros(0, bool), 10)
    assert np.isnan(nothing.nll("volume"))
    assert labels.shape == (0,)


fields = st.integers(2, 5).flatmap(
    lambda classes: hnp.arrays(
        np.float32, st.tuples(st.just(classes), st.integers(1, 60)), elements=st.floats(0, 1, width=16)
    )
)


@settings(deadline=None, max_examples=100)
@given(raw=fields, data=st.data())
def test_bounds_between_the_measures(raw, data):
    """ECE ≤ 1 − mean p_true ≤ NLL, and NLL ≥ 1.2277 Brier, for probabilities that sum to one."""
    raw = raw + (raw.sum(axis=0) == 0)
    p = raw / raw.sum(axis=0)
    classes, voxels = p.shape
    y = data.draw(hnp.arrays(np.uint8, voxels, elements=st.integers(0, classes - 1)))
    got, _ = tally(p, y, np.ones(voxels, bool), data.draw(st.integers(1, 20)), clip=1e-9)
    doubt = 1 - p[y, np.arange(voxels)].mean(dtype=float)
    assert got.ece_conf("box") <= doubt + 1e-5
    assert doubt <= got.nll("box") + 1e-5
    assert got.nll("box") >= 1.2277 * got.brier_sum("box") - 1e-5
    assert 0 <= got.brier_mean("box") <= 1


@settings(deadline=None, max_examples=50)
@given(rng=probabilities, voxels=st.integers(1, 300), data=st.data())
def test_tallies_add_up_over_any_partition_and_order(rng, voxels, data):
    p = softmax_field(rng, 3, voxels, np.float16)
    y, box = rng.integers(0, 3, voxels).astype(np.uint8), rng.random(voxels) < 0.5
    part = data.draw(hnp.arrays(np.int64, voxels, elements=st.integers(0, 3)))
    whole, labels = tally(p, y, box, 10)
    summed, again = None, np.empty_like(labels)
    for number in rng.permutation(4):
        chosen = part == number
        piece, again[chosen] = tally(p[:, chosen], y[chosen], box[chosen], 10)
        summed = piece if summed is None else summed + piece
    np.testing.assert_array_equal(again, labels)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(summed, name), getattr(whole, name), rtol=1e-12, atol=1e-12)


def random_stack(rng, members, voxels, dtype):
    stack = np.stack([softmax_field(rng, 3, voxels) for _ in range(members)])
    stack[:, 1] *= rng.random(voxels) < 0.9  # some zeros, sums below one
    return stack.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("block", [7, 64, 100_000])
def test_subsets_are_what_a_loop_over_means_gives(dtype, block):
    rng = np.random.default_rng(block)
    stack = random_stack(rng, 9, 500, dtype)
    y, box = rng.integers(0, 3, 500).astype(np.uint8), rng.random(500) < 0.3
    subsets = rng.random((12, 9)) < 0.5
    subsets[:, 0] |= ~subsets.any(axis=1)
    tallies, labels = tally_subsets(stack, y, box, subsets, 10, block=block)
    for d, subset in enumerate(subsets):
        mean = stack[subset].astype(np.float64).mean(axis=0)
        expected, expected_labels = tally(mean, y, box, 10)
        np.testing.assert_array_equal(labels[d], expected_labels)
        for region in REGIONS:
            for name in ("nll", "brier_sum", "ece_conf"):
                got, wanted = getattr(tallies[d], name)(region), getattr(expected, name)(region)
                assert got == pytest.approx(wanted, abs=1e-6)
        np.testing.assert_allclose(tallies[d].entropy, expected.entropy, rtol=1e-5)


def test_one_member_is_itself_to_the_bit():
    rng = np.random.default_rng(5)
    stack = random_stack(rng, 4, 300, np.float16)
    y, box = rng.integers(0, 3, 300).astype(np.uint8), rng.random(300) < 0.3
    tallies, _ = tally_subsets(stack, y, box, np.eye(4, dtype=bool), 10, block=1 << 20)
    for member, got in zip(stack, tallies, strict=True):
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(got, name), getattr(tally(member, y, box, 10)[0], name))


def test_slice_by_slice_is_the_whole_volume():
    rng = np.random.default_rng(6)
    volume = random_stack(rng, 5, 4 * 6 * 7, np.float16).reshape(5, 3, 4, 6, 7)  # (M, K, Z, Y, X)
    label = rng.integers(0, 3, (4, 6, 7)).astype(np.uint8)
    box = rng.random(label.shape) < 0.5
    subsets = np.array([[1, 0, 0, 0, 0], [1, 1, 0, 1, 0], [1, 1, 1, 1, 1]], bool)
    flat = volume.reshape(5, 3, -1)
    expected, labels = tally_subsets(flat, label.ravel(), box.ravel(), subsets, 10)
    got, kept = tally_volume(
        (volume[:, :, z] for z in range(4)), label, box, subsets, 10, keep=np.array([False, True, True])
    )
    np.testing.assert_array_equal(kept, labels[1:].reshape(2, 4, 6, 7))
    for a, b in zip(got, expected, strict=True):
        for name in FIELDS:
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-12)
    with pytest.raises(ValueError, match="zip"):
        tally_volume((volume[:, :, z] for z in range(3)), label, box, subsets, 10)


def test_a_watcher_sees_every_mean_and_label_once():
    rng = np.random.default_rng(8)
    volume = random_stack(rng, 4, 2 * 90 * 200, np.float16).reshape(4, 3, 2, 90, 200)
    label = rng.integers(0, 3, (2, 90, 200)).astype(np.uint8)
    subsets = np.array([[1, 1, 1, 1], [0, 1, 0, 0]], bool)
    means = np.zeros((2, 3, 2, 90 * 200), np.float32)
    labels = np.zeros((2, 2, 90 * 200), np.uint8)
    seen = np.zeros((2, 2, 90 * 200), int)

    def watch(z, d, part, p, predicted):
        means[d, :, z, part] = p
        labels[d, z, part] = predicted
        seen[d, z, part] += 1

    slices = (volume[:, :, z] for z in range(2))
    _, kept = tally_volume(slices, label, label > 5, subsets, 10, watch=watch)
    assert (seen == 1).all()
    np.testing.assert_array_equal(labels.reshape(kept.shape), kept)
    for d, subset in enumerate(subsets):
        expected = volume[subset].mean(axis=0, dtype=np.float64).reshape(3, 2, -1)
        np.testing.assert_allclose(means[d], expected, rtol=1e-6)


def test_read_only_and_strided_arrays_give_the_same():
    rng = np.random.default_rng(7)
    p = softmax_field(rng, 3, 100)
    y, box = rng.integers(0, 3, 100).astype(np.uint8), rng.random(100) < 0.5
    expected, _ = tally(p, y, box, 10)
    voxels_first = np.ascontiguousarray(p.T)
    for array in (voxels_first, y, box):
        array.setflags(write=False)
    got, _ = tally(voxels_first.T, y, box, 10)
    np.testing.assert_array_equal(got.log_loss, expected.log_loss)
    assert len(kernels.add_voxels.signatures) == 1, "the kernel was compiled for a second type"


def test_box_is_widened_in_millimetres_in_plane_and_in_slices():
    label = np.zeros((9, 30, 30), np.uint8)
    label[4, 10:12, 14] = 1
    label[5, 12, 15] = 3
    box = foreground_box(label, (10.0, 2.0, 1.4), in_plane_mm=8, slices=2)
    expected = np.zeros(label.shape, bool)
    expected[2:8, 6:17, 8:22] = (
        True  # 4 voxels of 2 mm; 6 of 1.4 mm: the last centre is 7.7 mm beyond the face
    )
    np.testing.assert_array_equal(box, expected)


def test_box_is_clipped_to_the_image_and_empty_without_foreground():
    label = np.zeros((3, 8, 8), np.uint8)
    assert not foreground_box(label, (1, 1, 1), 8, 2).any()
    label[0, 0, 7] = 2
    assert foreground_box(label, (1, 1, 1), 100, 100).all()
    assert foreground_box(label, (1, 1, 1), 0, 0).sum() == 1


@pytest.mark.slow
def test_a_second_process_does_not_compile_again():
    script = (
        "import numpy as np; from segtrail.measures import calibration, kernels;"
        "calibration.tally(np.ones((1, 1)), np.zeros(1, np.uint8), np.zeros(1, bool), 10);"
        "s = kernels.add_voxels.stats; print(sum(s.cache_hits.values()), sum(s.cache_misses.values()))"
    )
    runs = [subprocess.check_output([sys.executable, "-c", script], text=True).split() for _ in range(2)]
    assert runs[1] == ["1", "0"]
