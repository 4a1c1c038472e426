"""The cluster, a clone with a tiny study in it, and ways to break things while it trains."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from . import cluster as slurm
from .cluster import Cluster

ROOT = Path(__file__).parents[2]
# What the workflow consists of; environment.yml: the rules name it.
PARTS = ("Snakefile", "workflow", "config", "slurm", "environment.yml")
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
RUN = Path("results/tiny")
CELLS = RUN / "tiny/cells.csv"
WEIGHTS = [str(RUN / f"tiny/heart/members/ce/{member}.safetensors") for member in ("000", "001")]
CONFIG = ("run=tiny", "scale=smoke", "studies=[tiny]")
# The profile's values are for clusters of hundreds of jobs.
FAST = ("--segtrail-init-seconds-before-status-checks", "1", "--latency-wait", "5")
EPOCHS = 40
LONGEST = 480  # seconds that one command may take, on a busy machine too


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here is slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed test shows the logs of the cluster, of Snakemake and of the jobs."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if call.when == "call" and report.failed and lab is not None:
        report.sections.append(("the cluster", lab.logs()))
    return report


@pytest.fixture(scope="session", autouse=True)
def one_thread_per_process() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def installed() -> None:
    """SLURM: installed by root, otherwise asked for."""
    if slurm.missing() and os.geteuid() != 0:
        pytest.skip(f"SLURM is not installed: {' '.join(slurm.missing())} (make test-cluster says more)")
    slurm.install()


@pytest.fixture(scope="session")
def cluster(installed, tmp_path_factory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """A clone with the tiny study, up to what its trainings read."""
    folder = tmp_path_factory.mktemp("prepared") / "clone"
    new_clone(folder)
    arrays = RUN / "scratch/tiny/heart/arrays"
    wanted = [RUN / "tiny/heart/split.json", *(arrays / part for part in ("train", "val", "test_000"))]
    run_locally(folder, *map(str, wanted), config=CONFIG)
    return folder


@pytest.fixture(scope="session")
def undisturbed(prepared, tmp_path_factory) -> bytes:
    """cells.csv as a run without a cluster and without a fault writes it."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("undisturbed") / "clone")
    run_locally(folder, str(CELLS), config=CONFIG)
    return (folder / CELLS).read_bytes()


@pytest.fixture
def lab(cluster, prepared, tmp_path) -> Iterator["Lab"]:
    """A prepared clone on the cluster; afterwards the cluster is as it was."""
    lab = Lab(cluster, shutil.copytree(prepared, tmp_path / "clone"))
    yield lab
    lab.tidy()


def new_clone(folder: Path) -> None:
    folder.mkdir(parents=True)
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    shutil.copytree(Path(__file__).parent / "tiny", folder / "config", dirs_exist_ok=True)


def run_locally(folder: Path, *arguments: str, config: Sequence[str]) -> str:
    command = [SNAKEMAKE, "--cores", "2", "--config", *config, "--", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-8000:]}"
    return done.stdout


@dataclass
class Controller:
    """A snakemake at work, as a user starts it."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def ends(self, seconds: float = LONGEST) -> int:
        """Its exit status. Kills it and fails after so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {seconds:g} s\n{self.text[-3000:]}") from None

    def finishes(self, seconds: float = LONGEST) -> None:
        status = self.ends(seconds)
        assert status == 0, f"it ended with status {status}\n{self.text[-6000:]}"

    def kill(self) -> None:
        """What a login node that goes away does to it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class Lab:
    """The cluster and a clone in which the tiny study runs on it."""

    cluster: Cluster
    folder: Path
    config: tuple[str, ...] = CONFIG
    controllers: list[Controller] = field(default_factory=list)
    seen: dict[str, list[int]] = field(default_factory=dict)  # member → its epochs when it was stopped

    # --- snakemake -------------------------------------------------------------------------------

    def start(
        self,
        *arguments: str,
        targets: Sequence[str] = (str(CELLS),),
        config: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Controller:
        """Starts `snakemake --profile slurm`, fast."""
        settings = ["--config", *self.config, *config]
        output = self.folder / f"snakemake.{len(self.controllers)}.out"
        with output.open("wb") as handle:
            process = subprocess.Popen(
                [SNAKEMAKE, "--profile", "slurm", *FAST, *arguments, *settings, "--", *targets],
                cwd=self.folder,
                env=self.cluster.environment() | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.controllers.append(Controller(process, output))
        return self.controllers[-1]

    def cells_of_its_members(self) -> bytes:
        """cells.csv, made without the cluster from the members it has trained, which is faster."""
        done = run_locally(self.folder, str(CELLS), config=self.config)
        assert "rule sample:" in done
        assert "rule train:" not in done
        return self.cells

    def nothing_to_do(self) -> bool:
        dry = self.start("--dry-run")
        dry.finishes(60)
        return "Nothing to be done" in dry.text

    @property
    def cells(self) -> bytes:
        return (self.folder / CELLS).read_bytes()

    # --- trainings -------------------------------------------------------------------------------

    def log(self, member: str) -> str:
        path = self.folder / RUN / f"logs/tiny/heart/train_ce_{member}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def epochs(self, member: str) -> list[int]:
        """The epochs that a member's log tells of, in the order they were trained."""
        return [int(number) for number in re.findall(r" epoch (\d+): ", self.log(member))]

    def went_on_after(self, member: str) -> list[int]:
        return [int(number) for number in re.findall(r"goes on after epoch (\d+)", self.log(member))]

    def no_epoch_was_trained_twice(self, member: str = "000") -> bool:
        """From the first epoch to the last, each was trained once, before the member was stopped or after."""
        before, now = self.seen[member], self.epochs(member)
        # Snakemake removes the log of a job that it starts again.
        told = now if now[: len(before)] == before else [*before, *now]
        # A training that is killed after it has saved an epoch and before it has logged it leaves a gap.
        return told == sorted(set(told)) and len(told) >= EPOCHS - 1 and told[-1] == EPOCHS

    def freeze(self, member: str = "000", epoch: int = 4) -> int:
        """Stops a training after this epoch or soon after; returns its process."""
        self.wait(lambda: len(self.epochs(member)) >= epoch, 90, f"epoch {epoch} of {member}")
        (process,) = self.training(member)
        os.kill(process, signal.SIGSTOP)
        self.seen[member] = self.epochs(member)
        assert len(self.seen[member]) < EPOCHS, "it was stopped too late"
        return process

    def training(self, member: str) -> list[int]:
        """The processes that have a member's lock open: the one that trains it, and others that wait."""
        lock = str(self.folder / RUN / f"logs/tiny/heart/train_ce_{member}.lock")
        return [pid for pid in self.cluster.processes() if lock in open_files(pid)]

    # --- SLURM -----------------------------------------------------------------------------------

    def slurm_job(self, name: str) -> str:
        """The SLURM job that was last submitted for a job: train_ce_000."""
        path = self.folder / RUN / f"slurm/jobs/tiny__heart__{name}.json"
        self.wait(path.exists, 60, f"{path.name} to be written")
        job: str = json.loads(path.read_text())["slurm_job"]
        return job

    def show(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job."""
        words = self.cluster.run("scontrol", "show", "job", job, "--oneliner").split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, job: str) -> str:
        return self.show(job)["JobState"]

    def submitted(self) -> list[str]:
        """Every SLURM job of this run that SLURM remembers, ended ones too."""
        name = (self.folder / RUN / "slurm/name").read_text().strip()
        return self.cluster.run("squeue", "--name", name, "--states=all", "-h", "-o", "%i").split()

    def drain(self, node: str) -> None:
        """Keeps new jobs from a node."""
        self.cluster.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")

    def undrain(self, node: str) -> None:
        self.cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME")

    # --- around a test ---------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Waits for a condition. Fails after so many seconds, or when every snakemake has ended."""
        end = time.monotonic() + seconds
        while not condition():
            running = [c for c in self.controllers if c.process.poll() is None]
            assert running or not self.controllers, f"snakemake ended before {what}"
            assert time.monotonic() < end, f"waited {seconds:g} s in vain for {what}"
            time.sleep(0.05)

    def tidy(self) -> None:
        """Ends what the test has left, and repairs the cluster."""
        for controller in self.controllers:
            controller.kill()
        for daemon in self.cluster.daemons:
            self.cluster.start_daemon(daemon)
        for node in slurm.NODES:
            self.cluster.set_clock(node, 0)
        self.cluster.run("scancel", "--user", slurm.user_name())
        for pid in self.cluster.processes():
            if str(self.folder) in " ".join(slurm.command_line(pid)) or in_folder(pid, self.folder):
                slurm.send(pid, signal.SIGCONT)
        assert slurm.waited(lambda: not self.cluster.run("squeue", "-h").strip(), 30), "jobs do not end"
        for node, state in self.cluster.node_states().items():
            if "drain" in state:
                self.undrain(node)
        self.cluster.start()

    def logs(self, lines: int = 60) -> str:
        """The end of every log there is, for a test that failed."""
        paths = [*(self.cluster.folder / "log").iterdir(), *self.folder.glob("snakemake.*.out")]
        paths += [*self.folder.rglob("slurm_logs/**/*.log"), *(self.folder / RUN / "logs").rglob("*.log")]
        parts = [
            self.cluster.run("squeue", "--states=all", check=False),
            self.cluster.run("sinfo", check=False),
        ]
        for path in sorted(paths, key=lambda path: path.stat().st_mtime):
            text = path.read_text(errors="replace").splitlines()[-lines:]
            parts.append(f"--- the end of {path}\n" + "\n".join(text))
        return "\n".join(parts)


def open_files(pid: int) -> list[str]:
    try:
        return [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:  # it has ended meanwhile
        return []


def in_folder(pid: int, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:  # it has ended meanwhile
        return False
