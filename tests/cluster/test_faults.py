"""What happens to a run on a cluster: each fault on real daemons, and the same cells in the end."""

import os
import re
import signal
import subprocess
import time
from datetime import datetime

import pytest

from .cluster import waited
from .conftest import EPOCHS, RUN, WEIGHTS, Lab

pytestmark = pytest.mark.xdist_group("cluster")


def test_without_a_fault_the_cells_are_those_of_a_local_run(lab: Lab, undisturbed):
    lab.start().finishes()
    assert lab.cells == undisturbed
    assert lab.nothing_to_do()
    assert lab.slurm_job("train_ce_000") != lab.slurm_job("train_ce_001")


def test_members_per_job_puts_members_into_one_slurm_job(lab: Lab, undisturbed):
    lab.start(config=("members_per_job=2",)).finishes()
    assert lab.cells == undisturbed
    assert lab.slurm_job("train_ce_000") == lab.slurm_job("train_ce_001")
    assert lab.nothing_to_do()


def test_a_training_killed_by_scancel_is_submitted_again_and_goes_on(lab: Lab, undisturbed):
    controller = lab.start(targets=WEIGHTS)
    lab.freeze()
    killed = lab.slurm_job("train_ce_000")
    lab.cluster.run("scancel", killed)
    controller.finishes()
    assert lab.cells_of_its_members() == undisturbed
    assert lab.state(killed) == "CANCELLED"
    assert lab.slurm_job("train_ce_000") != killed
    assert len(lab.went_on_after("000")) == 1
    assert lab.no_epoch_was_trained_twice()


def test_a_training_that_runs_out_of_time_is_submitted_again_and_goes_on(lab: Lab, undisturbed):
    controller = lab.start("--set-resources", "train:runtime=1", targets=WEIGHTS)
    lab.freeze()
    killed = lab.slurm_job("train_ce_000")
    controller.finishes()
    assert lab.cells_of_its_members() == undisturbed
    assert lab.state(killed) == "TIMEOUT"
    assert lab.went_on_after("000")
    assert lab.no_epoch_was_trained_twice()


def test_a_training_preempted_by_a_job_of_higher_priority_goes_on(lab: Lab, undisturbed):
    controller = lab.start(
        "--set-resources", "train:slurm_partition=gpu_low", "--retries", "0", targets=WEIGHTS
    )
    lab.freeze()
    job = lab.slurm_job("train_ce_000")
    node = lab.show(job)["NodeList"]
    # It wants both GPUs of the node.
    lab.cluster.run(
        "sbatch", "-p", "gpu_high", "-w", node, "--gres=gpu:2", "-o", "/dev/null", "--wrap", "sleep 8"
    )
    controller.finishes()
    assert lab.cells_of_its_members() == undisturbed
    # SLURM requeued it: it is still the same job, and no retry was spent.
    assert lab.slurm_job("train_ce_000") == job
    assert lab.show(job)["Restarts"] == "1"
    assert lab.went_on_after("000")
    assert lab.no_epoch_was_trained_twice()


def test_slurmd_killed_while_its_training_lives_on(lab: Lab, undisturbed):
    """SLURM takes the node for dead and starts the job on the other, beside the process that still runs."""
    controller = lab.start("--retries", "0", targets=WEIGHTS)
    process = lab.freeze()
    job = lab.slurm_job("train_ce_000")
    node = lab.show(job)["NodeList"]
    daemon = lab.cluster.slurmd(node)
    os.kill(daemon.pid(), signal.SIGKILL)

    lab.wait(lambda: "down" in lab.cluster.node_states()[node], 90, f"{node} to be down")
    lab.wait(
        lambda: lab.state(job) == "RUNNING" and lab.show(job)["NodeList"] != node, 60, "the second start"
    )
    lab.wait(lambda: "waits for process" in lab.log("000"), 60, "the second training to wait for the first")
    assert len(lab.training("000")) == 2
    time.sleep(3)
    assert not lab.epochs("000")
    os.kill(process, signal.SIGCONT)

    controller.finishes()
    assert lab.cells_of_its_members() == undisturbed
    # This is the log of the second process: it has found what the first one made.
    assert "already trained" in lab.log("000")
    assert not lab.epochs("000")
    assert lab.show(job)["Restarts"] == "1"


def test_a_site_that_cancels_what_it_preempts(lab: Lab, undisturbed):
    """The job is not requeued but ends; it is submitted again, and no retry is spent."""
    lab.cluster.run("scontrol", "update", "PartitionName=gpu_low", "PreemptMode=CANCEL")
    try:
        controller = lab.start(
            "--set-resources", "train:slurm_partition=gpu_low", "--retries", "0", targets=WEIGHTS
        )
        lab.freeze()
        job = lab.slurm_job("train_ce_000")
        node = lab.show(job)["NodeList"]
        lab.cluster.run(
            "sbatch", "-p", "gpu_high", "-w", node, "--gres=gpu:2", "-o", "/dev/null", "--wrap", "sleep 8"
        )
        controller.finishes()
    finally:
        lab.cluster.run("scontrol", "update", "PartitionName=gpu_low", "PreemptMode=REQUEUE")
    assert lab.cells_of_its_members() == undisturbed
    assert lab.state(job) == "PREEMPTED"
    assert f"SLURM job {job} ended as PREEMPTED: submitted again" in controller.text
    assert lab.slurm_job("train_ce_000") != job
    assert lab.went_on_after("000")
    assert lab.no_epoch_was_trained_twice()


def test_slurmctld_killed_and_started_again(lab: Lab, undisturbed):
    controller = lab.start("--retries", "0", targets=WEIGHTS)
    process = lab.freeze()
    job = lab.slurm_job("train_ce_000")
    os.kill(lab.cluster.slurmctld.pid(), signal.SIGKILL)
    lab.wait(lambda: lab.cluster.slurmctld.pid() is None, 10, "slurmctld to end")
    os.kill(process, signal.SIGCONT)  # it ends while nobody can be asked about it
    lab.wait(lambda: not lab.training("000"), 60, "the training to end")
    lab.wait(lambda: "SLURM does not answer" in controller.text, 60, "the controller to ask in vain")
    lab.cluster.start_daemon(lab.cluster.slurmctld)
    controller.finishes()
    assert lab.cells_of_its_members() == undisturbed
    assert lab.slurm_job("train_ce_000") == job
    assert not lab.went_on_after("000")
    assert lab.no_epoch_was_trained_twice()


def test_a_controller_killed_and_started_again_adopts_its_jobs(lab: Lab, undisturbed):
    first = lab.start()
    process = lab.freeze("000")
    jobs = [lab.slurm_job(f"train_ce_{member}") for member in ("000", "001")]
    first.kill()
    # One training ends while no controller watches, the other runs until the next one has come.
    assert waited(lambda: len(lab.epochs("001")) == EPOCHS and not lab.training("001"), 60)

    second = lab.start()
    lab.wait(lambda: f"SLURM job {jobs[0]}" in second.text, 60, "the second to adopt the first's job")
    os.kill(process, signal.SIGCONT)
    second.finishes()
    assert lab.cells == undisturbed
    assert [lab.slurm_job(f"train_ce_{member}") for member in ("000", "001")] == jobs
    for member in ("000", "001"):
        assert not lab.went_on_after(member)
        assert lab.epochs(member) == list(range(1, EPOCHS + 1))
    assert lab.nothing_to_do()


def test_a_job_whose_data_was_made_anew_is_not_adopted(lab: Lab, undisturbed):
    """It trains on what it has read before the controller died; the next one ends it and starts another."""
    first = lab.start(targets=WEIGHTS)
    lab.freeze("000")
    orphan = lab.slurm_job("train_ce_000")
    first.kill()
    (lab.folder / RUN / "scratch/tiny/heart/arrays/train/.snakemake_timestamp").touch()
    lab.start(targets=WEIGHTS).finishes()
    assert lab.state(orphan) == "CANCELLED"
    assert lab.slurm_job("train_ce_000") != orphan
    assert lab.cells_of_its_members() == undisturbed


def test_a_second_start_of_the_same_command_is_told_who_is_at_work(lab: Lab, undisturbed):
    first = lab.start(targets=WEIGHTS)
    process = lab.freeze()
    second = lab.start(targets=WEIGHTS)
    assert second.ends(60) != 0
    assert str(first.process.pid) in second.text
    assert "Traceback" not in second.text
    os.kill(process, signal.SIGCONT)
    first.finishes()
    assert lab.cells_of_its_members() == undisturbed
    assert lab.no_epoch_was_trained_twice()


def test_a_disk_that_is_full_while_a_training_saves(lab: Lab, undisturbed):
    resume = lab.folder / "results/tiny/resume"
    resume.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(resume)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        first = lab.start("--retries", "0", targets=WEIGHTS)
        process = lab.freeze()
        fill(resume / "fill")
        os.kill(process, signal.SIGCONT)
        assert first.ends() != 0
        assert "space" in lab.log("000")
        assert str(resume.relative_to(lab.folder)) in lab.log("000")
        assert "space" in first.text

        (resume / "fill").unlink()
        lab.start("--retries", "0", targets=WEIGHTS).finishes()
        assert lab.cells_of_its_members() == undisturbed
        assert lab.went_on_after("000")
        assert lab.no_epoch_was_trained_twice()
    finally:
        subprocess.run(["umount", "-l", str(resume)], check=True)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_node_whose_clock_is_off_by_an_hour(lab: Lab, undisturbed, hours):
    """Trainings run on that node, everything else on the other."""
    lab.cluster.set_clock("n2", hours * 3600)
    lab.drain("n1")
    controller = lab.start()
    lab.wait(lambda: lab.epochs("000") and lab.epochs("001"), 90, "the trainings to run")
    lab.undrain("n1")
    lab.drain("n2")
    controller.finishes()
    # The clock was off: both what the job said and when its files were written.
    log = lab.folder / RUN / "logs/tiny/heart/train_ce_000.log"
    since = datetime.fromisoformat(re.search(r"since (\S+)", log.read_text())[1]).timestamp()
    for stamp in (since, log.stat().st_mtime):
        assert abs(stamp - time.time() - hours * 3600) < 600
    assert lab.cells == undisturbed
    assert lab.nothing_to_do()


def fill(path) -> None:
    with path.open("wb", buffering=0) as handle:
        try:
            for size in (65536, 4096, 1):
                while handle.write(b"\0" * size) == size:
                    pass
        except OSError:  # full
            return
