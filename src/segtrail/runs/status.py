"""How far a run is: what `segtrail status` prints while jobs run, from files and SLURM's own commands.

Nothing is written, and nobody is disturbed: anybody who can read the tree may ask at any time. SLURM is asked
once, and only where jobs were submitted to it. Each job of the workflow is in one of five states:

    done       Its benchmark is there, no older than its log; it was not submitted again since, and nothing
               that it is made from is being made anew. (Whether another configuration asks for that is a
               question to `snakemake -n`.)
    running    SLURM runs its job, or its process, wherever that is, holds the lock beside its log.
    waiting    SLURM has its job in the queue, for the first time or requeued; or another job of the same
               submission comes first; or the cluster has ended it and it is submitted again.
    failed     Its log ends with an error, SLURM's job has ended badly or vanished, or its process was killed
               without a word; all that since the living controller began. Tried again, it leaves this state.
    to come    All others: those that wait for other jobs, and those that began and were left (`begun`): they
               go on where they stopped when the run is started again.

Times compared are those that the file system gave the files; of nodes whose clocks differ only SLURM tells.
"""

import csv
import fcntl
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from ..config import Run, load_run, named_run, read_yaml
from ..errors import ArtifactError
from ..files import read_json
from ..layout import Layout
from .jobs import Job, jobs
from .slurm import (
    ENDED_BADLY,
    ENDED_BY_CLUSTER,
    MEANING,
    OVER,
    PENDING,
    SlurmJob,
    SlurmSilentError,
    sacct,
    squeue,
)

DONE, RUNNING, WAITING, FAILED, TO_COME = STATES = ("done", "running", "waiting", "failed", "to come")

TAIL = 16384  # bytes of a log's end; an error is one screen
ENTRY = re.compile(r"^\d\d:\d\d:\d\d ", re.MULTILINE)
EPOCH = re.compile(r"^\d\d:\d\d:\d\d epoch (\d+):", re.MULTILINE)


@dataclass(frozen=True)
class Record:
    """What was submitted for a job the last time."""

    slurm_job: str
    slurm_log: Path
    written: int  # ns
    ended: bool  # the submission has left its marker: this job of it is done


@dataclass(frozen=True)
class Controller:
    """The snakemake that holds the run, or held it last."""

    user: str
    host: str
    pid: int
    started: str
    alive: bool | None  # None: the file system does not tell
    written: int  # ns


@dataclass(frozen=True)
class Progress:
    """One job's state, and where to read on."""

    job: Job
    state: str
    log: Path
    reason: str = ""  # of a failure
    begun: bool = False
    slurm_job: str = ""
    slurm: SlurmJob | None = None
    slurm_log: Path | None = None
    epoch: int | None = None  # of a training that runs: the last finished one

    def as_dict(self) -> dict[str, Any]:
        values = {"job": self.job.name, "rule": self.job.rule, "study": self.job.study, "state": self.state}
        more = {
            "log": str(self.log) if self.begun else None,
            "reason": self.reason,
            "begun": self.begun,
            "epoch": self.epoch,
            "slurm_job": self.slurm_job,
            "slurm_log": str(self.slurm_log) if self.slurm_log else None,
        }
        if self.slurm is not None:
            more |= {f"slurm_{key}": value for key, value in vars(self.slurm).items()}
        return values | {key: value for key, value in more.items() if value not in (None, "")}


@dataclass(frozen=True)
class Status:
    """A run's progress; `silence` says why SLURM has not answered, where it was asked."""

    layout: Layout
    jobs: list[Progress]
    controller: Controller | None
    name: str | None  # SLURM's name of all jobs of the run
    silence: str | None
    strangers: list[str]  # jobs of that name that SLURM still has and that no record names

    @property
    def started(self) -> bool:
        return any(job.state != TO_COME or job.begun for job in self.jobs)

    def count(self, key: Callable[[Job], tuple[str, ...]]) -> dict[tuple[str, ...], Counter[str]]:
        """key of a job → state → how many."""
        counts: dict[tuple[str, ...], Counter[str]] = {}
        for job in self.jobs:
            counts.setdefault(key(job.job), Counter())[job.state] += 1
        return counts

    def of(self, state: str) -> list[Progress]:
        return [job for job in self.jobs if job.state == state]

    def as_dict(self) -> dict[str, Any]:
        run, total = self.layout.run, Counter(job.state for job in self.jobs)
        return {
            "run": run.name,
            "scale": run.scale,
            "phantom": run.phantom,
            "controller": {key: value for key, value in vars(self.controller).items() if key != "written"}
            if self.controller
            else None,
            "slurm_name": self.name,
            "slurm_silence": self.silence,
            "slurm_strangers": self.strangers,
            "counts": {state: total[state] for state in STATES},
            "studies": {
                name: {state: counts[state] for state in STATES}
                for (name,), counts in self.count(lambda job: (place(job),)).items()
            },
            "training": training(self),
            "jobs": [job.as_dict() for job in self.jobs],
        }


def place(job: Job) -> str:
    """The line of the table in which a job is counted: its study, `data` or `report`."""
    return job.study or ("report" if job.rule == "report" else "data")


def run_of(name: str | None, config_file: Path | None, roots: Sequence[str] = ()) -> Run:
    """The run that is asked about: as it was started last where nothing else is given, else `named_run`.

    Looks for config/ and results/ in the working directory, as Snakemake does. Raises ConfigError.
    """
    if config_file is None and not roots:
        tree = Path("results") / (name or read_yaml(Path("config/config.yaml"))["run"])
        about = read_json(tree / "controller.json") if (tree / "controller.json").exists() else {}
        if "config" in about:
            return load_run(about["config"], Path("config"))
    return named_run(name, config_file, Path("config"), roots)


def status(layout: Layout) -> Status:
    """Reads the state of every job of a run.

    Raises ConfigError if the tree holds another kind of run, ArtifactError for a damaged file under
    results/<run>/slurm, and what `jobs` raises.
    """
    layout.stop_if_another()
    listed = jobs(layout)
    controller = _controller(layout.tree)
    # Records first, then SLURM, then files: a job that a record names was submitted before SLURM is asked,
    # and one that has left SLURM's list has written its files.
    records = {job.name: record for job in listed if (record := _record(layout, job)) is not None}
    slurm = _Slurm.asked(layout.tree / "slurm" / "name", records.values())
    found = _judged(layout, listed, controller, records, slurm)
    named = {record.slurm_job for record in records.values()}
    strangers = [key for key, job in slurm.jobs.items() if key not in named and job.state not in OVER]
    return Status(layout, found, controller, slurm.name, slurm.silence, strangers)


def _judged(
    layout: Layout,
    listed: Sequence[Job],
    controller: Controller | None,
    records: Mapping[str, Record],
    slurm: "_Slurm",
) -> list[Progress]:
    """The state of each job; `listed` has each after those that it is made from."""
    shared = Counter(record.slurm_job for record in records.values())
    found = []
    remade: set[str] = set()  # jobs that are made anew, or were since the living controller began
    for job in listed:
        record = records.get(job.name)
        alone = record is None or shared[record.slurm_job] == 1
        facts = _Facts.gathered(layout, job, controller, record, slurm, alone)
        progress = _judge(layout, job, facts)
        new = facts.controlled and (facts.finished or 0) >= facts.since
        if progress.state == DONE and not new and not remade.isdisjoint(job.after):
            progress = replace(progress, state=TO_COME)
        if new or (progress.state != DONE and progress.begun):
            remade.add(job.name)
        found.append(progress)
    return found


# --- what the files and SLURM say ----------------------------------------------------------------


def _time(path: Path) -> int | None:
    """When a file was last written, in ns; None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _fields(path: Path, *names: str) -> tuple[list[Any], int] | None:
    """Named values of a JSON file and when it was written; None where there is no file."""
    written = _time(path)
    if written is None:
        return None
    try:
        values = read_json(path)
        return [values[name] for name in names], written
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{type(error).__name__}: {error}", file=path, expected=f"JSON with {', '.join(names)}"
        ) from error


def _record(layout: Layout, job: Job) -> Record | None:
    folder = layout.tree / "slurm"
    path = folder / "jobs" / f"{job.name.replace('/', '__')}.json"
    if (found := _fields(path, "slurm_job", "slurm_log", "marker")) is None:
        return None
    (slurm_job, slurm_log, marker), written = found
    return Record(str(slurm_job), Path(slurm_log), written, (folder / "done" / marker).exists())


def _controller(tree: Path) -> Controller | None:
    if (found := _fields(tree / "controller.json", "user", "host", "pid", "started")) is None:
        return None
    (user, host, pid, started), written = found
    return Controller(user, host, pid, started, _held(tree / "controller.lock"), written)


def _held(lock: Path) -> bool | None:
    """Whether a process holds the lock; None where the file system or its rights do not tell."""
    try:
        with lock.open("rb") as handle:
            # Shared, and given back at once: who wants it in that instant tries again.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


@dataclass(frozen=True)
class _Slurm:
    """What SLURM knows of a run's jobs, by their numbers."""

    name: str | None
    jobs: dict[str, SlurmJob]
    silence: str | None

    @classmethod
    def asked(cls, name_file: Path, records: Iterable[Record]) -> "_Slurm":
        records = list(records)
        if not name_file.exists() or not records:
            return cls(None, {}, None)
        name = name_file.read_text(encoding="utf-8").strip()
        try:
            listed = squeue(name)
        except SlurmSilentError as error:
            return cls(name, {}, str(error))
        forgotten = {r.slurm_job for r in records if not r.ended and r.slurm_job not in listed}
        return cls(name, {**listed, **(sacct(name, forgotten) if forgotten else {})}, None)


# --- one job -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Facts:
    """All that is known of one job."""

    log: Path
    finished: int | None  # when its benchmark was written
    logged: int | None  # when its log was last written
    record: Record | None
    slurm: SlurmJob | None
    silent: bool  # SLURM was asked and has not answered
    held: bool | None  # a process does it now; None: the file system does not tell
    alone: bool  # its submission holds no other job
    controlled: bool  # somebody runs the run, or the file system does not tell
    since: int  # when that controller began; 0 without one

    @classmethod
    def gathered(
        cls,
        layout: Layout,
        job: Job,
        controller: Controller | None,
        record: Record | None,
        slurm: _Slurm,
        alone: bool,
    ) -> "_Facts":
        log = layout.tree / "logs" / f"{job.name}.log"
        controlled = controller is not None and controller.alive is not False
        return cls(
            log=log,
            finished=_time(layout.tree / "benchmarks" / f"{job.name}.tsv"),
            logged=_time(log),
            record=record,
            slurm=slurm.jobs.get(record.slurm_job) if record else None,
            silent=slurm.silence is not None,
            held=_held(log.with_suffix(".lock")),
            alone=alone,
            controlled=controlled,
            since=controller.written if controller is not None and controlled else 0,
        )

    @property
    def done(self) -> bool:
        """Finished, and neither begun nor submitted again since."""
        if self.finished is None or (self.logged or 0) > self.finished:
            return False
        return self.record is None or self.record.ended or self.record.written <= self.finished

    @property
    def submitted(self) -> bool:
        """SLURM was given it, and it has not left the marker that it is done."""
        return self.record is not None and not self.record.ended

    @property
    def fresh(self) -> bool:
        """The log is of what was submitted last, and not of an earlier controller's time."""
        if self.logged is None or self.logged < self.since:
            return False
        return self.record is None or self.logged >= self.record.written

    @property
    def killed(self) -> bool:
        """Its process has not emptied the lock, which only a process that was killed leaves undone."""
        lock = self.log.with_suffix(".lock")
        return self.held is False and lock.exists() and lock.stat().st_size > 0


def _judge(layout: Layout, job: Job, facts: _Facts) -> Progress:
    state, reason = _state(facts)
    now = state in (RUNNING, WAITING, FAILED)
    training = state == RUNNING and job.step == "train"
    return Progress(
        job,
        state,
        facts.log,
        reason,
        begun=facts.logged is not None,
        slurm_job=facts.record.slurm_job if facts.record and now else "",
        slurm=facts.slurm if now else None,
        slurm_log=facts.record.slurm_log if facts.record and facts.record.slurm_log.exists() else None,
        epoch=last_epoch(_tail(facts.log)) if training else None,
    )


def _state(facts: _Facts) -> tuple[str, str]:
    """The state of a job, and the reason of a failure. What SLURM says counts before what files say."""
    slurm = facts.slurm.state if facts.slurm else None
    # Without a marker its benchmark alone does not tell: Snakemake's checks of the outputs come after it.
    if facts.done and not (facts.submitted and facts.alone and slurm in ENDED_BADLY):
        return DONE, ""
    if slurm in PENDING:
        return WAITING, ""
    if facts.fresh and (error := failure(_tail(facts.log))):
        return FAILED, error
    if facts.held or (facts.alone and slurm is not None and slurm not in OVER):
        return RUNNING, ""
    if facts.submitted:
        return _state_submitted(facts, slurm)
    if facts.controlled and facts.fresh and facts.killed:
        return FAILED, "its process was killed without a word (by hand, or for lack of memory)"
    return TO_COME, ""


def _state_submitted(facts: _Facts, slurm: str | None) -> tuple[str, str]:
    """The state of a job that SLURM was given and that no process does now."""
    assert facts.record is not None
    if facts.silent or (slurm is not None and slurm not in OVER):
        return WAITING, ""
    if slurm == "COMPLETED":
        return RUNNING, ""  # its files are on their way
    if slurm in ENDED_BY_CLUSTER:
        return (WAITING if facts.controlled else TO_COME), ""
    if facts.record.written < facts.since and not facts.fresh:
        return TO_COME, ""  # of an earlier controller; the living one submits it again
    if slurm in ENDED_BADLY and (facts.controlled or slurm != "CANCELLED"):
        return FAILED, _ended(facts)  # who ends a run by Ctrl-C cancels its jobs: those have not failed
    if slurm is None and facts.controlled:
        return FAILED, f"SLURM no longer knows job {facts.record.slurm_job}, and it has left no result"
    return TO_COME, ""


def _ended(facts: _Facts) -> str:
    """How SLURM's job ended, and the last lines that it printed."""
    assert facts.record is not None
    assert facts.slurm is not None
    state = facts.slurm.state
    meaning = f": {MEANING[state]}" if state in MEANING else ""
    text = f"SLURM job {facts.record.slurm_job} ended as {state}{meaning}"
    lines = [line.rstrip() for line in _tail(facts.record.slurm_log).splitlines() if line.strip()]
    return "\n".join([text, *(f"| {line}" for line in lines[-3:])])


def _tail(path: Path) -> str:
    """The end of a text file; nothing where there is none."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, handle.seek(0, 2) - TAIL))
            return handle.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def failure(log: str) -> str | None:
    """Why a job stopped, if the last entry of its log tells an error: the entry is that of `joblog`."""
    last = ENTRY.split(log)[-1]
    if last.startswith("stopped:\n"):
        return last.removeprefix("stopped:\n").strip()
    if last.startswith("unexpected error\n"):
        lines = last.rstrip().splitlines()
        source = max((index for index, line in enumerate(lines) if line.startswith("  ")), default=0)
        return "\n".join(["unexpected error; its traceback is in the log", *lines[source + 1 :]])
    return None


def last_epoch(log: str) -> int | None:
    """The last epoch that a training has finished, since it last began from nothing."""
    found = EPOCH.findall(log.rsplit(" begins on ")[-1])
    return int(found[-1]) if found else None


# --- all trainings -------------------------------------------------------------------------------


def training(status: Status) -> dict[str, Any] | None:
    """How far the members are, and how long the rest takes if it goes on as so far.

    A model's minutes are the median over its trained members (of one that was interrupted, the last session
    only). There is an estimate where some members train now and each model with members left has one trained:
    members left × their model's minutes ÷ the number that train now. Those that train now count whole.
    """
    members = [job for job in status.jobs if job.job.step == "train"]
    if not members:
        return None
    groups: dict[tuple[str, ...], list[Progress]] = {}
    for job in members:
        groups.setdefault(_model(job), []).append(job)
    minutes = {}
    for model, group in groups.items():
        times = [_seconds(status.layout, job.job) for job in group if job.state == DONE]
        if times:
            minutes["/".join(model)] = median(times) / 60
    left = {model: sum(job.state != DONE for job in group) for model, group in groups.items()}
    running = [job for job in members if job.state == RUNNING]
    untimed = ["/".join(model) for model, count in left.items() if count and "/".join(model) not in minutes]
    hours = None
    if running and not untimed:
        hours = (
            sum(count * minutes.get("/".join(model), 0) for model, count in left.items()) / 60 / len(running)
        )
    epochs = sorted(job.epoch for job in running if job.epoch is not None)
    studies = status.layout.run.studies
    limits = [
        studies[study].model(cohort, model).training.epochs for study, cohort, model in map(_model, running)
    ]
    return {
        "members": len(members),
        "trained": sum(job.state == DONE for job in members),
        "running": len(running),
        "epochs": epochs,
        "at_most": max(limits, default=None),
        "minutes": minutes,
        "untimed": untimed,
        "hours_left": hours,
    }


def _model(job: Progress) -> tuple[str, str, str]:
    of = job.job.of
    return of["study"], of["cohort"], of["model"]


def _seconds(layout: Layout, job: Job) -> float:
    """How long a finished job took, by its benchmark."""
    path = layout.tree / "benchmarks" / f"{job.name}.tsv"
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            return float(next(csv.DictReader(handle, delimiter="\t"))["s"])
    except (StopIteration, KeyError, ValueError) as error:
        raise ArtifactError("not a benchmark of Snakemake", file=path, expected="a column s") from error
