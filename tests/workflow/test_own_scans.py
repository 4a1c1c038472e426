"""A user's own scans through a paper's protocol, as README.md shows it."""

import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from .conftest import ROOT, Clone

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("own_scans")]

# What README's split leaves for the test of this many scans.
SCANS, TRAIN, VAL, TEST = 54, 40, 10, 4


def write_scans(root: Path) -> None:
    """A disc in a ring beside a block, in the `folder` layout."""
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    x, y = np.mgrid[:40, :40]
    radius = np.hypot(x - 20, y - 20)
    for number in range(SCANS):
        rng = np.random.default_rng(number)
        label = np.zeros((40, 40, 4), np.uint8)
        label[radius < rng.uniform(8, 11)] = 2
        label[radius < rng.uniform(4, 7)] = 3
        label[32:37, 15:25] = 1
        image = (label * 60 + rng.normal(100, 5, label.shape)).astype(np.int16)
        for folder, array in (("images", image), ("labels", label)):
            volume = nibabel.Nifti1Image(array, np.diag([4.0, 4.0, 8.0, 1.0]))
            nibabel.save(volume, root / folder / f"scan{number:02d}.nii.gz")
    (root / "dataset.yaml").write_text(
        "channels: [t2]\nlabels: {0: background, 1: right ventricle, 2: myocardium, 3: left ventricle}\n"
    )


def configuration_of_the_readme(root: Path) -> str:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("### Your own scans")[1]
    shown = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert shown, "README.md shows no YAML under 'Your own scans'"
    text = shown[1]
    for there, here in (("scale: paper", "scale: smoke"), ("/data/our_scans", str(root))):
        assert text.count(there) == 1, (there, text)
        text = text.replace(there, here)
    return text


def test_own_scans_run_by_the_configuration_of_the_readme(clone: Clone, tmp_path):
    root = tmp_path / "our scans"
    write_scans(root)
    segtrail = Path(sys.executable).with_name("segtrail")
    subprocess.run([segtrail, "check", "folder", root, "--jobs", "1"], check=True, capture_output=True)
    (clone.folder / "my_run.yaml").write_text(configuration_of_the_readme(root), encoding="utf-8")
    clone.snakemake("--cores", "2", "--configfile", "my_run.yaml")
    results = clone.folder / "results/ours"

    cells = pd.read_csv(results / "mehrtash2020/cells.csv")
    assert len(cells) == 237
    assert not cells["verdict"].str.contains("phantom").any()
    heart = cells[cells["row"].str.startswith("Heart")]
    counts = heart[heart["table"] == "Table I"].set_index("column")["reproduced"]
    assert counts.to_dict() == {"train": TRAIN, "val": VAL, "test": TEST}
    measured = heart[heart["table"] != "Table I"]
    assert (measured["n"] + measured["n_undefined"] == TEST).all()
    overlaps = measured[~measured["column"].str.startswith("HD95")]  # no distance to an empty prediction
    assert (overlaps["n"] == TEST).all()
    assert overlaps["reproduced"].notna().all()
    assert len(overlaps) == 6 * (6 + 3)
    others = cells.drop(heart.index)
    assert others["reproduced"].isna().all()
    assert others["reason"].notna().all()
    assert set(others["verdict"]) == {"not computed"}

    page = (results / "report.html").read_text(encoding="utf-8")
    assert "real scans" in page
    assert "our scans" in page
    # The legend of verdicts names them too.
    for mark in ("PHANTOM", '<body class="phantom-run"', 'class="banner"', 'class="mark"'):
        assert mark not in page
    for path in (results / "mehrtash2020/tables").glob("*.md"):
        assert "phantom" not in path.read_text(encoding="utf-8").lower()
