"""`segtrail data add`: a data set in order becomes one that DVC tracks; an error leaves nothing behind."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml
from disks import filled, small_disk

from .conftest import CONFIG, Lab

pytestmark = pytest.mark.xdist_group("dvc")
ADDED = CONFIG.replace("acdc: null", "acdc: data/acdc")


@pytest.fixture
def own(scans, tmp_path) -> Path:
    """A copy of the data set that a test may change."""
    return shutil.copytree(scans, tmp_path / "own")


def as_it_was(lab: Lab) -> bool:
    """Whether nothing is left but what git knows."""
    return not lab.run("git", "status", "--porcelain").strip() and not list(lab.folder.glob("data/*acdc*"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_tracked_and_the_configuration_knows_it(empty, scans):
    said = empty.run("segtrail", "data", "add", "acdc", str(scans))
    assert "in order: the pipeline would take all of it" in said
    assert "data/acdc.dvc: 41 files" in said
    assert files(empty.folder / "data/acdc") == files(scans)
    assert (empty.folder / "config/config.yaml").read_text() == ADDED  # comments and all else as before
    stage = yaml.safe_load((empty.folder / "dvc.yaml").read_text())["stages"]["toy"]
    assert "data/acdc" in stage["deps"]
    empty.run("segtrail", "stages", "--check")
    new = empty.run("git", "status", "--porcelain", "--untracked-files=all").split("\n")
    assert {line[3:] for line in new if line} == {
        "config/config.yaml",
        "data/.gitignore",
        "data/acdc.dvc",
        "dvc.yaml",
    }


def test_a_new_version_is_added_in_its_place(empty, scans):
    empty.run("segtrail", "data", "add", "acdc", str(scans))
    first = (empty.folder / "data/acdc.dvc").read_text()
    again = empty.run("segtrail", "data", "add", "acdc", "data/acdc")
    assert "data/acdc.dvc: 41 files" in again
    assert (empty.folder / "data/acdc.dvc").read_text() == first
    (empty.folder / "data/acdc/README").write_text("a new file")
    empty.run("segtrail", "data", "add", "acdc", "data/acdc")
    assert (empty.folder / "data/acdc.dvc").read_text() != first


def test_one_that_is_tracked_is_not_written_over(empty, scans):
    empty.run("segtrail", "data", "add", "acdc", str(scans))
    before = files(empty.folder / "data/acdc")
    said = empty.fails("segtrail", "data", "add", "acdc", str(scans))
    assert "found:    data/acdc is tracked already" in said
    assert "remedy:" in said
    assert files(empty.folder / "data/acdc") == before


def test_a_phantom_tree_of_the_same_name_is_told(empty, scans):
    """Real scans: without the marker that drawn ones have."""
    real = shutil.copytree(scans, empty.folder.parent / "real", ignore=shutil.ignore_patterns("phantom.json"))
    tree = empty.folder / "results/lab"
    tree.mkdir(parents=True)
    (tree / "run.json").write_text('{"run": "lab", "phantom": true, "scale": "smoke"}')
    said = empty.run("segtrail", "data", "add", "acdc", str(real))
    assert "results/lab holds a run on phantoms: give this one another name" in said


def test_what_the_pipeline_would_refuse_is_refused(empty, own):
    label = next(own.rglob("*_gt.nii.gz"))
    label.write_bytes(label.read_bytes()[:-20])
    said = empty.fails("segtrail", "data", "add", "acdc", str(own))
    assert "refused" in said
    assert str(label) in said.replace("\n", "")
    assert as_it_was(empty)


@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_a_link_that_leads_out_is_refused(empty, own, tmp_path, kind):
    outside = tmp_path / "outside"
    if kind == "file":
        outside.write_text("x")
    elif kind == "folder":
        outside.mkdir()
    (own / "training/link").symlink_to(outside)
    said = empty.fails("segtrail", "data", "add", "acdc", str(own))
    assert f"file:     {own}/training/link" in said
    assert f"found:    a link to {outside}" in said
    assert as_it_was(empty)


def test_a_link_inside_becomes_what_it_leads_to(empty, own):
    (own / "training/patient001").rename(own / "shelf")
    (own / "training/patient001").symlink_to("../shelf")
    empty.run("segtrail", "data", "add", "acdc", str(own))
    added = empty.folder / "data/acdc/training/patient001"
    assert not added.is_symlink()
    assert files(added) == files(own / "shelf")
    listed = empty.dvc("list", ".", "data/acdc", "--recursive", "--dvc-only")
    assert "training/patient001/Info.cfg" in listed


def test_in_place_a_link_to_a_folder_is_refused(empty, own):
    """DVC would pass over it in silence."""
    inside = empty.folder / "data/acdc"
    own.rename(inside)
    (inside / "training/patient001").rename(inside / "shelf")
    (inside / "training/patient001").symlink_to("../shelf")
    said = empty.fails("segtrail", "data", "add", "acdc", "data/acdc")
    assert "file:     data/acdc/training/patient001" in said
    assert not (empty.folder / "data/acdc.dvc").exists()


def test_an_unknown_data_set(empty, scans):
    said = empty.fails("segtrail", "data", "add", "acdx", str(scans))
    assert "DATASET = 'acdx'" in said
    assert "acdc" in said
    assert as_it_was(empty)


def test_one_that_the_configuration_cannot_take(empty, scans):
    """The toy study reads acdc alone: with another data set only, it has no cohort."""
    empty.edit("config/config.yaml", "  brats17: null", "  brats17: null\ndatasets: {other: {layout: acdc}}")
    said = empty.fails("segtrail", "data", "add", "other", str(scans))
    assert "config/datasets/other.yaml" in said
    assert not (empty.folder / "data/other").exists()


def test_without_dvc(empty, scans, tmp_path):
    """As in an environment that was made without it."""
    (tmp_path / "git").symlink_to(shutil.which("git") or "")
    code = f"import sys; sys.executable = '{tmp_path}/python'; from segtrail.cli import app; app()"
    command = ["env", f"PATH={tmp_path}", sys.executable, "-c", code]
    said = empty.fails(*command, "data", "add", "acdc", str(scans))
    assert "no command dvc" in said
    assert "remedy:" in said
    assert as_it_was(empty)


def test_a_full_disk_under_the_cache(empty, scans, tmp_path):
    with small_disk(tmp_path / "small", 4 * 2**20) as disk:
        empty.dvc("cache", "dir", "--local", str(disk / "cache"))
        with filled(disk):
            said = empty.fails("segtrail", "data", "add", "acdc", str(scans))
        assert "No space left on device" in said
        assert "remedy:   free space" in said
        assert as_it_was(empty)
        # The same command, once there is room; the cache is on another disk, and only copies lead there.
        empty.dvc("config", "--local", "cache.type", "hardlink,copy")
        empty.run("segtrail", "data", "add", "acdc", str(scans))
        assert files(empty.folder / "data/acdc") == files(scans)


def test_a_full_disk_under_the_repository(scans, tmp_path):
    from .conftest import new_lab

    with small_disk(tmp_path / "small", 64 * 2**20) as disk:
        lab = new_lab(disk / "repository")
        with filled(disk):
            said = lab.fails("segtrail", "data", "add", "acdc", str(scans))
        assert "No space left on device" in said
        assert "remedy:   free space" in said
        assert as_it_was(lab)
