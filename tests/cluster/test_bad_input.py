"""What a user of a cluster gets wrong: told within a minute, with what it is and where to set it."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .cluster import waited
from .conftest import Controller, Lab

pytestmark = pytest.mark.xdist_group("cluster")

WITHIN = 60  # seconds


def told(controller: Controller, *texts: str) -> None:
    """It ends in time, not well, and says all this; nothing is left for the user to find out."""
    assert controller.ends(WITHIN) != 0
    for text in texts:
        assert text in controller.text, f"{text!r} is not in\n{controller.text[-6000:]}"
    assert "Traceback" not in controller.text


def test_no_slurm_on_the_machine(lab: Lab, tmp_path):
    """A PATH with everything that there is, but SLURM's commands."""
    without = tmp_path / "bin"
    without.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name not in ("sbatch", "squeue", "srun", "scancel", "sinfo", "scontrol", "sacct"):
            (without / program.name).symlink_to(program)
    told(lab.start(environment={"PATH": str(without)}), "no SLURM on", "--profile slurm")


def test_a_partition_that_does_not_exist(lab: Lab):
    controller = lab.start("--set-resources", "train:slurm_partition=gpus")
    told(controller, "gpus", "train", "nvalid partition", "slurm/config.yaml")
    assert lab.submitted() == []


def test_an_account_that_slurm_refuses(lab: Lab):
    controller = lab.start("--default-resources", "slurm_account=other", "slurm_partition=cpu", "mem_mb=500")
    told(controller, "slurm_account=other", "nvalid account", "slurm/config.yaml")
    assert lab.submitted() == []
    # It is the account that was refused.
    lab.cluster.run("sbatch", "--test-only", "--account=lab", "--wrap", "true")


def test_more_memory_than_any_node_has(lab: Lab):
    controller = lab.start("--set-resources", "train:mem_mb=100000")
    told(controller, "mem_mb=100000", "train", "not available", "slurm/config.yaml")
    assert lab.submitted() == []


def test_more_time_than_the_partition_allows(lab: Lab):
    """SLURM takes such a job, and never starts it."""
    lab.cluster.run("scontrol", "update", "PartitionName=gpu", "MaxTime=5")
    try:
        controller = lab.start("--retries", "0")
        told(controller, "PartitionTimeLimit", "train", "runtime=", "slurm/config.yaml")
        assert not lab.cluster.run("squeue", "-h").strip()
    finally:
        lab.cluster.run("scontrol", "update", "PartitionName=gpu", "MaxTime=UNLIMITED")


def test_slurmctld_is_away_at_the_start(lab: Lab):
    os.kill(lab.cluster.slurmctld.pid(), signal.SIGKILL)
    assert waited(lambda: lab.cluster.slurmctld.pid() is None, 10)
    told(lab.start(), "SLURM does not answer", "try again when it does")


def test_an_environment_that_the_node_does_not_have(lab: Lab):
    """To n2 the virtual environment is an empty folder; n1 takes no jobs."""
    if subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode:
        pytest.skip("a folder cannot be hidden from a process here: unshare and mount need rights")
    daemon = lab.cluster.slurmd("n2")
    os.kill(daemon.pid(), signal.SIGTERM)
    assert waited(lambda: daemon.pid() is None, 10)
    hidden = f"mount -t tmpfs none {sys.prefix} && exec {shlex.join(daemon.command)}"
    subprocess.run(["unshare", "--mount", "sh", "-c", hidden], env=lab.cluster.environment(), check=True)
    assert waited(lambda: daemon.pid() is not None, 10)
    lab.drain("n1")
    try:
        told(lab.start(), "n2", "cannot run", sys.prefix, "docs/cluster.md")
    finally:
        os.kill(daemon.pid(), signal.SIGTERM)
        assert waited(lambda: daemon.pid() is None, 10)
