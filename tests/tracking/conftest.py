"""A repository as a user has it: workflow, toy study, tracked data set; and the two commands on it."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segtrail.config import known_datasets
from segtrail.data import phantoms

from .servers import AWS

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).parent / "toy"
BIN = Path(sys.executable).parent
PARTS = (
    ".dvc",
    ".dvcignore",
    ".gitignore",
    "Makefile",
    "Snakefile",
    "config",
    "data",
    "environment.yml",
    "pyproject.toml",
    "requirements.lock",
    "src",
    "workflow",
)
LEFT_OUT = shutil.ignore_patterns("tmp", "cache", "config.local", "*.egg-info", "*.dvc")
CONFIG = """\
# of the tests
run: lab # a comment
scale: smoke
studies: [toy]
seed: 1
data:
  acdc: null
  brats17: null
"""
RESULTS = Path("results/lab/toy")
STUDY = Path("config/studies/toy.yaml")
TEST_SCAN = Path("data/acdc/training/patient003/patient003_frame01.nii.gz")  # of the only test subject
IDENTITY = {f"GIT_{who}_{what}": "lab" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
LONGEST = 600  # seconds that one command may take, on a busy machine too


@dataclass(frozen=True)
class Lab:
    """A repository, and commands in it."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        around = {
            name: value for name, value in os.environ.items() if not name.startswith(("SNAKEMAKE", "DVC"))
        }
        apart = self.folder.parent / "dvc"  # no settings and no state but the tests' own
        return around | {
            **IDENTITY,
            **AWS,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "src"),
            "DVC_SITE_CACHE_DIR": str(apart),
            "DVC_GLOBAL_CONFIG_DIR": str(apart / "global"),
            "DVC_SYSTEM_CONFIG_DIR": str(apart / "system"),
            "DVC_NO_ANALYTICS": "1",
            "OMP_NUM_THREADS": "1",
            "NUMBA_DISABLE_JIT": "1",  # of so few voxels no loop is worth compiling
        }

    def run(self, *command: str, check: bool = True) -> str:
        """What a command says. Fails where it does, unless `check` is off."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stdout[-8000:]}"
        return done.stdout

    def dvc(self, *arguments: str) -> str:
        return self.run("dvc", *arguments)

    def fails(self, *command: str) -> str:
        """What a command says that must fail."""
        done = self.run("sh", "-c", '"$@"; echo "exit status $?"', "sh", *command, check=False)
        assert not done.endswith("exit status 0\n"), done
        return done

    def repro(self, *arguments: str) -> Counter[str]:
        """The jobs that `dvc repro` has run."""
        return jobs(self.dvc("repro", *arguments))

    def snakemake(self, *arguments: str) -> Counter[str]:
        return jobs(self.run("snakemake", "--cores", "2", *arguments))

    def nothing_to_do(self) -> bool:
        """Whether both commands say so."""
        said = self.run("snakemake", "--dry-run", "all")
        return "Nothing to be done" in said and "up to date" in self.dvc("status")

    def commit(self, message: str = "a change") -> str:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", message)
        return self.run("git", "rev-parse", "HEAD").strip()

    def clone(self, name: str = "clone", *, remote: Path | str | None = None) -> "Lab":
        """A colleague's clone, on the same remote."""
        other = Lab(self.folder.parent / name / "repository")
        self.run("git", "clone", "--quiet", str(self.folder), str(other.folder))
        if remote is not None:
            other.dvc("remote", "add", "--local", "--default", "store", str(remote))
        return other

    def edit(self, file: Path | str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def change_a_voxel(self) -> None:
        """Of the subject that members are tested on; by a new file, as a tool writes it."""
        path = self.folder / TEST_SCAN
        image = nib.load(path)
        voxels = np.asanyarray(image.dataobj).copy()
        voxels[tuple(size // 2 for size in voxels.shape)] += 37
        changed = path.with_name("changed.nii.gz")
        nib.save(nib.Nifti1Image(voxels, image.affine, image.header), changed)
        changed.replace(path)

    @property
    def cells(self) -> str:
        return (self.folder / RESULTS / "cells.csv").read_text()

    def weights(self) -> bytes:
        return (self.folder / RESULTS / "heart/members/ce/000.safetensors").read_bytes()


def jobs(said: str) -> Counter[str]:
    """The jobs of which Snakemake told in what it said, but for its targets."""
    names = Counter(re.findall(r"^(?:local)?rule (\w+):$", said, flags=re.MULTILINE))
    return Counter({name: count for name, count in names.items() if name not in ("all", "toy")})


@pytest.fixture(scope="session")
def scans(tmp_path_factory) -> Path:
    """A small data set as distributed."""
    dataset = known_datasets({}, ROOT / "config")["acdc"]
    folder = tmp_path_factory.mktemp("scans") / "acdc"
    phantoms.write(folder, "acdc", dataset, dataset.phantoms["smoke"], seed=7)
    return folder


def new_lab(folder: Path) -> Lab:
    """A repository without data and results."""
    folder.mkdir(parents=True)
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=LEFT_OUT)
        else:
            shutil.copy(ROOT / part, folder / part)
    (folder / "data/.gitignore").unlink(missing_ok=True)
    shutil.copytree(TOY, folder / "config", dirs_exist_ok=True)
    (folder / "config/config.yaml").write_text(CONFIG)
    lab = Lab(folder)
    lab.run("git", "init", "--quiet", "--initial-branch", "main")
    lab.run("git", "config", "user.name", "lab")
    lab.run("git", "config", "user.email", "lab@localhost")
    lab.commit("the workflow")
    return lab


@pytest.fixture
def empty(tmp_path) -> Lab:
    return new_lab(tmp_path / "repository")


@pytest.fixture(scope="session")
def made(scans, tmp_path_factory) -> Lab:
    """A repository with everything made by `dvc repro`, committed."""
    lab = new_lab(tmp_path_factory.mktemp("made") / "repository")
    lab.run("segtrail", "data", "add", "acdc", str(scans))
    lab.commit("the data")
    ran = lab.repro()
    assert ran["train"] == ran["report"] == 1
    lab.commit("results")
    return lab


@pytest.fixture
def lab(made, tmp_path) -> Lab:
    """A copy of `made` for one test."""
    return copy_of(made, tmp_path / "repository")


def copy_of(lab: Lab, folder: Path) -> Lab:
    shutil.copytree(lab.folder, folder, symlinks=True)
    return Lab(folder)


@pytest.fixture
def remote(lab, tmp_path) -> Path:
    """A folder as the remote of `lab`, with all that it tracks."""
    folder = tmp_path / "remote"
    lab.dvc("remote", "add", "--local", "--default", "store", str(folder))
    lab.dvc("push", "--quiet")
    return folder


@pytest.fixture(scope="session")
def truth(made, tmp_path_factory) -> Callable[..., str]:
    """cells.csv as Snakemake alone makes it in a new folder, after changes: each once."""
    known: dict[tuple[str, ...], str] = {}

    def of(*changes: str) -> str:
        if changes not in known:
            lab = copy_of(made, tmp_path_factory.mktemp("truth") / "repository")
            for change in changes:
                CHANGES[change](lab)
            shutil.rmtree(lab.folder / "results")
            shutil.rmtree(lab.folder / ".snakemake")
            lab.snakemake(str(RESULTS / "cells.csv"))
            known[changes] = lab.cells
            assert lab.cells != made.cells
        return known[changes]

    return of


CHANGES: dict[str, Callable[[Lab], None]] = {
    "voxel": Lab.change_a_voxel,
    "learning rate": lambda lab: lab.edit(STUDY, "learning_rate: 0.01", "learning_rate: 0.02"),
    "seed 5": lambda lab: lab.edit("config/config.yaml", "seed: 1", "seed: 5"),
    "seed 6": lambda lab: lab.edit("config/config.yaml", "seed: 1", "seed: 6"),
}
