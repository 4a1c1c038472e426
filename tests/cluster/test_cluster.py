"""The cluster itself: it starts and stops cleanly, twice as well as once, for root as for a user."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import cluster as slurm
from .cluster import Cluster, ClusterError, alive, waited

pytestmark = pytest.mark.xdist_group("clusters")


@pytest.fixture
def own(installed, tmp_path) -> Iterator[Cluster]:
    """A cluster of the test's own, not yet started."""
    cluster = Cluster(tmp_path / "c")
    yield cluster
    cluster.stop()


def pids(cluster: Cluster) -> list[int | None]:
    return [daemon.pid() for daemon in cluster.daemons]


def run_job(cluster: Cluster, script: str) -> Path:
    """Submits a job; returns where its output goes."""
    output = cluster.folder / "job.out"
    cluster.run("sbatch", "-o", str(output), "--gres=gpu:1", "--wrap", script)
    return output


def says(output: Path, text: str) -> bool:
    return output.exists() and text in output.read_text()


def test_a_job_runs_and_its_steps_find_the_cluster_without_its_configuration(own):
    own.start()
    output = run_job(
        own, "env -u SLURM_CONF srun sh -c 'echo step on $SLURMD_NODENAME, GPU $CUDA_VISIBLE_DEVICES'"
    )
    assert waited(lambda: says(output, "step on n1, GPU 0"), 20), output.read_text()


def test_start_and_stop_twice(own):
    own.start()
    first = pids(own)
    assert None not in first
    own.start()
    assert pids(own) == first
    own.stop()
    assert pids(own) == [None] * 4
    own.stop()


def test_stop_leaves_no_process_of_daemons_steps_or_jobs(own):
    own.start()
    # It does not listen to SIGTERM, and leaves its parent.
    output = run_job(own, "trap '' TERM; setsid sleep 3600 & srun sleep 3601 & echo runs; wait; sleep 3602")
    assert waited(lambda: says(output, "runs"), 20)
    before = own.processes()
    assert len(before) >= 8
    began = time.monotonic()
    own.stop()
    assert time.monotonic() - began < 30
    assert [pid for pid in before if alive(pid)] == []
    assert own.processes() == []


def test_a_dead_cluster_starts_again(own):
    """What a machine that lost its power leaves: pid files, some of them now of other processes."""
    own.start()
    for pid in own.processes():
        slurm.send(pid, signal.SIGKILL)
    assert waited(lambda: pids(own) == [None] * 4, 10)
    own.slurmctld.pid_file.write_text(f"{os.getpid()}\n")
    own.start()
    assert None not in pids(own)
    assert own.slurmctld.pid() != os.getpid()


def test_a_single_dead_daemon_is_started_again_and_its_job_lives_on(own):
    own.start()
    output = run_job(own, "sleep 4; echo lives")
    assert waited(lambda: "RUNNING" in own.run("squeue", "-h", "-o", "%T"), 10)
    kept = pids(own)
    os.kill(kept[2], signal.SIGKILL)
    assert waited(lambda: own.slurmd("n1").pid() is None, 10)
    own.start()
    assert pids(own)[0] == kept[0]
    assert None not in pids(own)
    assert waited(lambda: says(output, "lives"), 20)


def test_two_clusters_side_by_side(own, tmp_path):
    other = Cluster(tmp_path / "d")
    try:
        own.start()
        other.start()
        output = run_job(other, "echo in the other")
        assert waited(lambda: says(output, "in the other"), 20)
        assert own.run("squeue", "--states=all", "-h") == ""
        other.stop()
        assert None not in pids(own)
    finally:
        other.stop()


def test_a_daemon_that_does_not_start_is_named_with_the_end_of_its_log(own, monkeypatch):
    monkeypatch.setattr(slurm, "SLURM_CONF", slurm.SLURM_CONF + "NoSuchKey=1\n")
    with pytest.raises(ClusterError, match=r"(?s)^slurmctld did not start.*NoSuchKey"):
        own.start()
    own.stop()
    assert own.processes() == []


def test_a_user_without_slurm_is_told_the_packages(monkeypatch):
    monkeypatch.setattr(slurm, "search_path", lambda: "/nonexistent")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match=r"Debian packages munge slurm-wlm"):
        slurm.install()


@pytest.mark.skipif(os.geteuid() != 0, reason="it is an ordinary user who runs the tests")
def test_an_ordinary_user_starts_uses_and_stops_one(installed, tmp_path_factory):
    nobody = pwd.getpwnam("nobody")
    # Below /tmp itself: what pytest makes is closed to others.
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    program = shutil.copy(slurm.__file__, folder / "cluster.py")
    # The tests' own Python may lie where only root gets to.
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin") or sys.executable
    script = f"""
        set -e
        cluster="{python} {program}"
        $cluster start {folder}/c
        eval "$($cluster env {folder}/c)"
        sbatch --wait -o {folder}/out --wrap 'srun id -un' </dev/null
        $cluster stop {folder}/c
    """
    try:
        done = subprocess.run(
            [
                "setpriv",
                f"--reuid={nobody.pw_uid}",
                f"--regid={nobody.pw_gid}",
                "--clear-groups",
                "sh",
                "-c",
                script,
            ],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (folder / "out").read_text() == "nobody\n"
        assert Cluster(folder / "c").processes() == []
    finally:
        Cluster(folder / "c").stop()
        shutil.rmtree(folder)
