"""HD95 against MONAI, SimpleITK and by hand."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_hausdorff_distance
from scipy import ndimage

from segtrail.measures.surface import hd95, surface_voxels


def monai_hd95(a, b, spacing):
    masks = [torch.from_numpy(mask[None, None]) for mask in (a, b)]
    return float(
        compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=list(spacing))
    )


def directed_by_simpleitk(a, b, spacing):
    """95th percentile of the distances from the surface of `a` to that of `b`, by a distance map."""
    surface = np.zeros(b.shape, np.uint8)
    surface[tuple(surface_voxels(b).T)] = 1
    image = sitk.GetImageFromArray(surface)
    image.SetSpacing(spacing[::-1])
    distance = sitk.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    return np.percentile(np.abs(sitk.GetArrayFromImage(distance))[tuple(surface_voxels(a).T)], 95)


def blob(rng, shape, level):
    field = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    return field > level * field.std()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (8.0, 1.4, 1.4), (3.0, 0.6, 0.7)])
def test_agrees_with_monai_and_simpleitk_on_random_masks(seed, spacing):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(5, 40, 3))
    a, b = (blob(rng, shape, rng.uniform(0, 1.5)) for _ in range(2))  # many touch the border
    got = hd95(a, b, spacing)
    assert got == pytest.approx(monai_hd95(a, b, spacing), rel=1e-6)
    directed = max(directed_by_simpleitk(a, b, spacing), directed_by_simpleitk(b, a, spacing))
    assert got == pytest.approx(directed, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_monai_on_close_masks_with_a_far_false_positive(seed):
    rng = np.random.default_rng(seed)
    a = blob(rng, (30, 60, 60), 1.0)
    b = ndimage.binary_dilation(a) & (rng.random(a.shape) < 0.98)
    b[-2:, -5:, -5:] = True
    assert hd95(a, b, (2.0, 1.0, 1.0)) == pytest.approx(monai_hd95(a, b, (2.0, 1.0, 1.0)), rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 12, 12), (12, 12), (1, 1, 9)])
def test_degenerate_shapes_agree_with_monai(shape):
    rng = np.random.default_rng(len(shape))
    a, b = rng.random(shape) < 0.4, rng.random(shape) < 0.4
    a.flat[0] = b.flat[-1] = True
    spacing = (2.0, 3.0, 0.5)[: len(shape)]
    assert hd95(a, b, spacing) == pytest.approx(monai_hd95(a, b, spacing), rel=1e-6)


def test_hand_computed_case():
    a, b = np.zeros((5, 20, 20), bool), np.zeros((5, 20, 20), bool)
    a[2, 4, 4] = True
    b[2, 7, 8] = True  # 3 and 4 voxels away
    assert hd95(a, b, (5.0, 2.0, 2.0)) == 10.0
    assert hd95(a, a, (5.0, 2.0, 2.0)) == 0.0
    b[2, 4, 4] = True  # a → b: 0; b → a: 0 and 10, of which the 95th percentile is 9.5
    assert hd95(a, b, (5.0, 2.0, 2.0)) == pytest.approx(9.5)


def test_empty_masks_give_nan():
    full, empty = np.ones((3, 3, 3), bool), np.zeros((3, 3, 3), bool)
    for a, b in ((full, empty), (empty, full), (empty, empty)):
        assert np.isnan(hd95(a, b, (1.0, 1.0, 1.0)))


def test_arguments_that_do_not_fit_are_refused():
    a = np.ones((3, 3, 3), bool)
    with pytest.raises(ValueError, match="shapes"):
        hd95(a, a[:2], (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="shapes"):
        hd95(a, a, (1.0, 1.0))
    with pytest.raises(ValueError, match="above 0"):
        hd95(a, a, (1.0, 0.0, 1.0))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([0.5, 2.0, 7.0]))
def test_symmetric_scales_with_spacing_and_ignores_what_lies_around(seed, factor):
    rng = np.random.default_rng(seed)
    a, b = (rng.random((4, 9, 9)) < rng.uniform(0.05, 0.6) for _ in range(2))
    a[0, 0, 0] = b[3, 8, 8] = True
    spacing = (3.0, 1.2, 1.0)
    got = hd95(a, b, spacing)
    assert hd95(b, a, spacing) == got
    assert hd95(a, b, tuple(factor * mm for mm in spacing)) == pytest.approx(factor * got)
    assert hd95(np.pad(a, 3), np.pad(b, 3), spacing) == pytest.approx(got)
