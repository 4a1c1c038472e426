"""Readers: what they find in each layout, and what they refuse by names alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fixtures
import numpy as np
import pytest
from fixtures import dataset, mask, put, real, scan

from segtrail.data.readers import default_dataset, list_subjects
from segtrail.data.subject import Listing, Subject
from segtrail.errors import DataError


def listed(layout: str, root: Path) -> Listing:
    return list_subjects(root, default_dataset(layout, root))


def good(layout: str, root: Path) -> list[Subject]:
    listing = listed(layout, root)
    assert listing.problems == listing.warnings == []
    assert listing.labelled == {subject.patient for subject in listing.subjects}
    assert all(path.is_file() for subject in listing.subjects for path in subject.files)
    return listing.subjects


def only_problem(listing: Listing) -> DataError:
    (problem,) = listing.problems
    return problem


def complete(problem: DataError, *texts: str) -> None:
    """The message has all five parts, and these texts in it."""
    assert set(problem.as_dict()) == {"subject", "file", "expected", "found", "remedy"}
    for text in texts:
        assert text in str(problem), f"{text!r} is not in\n{problem}"


# --- layouts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("Brats17_CBICA_AAB_1", "CBICA"),
        ("Brats17_TCIA_105_1", "TCIA"),
        ("Brats17_2013_10_1", "2013"),
        ("Brats18_TCIA01_390_1", "TCIA"),
        ("Brats18_TCIA13_630_1", "TCIA"),
        ("Brats18_2013_0_1", "2013"),
        ("brats_2013_pat0001_1", "2013"),
        ("somebody_else", ""),
    ],
)
def test_brats_site_is_in_the_name(tmp_path, name, site):
    fixtures.brats(tmp_path / "LGG", name)
    (subject,) = good("brats", tmp_path)
    assert (subject.id, subject.patient, subject.site, subject.group) == (name, name, site, "LGG")
    assert list(subject.channels) == ["t1", "t1ce", "t2", "flair"]
    assert subject.channels["t1ce"].name == f"{name}_t1ce.nii.gz"
    assert subject.label.name == f"{name}_seg.nii.gz"


def test_brats_without_grades_and_beside_other_files(tmp_path):
    fixtures.brats(tmp_path)
    (tmp_path / "survival_data.csv").write_text("id,age\n")
    (tmp_path / ".hidden").mkdir()
    (subject,) = good("brats", tmp_path)
    assert subject.group == ""


@pytest.mark.parametrize("level", ["", "training"])
def test_acdc_has_two_subjects_of_each_patient(tmp_path, level):
    fixtures.acdc(tmp_path / level, 7)
    diastole, systole = good("acdc", tmp_path)
    assert (diastole.id, diastole.patient, diastole.frame) == ("patient007_ED", "patient007", "ED")
    assert (systole.id, systole.patient, systole.frame) == ("patient007_ES", "patient007", "ES")
    assert diastole.channels["cine"].name == "patient007_frame01.nii.gz"
    assert systole.label.name == "patient007_frame12_gt.nii.gz"
    assert diastole.group == "DCM"


def test_acdc_testing_folder_is_left_aside(tmp_path):
    fixtures.acdc(tmp_path / "training", 1)
    fixtures.acdc(tmp_path / "testing", 101)
    listing = listed("acdc", tmp_path)
    assert {subject.patient for subject in listing.subjects} == {"patient001"}
    assert "testing" in listing.warnings[0]


@pytest.mark.parametrize("label", ["t2_seg.nii.gz", "Segmentation.mha", "ProstateX-0004-seg.nii"])
def test_prostatex_accepts_other_names_and_formats(tmp_path, label):
    put(tmp_path / "ProstateX-0004" / "t2_tse_tra.nii.gz", scan())
    put(tmp_path / "ProstateX-0004" / label, mask(1))
    (subject,) = good("prostatex", tmp_path)
    assert subject.channels["t2"].name == "t2_tse_tra.nii.gz"
    assert subject.label.name == label


def test_promise12_in_parts_with_and_without_coils(tmp_path):
    fixtures.promise12(tmp_path / "TrainingData_Part1", 0)
    fixtures.promise12(tmp_path / "TrainingData_Part2", 20)
    assert [(s.id, s.site) for s in good("promise12", tmp_path)] == [("Case00", ""), ("Case20", "")]
    (tmp_path / "coils.csv").write_text("Case,coil\nCase00,endorectal\n")
    assert [(s.id, s.site) for s in good("promise12", tmp_path)] == [("Case00", "endorectal"), ("Case20", "")]


def test_msd_takes_what_the_json_lists(tmp_path):
    fixtures.msd(tmp_path, "hip_001", "hip_002")
    put(tmp_path / "imagesTr" / "hip_003.nii.gz", scan())
    put(tmp_path / "imagesTr" / "._hip_001.nii.gz", scan())
    listing = listed("msd", tmp_path)
    assert [subject.id for subject in listing.subjects] == ["hip_001", "hip_002"]
    assert listing.warnings == ["imagesTr: 1 images that dataset.json does not list, left aside"]
    described = default_dataset("msd", tmp_path)
    assert described.channels == ["MRI"]
    assert described.labels == {0: "background", 1: "Anterior", 2: "Posterior"}


def test_msd_with_several_channels_in_one_file(tmp_path):
    fixtures.msd(tmp_path, "p_1", modality=("T2", "ADC"))
    (subject,) = list_subjects(tmp_path, dataset("msd", ["adc"], [0, 1, 2])).subjects
    assert subject.channels == {"adc": tmp_path / "imagesTr" / "p_1.nii.gz"}
    with pytest.raises(DataError, match="missing: dwi"):
        list_subjects(tmp_path, dataset("msd", ["dwi"], [0, 1, 2]))


def test_msd_without_json_matches_by_name(tmp_path):
    fixtures.msd(tmp_path, "liver_1")
    (tmp_path / "dataset.json").unlink()
    listing = list_subjects(tmp_path, dataset("msd", ["ct"], [0, 1, 2]))
    assert [(s.id, list(s.channels)) for s in listing.subjects] == [("liver_1", ["ct"])]
    assert "no dataset.json" in listing.warnings[0]
    assert default_dataset("msd", tmp_path).labels == {}


def test_isic_site_is_the_official_part_and_superpixels_are_no_subjects(tmp_path):
    fixtures.isic17(tmp_path, "ISIC_0000001", "Training")
    fixtures.isic17(tmp_path, "ISIC_0012345", "Test_v2")
    (tmp_path / "ISIC-2017_Training_Data" / "ISIC-2017_Training_Data_metadata.csv").write_text("a\n")
    first, second = good("isic17", tmp_path)
    assert (first.id, first.site) == ("ISIC_0000001", "Training")
    assert (second.id, second.site) == ("ISIC_0012345", "Test_v2")
    assert set(first.channels) == {"red", "green", "blue"}
    assert len(first.files) == 2


def test_isic_part_without_masks_is_left_aside_and_told(tmp_path):
    fixtures.isic17(tmp_path)
    put(tmp_path / "ISIC-2017_Test_v2_Data" / "ISIC_0000009.jpg", np.zeros((4, 4, 3), np.uint8))
    listing = listed("isic17", tmp_path)
    assert [subject.id for subject in listing.subjects] == ["ISIC_0000001"]
    assert listing.problems == []
    assert listing.warnings == ["ISIC-2017_Test_v2_Data: 1 without any reference label, left aside"]


def test_folder_matches_by_name_and_reads_its_table(tmp_path):
    fixtures.folder(tmp_path, "anna_1", "anna_2", "bert")
    (tmp_path / "subjects.csv").write_text("subject,patient,site\nanna_1,anna,north\nanna_2,anna,north\n")
    subjects = good("folder", tmp_path)
    assert [(s.id, s.patient, s.site) for s in subjects] == [
        ("anna_1", "anna", "north"),
        ("anna_2", "anna", "north"),
        ("bert", "bert", ""),
    ]
    assert [path.name for path in subjects[2].channels.values()] == ["bert_t1.nii.gz", "bert_t2.mha"]


def test_folder_with_one_channel_and_with_pictures(tmp_path):
    put(tmp_path / "images" / "a.nii", scan())
    put(tmp_path / "labels" / "a_seg.nii.gz", mask(1))
    (subject,) = list_subjects(tmp_path, dataset("folder", ["ct"], [0, 1])).subjects
    assert subject.channels["ct"].name == "a.nii"
    put(tmp_path / "p" / "images" / "a.png", np.zeros((5, 6, 3), np.uint8))
    put(tmp_path / "p" / "labels" / "a_seg.png", np.zeros((5, 6), np.uint8))
    colours = dataset("folder", ["red", "green", "blue"], [0, 1])
    (subject,) = list_subjects(tmp_path / "p", colours).subjects
    assert [path.name for path in subject.channels.values()] == ["a.png"] * 3


def test_one_scan_in_a_folder_does_not_stand_for_two_channels(tmp_path):
    put(tmp_path / "images" / "a.nii.gz", scan())
    put(tmp_path / "labels" / "a.nii.gz", mask(1))
    two = dataset("folder", ["t1", "t2"], [0, 1])
    (problem,) = list_subjects(tmp_path, two).problems
    complete(problem, "missing: t1, t2", "a_t1.nii.gz")
    for channel in two.channels:
        put(tmp_path / "images" / f"a_{channel}.nii.gz", scan())
    listing = list_subjects(tmp_path, two)
    (subject,) = listing.subjects
    assert [path.name for path in subject.channels.values()] == ["a_t1.nii.gz", "a_t2.nii.gz"]
    assert listing.warnings == ["images: 1 whose name ends in no channel, left aside"]


def test_order_does_not_depend_on_the_disk(tmp_path):
    for name in ("Brats17_TCIA_2_1", "Brats17_CBICA_B_1", "Brats17_2013_9_1"):
        fixtures.brats(tmp_path / ("LGG" if "2013" in name else "HGG"), name)
    ids = [subject.id for subject in good("brats", tmp_path)]
    assert ids == sorted(ids)


# --- bad input -----------------------------------------------------------------------------------


def test_missing_channels_are_named(tmp_path):
    folder = fixtures.brats(tmp_path, channels="t1ce flair")
    listing = listed("brats", tmp_path)
    assert listing.subjects == []
    assert len(listing.labelled) == 1
    complete(only_problem(listing), "Brats17_CBICA_AAB_1", str(folder), "missing: t1, t2", "_t2.nii.gz")


def test_missing_frame(tmp_path):
    folder = fixtures.acdc(tmp_path)
    (folder / "patient001_frame12.nii.gz").unlink()
    listing = listed("acdc", tmp_path)
    assert [subject.id for subject in listing.subjects] == ["patient001_ED"]
    complete(only_problem(listing), "patient001_ES", "patient001_frame12.nii.gz")


@pytest.mark.parametrize("text", [None, "ES: 12\n", "ED: first\nES: 12\n", "ED:\nES: 12\n"])
def test_acdc_info_without_frames(tmp_path, text):
    folder = fixtures.acdc(tmp_path)
    fixtures.acdc(tmp_path, 2)
    (folder / "Info.cfg").unlink()
    if text is not None:
        (folder / "Info.cfg").write_text(text)
    listing = listed("acdc", tmp_path)
    assert {subject.patient for subject in listing.subjects} == {"patient002"}
    complete(only_problem(listing), "patient001", str(folder / "Info.cfg"), "ED: <frame")


def test_two_subjects_with_one_id(tmp_path):
    fixtures.brats(tmp_path / "HGG")
    fixtures.brats(tmp_path / "LGG")
    listing = listed("brats", tmp_path)
    assert listing.subjects == []
    complete(only_problem(listing), "Brats17_CBICA_AAB_1", "HGG/", "LGG/", "one subject for each id")


def test_two_files_for_one_subject_in_a_folder(tmp_path):
    fixtures.folder(tmp_path, "a", "b")
    put(tmp_path / "images" / "a_t1.nii", scan())
    listing = listed("folder", tmp_path)
    assert [subject.id for subject in listing.subjects] == ["b"]
    complete(only_problem(listing), "a_t1.nii, a_t1.nii.gz")


def test_a_gap_among_labelled_subjects(tmp_path):
    fixtures.brats(tmp_path / "HGG")
    (fixtures.brats(tmp_path / "HGG", "Brats17_TCIA_1_1") / "Brats17_TCIA_1_1_seg.nii.gz").unlink()
    listing = listed("brats", tmp_path)
    assert len(listing.subjects) == len(listing.labelled) == 1
    complete(only_problem(listing), "Brats17_TCIA_1_1", "no reference label")


def test_a_path_in_the_json_that_leaves_the_root(tmp_path):
    root = fixtures.msd(tmp_path / "task", "a", "b")
    put(tmp_path / "outside.nii.gz", scan())
    about = json.loads((root / "dataset.json").read_text())
    about["training"][0]["image"] = "../outside.nii.gz"
    (root / "dataset.json").write_text(json.dumps(about))
    listing = listed("msd", root)
    assert [subject.id for subject in listing.subjects] == ["b"]
    complete(
        only_problem(listing), "outside", str(tmp_path / "outside.nii.gz"), f"below the data root {root}"
    )


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_that_leaves_the_root(tmp_path, what):
    inside, outside = fixtures.brats(tmp_path / "root"), tmp_path / "outside"
    moved = inside if what == "folder" else inside / f"{inside.name}_t2.nii.gz"
    moved.rename(outside)
    moved.symlink_to(outside)
    listing = listed("brats", tmp_path / "root")
    assert listing.subjects == []
    complete(only_problem(listing), str(outside), "Brats17_CBICA_AAB_1")


def test_links_that_stay_below_the_root_and_a_linked_root(tmp_path):
    inside = fixtures.brats(tmp_path / "root" / "HGG")
    scan_file = inside / f"{inside.name}_t2.nii.gz"
    scan_file.rename(tmp_path / "root" / "store.nii.gz")
    scan_file.symlink_to(tmp_path / "root" / "store.nii.gz")
    (tmp_path / "link").symlink_to(tmp_path / "root")
    assert len(good("brats", tmp_path / "link")) == 1


@pytest.mark.parametrize("name", ["Case03.raw", "../Case03.raw"])
def test_metaimage_voxels_that_are_missing_or_outside(tmp_path, name):
    root = fixtures.promise12(tmp_path / "root")
    header = root / "Case03.mhd"
    header.write_text(header.read_text().replace("Case03.raw", name))
    (root / "Case03.raw").rename(tmp_path / "Case03.raw")
    complete(only_problem(listed("promise12", root)), "Case03", "Case03.raw")


def test_a_name_with_other_characters(tmp_path):
    fixtures.folder(tmp_path, "a b;rm")
    complete(only_problem(listed("folder", tmp_path)), "a b;rm", "letters, digits")


@pytest.mark.parametrize("layout", ["brats", "acdc", "prostatex", "promise12", "isic17"])
def test_a_folder_that_is_something_else(tmp_path, layout):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.txt").write_text("sun")
    with pytest.raises(DataError, match=f"no subject in the layout {layout}") as caught:
        listed(layout, tmp_path)
    assert "<root>/" in caught.value.expected
    assert caught.value.file == str(tmp_path)


@pytest.mark.parametrize("layout", ["brats", "acdc", "prostatex", "promise12", "msd", "isic17", "folder"])
def test_a_folder_that_cannot_be_read(tmp_path, layout):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(DataError) as caught:
            listed(layout, root)
        assert caught.value.file.startswith(str(root))
        assert caught.value.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_permission(tmp_path):
    folder = fixtures.brats(tmp_path)
    folder.chmod(0)
    try:
        with pytest.raises(DataError, match="Permission denied"):
            listed("brats", tmp_path)
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("channels: [t1]\nlabels: {0: a}\nchanels: [t2]\n", "chanels"),
        ("channels: [t1]\n", "labels"),
        ("labels: [1, 2]\nchannels: [t1]\n", "labels"),
        ("- a\n", "a list"),
        ("channels: [t1\n", "not YAML"),
        ("channels: [t1]\nlabels: !!python/object/apply:os.getcwd []\n", "not YAML"),
        (None, "no dataset.yaml"),
    ],
)
def test_a_bad_dataset_yaml(tmp_path, text, named):
    fixtures.folder(tmp_path, "a")
    (tmp_path / "dataset.yaml").unlink()
    if text is not None:
        (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(DataError, match=named) as caught:
        default_dataset("folder", tmp_path)
    assert caught.value.file == str(tmp_path / "dataset.yaml")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"modality": {"0": "CT"}, "labels": {"0": "b"}, "training": []}']
)
def test_a_bad_dataset_json(tmp_path, text):
    fixtures.msd(tmp_path, "a")
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError) as caught:
        listed("msd", tmp_path)
    assert caught.value.file == str(tmp_path / "dataset.json")


# --- real scans, and the cost of a start ------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "name", "subjects", "patients"),
    [
        ("acdc", "acdc", 120, 60),
        ("msd", "msd/Task04_Hippocampus", 260, 260),
        ("promise12", "promise12", 1, 1),
        ("isic17", "isic2017", 2150, 2150),
    ],
)
def test_real_collections(layout, name, subjects, patients):
    found = good(layout, real(name))
    assert len(found) == subjects
    assert len({subject.patient for subject in found}) == patients


def test_real_brats_2013_says_what_is_missing():
    listing = listed("brats", real("brats2013"))
    assert listing.subjects == []
    assert len(listing.labelled) == len(listing.problems) == 4
    for problem in listing.problems:
        complete(problem, "missing: t1, t2", "brats_2013_pat000")


def test_listing_imports_nothing_heavy():
    code = "import sys, segtrail.data.readers; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "nibabel", "SimpleITK", "PIL", "pandas", "torch", "monai", "scipy"}
    assert not heavy & set(done.stdout.split())
