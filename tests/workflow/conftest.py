"""A clone to run the workflow in, and snakemake as a user calls it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest

from segtrail.config import load_run
from segtrail.files import read_json
from segtrail.layout import Layout

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "workflow", "config", "environment.yml")  # environment.yml: the rules name it
# Each study by itself: mehrtash2020 for what does not depend on the study, the others for what they bring.
SMOKE = ("--cores", "2", "--config", "run=smoke", "scale=smoke", "studies=[mehrtash2020]")
JUNGO = ("--cores", "2", "--config", "run=smoke", "scale=smoke", "studies=[jungo2019]")
# One cohort is enough where it is not about the whole.
HEART = (*SMOKE, "cohorts=[heart]")


@dataclass(frozen=True)
class Clone:
    """A copy of what the workflow consists of, with its own results."""

    folder: Path

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("snakemake")), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
        return done

    def jobs(self, *arguments: str) -> dict[str, int]:
        """rule → how many jobs a dry run lists."""
        done = self.snakemake("--dry-run", *arguments)
        text = done.stdout + done.stderr
        if "Nothing to be done" in text:
            return {}
        table = text.split("Job stats:")[1].split("\n\n")[0].splitlines()[3:]
        counts = {line.split()[0]: int(line.split()[1]) for line in table if line.strip()}
        counts.pop("total")
        return counts

    @property
    def layout(self) -> Layout:
        """That of the run `smoke`, as it was started last."""
        started = read_json(self.folder / "results/smoke/controller.json")
        return Layout(load_run(started["config"], self.folder / "config"), self.folder / "results")


def change_one_voxel(scan: Path) -> None:
    image = nibabel.load(scan)
    values = np.asarray(image.dataobj).copy()
    values[tuple(length // 2 for length in values.shape)] += 50
    nibabel.save(nibabel.Nifti1Image(values, image.affine, image.header), scan)


def new_clone(folder: Path) -> Clone:
    folder.mkdir(parents=True)
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    return Clone(folder)


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the package that jobs run, for a test to change."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    return Path(shutil.copytree(ROOT / "src", tmp_path / "src")) / "segtrail"


@pytest.fixture
def clone(tmp_path) -> Clone:
    return new_clone(tmp_path / "clone")


# For tests of the group `smoke`: one worker makes each once.
@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Clone:
    clone = new_clone(tmp_path_factory.mktemp("smoke") / "clone")
    clone.snakemake(*SMOKE)
    return clone


@pytest.fixture(scope="session")
def finished_heart(tmp_path_factory) -> Clone:
    clone = new_clone(tmp_path_factory.mktemp("heart") / "clone")
    clone.snakemake(*HEART)
    return clone


@pytest.fixture(scope="session")
def finished_jungo(tmp_path_factory) -> Clone:
    clone = new_clone(tmp_path_factory.mktemp("jungo") / "clone")
    clone.snakemake(*JUNGO)
    return clone


@pytest.fixture
def jungo(finished_jungo, tmp_path) -> Clone:
    """A finished run of jungo2019, for a test to change."""
    return Clone(shutil.copytree(finished_jungo.folder, tmp_path / "clone"))


@pytest.fixture
def heart(finished_heart, tmp_path) -> Clone:
    """A finished run of the heart cohort, for a test to change."""
    return Clone(shutil.copytree(finished_heart.folder, tmp_path / "clone"))


@pytest.fixture(scope="session", autouse=True)
def one_thread_per_process():
    """Tests run two at a time on two cores."""
    os.environ["OMP_NUM_THREADS"] = "1"
