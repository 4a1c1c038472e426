"""How far a run is told to be, from files as jobs leave them and from what a queue says."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from segtrail import joblog
from segtrail.cli import app
from segtrail.config import named_run
from segtrail.errors import ArtifactError, ConfigError, DataError
from segtrail.files import write_json
from segtrail.layout import Layout
from segtrail.runs.jobs import jobs
from segtrail.runs.screen import show, show_list
from segtrail.runs.slurm import SlurmSilentError, squeue
from segtrail.runs.status import failure, last_epoch, run_of, status, training

ROOT = Path(__file__).parents[2]
TRAIN = "mehrtash2020/heart/train_ce_000"
OTHER = "mehrtash2020/heart/train_ce_001"
# When files were written, in seconds: an earlier submission, the controller's start, and what came after.
BEFORE, STARTED, SUBMITTED, LOGGED, FINISHED = 1000, 2000, 3000, 4000, 5000


class Tree:
    """A run's tree, filled by hand."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(named_run("smoke", None, ROOT / "config"), folder)
        self.folder = self.layout.tree
        self.queue = folder / "queue"

    def log(self, name: str, text: str = "12:00:00 process 1 on n1\n", at: int = LOGGED) -> Path:
        return self.put(f"logs/{name}.log", text, at)

    def benchmark(self, name: str, seconds: float = 60.0, at: int = FINISHED) -> None:
        self.put(f"benchmarks/{name}.tsv", f"s\th:m:s\tmax_rss\n{seconds}\t0:01:00\t5\n", at)

    def submitted(self, name: str, number: int = 7, at: int = SUBMITTED, marker: str = "m.0") -> None:
        self.put("slurm/name", "segtrail-smoke-12345678\n", at)
        log = str(self.folder / "slurm.log")
        values = {"slurm_job": str(number), "rule": "train", "slurm_log": log, "marker": marker}
        self.put(f"slurm/jobs/{name.replace('/', '__')}.json", json.dumps(values), at)

    def controller(self, **more: object) -> None:
        about = {"user": "anna", "host": "login1", "pid": 42, "started": "2026-11-20T10:31:00+00:00"}
        self.put("controller.json", json.dumps(about | more), STARTED)
        self.put("controller.lock", "", STARTED)

    def put(self, name: str, text: str, at: int) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (at, at))
        return path

    @contextmanager
    def controlled(self):
        self.controller()
        with held(self.folder / "controller.lock"):
            yield

    def state(self, name: str = TRAIN) -> str:
        return self.of(name).state

    def of(self, name: str = TRAIN):
        (found,) = [job for job in status(self.layout).jobs if job.job.name == name]
        return found

    def screen(self, **options: object) -> str:
        text = StringIO()
        show(status(self.layout), console=Console(file=text, width=100), **options)
        return text.getvalue()


@contextmanager
def held(path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Tree:
    """An empty tree, and commands of SLURM that answer with a file's content: nobody else is asked."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    tree = Tree(tmp_path / "results")
    tree.folder.mkdir(parents=True)
    tree.queue.write_text("")
    program(tmp_path, "squeue", f"while read -r line; do echo \"$line\"; done < '{tree.queue}'")
    return tree


def program(tmp_path: Path, name: str, script: str) -> None:
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


# --- without SLURM -------------------------------------------------------------------------------


def test_of_a_run_that_was_never_started_all_is_to_come(tree):
    total = len(jobs(tree.layout))
    assert tree.screen() == f"run smoke (scale smoke, PHANTOM DATA): nothing made yet: {total} jobs to come\n"
    assert status(tree.layout).as_dict()["counts"]["to come"] == total > 50


def test_a_job_is_done_once_its_benchmark_is_newer_than_its_log(tree):
    assert tree.state() == "to come"
    tree.log(TRAIN)
    assert tree.state() == "to come"
    assert tree.of().begun
    tree.benchmark(TRAIN)
    assert tree.state() == "done"
    tree.log(TRAIN, at=FINISHED + 1)  # begun again
    assert tree.state() == "to come"


def test_what_is_made_from_what_is_made_anew_is_not_done(tree):
    """In the middle of a second run the first one's results are not taken for its own."""
    sample, other = "mehrtash2020/heart/sample_ce_test_000", "mehrtash2020/heart/sample_dice_test_000"
    names = (TRAIN, sample, other, "mehrtash2020/collect", "report")
    for name in names:
        tree.log(name, at=BEFORE)
        tree.benchmark(name, at=BEFORE)

    def states() -> list[str]:
        return [tree.state(name) for name in names]

    finished = ["done"] * 5
    assert states() == finished
    log = tree.log(TRAIN)
    with tree.controlled():
        with held(log.with_suffix(".lock")):
            assert states() == ["running", "to come", "done", "to come", "to come"]
        tree.benchmark(TRAIN)  # what comes next is not submitted yet
        assert states() == ["done", "to come", "done", "to come", "to come"]
        for name in names:
            tree.log(name)
            tree.benchmark(name)
        assert states() == finished
    assert states() == finished


def test_a_job_runs_while_a_process_holds_its_lock(tree):
    log = tree.log(TRAIN)
    with held(log.with_suffix(".lock")):
        assert tree.state() == "running"
    assert tree.state() == "to come"


def test_asking_disturbs_no_lock(tree):
    log = tree.log(TRAIN)
    assert tree.state() == "to come"
    with held(log.with_suffix(".lock")):  # raises if somebody still had it
        pass


def test_a_real_job_is_seen_to_run_and_to_be_killed(tree):
    """The lock, its content and the log are those that jobs write."""
    log = tree.folder / "logs" / f"{TRAIN}.log"
    script = (
        "import sys, time\nfrom segtrail.joblog import job\n"
        f"with job({str(log)!r}):\n    print('begun', flush=True)\n    time.sleep(60)\n"
    )
    tree.controller()
    with held(tree.folder / "controller.lock"):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert tree.state() == "running"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert tree.state() == "failed"
        assert "killed without a word" in tree.of().reason
    assert tree.state() == "to come"  # the controller is gone too: nothing is wrong with the job


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            DataError("nothing", subject="case 7", expected="a heart"),
            ["subject:  case 7", "expected: a heart"],
        ),
        (ValueError("shapes differ"), ["unexpected error", "ValueError: shapes differ"]),
    ],
)
def test_the_reason_of_a_failure_is_what_the_job_says_at_its_end(tree, error, told):
    log = tree.folder / "logs" / f"{TRAIN}.log"
    with pytest.raises((SystemExit, ValueError)), joblog.job(log):
        raise error
    job = tree.of()
    assert job.state == "failed"
    assert all(text in job.reason for text in told), job.reason
    text = tree.screen()
    assert all(part in text for part in (f"failed: {TRAIN}", *told, f"log: {log}")), text
    tree.benchmark(TRAIN, at=1)  # an earlier success does not hide it
    assert tree.state() == "failed"


def test_a_job_that_is_tried_again_has_not_failed(tree):
    stopped = "12:00:00 stopped:\nfound:    nothing\n"
    assert failure(stopped) == "found:    nothing"
    assert failure(stopped + "12:01:00 process 2 on n1\n") is None
    tree.log(TRAIN, stopped, at=BEFORE)
    assert tree.state() == "failed"
    with tree.controlled():  # began after that: it has not come to it yet
        assert tree.state() == "to come"


def test_who_runs_it_and_whether_that_process_lives(tree):
    tree.log(TRAIN)
    with tree.controlled():
        assert "run by anna on login1 (process 42, since 2026-11-20T10:31:00+00:00)" in tree.screen()
    assert "nobody runs it now; last run by anna on login1" in tree.screen()
    assert "the same command goes on where it stopped" in tree.screen()
    assert "1 of the jobs to come have begun before" in tree.screen()


# --- with SLURM ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slurm", "controlled", "expected"),
    [
        ("RUNNING", True, "running"),
        ("RUNNING", False, "running"),  # the controller died, its jobs go on
        ("COMPLETING", True, "running"),
        ("SUSPENDED", True, "running"),
        ("PENDING", True, "waiting"),
        ("PENDING", False, "waiting"),
        ("PREEMPTED", True, "waiting"),  # it is submitted again
        ("PREEMPTED", False, "to come"),
        ("NODE_FAIL", True, "waiting"),
        ("TIMEOUT", True, "failed"),
        ("TIMEOUT", False, "failed"),
        ("OUT_OF_MEMORY", True, "failed"),
        ("FAILED", True, "failed"),
        ("CANCELLED", True, "failed"),
        ("CANCELLED", False, "to come"),  # Ctrl-C cancels every job
        ("COMPLETED", True, "running"),  # its files are late
        (None, True, "failed"),  # vanished
        (None, False, "to come"),
    ],
)
@pytest.mark.parametrize("logged", [True, False])
def test_what_slurm_says_of_a_submitted_job(tree, slurm, controlled, expected, logged):
    tree.submitted(TRAIN)
    if logged:
        tree.log(TRAIN)
    if slurm:
        tree.queue.write_text(f"7|{slurm}|1:02:03|n1|None\n")
    tree.controller()
    if controlled:
        with held(tree.folder / "controller.lock"):
            job = tree.of()
    else:
        job = tree.of()
    assert job.state == expected
    assert job.slurm_job == ("7" if expected != "to come" else "")
    if expected == "failed" and slurm:
        assert f"SLURM job 7 ended as {slurm}" in job.reason


def test_a_requeued_job_waits_whatever_it_has_logged(tree):
    tree.submitted(TRAIN)
    tree.log(TRAIN, "12:00:00 epoch 3: loss 1\n12:00:01 stopped by SIGTERM\n")
    tree.queue.write_text("7|PENDING|0:00||BeginTime\n")
    assert tree.state() == "waiting"
    assert "waiting in SLURM's queue for: BeginTime 1" in tree.screen()


def test_the_queue_counts_before_an_earlier_success_but_not_before_a_later_one(tree):
    tree.log(TRAIN)
    tree.benchmark(TRAIN)
    tree.submitted(TRAIN, at=FINISHED + 1)
    tree.queue.write_text("7|RUNNING|1:00|n1|None\n")
    assert tree.state() == "running"
    tree.put("slurm/done/m.0", "", FINISHED + 2)  # done before its submission could be recorded
    assert tree.state() == "done"


def test_a_job_that_slurm_ends_after_its_work_has_failed(tree):
    tree.submitted(TRAIN)
    tree.log(TRAIN)
    tree.benchmark(TRAIN)
    assert tree.state() == "done"
    tree.queue.write_text("7|FAILED|1:00|n1|NonZeroExitCode\n")
    assert tree.state() == "failed"
    assert "SLURM job 7 ended as FAILED" in tree.of().reason
    tree.put("slurm/done/m.0", "", FINISHED)
    assert tree.state() == "done"


def test_a_job_that_never_began_shows_the_end_of_slurms_log(tree):
    tree.submitted(TRAIN)
    tree.put("slurm.log", "\n\nsegtrail: node n1 cannot run .venv/bin/python\n\n", SUBMITTED)
    tree.queue.write_text("7|FAILED|0:01|n1|NonZeroExitCode\n")
    text = tree.screen()
    assert "| segtrail: node n1 cannot run .venv/bin/python" in text
    assert f"SLURM's log: {tree.folder / 'slurm.log'}" in text
    assert "  log:" not in text


def test_of_an_earlier_controllers_failure_nothing_is_said_until_it_is_tried(tree):
    tree.submitted(TRAIN, at=BEFORE)
    tree.log(TRAIN, at=BEFORE)
    tree.queue.write_text("7|TIMEOUT|1:00:00|n1|None\n")
    assert tree.state() == "failed"
    with tree.controlled():
        assert tree.state() == "to come"
        tree.log(TRAIN)  # adopted, and it ran on until then
        assert tree.state() == "failed"


def test_members_of_one_submission_run_one_after_the_other(tree):
    names = [f"mehrtash2020/heart/train_{member}" for member in ("ce_000", "ce_001", "dice_000", "dice_001")]
    for index, name in enumerate(names):
        tree.submitted(name, marker=f"m.{index}")
    tree.queue.write_text("7|RUNNING|1:02:03|n1|None\n")
    tree.log(names[0])
    tree.benchmark(names[0])
    tree.put("slurm/done/m.0", "", FINISHED)
    tree.log(names[1], "12:00:00 stopped:\nfound:    nan\n")
    log = tree.log(names[2])
    with held(log.with_suffix(".lock")):
        assert [tree.state(name) for name in names] == ["done", "failed", "running", "waiting"]
        assert "waiting for their turn in a SLURM job that runs, or to be submitted again: 1" in tree.screen()
        assert "queue for" not in tree.screen()


def test_accounts_are_asked_for_what_the_queue_has_forgotten(tree, tmp_path):
    tree.submitted(TRAIN)
    tree.submitted(OTHER, number=8)
    tree.queue.write_text("8|RUNNING|1:00|n1|None\n")
    program(tmp_path, "sacct", f"echo \"$@\" > '{tmp_path}/asked'\necho '7|CANCELLED by 1000|01:00:00|n2'")
    with tree.controlled():
        assert "SLURM job 7 ended as CANCELLED: somebody cancelled it" in tree.of().reason
    assert "--jobs 7 " in (tmp_path / "asked").read_text()
    program(tmp_path, "sacct", "echo 'Slurm accounting storage is disabled' >&2\nexit 1")
    with tree.controlled():
        assert "SLURM no longer knows job 7" in tree.of().reason


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'slurm_load_jobs error: Unable to contact' >&2; exit 1", "slurm_load_jobs error"),
        ("exit 3", "squeue: exit status 3"),
        (None, "there is no squeue on this machine"),
    ],
)
def test_without_an_answer_of_slurm_the_files_tell_and_it_is_said(tree, tmp_path, script, told):
    tree.submitted(TRAIN)
    tree.submitted(OTHER, number=8)
    log = tree.log(TRAIN)
    if script is None:
        (tmp_path / "bin" / "squeue").unlink()
    else:
        program(tmp_path, "squeue", script)
    with held(log.with_suffix(".lock")):
        assert (tree.state(TRAIN), tree.state(OTHER)) == ("running", "waiting")
        assert f"SLURM does not answer ({told}" in tree.screen()
    with pytest.raises(SlurmSilentError, match=told):
        squeue("any")


def test_jobs_in_the_queue_that_no_file_names_are_told(tree):
    tree.submitted(TRAIN)
    tree.queue.write_text("7|RUNNING|1:00|n1|None\n9|RUNNING|1:00|n2|None\n6|FAILED|1:00|n2|None\n")
    assert status(tree.layout).strangers == ["9"]
    assert "1 more jobs named segtrail-smoke-12345678" in tree.screen()


def test_a_damaged_record_is_named(tree):
    tree.submitted(TRAIN)
    tree.put(f"slurm/jobs/{TRAIN.replace('/', '__')}.json", "{", SUBMITTED)
    with pytest.raises(ArtifactError, match="mehrtash2020__heart__train_ce_000"):
        status(tree.layout)


# --- trainings -----------------------------------------------------------------------------------


def members(tree: Tree) -> list[str]:
    return [job.name for job in jobs(tree.layout) if job.step == "train"]


def test_the_rest_is_estimated_from_the_members_of_each_model(tree):
    """Of every model one member of two is trained, in 30 minutes, and two train now: 26 / 2 × 30 / 2."""
    names = members(tree)
    for name in names:
        if name.endswith("000"):
            tree.log(name)
            tree.benchmark(name, 1800)
    first, second = [name for name in names if name.endswith("001")][:2]
    for name, epoch in ((first, 1), (second, 2)):
        tree.log(name, f"12:00:00 begins on cpu\n12:00:01 epoch {epoch}: loss 1\n")
    with held(tree.folder / f"logs/{first}.lock"), held(tree.folder / f"logs/{second}.lock"):
        about = training(status(tree.layout))
        text = tree.screen()
    left = len(names) - about["trained"]
    assert about["hours_left"] == pytest.approx(left * 0.5 / 2)
    assert (
        f"members: {about['trained']} of {len(names)} trained; 2 train now, after epoch 1 to 2 of at most 2"
        in text
    )
    assert f"2 at a time, training takes {left * 0.25:.1f} h more" in text


def test_there_is_no_estimate_before_each_model_has_a_member(tree):
    tree.log(TRAIN)
    tree.benchmark(TRAIN)
    log = tree.log(OTHER)
    assert training(status(tree.layout))["hours_left"] is None  # nobody trains
    with held(log.with_suffix(".lock")):
        about = training(status(tree.layout))
        assert about["hours_left"] is None
        assert "mehrtash2020/heart/ce" not in about["untimed"]
        assert "no estimate yet: no member is trained of mehrtash2020/brain/ce," in tree.screen()


def test_epochs_are_those_since_the_training_last_began_from_nothing():
    log = "1:00 begins on cpu\n12:00:00 epoch 8: a\n12:00:01 epoch 9: a\n"
    assert last_epoch(log) == 9
    assert last_epoch(log + "12:01:00 goes on after epoch 9\n") == 9
    assert last_epoch(log + "12:01:00 begins on cpu: 3 images\n") is None


# --- on the screen -------------------------------------------------------------------------------


def test_hundreds_of_failures_stay_on_one_screen(tree):
    names = [job.name for job in jobs(tree.layout)]
    for index, name in enumerate(names):
        tree.log(name, f"12:00:00 stopped:\nfound:    reason {min(index, 14)}\nremedy:   none\n")
    text = tree.screen()
    assert len(text.splitlines()) < 80
    assert text.count("failed: ") == 10
    assert f"and {len(names) - 10} more failed jobs" in text
    for name in names:
        tree.log(name, "12:00:00 stopped:\nfound:    no GPU\n")
    text = tree.screen()
    assert text.count("failed: ") == 1
    assert f"and for the same reason {len(names) - 1} more: " in text


def test_the_table_counts_each_study_and_each_rule(tree):
    for name in ("phantom_acdc", "mehrtash2020/cells", "report"):
        tree.log(name)
        tree.benchmark(name)
    listed = jobs(tree.layout)
    of_study = sum(job.study == "mehrtash2020" for job in listed)
    rows = [line.split() for line in tree.screen().splitlines()]
    assert ["mehrtash2020", "1", str(of_study - 1), str(of_study)] in rows
    assert ["report", "1", "1"] in rows
    assert ["all", "3", str(len(listed) - 3), str(len(listed))] in rows
    text = tree.screen(by_rule=True)
    trainings = str(sum(name.startswith("mehrtash2020/") for name in members(tree)))
    assert ["train", trainings, trainings] in [line.split() for line in text.splitlines()]
    assert max(map(len, text.splitlines())) <= 80


def test_jobs_in_one_state_are_listed_with_where_they_run(tree):
    tree.submitted(TRAIN)
    log = tree.log(TRAIN, "12:00:00 begins on cuda\n12:00:01 epoch 5: loss 1\n")
    tree.queue.write_text("7|RUNNING|1:02:03|n1|None\n")
    text = StringIO()
    show_list(status(tree.layout), "running", Console(file=text, width=200))
    assert text.getvalue() == f"{TRAIN}  SLURM 7 RUNNING  n1  1:02:03  epoch 5  {log}\n"


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def clone(tree, tmp_path, monkeypatch) -> Tree:
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)
    return tree


def test_the_command_reads_and_writes_nothing(clone, tmp_path):
    clone.log(TRAIN, "12:00:00 stopped:\nfound:    nan\n")
    before = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}
    done = CliRunner().invoke(app, ["status", "--run", "smoke"])
    assert done.exit_code == 0, done.output
    assert "found:    nan" in done.output
    values = json.loads(CliRunner().invoke(app, ["status", "--run", "smoke", "--json"]).stdout)
    assert values["counts"]["failed"] == values["studies"]["mehrtash2020"]["failed"] == 1
    (failed,) = [job for job in values["jobs"] if job["state"] == "failed"]
    assert failed["job"] == TRAIN
    assert failed["reason"] == "found:    nan"
    assert Path(failed["log"]).name == "train_ce_000.log"
    listed = CliRunner().invoke(app, ["status", "--run", "smoke", "--list", "failed"])
    assert listed.stdout.startswith(TRAIN)
    assert {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))} == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--run", "smoke", "--list", "nonsense"], "one of: done, running, waiting, failed, to come"),
        (["--run", "nonsense"], "one of: demo, paper, smoke"),
        (["--run", "smoke", "--root", "acdc"], "acdc=/data/acdc"),
    ],
)
def test_a_question_that_cannot_be_answered_says_what_can(clone, arguments, told):
    done = CliRunner().invoke(app, ["status", *arguments])
    assert done.exit_code == 1
    assert told in done.output


def test_outside_a_clone_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["status"])
    assert done.exit_code == 1
    assert "clone's root" in done.output


def test_a_tree_of_another_kind_of_run_is_refused(tree):
    tree.layout.claim_tree()
    status(tree.layout)
    write_json(tree.folder / "run.json", tree.layout.kind | {"phantom": False, "scale": "paper"})
    with pytest.raises(ConfigError, match="--config FILE"):
        status(tree.layout)
    write_json(tree.folder / "run.json", {"run": "smoke", "phantom": True, "scale": "smoke"})
    with pytest.raises(ConfigError, match="another version of segtrail"):
        status(tree.layout)


def test_a_run_is_asked_about_as_it_was_started(clone, tmp_path):
    """What was given on Snakemake's command line need not be repeated."""
    assert run_of("smoke", None).seed == 1
    clone.controller(config={"run": "smoke", "scale": "demo", "studies": ["mehrtash2020"], "seed": 5})
    started = run_of("smoke", None)
    assert (started.scale, started.seed) == ("demo", 5)
    file = tmp_path / "mine.yaml"
    file.write_text("scale: smoke\nseed: 3\n")
    assert run_of("smoke", file).seed == 3


def test_a_run_by_its_name(tmp_path):
    config = ROOT / "config"
    assert named_run(None, None, config).name == "demo"
    assert named_run("paper", None, config).scale == "paper"
    acdc = named_run("acdc", None, config)  # config/runs/acdc.yaml
    assert list(acdc.studies["mehrtash2020"].cohorts) == ["heart"]
    again = named_run("again", config / "runs" / "acdc.yaml", config)
    assert Layout(again).tree == Path("results/again")
    assert again.studies == acdc.studies
    assert named_run("acdc", None, config, [f"acdc={tmp_path}"]).roots == {"acdc": tmp_path}


def test_a_thousand_jobs_are_told_within_seconds(tree):
    layout = Layout(named_run("paper", None, ROOT / "config"), tree.layout.results)
    listed = jobs(layout)
    big = Tree(tree.layout.results)
    big.layout, big.folder = layout, layout.tree
    for job in listed:
        big.log(job.name)
        big.benchmark(job.name)
    begun = time.monotonic()
    assert status(layout).as_dict()["counts"]["done"] == len(listed) > 1000
    assert time.monotonic() - begun < 10
