"""Each step of a recipe against an independent computation, and what a recipe refuses."""

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import fixtures
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from scans import SHAPE, SPACING, affine_of, ball, cohort, noise, write, zyx
from scipy import stats
from scipy.spatial.transform import Rotation

from segtrail.data.geometry import Geometry
from segtrail.data.items import Item
from segtrail.data.preprocess import population_statistics, prepare, to_original_grid
from segtrail.data.readers import list_subjects
from segtrail.data.subject import Subject
from segtrail.data.volumes import write_nifti
from segtrail.errors import ConfigError, DataError


@pytest.fixture
def image() -> np.ndarray:
    return noise(SHAPE)


@pytest.fixture
def subject(tmp_path: Path, image: np.ndarray) -> Subject:
    return write(tmp_path, "s1", image, ball(SHAPE))


def test_without_a_recipe_the_scan_is_as_it_was(subject, image):
    prepared = prepare(subject, "d", "test", cohort())
    np.testing.assert_array_equal(prepared.image, zyx(image))
    label = zyx(ball(SHAPE))
    np.testing.assert_array_equal(prepared.label == 1, label == 2)  # class 1 is the segment named first
    np.testing.assert_array_equal(prepared.label == 2, label == 1)
    assert (prepared.image.dtype, prepared.label.dtype) == (np.float32, np.uint8)
    assert prepared.spacing_zyx == pytest.approx(SPACING[::-1])
    named = (
        prepared.subject,
        prepared.patient,
        prepared.dataset,
        prepared.site,
        prepared.group,
        prepared.frame,
    )
    assert named == ("s1", "patient_s1", "d", "S", "G", "ED")
    np.testing.assert_allclose(prepared.geometry.affine, affine_of(SPACING), atol=1e-5)


def resampled_by_simpleitk(path: Path, geometry: Geometry, interpolator: int) -> np.ndarray:
    scan = sitk.ReadImage(str(path))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine
    direction = lps[:3, :3] / geometry.spacing
    if scan.GetPixelIDValue() in (sitk.sitkInt16, sitk.sitkUInt16):  # or ITK would round what it interpolates
        scan = sitk.Cast(scan, sitk.sitkFloat32)
    return sitk.GetArrayFromImage(
        sitk.Resample(
            scan,
            geometry.shape,
            sitk.Transform(),
            interpolator,
            lps[:3, 3].tolist(),
            geometry.spacing,
            direction.ravel().tolist(),
        )
    )


@pytest.mark.parametrize(
    ("step", "shape", "spacing"),
    [
        ({"step": "resample_to_spacing", "spacing": [1.3, None, 2.7]}, (13, 17, 9), (1.3, 1.1, 2.7)),
        ({"step": "resample_to_spacing", "spacing": [0.5, 0.5, 0.9]}, (34, 37, 27), (0.5, 0.5, 0.9)),
        ({"step": "resample_to_shape", "shape": [None, 30, 4]}, (21, 30, 4), (0.8, 1.1 * 17 / 30, 6.0)),
    ],
)
def test_resampling(subject, step, shape, spacing):
    prepared = prepare(subject, "d", "test", cohort(step))
    assert prepared.geometry.shape == shape
    assert prepared.geometry.spacing == pytest.approx(spacing)
    for channel, ours in zip(("c0", "c1"), prepared.image, strict=True):
        theirs = resampled_by_simpleitk(subject.channels[channel], prepared.geometry, sitk.sitkLinear)
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
    label = resampled_by_simpleitk(subject.label, prepared.geometry, sitk.sitkNearestNeighbor)
    assert (np.array([0, 2, 1])[label] != prepared.label).mean() < 0.002  # ties between two voxels


def test_centre_crop_or_pad(subject, image):
    step = {"step": "centre_crop_or_pad", "shape": [24, 10, None]}
    prepared = prepare(subject, "d", "test", cohort(step))
    for ours, scan in zip(prepared.image, zyx(image), strict=True):
        expected = np.pad(scan[:, 3:13], ((0, 0), (0, 0), (1, 2)), constant_values=scan.min())
        np.testing.assert_array_equal(ours, expected)
    label = np.pad(np.array([0, 2, 1])[zyx(ball(SHAPE))][:, 3:13], ((0, 0), (0, 0), (1, 2)))
    np.testing.assert_array_equal(prepared.label, label)


def test_a_crop_undoes_a_pad(subject, image):
    there = {"step": "centre_crop_or_pad", "shape": [24, 30, 9]}
    back = {"step": "centre_crop_or_pad", "shape": list(SHAPE)}
    prepared = prepare(subject, "d", "test", cohort(there, back))
    np.testing.assert_array_equal(prepared.image, zyx(image))
    assert prepared.geometry == prepare(subject, "d", "test", cohort()).geometry


@pytest.mark.parametrize(("classes", "margin"), [(None, 0), ([1], 0), ([1], 4.1), (None, 1000)])
def test_crop_to_label(subject, image, classes, margin):
    step = {"step": "crop_to_label", "classes": classes, "margin_mm": margin}
    prepared = prepare(subject, "d", "test", cohort(step))
    chosen = ball(SHAPE) == 2 if classes else ball(SHAPE) > 0
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(sitk.GetImageFromArray(zyx(chosen).astype(np.uint8)))
    x, y, z, nx, ny, nz = shapes.GetBoundingBox(1)
    block = []
    for first, n, spacing, whole in zip((x, y, z), (nx, ny, nz), SPACING, SHAPE, strict=True):
        extra = int(np.ceil(margin / spacing))
        block.append(slice(max(0, first - extra), min(whole, first + n + extra)))
    np.testing.assert_array_equal(prepared.image, zyx(image[:, *block]))


def test_window(subject, image):
    prepared = prepare(subject, "d", "test", cohort({"step": "window", "low": 90, "high": 105}))
    expected = sitk.Clamp(sitk.GetImageFromArray(zyx(image)[1]), sitk.sitkFloat32, 90, 105)
    np.testing.assert_array_equal(prepared.image[1], sitk.GetArrayFromImage(expected))


@pytest.mark.parametrize("classes", [None, [2]])
def test_fill_outside(subject, image, classes):
    prepared = prepare(
        subject, "d", "test", cohort({"step": "fill_outside", "value": -7, "classes": classes})
    )
    mask = ball(SHAPE) == 1 if classes else ball(SHAPE) > 0
    expected = [
        sitk.GetArrayFromImage(
            sitk.Mask(sitk.GetImageFromArray(zyx(c)), sitk.GetImageFromArray(zyx(mask).astype(np.uint8)), -7)
        )
        for c in image
    ]
    np.testing.assert_array_equal(prepared.image, expected)


def test_min_max(subject, image):
    prepared = prepare(subject, "d", "test", cohort({"step": "min_max"}))
    for ours, scan in zip(prepared.image, zyx(image), strict=True):
        theirs = sitk.RescaleIntensity(sitk.GetImageFromArray(scan), 0, 1)
        np.testing.assert_allclose(ours, sitk.GetArrayFromImage(theirs), atol=1e-6)
        assert (ours.min(), ours.max()) == (0, 1)


def test_min_max_with_percentiles(subject, image):
    step = {"step": "min_max", "lower_percentile": 2, "upper_percentile": 97.5}
    prepared = prepare(subject, "d", "test", cohort(step))
    for ours, scan in zip(prepared.image, zyx(image), strict=True):
        low, high = stats.scoreatpercentile(scan.astype(float), [2, 97.5])
        np.testing.assert_allclose(ours, (np.clip(scan, low, high) - low) / (high - low), atol=1e-5)
        assert (ours.min(), ours.max()) == (0, 1)


def test_z_score_over_the_volume(subject, image):
    prepared = prepare(subject, "d", "test", cohort({"step": "z_score"}))
    for ours, scan in zip(prepared.image, zyx(image), strict=True):
        np.testing.assert_allclose(ours, stats.zscore(scan.astype(float), axis=None), atol=1e-5)


def test_z_score_over_a_mask(tmp_path, image):
    """The mask is that of the raw values, also after a step that shifts them and one that pads."""
    brain = ball(SHAPE, 0.8) > 0
    raw = np.where(brain, image, 0).astype(np.float32)
    subject = write(tmp_path, "masked", raw, ball(SHAPE))
    steps = (
        {"step": "window", "low": 95, "high": 1000},
        {"step": "centre_crop_or_pad", "shape": [25, 15, None]},
        {"step": "z_score", "over": "nonzero"},
    )
    prepared = prepare(subject, "d", "test", cohort(*steps))
    mask = zyx(np.pad(brain[:, 1:16], ((2, 2), (0, 0), (0, 0))))
    for ours, scan in zip(prepared.image, np.clip(image, 95, None), strict=True):
        values = zyx(np.pad(scan[:, 1:16], ((2, 2), (0, 0), (0, 0)))).astype(float)[mask]
        np.testing.assert_allclose(ours[mask], stats.zscore(values), atol=1e-5)
        assert (ours[~mask] == 0).all()


def test_z_score_over_a_mask_after_resampling(tmp_path, image):
    brain = ball(SHAPE, 0.8) > 0
    subject = write(tmp_path, "masked", np.where(brain, image, 0).astype(np.float32), ball(SHAPE))
    resample = {"step": "resample_to_spacing", "spacing": [1.3, 1.3, None]}
    prepared = prepare(subject, "d", "test", cohort(resample, {"step": "z_score", "over": "nonzero"}))
    before = prepare(subject, "d", "test", cohort(resample))
    mask_path = tmp_path / "mask.nii"
    nib.save(nib.Nifti1Image(brain.astype(np.uint8), affine_of(SPACING)), mask_path)
    mask = resampled_by_simpleitk(mask_path, prepared.geometry, sitk.sitkNearestNeighbor) > 0
    expected = np.where(mask, stats.zscore(before.image[0].astype(float), axis=None), 0)
    expected[mask] = stats.zscore(before.image[0].astype(float)[mask])
    np.testing.assert_allclose(prepared.image[0], expected, atol=1e-5)


# --- masks ---------------------------------------------------------------------------------------


@pytest.fixture
def head(tmp_path: Path, image: np.ndarray) -> tuple[Subject, np.ndarray]:
    """A subject whose channel c1 is 0 or below around a ball, and the ball (X, Y, Z)."""
    inside = ball(SHAPE, 0.8) > 0
    image[1] = np.where(inside, image[1], -np.abs(image[1]))
    image[1, :2] = 0
    inside[:2] = False
    return write(tmp_path, "head", image, ball(SHAPE)), inside


@pytest.mark.parametrize("channels", [("c0", "c1"), ("c0",)])
def test_a_mask_is_where_the_raw_channel_is_above_zero(head, channels):
    """Also of a channel that the cohort does not use; padding lies outside, and what is cut off is gone."""
    subject, inside = head
    steps = ({"step": "z_score"}, {"step": "centre_crop_or_pad", "shape": [25, 13, None]})
    prepared = prepare(subject, "d", "test", cohort(*steps, channels=channels, mask="c1"))
    assert prepared.mask.dtype == bool
    np.testing.assert_array_equal(prepared.mask, zyx(np.pad(inside[:, 2:15], ((2, 2), (0, 0), (0, 0)))))
    without = prepare(subject, "d", "test", cohort(*steps, channels=channels))
    assert without.mask is None
    for name in ("image", "label"):
        np.testing.assert_array_equal(getattr(prepared, name), getattr(without, name))


def test_a_mask_is_resampled_to_the_nearest_voxel(tmp_path, head):
    subject, inside = head
    resample = {"step": "resample_to_spacing", "spacing": [1.3, 0.7, 2.5]}
    prepared = prepare(subject, "d", "test", cohort(resample, channels=["c0"], mask="c1"))
    path = tmp_path / "mask.nii"
    nib.save(nib.Nifti1Image(inside.astype(np.uint8), affine_of(SPACING)), path)
    expected = resampled_by_simpleitk(path, prepared.geometry, sitk.sitkNearestNeighbor) > 0
    assert (prepared.mask != expected).mean() < 0.002  # ties between two voxels
    assert prepared.mask.shape == prepared.label.shape


@pytest.mark.parametrize("layout", ["msd", "folder"])
def test_a_users_data_set_can_be_masked_by_any_of_its_channels(tmp_path, layout):
    if layout == "msd":
        fixtures.msd(tmp_path, "p_1", modality=("FLAIR", "T2w"))
        dataset = fixtures.dataset("msd", ["flair", "t2w"], [0, 1, 2])
        used, masked = "flair", "t2w"
        path = tmp_path / "imagesTr" / "p_1.nii.gz"
        values = np.asarray(nib.load(path).dataobj) - 1000
        fixtures.put(path, values)
        values = values[..., 1]
    else:
        fixtures.folder(tmp_path, "p_1")
        dataset = fixtures.dataset("folder", ["t1", "t2"], [0, 1])
        used, masked = "t1", "t2"
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "images" / "p_1_t2.mha"))).T - 1000
        sitk.WriteImage(sitk.GetImageFromArray(values.T), str(tmp_path / "images" / "p_1_t2.mha"))
        fixtures.put(tmp_path / "images" / "p_1_t1.nii.gz", fixtures.scan(), MHA_GRID)
        fixtures.put(tmp_path / "labels" / "p_1.nii.gz", fixtures.mask(1), MHA_GRID)
    (subject,) = list_subjects(tmp_path, dataset).subjects
    prepared = prepare(subject, "d", "test", cohort(channels=[used], classes=(1,), mask=masked))
    assert 0 < prepared.mask.mean() < 1
    np.testing.assert_array_equal(prepared.mask, zyx(values > 0))


MHA_GRID = np.diag([-1.0, -1.0, 1.0, 1.0])


def test_a_mask_that_cannot_be_made_is_refused(tmp_path, head):
    subject, _ = head
    with pytest.raises(DataError, match="missing: t2") as caught:
        prepare(subject, "d", "test", cohort(mask="t2"))
    assert caught.value.subject == "head"
    assert "t2 for its mask" in caught.value.expected

    crop = {"step": "centre_crop_or_pad", "shape": [3, 3, None]}
    label = np.ones(SHAPE, np.uint8)
    corner = noise(SHAPE)
    corner[1] = 0
    corner[1, 0, 0] = 7
    for name, array, steps in (("cut", corner, [crop]), ("black", corner * [[[[1]]], [[[0]]]], [])):
        subject = write(tmp_path, name, array.astype(np.float32), label)
        with pytest.raises(DataError, match="an empty mask: no voxel of channel c1 is above 0") as caught:
            prepare(subject, "d", "test", cohort(*steps, channels=["c0"], classes=(1,), mask="c1"))
        assert (caught.value.subject, caught.value.file) == (name, str(subject.channels["c1"]))

    corner[1, 4, 4] = np.nan
    subject = write(tmp_path, "nan", corner, label)
    with pytest.raises(DataError, match="NaN") as caught:
        prepare(subject, "d", "test", cohort(channels=["c0"], classes=(1,), mask="c1"))
    assert caught.value.file == str(subject.channels["c1"])


# --- statistics of the training part ---------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_z_score_over_the_training_population(tmp_path, jobs):
    shapes = [(9, 8, 4), (7, 12, 5), (10, 10, 3)]
    scans = [noise(shape, seed) + 50 * seed for seed, shape in enumerate(shapes)]
    items = [
        Item("d", write(tmp_path, f"s{i}", scan, ball(scan.shape[1:])), part)
        for (i, scan), part in zip(enumerate(scans), ("train", "test", "train"), strict=True)
    ]
    steps = ({"step": "window", "low": 80, "high": 210}, {"step": "z_score", "over": "population"})
    found = population_statistics(items[::-1], cohort(*steps), jobs=jobs)
    assert found == population_statistics(items, cohort(*steps))
    for index, channel in enumerate(("c0", "c1")):
        values = np.concatenate([np.clip(scans[i][index], 80, 210).ravel() for i in (0, 2)]).astype(float)
        assert found[channel] == pytest.approx(
            {"mean": values.mean(), "std": values.std(), "n": values.size}, rel=1e-12
        )
        prepared = prepare(items[1].subject, "d", "test", cohort(*steps), found)
        expected = (zyx(np.clip(scans[1][index], 80, 210)) - values.mean()) / values.std()
        np.testing.assert_allclose(prepared.image[index], expected, atol=1e-5)
    items[2].subject.label.unlink()
    with pytest.raises(DataError) as caught:
        population_statistics(items, cohort(*steps), jobs)
    assert caught.value.subject == "s2"
    fewer = population_statistics(items, cohort(*steps), jobs, on_bad_subject="exclude")
    assert fewer == population_statistics(items[:1], cohort(*steps))
    items[0].subject.label.unlink()
    with pytest.raises(DataError, match="no training subject is usable"):
        population_statistics(items, cohort(*steps), jobs, on_bad_subject="exclude")


def test_statistics_that_are_not_there_are_missed(subject):
    step = {"step": "z_score", "over": "population"}
    with pytest.raises(ConfigError, match="without statistics of channel c0"):
        prepare(subject, "d", "test", cohort(step))
    with pytest.raises(ConfigError, match="no training subjects"):
        population_statistics([Item("d", subject, "test")], cohort(step))
    with pytest.raises(ConfigError, match="two z_score steps"):
        population_statistics([Item("d", subject, "train")], cohort(step, step))
    assert population_statistics([Item("d", subject, "train")], cohort({"step": "z_score"})) == {}


def test_round_trip_of_a_whole_recipe(tmp_path):
    shape = (60, 50, 12)
    subject = write(tmp_path, "s", noise(shape), ball(shape), spacing=(0.9, 0.7, 3.0))
    steps = (
        {"step": "resample_to_spacing", "spacing": [0.6, 0.8, 2.0]},
        {"step": "centre_crop_or_pad", "shape": [100, 40, None]},
        {"step": "crop_to_label", "margin_mm": 5},
    )
    prepared = prepare(subject, "d", "test", cohort(*steps))
    back = to_original_grid(prepared.label, prepared.geometry, order=0)
    truth = np.array([0, 2, 1])[ball(shape)]
    assert back.shape == shape
    for k in (1, 2):
        overlap = 2 * ((back == k) & (truth == k)).sum() / ((back == k).sum() + (truth == k).sum())
        assert overlap > 0.93
    # As a probability: half-way between the classes lies where the border was.
    soft = to_original_grid((prepared.label > 0).astype(np.float32), prepared.geometry)
    overlap = 2 * ((soft > 0.5) & (truth > 0)).sum() / ((soft > 0.5).sum() + (truth > 0).sum())
    assert overlap > 0.95


def test_without_resampling_the_round_trip_is_exact(subject):
    steps = (
        {"step": "centre_crop_or_pad", "shape": [30, 15, None]},
        {"step": "crop_to_label", "margin_mm": 1},
        {"step": "min_max"},
    )
    prepared = prepare(subject, "d", "test", cohort(*steps))
    back = to_original_grid(prepared.label, prepared.geometry, order=0)
    np.testing.assert_array_equal(back, np.array([0, 2, 1])[ball(SHAPE)])


def test_a_map_written_back_opens_on_the_scans_own_grid(tmp_path):
    """As a viewer sees it: over the scan, in its place in mm, from its file alone."""
    shape, affine = (40, 36, 9), np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (10, -5, 20), degrees=True).as_matrix() @ np.diag(
        (-1.2, -1, 4)
    )
    affine[:3, 3] = (60, 40, -12)
    for name, array in (("t2", noise(shape)[0]), ("seg", ball(shape))):
        nib.save(nib.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    subject = Subject("s", "s", {"t2": tmp_path / "t2.nii.gz"}, tmp_path / "seg.nii.gz")
    steps = (
        {"step": "resample_to_spacing", "spacing": [0.9, 1.1, 3]},
        {"step": "centre_crop_or_pad", "shape": [60, 24, None]},
    )
    prepared = prepare(subject, "d", "test", cohort(*steps, channels=["t2"], classes=(1, 2)))
    label = to_original_grid(prepared.label, prepared.geometry, order=0)
    write_nifti(tmp_path / "back.nii.gz", label, prepared.geometry.source_affine)

    scan, back, truth = (nib.load(tmp_path / f"{name}.nii.gz") for name in ("t2", "back", "seg"))
    assert back.shape == scan.shape
    np.testing.assert_array_equal(back.affine, scan.affine)
    for k in (1, 2):
        ours, theirs = (np.asarray(image.dataobj) == k for image in (back, truth))
        assert 2 * (ours & theirs).sum() > 0.93 * (ours.sum() + theirs.sum())


def test_colour_pictures_are_single_slices(tmp_path):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, (40, 50, 3)).astype(np.uint8)  # rows, columns
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 5:30] = 255
    Image.fromarray(colours).save(tmp_path / "p.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    picture = tmp_path / "p.png"
    subject = Subject("p", "p", {"red": picture, "green": picture, "blue": picture}, tmp_path / "m.png")
    seen = cohort({"step": "min_max"}, channels=("blue", "red"), classes=(255,))
    prepared = prepare(subject, "d", "test", seen)
    for ours, index in zip(prepared.image, (2, 0), strict=True):
        low, high = colours[..., index].min(), colours[..., index].max()
        expected = (colours[..., index].astype(float) - low) / (high - low)
        np.testing.assert_allclose(ours[0], expected, atol=1e-6)
    np.testing.assert_array_equal(prepared.label[0], mask == 255)
    assert prepared.spacing_zyx == (1, 1, 1)


COLOURS = ("red", "green", "blue")


def picture(
    folder: Path, size: tuple[int, int] = (61, 47), channels: Sequence[str] = COLOURS, suffix: str = "png"
) -> Subject:
    """Smooth colours with some noise, and a slanted lesion, of `size` (x, y)."""
    y, x = np.mgrid[: size[1], : size[0]] / max(size)
    noise = np.random.default_rng(4).normal(0, 12, (size[1], size[0], 3))
    colours = np.stack([90 + 150 * x, 200 - 120 * y, 80 + 90 * x * y], -1) + noise
    lesion = (x - 0.5) ** 2 + 2 * (y - 0.4) ** 2 + 0.6 * (x - 0.5) * (y - 0.4) < 0.05
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8)).save(folder / f"p.{suffix}")
    Image.fromarray((255 * lesion).astype(np.uint8)).save(folder / "p_segmentation.png")
    return Subject("p", "p", dict.fromkeys(channels, folder / f"p.{suffix}"), folder / "p_segmentation.png")


def saved_and_read(subject: Subject, folder: Path, shape: tuple[int, int]) -> list[np.ndarray]:
    """As the authors of Jungo 2019 do it: resized, saved, read again; colours (Y, X, 3) and mask (Y, X)."""
    with Image.open(subject.channels["red"]) as image:
        image.resize(shape, Image.Resampling.BILINEAR).save(folder / "resized.jpg")
    with Image.open(subject.label) as image:
        image.resize(shape, Image.Resampling.NEAREST).save(folder / "resized.png")
    return [np.asarray(Image.open(folder / f"resized.{suffix}")) for suffix in ("jpg", "png")]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("shape", [(32, 24), (90, 70)])
def test_a_picture_is_resized_as_if_saved_between(tmp_path, suffix, shape):
    subject = picture(tmp_path, suffix=suffix)
    steps = (
        {"step": "resize_picture", "shape": shape, "jpeg_quality": 75},
        {"step": "min_max", "over": "image"},
    )
    prepared = prepare(subject, "d", "test", cohort(*steps, channels=COLOURS, classes=(255,)))
    colours, lesion = saved_and_read(subject, tmp_path, shape)  # Pillow's default quality is 75
    colours = colours.astype(float)
    expected = (colours - colours.min()) / (colours.max() - colours.min())
    np.testing.assert_allclose(prepared.image[:, 0], expected.transpose(2, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(prepared.label[0], lesion == 255)
    assert prepared.geometry.shape == (*shape, 1)
    assert prepared.geometry.spacing == pytest.approx((61 / shape[0], 47 / shape[1], 1))
    back = to_original_grid(prepared.label, prepared.geometry, order=0)[..., 0].T
    truth = np.asarray(Image.open(subject.label)) == 255
    assert 2 * (back & truth).sum() > 0.93 * (back.sum() + truth.sum())


def test_a_smaller_picture_averages_what_a_new_pixel_covers(tmp_path):
    """By the definition: a triangle of the new pixel's width on each axis, cut at the borders."""
    subject = picture(tmp_path)
    step = {"step": "resize_picture", "shape": [20, 16]}
    prepared = prepare(subject, "d", "test", cohort(step, channels=COLOURS, classes=(255,)))
    weights = []
    for old, new in ((61, 20), (47, 16)):
        centres = (np.arange(new)[:, None] + 0.5) * old / new
        triangle = np.maximum(0, 1 - np.abs(np.arange(old) + 0.5 - centres) / (old / new))
        weights.append(triangle / triangle.sum(axis=1, keepdims=True))
    before = np.asarray(Image.open(subject.channels["red"]), float)
    expected = np.einsum("iy,yxc,jx->cij", weights[1], before, weights[0])
    assert np.abs(prepared.image[:, 0] - expected).max() <= 1  # Pillow rounds after each axis


def test_the_order_of_the_channels_does_not_change_a_picture(tmp_path):
    subject = picture(tmp_path)
    step = {"step": "resize_picture", "shape": [30, 22], "jpeg_quality": 40}
    rgb, other = (
        prepare(subject, "d", "test", cohort(step, channels=order, classes=(255,)))
        for order in (COLOURS, ("blue", "red", "green"))
    )
    np.testing.assert_array_equal(other.image, rgb.image[[2, 0, 1]])


def test_a_grey_picture_and_its_mask_are_resized(tmp_path):
    values = np.zeros((47, 61), np.uint8)
    values[10:30, 15:45] = np.random.default_rng(0).integers(100, 250, (20, 30))
    fixtures.put(tmp_path / "p.png", values)
    fixtures.put(tmp_path / "m.png", (255 * (values > 0)).astype(np.uint8))
    subject = Subject("p", "p", {"gray": tmp_path / "p.png"}, tmp_path / "m.png")
    step = {"step": "resize_picture", "shape": [30, 24]}
    seen = cohort(
        step, {"step": "z_score", "over": "nonzero"}, channels=["gray"], classes=(255,), mask="gray"
    )
    prepared = prepare(subject, "d", "test", seen)
    np.testing.assert_array_equal(prepared.mask, prepared.label == 1)
    assert (prepared.image[0][~prepared.mask] == 0).all()
    assert prepared.image[0][prepared.mask].std() == pytest.approx(1, abs=1e-4)


def test_what_is_no_picture_is_not_resized_as_one(tmp_path, subject):
    step = {"step": "resize_picture", "shape": [8, 8]}
    with pytest.raises(DataError, match="6 slices") as caught:
        prepare(subject, "d", "test", cohort(step, channels=["c0"]))
    assert caught.value.subject == "s1"
    assert "0 to 255" in caught.value.expected
    scaled = cohort({"step": "min_max"}, step, channels=COLOURS, classes=(255,))
    with pytest.raises(DataError, match="values from 0 to 1"):
        prepare(picture(tmp_path), "d", "test", scaled)
    flat = write(tmp_path, "ct", np.full((1, 9, 9, 1), -3, np.int16), np.ones((9, 9, 1), np.uint8))
    with pytest.raises(DataError, match="values from -3 to -3"):
        prepare(flat, "d", "test", cohort(step, channels=["c0"], classes=(1,)))
    with pytest.raises(ConfigError, match="resize_picture of the channels red, green"):
        prepare(picture(tmp_path), "d", "test", cohort(step, channels=COLOURS[:2], classes=(255,)))


def test_min_max_over_the_image_keeps_the_colours_apart(subject, image):
    seen = cohort({"step": "min_max", "over": "image", "lower_percentile": 3, "upper_percentile": 96})
    prepared = prepare(subject, "d", "test", seen)
    low, high = stats.scoreatpercentile(image.astype(float), [3, 96])
    np.testing.assert_allclose(
        prepared.image, (np.clip(zyx(image), low, high) - low) / (high - low), atol=1e-5
    )


def test_a_constant_image_has_no_range(tmp_path):
    both = np.full((2, *SHAPE), 4, np.int16)
    with pytest.raises(DataError, match=r"channel c0 c1: percentiles 0\.0 and 100\.0 are both 4"):
        prepare(
            write(tmp_path, "s", both, ball(SHAPE)), "d", "test", cohort({"step": "min_max", "over": "image"})
        )


def test_real_photographs_of_skin(tmp_path):
    """The recipe of Jungo 2019 on some of every kind, against Pillow by way of files."""
    described = fixtures.dataset("isic17", list(COLOURS), [0, 255])
    subjects = list_subjects(fixtures.real("isic2017"), described).subjects[::300]
    recipe = cohort(
        {"step": "resize_picture", "shape": [256, 192], "jpeg_quality": 75},
        {"step": "min_max", "over": "image"},
        channels=COLOURS,
        classes=(255,),
    )
    for subject in subjects:
        prepared = prepare(subject, "isic17", "train", recipe)
        colours, lesion = saved_and_read(subject, tmp_path, (256, 192))
        low, high = float(colours.min()), float(colours.max())
        expected = (colours.transpose(2, 0, 1) - low) / (high - low)
        np.testing.assert_allclose(prepared.image[:, 0], expected, atol=1e-6)
        np.testing.assert_array_equal(prepared.label[0], lesion == 255)
        assert prepared.image.shape == (3, 1, 192, 256)


@pytest.mark.parametrize(
    ("name", "classes", "spacing"),
    [("acdc", (1, 2, 3), [2, 2, None]), ("promise12", (1,), [0.75, 0.75, 2])],
)
def test_a_real_scan_there_and_back(name, classes, spacing):
    """Against SimpleITK on the scan itself, and the label back on the scan's own grid."""
    channel = {"acdc": "cine", "promise12": "t2"}[name]
    described = fixtures.dataset(name, [channel], [0, *classes])
    subject = list_subjects(fixtures.real(name), described).subjects[0]
    steps = ({"step": "resample_to_spacing", "spacing": spacing}, {"step": "min_max"})
    prepared = prepare(subject, name, "test", cohort(*steps, channels=[channel], classes=classes))
    scan = resampled_by_simpleitk(subject.channels[channel], prepared.geometry, sitk.sitkLinear)
    scan = (scan - scan.min()) / (scan.max() - scan.min())
    np.testing.assert_allclose(prepared.image[0], scan, atol=2e-3)
    label = resampled_by_simpleitk(subject.label, prepared.geometry, sitk.sitkNearestNeighbor)
    assert (label != prepared.label).mean() < 0.002  # ties between two voxels
    back = to_original_grid(prepared.label, prepared.geometry, order=0)
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(subject.label))).T
    for k in range(1, len(classes) + 1):
        assert 2 * ((back == k) & (truth == k)).sum() > 0.9 * ((back == k).sum() + (truth == k).sum())


# --- what cannot be used -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"step": "min_max"}, "channel c1: percentiles 0.0 and 100.0 are both 0.1"),
        ({"step": "z_score"}, "channel c1: 126 voxels, all of one value, over the volume"),
    ],
)
def test_a_constant_channel_is_refused(tmp_path, step, message):
    image = noise((7, 6, 3))
    image[1] = 0.1
    with pytest.raises(DataError) as caught:
        prepare(write(tmp_path, "flat", image, ball((7, 6, 3))), "d", "train", cohort(step))
    assert caught.value.subject == "flat"
    assert caught.value.found == message
    assert caught.value.remedy


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    image = noise(SHAPE).astype(np.float64)
    image[1, 2, 3, 4] = value
    subject = write(tmp_path, "s", image, ball(SHAPE))
    with pytest.raises(DataError) as caught:
        prepare(subject, "d", "train", cohort())
    assert (caught.value.subject, caught.value.file) == ("s", str(subject.channels["c1"]))


def test_missing_channels_and_labels_are_named(subject):
    with pytest.raises(DataError, match="missing: c2"):
        prepare(subject, "d", "train", cohort(channels=("c0", "c1", "c2")))
    with pytest.raises(DataError, match="no reference label"):
        prepare(Subject("s", "s", subject.channels, None), "d", "train", cohort())


@pytest.mark.parametrize("change", ["shape", "spacing"])
def test_a_label_on_another_grid_is_refused(tmp_path, subject, change):
    shape, spacing = (SHAPE, (0.8, 1.2, 4.0)) if change == "spacing" else ((21, 17, 5), SPACING)
    other = write(tmp_path / "other", "s", noise(shape), ball(shape), spacing)
    with pytest.raises(DataError) as caught:
        prepare(Subject("s", "s", subject.channels, other.label), "d", "train", cohort())
    assert (caught.value.subject, caught.value.file) == ("s", str(other.label))
    assert str(SHAPE) in caught.value.expected


def test_a_damaged_file_is_named_with_its_subject(tmp_path, subject):
    path = subject.channels["c1"]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError) as caught:
        prepare(subject, "d", "train", cohort())
    assert (caught.value.subject, caught.value.file) == ("s1", str(path))


def test_a_recipe_that_loses_the_foreground_is_refused(tmp_path):
    label = np.zeros(SHAPE, np.uint8)
    label[0, 0] = 1
    subject = write(tmp_path, "corner", noise(SHAPE), label)
    with pytest.raises(DataError, match="no foreground is left") as caught:
        prepare(subject, "d", "train", cohort({"step": "centre_crop_or_pad", "shape": [5, 5, None]}))
    assert caught.value.subject == "corner"
    with pytest.raises(DataError, match=r"no voxel of the classes \[1\]"):
        prepare(subject, "d", "train", cohort({"step": "crop_to_label", "classes": [1]}))


@pytest.mark.parametrize(
    "step",
    [
        {"step": "crop_to_label", "classes": [3]},
        {"step": "min_max", "lower_percentile": 60, "upper_percentile": 40},
    ],
)
def test_recipes_that_make_no_sense_are_refused_by_the_configuration(step):
    with pytest.raises(ValueError, match=r"class 3|must be below"):
        cohort(step)


@pytest.mark.slow
def test_memory_stays_modest_on_a_full_brain(tmp_path):
    shape = (240, 240, 155)
    image = np.broadcast_to(noise((240, 240, 1), channels=1)[0], shape).astype(np.int16)
    subject = write(tmp_path, "brain", np.stack([image] * 4), ball(shape), spacing=(1.0, 1.0, 1.0))
    steps = (
        {"step": "resample_to_spacing", "spacing": [1, 1, 2]},
        {"step": "centre_crop_or_pad", "shape": [224, 224, None]},
        {"step": "min_max", "upper_percentile": 99.5},
    )
    tracemalloc.start()
    prepared = prepare(subject, "d", "test", cohort(*steps, channels=("c0", "c1", "c2", "c3")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert prepared.image.shape == (4, 78, 224, 224)
    assert peak < 2.5 * 4 * image.size * 4  # times the float32 image as read
