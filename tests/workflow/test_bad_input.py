"""Bad scans and bad configuration, as a user of the workflow meets them: one screen, before any training."""

import gzip
import re
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from .conftest import Clone

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("bad_input")]

SPLIT = "{parts: {train: {size: 2}, val: {size: 2}, test: {size: all}}}"


def write_acdc(root: Path, patients: int = 7) -> None:
    """A data set in ACDC's layout with a disc in a ring beside a block; ED frames only."""
    for number in range(1, patients + 1):
        rng = np.random.default_rng(number)
        folder = root / f"patient{number:03d}"
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text("ED: 1\nES: 2\nGroup: NOR\n")
        x, y = np.mgrid[:40, :40]
        radius = np.hypot(x - 20, y - 20)
        label = np.zeros((40, 40, 4), np.uint8)
        label[radius < 9] = 2
        label[radius < 5] = 3
        label[29:34, 15:25] = 1
        image = (label * 60 + rng.normal(100, 5, label.shape)).astype(np.int16)
        for frame in ("01", "02"):
            for suffix, array in (("", image), ("_gt", label)):
                volume = nibabel.Nifti1Image(array, np.diag([4.0, 4.0, 8.0, 1.0]))
                nibabel.save(volume, folder / f"{folder.name}_frame{frame}{suffix}.nii.gz")


def command(root: Path, *more: str) -> tuple[str, ...]:
    overrides = f"overrides={{mehrtash2020: {{cohorts: {{heart: {{split: {SPLIT}}}}}}}}}"
    config = ("run=real", "scale=smoke", f"data={{acdc: {root}}}", overrides)
    return ("--cores", "2", "--config", *config, *more)


def spoil(root: Path, suffix: str, change) -> Path:
    """Changes the array of one file of the fourth patient."""
    path = root / "patient004" / f"patient004_frame01{suffix}.nii.gz"
    image = nibabel.load(path)
    array, affine = change(np.asarray(image.dataobj).astype(np.float32), image.affine.copy())
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def truncate(root: Path) -> Path:
    path = root / "patient004" / "patient004_frame01.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def not_a_gzip(root: Path) -> Path:
    path = root / "patient004" / "patient004_frame01_gt.nii.gz"
    path.write_bytes(gzip.compress(b"no image at all"))
    return path


def with_nan(array, affine):
    array[3, 3, 1] = np.nan
    return array, affine


def with_other_label(array, affine):
    array[3, 3, 1] = 7
    return array, affine


def shifted(array, affine):
    affine[0, 3] += 11
    return array, affine


BAD = {
    "truncated": truncate,
    "not an image": not_a_gzip,
    "NaN": lambda root: spoil(root, "", with_nan),
    "constant": lambda root: spoil(root, "", lambda a, affine: (a * 0 + 5, affine)),
    "label outside the scheme": lambda root: spoil(root, "_gt", with_other_label),
    "empty label": lambda root: spoil(root, "_gt", lambda a, affine: (a * 0, affine)),
    "other grid": lambda root: spoil(root, "_gt", shifted),
    "other shape": lambda root: spoil(root, "_gt", lambda a, affine: (a[:-1], affine)),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_scan_stops_the_run_before_any_training(clone: Clone, tmp_path, kind):
    root = tmp_path / "acdc"
    write_acdc(root)
    path = BAD[kind](root)
    done = clone.snakemake(*command(root), check=False)
    assert done.returncode != 0
    for named in ("patient004", path.name, "expected:", "found:", "remedy:"):
        assert named in done.stderr, (kind, named, done.stderr[-3000:])
    assert "the run cannot start" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 25
    assert not list(clone.folder.rglob("*.safetensors"))


def test_an_excluded_subject_is_left_out_and_counted(clone: Clone, tmp_path):
    root = tmp_path / "acdc"
    write_acdc(root)
    truncate(root)
    clone.snakemake(*command(root), "on_bad_subject=exclude")
    study = clone.folder / "results/real/mehrtash2020"
    rejected = pd.read_csv(clone.folder / "results/real/data/acdc/rejected.csv")
    assert rejected["subject"].tolist() == ["patient004_ED"]
    subjects = pd.read_parquet(study / "subjects.parquet")
    assert subjects.loc[subjects["excluded"] != "", "subject"].tolist() == ["patient004_ED"]
    assert "patient004_ED" not in set(pd.read_parquet(study / "measures.parquet")["subject"])
    page = (clone.folder / "results/real/report.html").read_text(encoding="utf-8")
    assert re.search(r"1\s+(subject\s+)?excluded|excluded[^0-9]{0,40}1\b", page)
    # What is found good again on the next start is a change like any other.
    assert clone.jobs(*command(root), "on_bad_subject=exclude") == {}


def test_a_scan_that_went_bad_later_stops_the_next_start_and_nothing_is_lost(clone: Clone, tmp_path):
    root = tmp_path / "acdc"
    write_acdc(root)
    clone.snakemake(*command(root))
    cells = clone.folder / "results/real/mehrtash2020/cells.csv"
    before = cells.read_bytes()
    truncate(root)
    done = clone.snakemake(*command(root), check=False)
    assert done.returncode != 0
    assert "the run cannot start" in done.stderr
    assert "patient004_ED" in done.stderr
    assert cells.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run=x", "scale=smok"), ("scale", "smok", "smoke")),
        (("run=x", "studies=[mehrtash]"), ("studies", "mehrtash2020")),
        (("run=x", "on_bad=stop"), ("on_bad", "on_bad_subject")),
        (("run=x", "data={acdc: /no/such/folder}"), ("/no/such/folder", "data.acdc")),
    ],
)
def test_a_bad_configuration_is_told_at_once(clone: Clone, arguments, named):
    done = clone.snakemake("--cores", "1", "--config", *arguments, check=False)
    assert done.returncode != 0
    for text in named:
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (clone.folder / "results").exists()


def unknown_paper(published: Path) -> None:
    (published / "doe2021.csv").write_bytes((published / "eatonrosen2018.csv").read_bytes())


def saved_by_a_spreadsheet(published: Path) -> None:
    path = published / "mehrtash2020.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"0.40", b"0.4").replace(b"\n", b"\r\n"))


def number_that_nothing_describes(published: Path) -> None:
    with (published / "mehrtash2020.csv").open("a", encoding="utf-8") as handle:
        handle.write("Table II,Brain (L_CE),Dice IV,0.5,,,\n")


@pytest.mark.parametrize(
    ("spoil_numbers", "named"),
    [
        (unknown_paper, ("doe2021.csv", "unknown paper", "mehrtash2020")),
        (saved_by_a_spreadsheet, ("mehrtash2020.csv", "byte-order mark", "digits")),
        (number_that_nothing_describes, ("Table II / Brain (L_CE) / Dice IV",)),
    ],
)
def test_bad_printed_numbers_are_told_before_anything_starts(clone: Clone, spoil_numbers, named):
    spoil_numbers(clone.folder / "config/published")
    done = clone.snakemake("--cores", "1", check=False)
    assert done.returncode != 0
    for text in ("the run cannot start", *named):
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (clone.folder / "results").exists()


def test_phantom_and_real_never_share_a_tree(clone: Clone, tmp_path):
    write_acdc(tmp_path / "acdc")
    clone.snakemake("--dry-run", "--config", "run=mine", "scale=smoke", "cohorts=[heart]")
    done = clone.snakemake(
        "--dry-run", "--config", "run=mine", "scale=smoke", f"data={{acdc: {tmp_path / 'acdc'}}}", check=False
    )
    assert done.returncode != 0
    assert "holds another kind of run" in done.stderr
