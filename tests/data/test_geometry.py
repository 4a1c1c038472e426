"""The way from the scan's grid to the prepared one, and back."""

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrail.data.geometry import (
    Geometry,
    Grid,
    grid_of_shape,
    grid_of_spacing,
    resample,
    to_original_grid,
)

repeatable = settings(deadline=None, derandomize=True)


def oblique(spacing: tuple[float, float, float]) -> np.ndarray:
    """An affine with a rotation about an oblique axis, a flip and a shift."""
    q = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = q @ np.diag([-1, 1, 1]) @ np.diag(spacing)
    affine[:3, 3] = (-40.0, 12.5, 7.25)
    return affine


def geometry(shape: tuple[int, int, int] = (13, 11, 7), spacing=(0.7, 0.9, 3.0)) -> Geometry:
    return Geometry.of_scan(shape, oblique(spacing), spacing)


def world_of_scan(geometry: Geometry) -> np.ndarray:
    """World coordinates (3, Z, Y, X) of the scan's voxels, in mm."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in geometry.source_shape), indexing="ij")
    world = np.einsum("ij,jxyz->ixyz", geometry.source_affine, np.stack([x, y, z, np.ones_like(x)]))
    return world[:3].transpose(0, 3, 2, 1)


def world_of_prepared(geometry: Geometry) -> np.ndarray:
    z, y, x = np.meshgrid(*(np.arange(n) for n in geometry.shape[::-1]), indexing="ij")
    return np.einsum("ij,jzyx->izyx", geometry.affine, np.stack([x, y, z, np.ones_like(x)]))[:3]


@repeatable
@given(
    st.tuples(*[st.integers(2, 14)] * 3),
    st.tuples(*[st.floats(0.4, 4)] * 3),
    st.tuples(*[st.none() | st.floats(0.4, 4)] * 3),
)
def test_a_resampled_voxel_lies_where_the_affine_says(shape, spacing, wanted):
    scan = geometry(shape, spacing)
    grid = grid_of_spacing(scan, wanted)
    prepared = scan.overlaid(grid)
    for n, old, new, asked in zip(prepared.shape, spacing, prepared.spacing, wanted, strict=True):
        assert new == pytest.approx(old if asked is None else asked, rel=1e-3)
        assert n >= 1
    values = np.stack([resample(axis, grid, order=1) for axis in world_of_scan(scan)])
    # Beyond the outer voxel centres the value of the edge goes on; inside, interpolation is exact.
    edges = [f * np.arange(n) + o for n, f, o in zip(grid.shape, grid.factor, grid.offset, strict=True)]
    inside = [(edge > -1e-9) & (edge < n - 1 + 1e-9) for edge, n in zip(edges, shape, strict=True)]
    chosen = np.ix_([True] * 3, *inside[::-1])
    np.testing.assert_allclose(values[chosen], world_of_prepared(prepared)[chosen], atol=1e-6)


@repeatable
@given(st.tuples(*[st.integers(1, 20)] * 3), st.tuples(*[st.none() | st.integers(1, 20)] * 3))
def test_a_new_shape_keeps_the_field_of_view(shape, wanted):
    scan = geometry(shape)
    prepared = scan.overlaid(grid_of_shape(scan, wanted))
    assert prepared.shape == tuple(n if w is None else w for n, w in zip(shape, wanted, strict=True))
    near = np.array([-0.5, -0.5, -0.5, 1.0])
    np.testing.assert_allclose(prepared.affine @ near, scan.affine @ near, atol=1e-9)
    far, wanted_far = (np.array([*(n - 0.5 for n in grid.shape), 1.0]) for grid in (prepared, scan))
    np.testing.assert_allclose(prepared.affine @ far, scan.affine @ wanted_far, atol=1e-9)


@pytest.mark.parametrize(("order", "interpolator"), [(1, sitk.sitkLinear), (0, sitk.sitkNearestNeighbor)])
def test_resampling_agrees_with_simpleitk(order, interpolator):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 200, (9, 31, 27)).astype(np.float32 if order else np.uint8)
    scan = Geometry.of_scan((27, 31, 9), np.diag([0.81, 0.93, 3.1, 1]), (0.81, 0.93, 3.1))
    grid = grid_of_spacing(scan, (1.27, 0.61, 2.3))
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.81, 0.93, 3.1))
    prepared = scan.overlaid(grid)
    theirs = sitk.Resample(
        image,
        prepared.shape,
        sitk.Transform(),
        interpolator,
        prepared.affine[:3, 3].tolist(),
        prepared.spacing,
        np.eye(3).ravel().tolist(),
        0,
        image.GetPixelID(),
    )
    ours = resample(array, grid, order)
    assert ours.dtype == array.dtype
    np.testing.assert_allclose(ours, sitk.GetArrayFromImage(theirs), atol=1e-4)


def test_a_spacing_that_is_there_already_changes_nothing():
    scan = geometry((240, 240, 155), (1.0000001, 0.9999999, 1.0))
    grid = grid_of_spacing(scan, (1, 1, 1))
    assert grid == Grid((240, 240, 155))
    array = np.random.default_rng(0).normal(size=(155, 240, 240))
    assert np.shares_memory(resample(array, grid, 1), array)


def test_a_block_and_back_is_exact():
    scan = geometry()
    label = np.random.default_rng(0).integers(0, 4, (7, 11, 13)).astype(np.uint8)
    # Padded by one in x, cut in y, cut in z.
    prepared = scan.overlaid(Grid((15, 6, 4), offset=(-1, 3, 2)))
    cut = np.pad(label, ((0, 0), (0, 0), (1, 1)))[2:6, 3:9, :]
    back = to_original_grid(cut, prepared, order=0, fill=9)
    assert back.shape == (13, 11, 7)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back[:, 3:9, 2:6], label.T[:, 3:9, 2:6])
    assert (np.delete(back, range(3, 9), axis=1) == 9).all()
    assert (np.delete(back, range(2, 6), axis=2) == 9).all()
    soft = cut.astype(np.float32) / 7
    np.testing.assert_array_equal(
        to_original_grid(soft, prepared)[:, 3:9, 2:6], soft.transpose(2, 1, 0)[1:-1]
    )


@repeatable
@given(
    st.tuples(*[st.integers(4, 14)] * 3),
    st.tuples(*[st.floats(0.5, 3)] * 3),
    st.tuples(*[st.integers(-3, 3)] * 3),
    st.tuples(*[st.integers(3, 16)] * 3),
)
def test_coordinates_come_back_to_their_own_voxels(shape, spacing, start, size):
    scan = geometry(shape, (1.0, 1.5, 2.0))
    prepared = scan.overlaid(grid_of_spacing(scan, spacing)).overlaid(Grid(size, offset=start))
    back = np.stack([to_original_grid(axis, prepared, fill=np.nan) for axis in world_of_prepared(prepared)])
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    factor = np.reshape(prepared.grid.factor, (3, 1, 1, 1))
    place = (index - np.reshape(prepared.grid.offset, (3, 1, 1, 1))) / factor
    ends = np.reshape(prepared.shape, (3, 1, 1, 1))
    covered = ((place > -0.5 + 1e-5) & (place < ends - 0.5 - 1e-5)).all(axis=0)
    outside = ((place < -0.5 - 1e-5) | (place > ends - 0.5 + 1e-5)).any(axis=0)
    assert np.isfinite(back[:, covered]).all()
    assert np.isnan(back[:, outside]).all()
    inside = ((place >= 0) & (place <= ends - 1)).all(axis=0)
    expected = world_of_scan(scan).transpose(0, 3, 2, 1)
    np.testing.assert_allclose(back[:, inside], expected[:, inside], atol=1e-6)


def test_a_grid_beside_the_scan_gives_only_fill():
    away = geometry().overlaid(Grid((4, 4, 4), offset=(50, 0, 0)))
    assert (to_original_grid(np.ones((4, 4, 4)), away, fill=-1) == -1).all()
    before = geometry().overlaid(Grid((4, 4, 4), offset=(-50, 0, 0)))
    assert (to_original_grid(np.ones((4, 4, 4)), before, fill=-1) == -1).all()


def test_maps_that_cannot_be_brought_back_are_refused():
    with pytest.raises(ValueError, match="the prepared grid"):
        to_original_grid(np.ones((13, 11, 7)), geometry())
    with pytest.raises(ValueError, match="would round"):
        to_original_grid(np.ones((7, 11, 13), np.uint8), geometry(), order=1)
    half = np.full((7, 11, 13), 0.25, np.float16)
    assert to_original_grid(half, geometry()).dtype == np.float32


def test_a_geometry_survives_json_to_the_last_bit():
    scan = geometry()
    scan = scan.overlaid(grid_of_spacing(scan, (1.1, 0.7, None))).overlaid(Grid((5, 5, 5), offset=(1, -2, 0)))
    assert Geometry.from_dict(json.loads(json.dumps(scan.as_dict()))) == scan
