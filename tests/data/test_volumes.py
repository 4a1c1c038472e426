"""Reading and writing volumes: one convention for every format, and a clear error for each damaged file."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from fixtures import AFFINE, SHAPE, msd, put, real, scan
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segtrail.data.volumes import apart, read_channels, read_volume, write_nifti
from segtrail.errors import DataError

OBLIQUE = np.array([[-1.1, 0.2, 0.4, 30], [0.1, -1.2, 0.9, -20], [0.15, 0.3, 4.0, 7], [0, 0, 0, 1.0]])


def refused(path: Path, *texts: str, channel: str | None = None) -> DataError:
    with pytest.raises(DataError) as caught:
        read_volume(path, channel)
    error = caught.value
    assert error.file == str(path) or Path(error.file).parent == path.parent
    assert error.expected
    assert error.remedy
    for text in texts:
        assert text in str(error), f"{text!r} is not in\n{error}"
    return error


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "float32", "float64"])
def test_nifti_round_trip(tmp_path, suffix, kind):
    array = scan().astype(kind)
    write_nifti(tmp_path / f"a{suffix}", array, OBLIQUE)
    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.array.dtype == kind
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(volume.spacing, np.linalg.norm(OBLIQUE[:3, :3], axis=0), rtol=1e-6)
    np.testing.assert_array_equal(nib.load(tmp_path / f"a{suffix}").get_fdata(), array)


def test_itk_reads_what_was_written_where_it_was(tmp_path):
    affine = np.eye(4)
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine[:3, :3] = turn * [1.5, 2, 5]
    affine[:3, 3] = (10, -20, 30)
    write_nifti(tmp_path / "a.nii.gz", scan(), affine)
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    np.testing.assert_allclose(image.GetSpacing(), (1.5, 2, 5), rtol=1e-5)
    x, y, z = image.TransformIndexToPhysicalPoint((3, 4, 2))  # ITK's world is LPS
    np.testing.assert_allclose((-x, -y, z), (affine @ (3, 4, 2, 1))[:3], atol=1e-4)


def test_the_same_array_gives_the_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, scan(), AFFINE)
    content = (tmp_path / "a.nii.gz").read_bytes()
    assert content == (tmp_path / "b.nii.gz").read_bytes()
    assert content[4:8] == b"\0\0\0\0"  # gzip's time


def test_scaled_values_are_read_scaled(tmp_path):
    image = nib.Nifti1Image(scan(), AFFINE)
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_allclose(
        read_volume(tmp_path / "a.nii.gz").array, nib.load(tmp_path / "a.nii.gz").get_fdata()
    )


def test_nifti_2_and_a_fourth_axis_of_one(tmp_path):
    nib.save(nib.Nifti2Image(scan()[..., None], AFFINE), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz", "ct").array, scan())


@pytest.mark.parametrize("suffix", [".mhd", ".mha"])
def test_metaimage_is_brought_to_the_convention_of_nibabel(tmp_path, suffix):
    image = SimpleITK.GetImageFromArray(scan().T)
    image.SetSpacing((0.5, 0.6, 3.0))
    image.SetOrigin((12, -7, 100))
    image.SetDirection((0.6, 0, -0.8, 0, 1, 0, 0.8, 0, 0.6))
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
    SimpleITK.WriteImage(image, str(tmp_path / "a.nii.gz"))
    volume, same = read_volume(tmp_path / f"a{suffix}"), nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array, same.get_fdata())
    np.testing.assert_allclose(volume.affine, same.affine, atol=1e-4)
    np.testing.assert_allclose(volume.spacing, (0.5, 0.6, 3.0))


def test_planes_of_a_4d_image_are_found_by_name(tmp_path):
    path = msd(tmp_path, "p_1", modality=("T2", "ADC")) / "imagesTr" / "p_1.nii.gz"
    planes = nib.load(path).get_fdata()
    second, first = read_channels(path, ["adc", "t2"])
    np.testing.assert_array_equal(first.array, planes[..., 0])
    np.testing.assert_array_equal(second.array, planes[..., 1])
    refused(path, "a plane named dwi", channel="dwi")
    refused(path, "three axes", channel=None)
    (tmp_path / "dataset.json").unlink()
    refused(path, "dataset.json", channel="t2")


def test_pictures_are_x_first_and_their_colours_are_channels(tmp_path):
    colours = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)  # rows (y), columns (x), colours
    path = put(tmp_path / "a.png", colours)
    for index, name in enumerate(("red", "green", "blue")):
        volume = read_volume(path, name)
        assert volume.array.shape == (6, 4, 1)
        assert volume.spacing == (1, 1, 1)
        np.testing.assert_array_equal(volume.array[:, :, 0], colours[:, :, index].T)
    refused(path, "RGB", channel="gray")
    refused(path, "RGB", "one channel")
    refused(path, "red, green, blue, gray", channel="t1")


def test_masks_of_one_bit_are_like_those_of_eight(tmp_path):
    values = np.array([[0, 255, 0], [255, 255, 0]], np.uint8)
    Image.fromarray(values).convert("1").save(tmp_path / "one.png")
    put(tmp_path / "eight.png", values)
    one, eight = read_volume(tmp_path / "one.png"), read_volume(tmp_path / "eight.png")
    np.testing.assert_array_equal(one.array, eight.array)
    assert apart(one, eight) == 0
    refused(tmp_path / "eight.png", "an RGB picture", channel="red")


# --- damaged files -------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 1, 5, 200, -1, -5, -9])
def test_truncated_nifti_gz(tmp_path, left):
    path = put(tmp_path / "a.nii.gz", scan())
    content = path.read_bytes()
    path.write_bytes(content[:left])
    refused(path, "a whole .nii.gz file", "copy the file again")


@pytest.mark.parametrize("name", ["a.nii", "a.mha", "a.png", "a.jpg", "a.mhd"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_other_truncated_files(tmp_path, name, share):
    picture = name.endswith(("png", "jpg"))
    path = put(tmp_path / name, np.repeat(scan().astype(np.uint8)[:, :, 0], 9, 0) if picture else scan())
    damaged = tmp_path / "a.raw" if name == "a.mhd" else path
    damaged.write_bytes(damaged.read_bytes()[: int(share * damaged.stat().st_size)])
    refused(path, "a.raw" if name == "a.mhd" else name, channel="gray" if picture else None)


def test_compressed_metaimage_that_is_cut_short(tmp_path):
    path = tmp_path / "a.mhd"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(scan().T), str(path), useCompression=True)
    voxels = tmp_path / "a.zraw"
    voxels.write_bytes(voxels.read_bytes()[: voxels.stat().st_size // 2])
    refused(path)


def test_a_flipped_bit_in_a_nifti_gz(tmp_path):
    path = put(tmp_path / "a.nii.gz", scan())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))
    refused(path, "copy the file again")


@pytest.mark.parametrize("text", [b"", b"not an image", b"\x1f\x8b", bytes(400)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mhd", "a.mha", "a.png", "a.jpg"])
def test_a_file_that_is_something_else(tmp_path, name, text):
    (tmp_path / name).write_bytes(text)
    refused(tmp_path / name, name)


def test_missing_voxels_beside_a_metaimage(tmp_path):
    path = put(tmp_path / "a.mhd", scan())
    (tmp_path / "a.raw").unlink()
    refused(path, "a.raw", "missing")


def test_missing_file_and_unknown_format(tmp_path):
    refused(tmp_path / "a.nii.gz", "No such file")
    (tmp_path / "a.tif").write_bytes(b"x")
    refused(tmp_path / "a.tif", "unknown format", ".nii.gz")


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_spacing_that_is_no_spacing(tmp_path, value):
    image = nib.Nifti1Image(scan(), AFFINE)
    content = bytearray(image.to_bytes())
    content[76 + 3 * 4 : 76 + 4 * 4] = np.float32(value).tobytes()  # pixdim[3]
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(content)))
    refused(tmp_path / "a.nii.gz", "spacing of 1.5 × 1.5 ×", "above 0 mm", "header")
    header = put(tmp_path / "a.mhd", scan())
    header.write_text(
        header.read_text().replace("ElementSpacing = 1.5 1.5 6", f"ElementSpacing = 1.5 1.5 {value}")
    )
    refused(header, "spacing of 1.5 × 1.5 ×", "above 0 mm")


def test_an_affine_that_is_flat(tmp_path):
    flat = AFFINE.copy()
    flat[:3, 1] = flat[:3, 0]
    image = nib.Nifti1Image(scan(), AFFINE)
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = flat[:3]
    (tmp_path / "a.nii").write_bytes(image.header.binaryblock + bytes(4) + scan().tobytes(order="F"))
    refused(tmp_path / "a.nii", "cannot be inverted")


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 2, 2, 2)])
def test_arrays_that_are_no_volume(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), AFFINE), tmp_path / "a.nii.gz")
    refused(tmp_path / "a.nii.gz", "three axes")


def test_colours_in_a_nifti(tmp_path):
    array = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "a.nii.gz")
    refused(tmp_path / "a.nii.gz", "one real number")


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=0, max_size=700), st.sampled_from([".nii", ".nii.gz", ".mha", ".png"]))
def test_any_bytes_are_refused_with_a_data_error(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("bytes") / f"a{suffix}"
    path.write_bytes(content)
    refused(path)


# --- grids ---------------------------------------------------------------------------------------


def test_distance_of_grids(tmp_path):
    def at(affine, shape=SHAPE):
        write_nifti(tmp_path / "a.nii", np.ones(shape, np.uint8), affine)
        return read_volume(tmp_path / "a.nii")

    moved = AFFINE.copy()
    moved[0, 3] += 2.5
    longer = AFFINE.copy()
    longer[2, 2] = 6.5
    assert apart(at(AFFINE), at(AFFINE)) == 0
    assert apart(at(AFFINE), at(moved)) == pytest.approx(2.5)
    assert apart(at(AFFINE), at(longer)) == pytest.approx(0.5 * SHAPE[2])  # the far corner
    assert apart(at(AFFINE), at(AFFINE, (12, 10, 5))) == np.inf


def test_real_promise12_agrees_with_itk():
    path = real("promise12") / "Case00.mhd"
    volume = read_volume(path)
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayFromImage(image).T)
    x, y, z = image.TransformIndexToPhysicalPoint((100, 50, 7))
    np.testing.assert_allclose((volume.affine @ (100, 50, 7, 1))[:3], (-x, -y, z), atol=1e-6)
    label = read_volume(path.with_name("Case00_segmentation.mhd"))
    assert apart(volume, label) < 0.001
    assert set(np.unique(label.array)) == {0, 1}
