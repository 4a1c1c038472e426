"""The check: what it finds in scans, and what it refuses before anything is trained."""

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import fixtures
import nibabel as nib
import numpy as np
import pytest
from fixtures import AFFINE, SHAPE, mask, put, real, scan

from segtrail.data.check import CheckReport, SubjectRow, check_dataset, inspect, inspect_many
from segtrail.data.readers import default_dataset, list_subjects
from segtrail.errors import DataError
from segtrail.files import sha256_of_file

NAME = "Brats17_CBICA_AAB_1"


def checked(layout: str, root: Path, jobs: int = 1) -> CheckReport:
    return check_dataset(root, default_dataset(layout, root), jobs)


def spoil(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    return put(path, array, affine)


def label_of(folder: Path) -> Path:
    return folder / f"{NAME}_seg.nii.gz"


def image_of(folder: Path) -> Path:
    return folder / f"{NAME}_t1ce.nii.gz"


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    array[3, 4, 2] = value
    return array


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


def without_spacing(path: Path) -> Path:
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[76 + 4 : 76 + 8] = bytes(4)  # pixdim[1]
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def flipped(affine: np.ndarray) -> np.ndarray:
    return affine @ np.diag([1.0, -1.0, 1.0, 1.0])


def shifted(mm: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[2, 3] += mm
    return affine


# what → (spoil one file of the subject and return its path, texts in the message)
BAD: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "truncated image": (lambda f: truncated(image_of(f)), ("a whole .nii.gz file", "copy the file again")),
    "truncated label": (lambda f: truncated(label_of(f)), ("a whole .nii.gz file", "copy the file again")),
    "label outside the scheme": (
        lambda f: spoil(label_of(f), with_value(mask(1, 2), 3)),
        ("3 (1 voxels)", "0, 1, 2, 4"),
    ),
    "negative label": (lambda f: spoil(label_of(f), mask(1).astype(np.int16) * -1), ("-1 (12 voxels)",)),
    "label between two values": (
        lambda f: spoil(label_of(f), with_value(mask(1).astype(np.float32), 0.5)),
        ("0.5 (1 voxels)",),
    ),
    "label with NaN": (
        lambda f: spoil(label_of(f), with_value(mask(1).astype(np.float32), np.nan)),
        ("nan (1 voxels)",),
    ),
    "empty label": (lambda f: spoil(label_of(f), mask()), ("no voxel is foreground", "1, 2, 4")),
    "label of another shape": (
        lambda f: spoil(label_of(f), mask(1)[:, :, :-1]),
        ("shape 12 × 10 × 3", "shape 12 × 10 × 4"),
    ),
    "label of another spacing": (
        lambda f: spoil(label_of(f), mask(1), AFFINE * [[1], [1], [0.5], [1]]),
        ("spacing 1.5 × 1.5 × 3 mm", "spacing 1.5 × 1.5 × 6 mm"),
    ),
    "label that is flipped": (lambda f: spoil(label_of(f), mask(1), flipped(AFFINE)), ("30 mm apart",)),
    "label that is shifted": (lambda f: spoil(label_of(f), mask(1), shifted(2)), ("2 mm apart",)),
    "channel on another grid": (lambda f: spoil(image_of(f), scan()[:-1]), ("shape 11 × 10 × 4",)),
    "NaN in an image": (
        lambda f: spoil(image_of(f), with_value(scan().astype(np.float32), np.nan)),
        ("1 of 480 voxels of t1ce are NaN or infinite",),
    ),
    "infinity in an image": (
        lambda f: spoil(image_of(f), with_value(scan().astype(np.float32), -np.inf)),
        ("1 of 480 voxels of t1ce are NaN or infinite",),
    ),
    "constant image": (lambda f: spoil(image_of(f), np.full(SHAPE, 7, np.int16)), ("t1ce is 7 everywhere",)),
    "values beyond float32": (
        lambda f: spoil(image_of(f), with_value(scan().astype(np.float64), 1e300)),
        ("1e+300", "float32"),
    ),
    "spacing of zero in an image": (lambda f: without_spacing(image_of(f)), ("0 × 1.5 × 6 mm", "above 0")),
    "spacing of zero in a label": (lambda f: without_spacing(label_of(f)), ("0 × 1.5 × 6 mm", "above 0")),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_subject_is_refused_and_the_others_are_kept(tmp_path, what):
    spoil_it, texts = BAD[what]
    folder = fixtures.brats(tmp_path / "HGG", NAME)
    fixtures.brats(tmp_path / "HGG", "Brats17_TCIA_105_1")
    path = spoil_it(folder)
    report = checked("brats", tmp_path)
    assert [row.id for row in report.rows] == ["Brats17_TCIA_105_1"]
    assert report.labelled_subjects == 2
    (problem,) = report.problems
    assert problem.subject == NAME
    assert problem.file == str(path)
    assert problem.expected
    assert problem.remedy
    for text in texts:
        assert text in str(problem), f"{text!r} is not in\n{problem}"
    assert len(str(problem).splitlines()) <= 12


def spoilt_isic(root: Path, part: str, array: np.ndarray | None) -> Path:
    """Picture 1 of four with other content, or cut short; picture 2 is in another official part."""
    for index in range(4):
        fixtures.isic17(root, f"ISIC_{index:07d}", "Test_v2" if index == 2 else "Training")
    folder = "Data" if part == "picture" else "Part1_GroundTruth"
    name = "ISIC_0000001.jpg" if part == "picture" else "ISIC_0000001_segmentation.png"
    path = root / f"ISIC-2017_Training_{folder}" / name
    return truncated(path) if array is None else put(path, array)


LESION = (255 * (mask(1)[:, :, 1].T)).astype(np.uint8)  # (Y, X), as the fixture's
GREY = np.random.default_rng(0).integers(0, 255, LESION.shape).astype(np.uint8)

# what → (of picture or mask, other content, texts in the message)
BAD_PICTURES: dict[str, tuple[str, np.ndarray | None, tuple[str, ...]]] = {
    "mask of another size": ("mask", LESION[:-2], ("shape 12 × 8 × 1", "shape 12 × 10 × 1")),
    "mask that is turned": ("mask", LESION.T, ("shape 10 × 12 × 1", "shape 12 × 10 × 1")),
    "mask without a lesion": ("mask", 0 * LESION, ("no voxel is foreground", "255")),
    "mask of 0 and 1": ("mask", LESION // 255, ("1 (6 voxels)", "0, 255")),
    "mask in colours": ("mask", np.stack([LESION] * 3, -1), ("a RGB picture, asked for a label map",)),
    "mask cut short": ("mask", None, ("a whole .png file", "copy the file again")),
    "grey picture among colours": ("picture", GREY, ("a L picture, asked for red", "an RGB picture")),
    "black picture": ("picture", np.zeros((10, 12, 3), np.uint8), ("red is 0 everywhere",)),
    "picture cut short": ("picture", None, ("a whole .jpg file", "copy the file again")),
}


@pytest.mark.parametrize("what", BAD_PICTURES)
def test_bad_picture_is_refused_and_the_others_are_kept(tmp_path, what):
    part, array, texts = BAD_PICTURES[what]
    path = spoilt_isic(tmp_path, part, array)
    report = checked("isic17", tmp_path)
    assert [row.id for row in report.rows] == ["ISIC_0000000", "ISIC_0000002", "ISIC_0000003"]
    assert report.labelled_subjects == 4
    (problem,) = report.problems
    assert (problem.subject, problem.file) == ("ISIC_0000001", str(path))
    assert problem.expected
    assert problem.remedy
    for text in texts:
        assert text in str(problem), f"{text!r} is not in\n{problem}"


def test_brats18_without_its_t2_is_refused(tmp_path):
    """A cohort's mask may need it where no network does."""
    fixtures.brats(tmp_path / "HGG", "Brats18_TCIA02_118_1")
    bad = fixtures.brats(tmp_path / "LGG", "Brats18_TCIA10_241_1", channels="t1 t1ce flair")
    report = checked("brats", tmp_path)
    assert [row.id for row in report.rows] == ["Brats18_TCIA02_118_1"]
    (problem,) = report.problems
    assert problem.subject == "Brats18_TCIA10_241_1"
    assert problem.file == str(bad)
    assert "missing: t2" in problem.found
    assert "Brats18_TCIA10_241_1_t2.nii.gz" in str(problem)


def test_a_shift_far_below_a_voxel_is_accepted(tmp_path):
    folder = fixtures.brats(tmp_path, NAME)
    spoil(label_of(folder), mask(1, 2, 4), shifted(0.001))
    assert checked("brats", tmp_path).problems == []


def test_what_the_layout_shows_and_what_the_pixels_show_are_told_together(tmp_path):
    truncated(image_of(fixtures.brats(tmp_path, NAME)))
    fixtures.brats(tmp_path, "Brats17_TCIA_1_1", channels="t1 t2 flair")
    report = checked("brats", tmp_path)
    assert {problem.subject for problem in report.problems} == {NAME, "Brats17_TCIA_1_1"}


def test_row_of_a_subject(tmp_path):
    fixtures.acdc(tmp_path, 7)
    dataset = default_dataset("acdc", tmp_path)
    subject = list_subjects(tmp_path, dataset).subjects[1]
    row = inspect(subject, dataset, tmp_path)
    assert (row.id, row.patient, row.frame, row.group) == ("patient007_ES", "patient007", "ES", "DCM")
    assert row.shape == SHAPE
    assert row.spacing == (1.5, 1.5, 6.0)
    assert row.dtype == "int16"
    assert row.labels == {0: SHAPE[0] * SHAPE[1] * SHAPE[2] - 36, 1: 12, 2: 12, 3: 12}
    assert row.intensity == {"cine": (scan(12).min(), scan(12).max())}
    assert row.files == {
        f"patient007/{path.name}": sha256_of_file(path) for path in [subject.channels["cine"], subject.label]
    }


def test_voxels_beside_a_header_are_hashed_too(tmp_path):
    fixtures.promise12(tmp_path / "part", 3)
    (row,) = checked("promise12", tmp_path).rows
    assert set(row.files) == {
        f"part/{name}"
        for name in ("Case03.mhd", "Case03.raw", "Case03_segmentation.mhd", "Case03_segmentation.raw")
    }


def test_label_types_are_counted_alike(tmp_path):
    dataset = fixtures.dataset("folder", ["ct"], [0, 1, 4])
    for kind in ("uint8", "int16", "float32", "float64"):
        put(tmp_path / "images" / f"{kind}.nii.gz", scan())
        put(tmp_path / "labels" / f"{kind}.nii.gz", mask(1, 4, 4).astype(kind))
    rows = check_dataset(tmp_path, dataset).rows
    assert [row.labels for row in rows] == [{0: 444, 1: 12, 4: 24}] * 4


def test_processes_change_nothing(tmp_path):
    for number in range(1, 11):
        fixtures.acdc(tmp_path, number)
    truncated(tmp_path / "patient004" / "patient004_frame01.nii.gz")
    dataset = default_dataset("acdc", tmp_path)
    subjects = list_subjects(tmp_path, dataset).subjects
    alone = inspect_many(subjects, dataset, tmp_path)
    together = inspect_many(subjects, dataset, tmp_path, jobs=2)
    assert [isinstance(outcome, SubjectRow) for outcome in together].count(False) == 1
    assert [outcome.as_dict() for outcome in alone] == [outcome.as_dict() for outcome in together]


def test_errors_survive_the_way_between_processes():
    error = DataError("b", subject="a", file="f", expected="e", remedy="r")
    assert pickle.loads(pickle.dumps(error)).as_dict() == error.as_dict()


# --- odd but usable ------------------------------------------------------------------------------


def warned(tmp_path: Path, image: np.ndarray, label: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    """The warnings about one odd subject among four ordinary ones."""
    dataset = fixtures.dataset("folder", ["ct"], [0, 1, 2])
    for index in range(4):
        put(tmp_path / "images" / f"plain{index}.nii.gz", scan(index))
        put(tmp_path / "labels" / f"plain{index}.nii.gz", mask(1, 2))
    put(tmp_path / "images" / "odd.nii.gz", image, affine)
    put(tmp_path / "labels" / "odd.nii.gz", label, affine)
    report = check_dataset(tmp_path, dataset)
    assert report.problems == []
    assert len(report.rows) == 5
    return "\n".join(report.warnings)


def test_ordinary_subjects_give_no_warning(tmp_path):
    assert warned(tmp_path, scan(9), mask(1, 2)) == ""


def test_extreme_values_are_told(tmp_path):
    assert "1 with largest values of ct 100 times" in warned(
        tmp_path, scan().astype(np.float32) * 1e4, mask(1, 2)
    )


def test_far_spacing_is_told(tmp_path):
    assert "1 with a spacing 3 times" in warned(tmp_path, scan(), mask(1, 2), np.diag([1.5, 1.5, 25, 1]))


def test_clipped_values_and_an_absent_class_are_told(tmp_path):
    text = warned(tmp_path, np.minimum(scan(), 1800), mask(1))
    assert "1 with 0.5% or more of the voxels of ct at the largest value: clipped (odd)" in text
    assert "1 without label 2 (class 2) (odd)" in text


def test_an_unknown_site_is_told(tmp_path):
    fixtures.brats(tmp_path, NAME)
    fixtures.brats(tmp_path, "somebody")
    assert any("1 with an unknown site (somebody)" in text for text in checked("brats", tmp_path).warnings)


# --- real scans ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "name", "labelled", "images"),
    [
        ("msd", "msd/Task04_Hippocampus", 260, 260),
        ("promise12", "promise12", 1, 1),
        ("msd", "liver_ct", 1, 1),
    ],
)
def test_real_collections_are_in_order(layout, name, labelled, images):
    report = checked(layout, real(name), jobs=2)
    assert report.problems == []
    assert report.labelled_subjects == labelled
    assert len(report.rows) == images


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "name", "labelled", "images"), [("acdc", "acdc", 60, 120), ("isic17", "isic2017", 2150, 2150)]
)
def test_large_real_collections_are_in_order(layout, name, labelled, images):
    test_real_collections_are_in_order(layout, name, labelled, images)


def test_real_label_volume_agrees_with_nibabel():
    root = real("acdc") / "training" / "patient001"
    dataset = default_dataset("acdc", root.parent)
    subject = list_subjects(root.parent, dataset).subjects[0]
    values, counts = np.unique(nib.load(subject.label).get_fdata(), return_counts=True)
    row = inspect(subject, dataset, root.parent)
    assert row.labels == dict(zip(values.astype(int).tolist(), counts.tolist(), strict=True))
