"""Phantoms: what is planned is what a reader finds, the same seed gives the same bytes, anatomy is right."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from segtrail.config import Dataset, Phantom
from segtrail.data import phantoms
from segtrail.data.readers import list_subjects
from segtrail.data.volumes import read_volume
from segtrail.errors import ConfigError, DataError
from segtrail.files import sha256_of_file

BRATS = {0: "background", 1: "core", 2: "edema", 4: "enhancing"}
HEART = {0: "background", 1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
PROSTATE = {0: "background", 1: "prostate"}
MR = ["t1", "t1ce", "t2", "flair"]
# name → layout, channels, labels, anatomy, sites
SETS = {
    "brats17": ("brats", MR, BRATS, "brain", {"CBICA": 2, "TCIA": 3, "2013": 2}),
    "brats18": ("brats", MR, BRATS, "brain", {"TCIA": 2}),
    "acdc": ("acdc", ["cine"], HEART, "heart", {"": 3}),
    "prostatex": ("prostatex", ["t2"], PROSTATE, "prostate", {"": 2}),
    "promise12": ("promise12", ["t2"], PROSTATE, "prostate", {"phased_array": 2, "endorectal": 2}),
    "task05": ("msd", ["T2"], {0: "background", 1: "PZ", 2: "TZ"}, "prostate", {"": 2}),
    "task01": ("msd", ["FLAIR", "T1w", "t1gd", "T2w"], dict(enumerate("obce")), "brain", {"": 2}),
    "isic17": (
        "isic17",
        ["red", "green", "blue"],
        {0: "background", 255: "lesion"},
        "skin",
        {"Training": 2, "Validation": 1, "Test_v2": 1},
    ),
    "mine": ("folder", ["flair", "t1ce"], dict(enumerate("obce")), "brain", {"": 2}),
}


def describe(name: str, sites: dict[str, int] | None = None, size: str = "small") -> tuple[Dataset, Phantom]:
    layout, channels, labels, anatomy, default = SETS[name]
    dataset = Dataset(title=name, layout=layout, source="-", terms="-", channels=channels, labels=labels)
    return dataset, Phantom(anatomy=anatomy, sites=sites or default, size=size)


def digests(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): sha256_of_file(p) for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    """Label and channels by subject of ten high-grade brains of each of two sites."""
    root = tmp_path_factory.mktemp("brain") / "data"
    dataset, phantom = describe("brats17", {"CBICA": 10, "TCIA": 10})
    phantoms.write(root, "brats17", dataset, phantom, seed=3)
    return [(subject, load(root, subject)) for subject in phantoms.plan("brats17", dataset, phantom)]


def load(root: Path, subject: phantoms.PlannedSubject) -> dict[str, np.ndarray]:
    arrays = {name: read_volume(root / file, name).array for name, file in subject.channels.items()}
    return {**arrays, "label": read_volume(root / subject.label).array}


def written(tmp_path: Path, name: str, sites: dict[str, int] | None = None) -> list[dict[str, np.ndarray]]:
    dataset, phantom = describe(name, sites)
    phantoms.write(tmp_path / name, name, dataset, phantom, seed=11)
    return [load(tmp_path / name, subject) for subject in phantoms.plan(name, dataset, phantom)]


@pytest.mark.parametrize("name", SETS)
def test_reader_lists_what_was_planned(tmp_path, name):
    dataset, phantom = describe(name)
    phantoms.write(tmp_path / "data", name, dataset, phantom, seed=1)
    listing = list_subjects(tmp_path / "data", dataset)
    assert listing.problems == listing.warnings == []
    planned = phantoms.plan(name, dataset, phantom)
    root = (tmp_path / "data").resolve()
    found = [
        (
            subject.id,
            subject.patient,
            subject.site,
            subject.group,
            subject.frame,
            {channel: str(path.resolve().relative_to(root)) for channel, path in subject.channels.items()},
            str(subject.label.resolve().relative_to(root)),
        )
        for subject in listing.subjects
    ]
    assert found == [(s.id, s.patient, s.site, s.group, s.frame, s.channels, s.label) for s in planned]
    beside = {"phantom.json", "dataset.json", "dataset.yaml", "coils.csv", "Info.cfg"}
    files = {name for name in digests(tmp_path / "data") if Path(name).name not in beside}
    assert files == {file for subject in planned for file in subject.files}


@pytest.mark.parametrize("name", SETS)
def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path, name):
    dataset, phantom = describe(name)
    for folder, seed, jobs in (("one", 1, 1), ("two", 1, 2), ("other", 2, 1)):
        phantoms.write(tmp_path / folder, name, dataset, phantom, seed=seed, jobs=jobs)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    subjects = phantoms.plan(name, dataset, phantom)
    one, other = digests(tmp_path / "one"), digests(tmp_path / "other")
    # Each label may be alike by chance on a coarse grid, each image may not.
    assert all(one[file] != other[file] for subject in subjects for file in subject.channels.values())


def test_a_subject_does_not_depend_on_how_many_there_are(tmp_path):
    dataset, few = describe("brats17", {"CBICA": 1, "TCIA": 2})
    _, many = describe("brats17", {"CBICA": 2, "TCIA": 4})
    phantoms.write(tmp_path / "few", "brats17", dataset, few, seed=1)
    phantoms.write(tmp_path / "many", "brats17", dataset, many, seed=1)
    few_digests, many_digests = digests(tmp_path / "few"), digests(tmp_path / "many")
    shared = few_digests.keys() & many_digests.keys()
    assert sum(name.endswith("_seg.nii.gz") for name in shared) == 3
    assert {name: few_digests[name] for name in shared} == {name: many_digests[name] for name in shared}


def test_full_scale_brats_has_the_collections_grades():
    dataset, phantom = describe("brats17", {"CBICA": 88, "TCIA": 167, "2013": 30})
    groups = [(s.site, s.group) for s in phantoms.plan("brats17", dataset, phantom)]
    assert len(set(groups)) == 5
    assert [groups.count((site, "HGG")) for site in ("CBICA", "TCIA", "2013")] == [88, 102, 20]


def test_plan_imports_nothing_heavy():
    code = (
        "import sys; from segtrail.data.phantoms import plan;"
        "print([m for m in ('scipy', 'nibabel', 'torch', 'monai', 'SimpleITK') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_earlier_phantom_is_replaced_and_a_users_folder_is_not(tmp_path):
    dataset, phantom = describe("prostatex", {"": 3})
    phantoms.write(tmp_path / "data", "prostatex", dataset, phantom, seed=1)
    _, fewer = describe("prostatex", {"": 1})
    phantoms.write(tmp_path / "data", "prostatex", dataset, fewer, seed=1)
    assert len(list_subjects(tmp_path / "data", dataset).subjects) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="no phantom wrote"):
        phantoms.write(tmp_path / "mine", "prostatex", dataset, phantom, seed=1)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("brats17", {"sites": {"Boston": 2}}, "Boston"),
        ("brats17", {"anatomy": "heart"}, "heart"),
        ("mine", {"anatomy": "skin", "sites": {"": 1}}, "skin"),
    ],
)
def test_a_phantom_that_does_not_fit_its_data_set_is_refused(tmp_path, name, change, found):
    dataset, phantom = describe(name)
    with pytest.raises(ConfigError, match=found):
        phantoms.write(tmp_path / "data", name, dataset, phantom.model_copy(update=change), seed=1)
    assert list(tmp_path.iterdir()) == []


def test_a_channel_the_anatomy_lacks_is_refused(tmp_path):
    dataset, phantom = describe("mine")
    with pytest.raises(ConfigError, match="swi"):
        phantoms.write(
            tmp_path / "data", "mine", dataset.model_copy(update={"channels": ["swi"]}), phantom, seed=1
        )


def test_edema_lies_around_the_tumour_and_the_rim_around_the_core(brains):
    for subject, arrays in brains:
        label = arrays["label"]
        assert set(np.unique(label)) == {0, 1, 2, 4} or subject.group == "LGG"
        brain = arrays["t1"] > 0
        assert not label[~brain].any()
        assert all(((arrays[name] > 0) == brain).all() for name in MR)
        in_plane = ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])
        mass = np.isin(label, (1, 4))
        outside = ndimage.binary_dilation(mass, in_plane) & ~mass & brain
        assert (label[outside] == 2).all()
        # Every piece of the enhancing tumour touches both what it surrounds and what surrounds it.
        pieces, count = ndimage.label(label == 4, np.ones((3, 3, 3)))
        for piece in range(1, count + 1):
            around = label[ndimage.binary_dilation(pieces == piece, np.ones((3, 3, 3)))]
            assert 1 in around
            assert 2 in around
        if subject.group == "HGG":
            core = label == 1
            assert set(label[ndimage.binary_dilation(core, in_plane) & ~core]) == {4}


def test_brain_contrasts_are_those_of_the_sequences(brains):
    for subject, arrays in brains:
        if subject.group == "LGG":
            continue
        label, brain = arrays["label"], arrays["t1"] > 0
        healthy = brain & (label == 0)
        mean = {
            (name, key): arrays[name][where].mean()
            for name in MR
            for key, where in {"healthy": healthy, 1: label == 1, 2: label == 2, 4: label == 4}.items()
        }
        assert mean["flair", 2] > 1.15 * mean["flair", "healthy"]
        assert mean["t2", 2] > 1.15 * mean["t2", "healthy"]
        assert mean["t1", 2] < mean["t1", "healthy"]
        assert mean["t1ce", 4] > 1.1 * max(mean["t1ce", key] for key in ("healthy", 1, 2))
        assert mean["t1", 1] < mean["t1", "healthy"]


def test_the_other_brain_site_has_another_scale_less_contrast_and_more_noise(brains):
    statistics: dict[str, list[tuple[float, float, float]]] = {"CBICA": [], "TCIA": []}
    for subject, arrays in brains:
        if subject.group == "HGG":
            flair = arrays["flair"].astype(float)
            healthy = (flair > 0) & (arrays["label"] == 0)
            level = flair[healthy].mean()
            contrast = flair[arrays["label"] == 2].mean() / level - 1
            steps, both = np.diff(flair, axis=2), healthy[:, :, 1:] & healthy[:, :, :-1]
            statistics[subject.site].append((level, contrast, np.median(np.abs(steps[both])) / level))
    level, contrast, noise = np.mean(statistics["TCIA"], axis=0) / np.mean(statistics["CBICA"], axis=0)
    assert level > 1.3
    assert contrast < 0.95
    assert noise > 1.1


def test_the_left_ventricle_lies_in_a_ring_and_the_right_one_beside_it(tmp_path):
    volumes = {}
    dataset, phantom = describe("acdc", {"": 10})
    phantoms.write(tmp_path / "acdc", "acdc", dataset, phantom, seed=5)
    edge = ndimage.generate_binary_structure(2, 1)
    for subject in phantoms.plan("acdc", dataset, phantom):
        label = load(tmp_path / "acdc", subject)["label"]
        assert set(np.unique(label)) == {0, 1, 2, 3}
        volumes[subject.id] = (label == 3).sum()
        for plane in np.moveaxis(label, 2, 0):
            left, wall, right = plane == 3, plane == 2, plane == 1
            assert wall[ndimage.binary_dilation(left, edge) & ~left].all()
            assert not (ndimage.binary_dilation(right, edge) & left).any()
            if right.any():
                assert ndimage.label(right)[1] == 1
                assert (ndimage.binary_dilation(right, edge) & wall).any()
    for patient in {name.removesuffix("_ED") for name in volumes if name.endswith("_ED")}:
        assert volumes[f"{patient}_ES"] < volumes[f"{patient}_ED"]


def test_blood_is_brighter_than_muscle(tmp_path):
    for arrays in written(tmp_path, "acdc"):
        cine, label = arrays["cine"], arrays["label"]
        assert min(cine[label == 3].mean(), cine[label == 1].mean()) > 1.4 * cine[label == 2].mean()


def test_the_gland_is_one_piece_inside_the_picture(tmp_path):
    for arrays in written(tmp_path, "promise12", {"phased_array": 5, "endorectal": 5}):
        gland = arrays["label"] > 0
        assert ndimage.label(gland)[1] == 1
        assert not gland[[0, -1]].any()
        assert not gland[:, [0, -1]].any()
        assert gland.any(axis=(0, 1)).sum() >= 5


def test_peripheral_zone_is_brighter_than_transition_zone(tmp_path):
    brighter = [
        a["T2"][a["label"] == 1].mean() > a["T2"][a["label"] == 2].mean()
        for a in written(tmp_path, "task05", {"": 8})
    ]
    assert sum(brighter) >= 7


def test_an_endorectal_coil_is_brightest_beside_itself(tmp_path):
    """Behind the gland, over in front of it: the receive field of a coil in the rectum."""
    dataset, phantom = describe("promise12", {"phased_array": 5, "endorectal": 5})
    phantoms.write(tmp_path / "data", "promise12", dataset, phantom, seed=4)
    ratio: dict[str, list[float]] = {"phased_array": [], "endorectal": []}
    for subject in phantoms.plan("promise12", dataset, phantom):
        arrays = load(tmp_path / "data", subject)
        rows = np.flatnonzero((arrays["label"] > 0).any(axis=(0, 2)))
        image, gland = arrays["t2"].astype(float), arrays["label"] > 0
        front, back = np.array_split(rows, 2)
        ratio[subject.site].append(
            image[:, back][gland[:, back]].mean() / image[:, front][gland[:, front]].mean()
        )
    assert np.mean(ratio["endorectal"]) > 1.3 * np.mean(ratio["phased_array"])


def test_spacing_is_anisotropic_and_differs_between_subjects(tmp_path):
    for name in ("brats17", "acdc", "prostatex", "promise12"):
        dataset, phantom = describe(name)
        sites = dict.fromkeys(phantom.sites, 6)
        phantom = phantom.model_copy(update={"sites": sites})
        phantoms.write(tmp_path / name, name, dataset, phantom, seed=2)
        volumes = [read_volume(tmp_path / name / s.label) for s in phantoms.plan(name, dataset, phantom)]
        assert all(v.spacing[2] > 1.5 * v.spacing[0] for v in volumes)
        assert len({round(v.spacing[0], 3) for v in volumes}) > 1
        assert len({v.array.shape for v in volumes}) > 1


def test_image_and_label_share_a_grid(tmp_path):
    for name in ("brats17", "acdc", "prostatex", "promise12", "task05", "mine"):
        dataset, phantom = describe(name)
        phantoms.write(tmp_path / name, name, dataset, phantom, seed=2)
        for subject in phantoms.plan(name, dataset, phantom):
            label = read_volume(tmp_path / name / subject.label)
            for channel, file in subject.channels.items():
                image = read_volume(tmp_path / name / file, channel)
                assert image.array.shape == label.array.shape
                np.testing.assert_allclose(image.affine, label.affine, atol=1e-5)


def test_metaimage_geometry_is_what_simpleitk_reads(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    dataset, phantom = describe("promise12", {"endorectal": 1})
    phantoms.write(tmp_path / "data", "promise12", dataset, phantom, seed=2)
    image = sitk.ReadImage(str(tmp_path / "data" / "Case00.mhd"))
    direction = np.array(image.GetDirection()).reshape(3, 3)
    np.testing.assert_allclose(direction @ direction.T, np.eye(3), atol=1e-6)
    assert direction[1, 2] != 0  # the slices are tilted
    assert image.GetSpacing()[2] == 4.0
    assert image.GetPixelIDTypeAsString() == "16-bit signed integer"


def test_a_lesion_is_one_piece_and_darker_than_skin(tmp_path):
    for arrays in written(tmp_path, "isic17"):
        lesion = arrays["label"] == 255
        assert ndimage.label(lesion)[1] == 1
        assert arrays["green"][lesion].mean() < 0.9 * arrays["green"][~lesion].mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "site", "shape"),
    [
        ("brats17", "CBICA", (240, 240, 155)),
        ("prostatex", "", (384, 384)),
        ("isic17", "Training", (1022, 767, 1)),
    ],
)
def test_full_size_is_the_distributed_size(tmp_path, name, site, shape):
    dataset, phantom = describe(name, {site: 1}, "full")
    phantoms.write(tmp_path / "data", name, dataset, phantom, seed=1)
    subject = phantoms.plan(name, dataset, phantom)[0]
    assert read_volume(tmp_path / "data" / subject.label).array.shape[: len(shape)] == shape
