"""Runs the workflow on SLURM, and survives what clusters do.

Submission is that of snakemake-executor-plugin-slurm. This plugin adds what it leaves open:

- before anything is submitted, SLURM is asked whether it would accept each rule's request;
- several trainings can share one submission (config: members_per_job);
- whether a job is done is told by a marker that the job itself writes, so that accounting, how long SLURM
  remembers an ended job, and a slurmctld that is away for a while do not matter;
- a controller that died (kill -9, a closed terminal, a rebooted login node) leaves its jobs running; the next
  one adopts them. What a job is made from is recorded before it is submitted, so that one that ends while
  nobody watches is still known to be right, or outdated.

Everything it keeps lies in results/<run>/slurm: `name` (SLURM's name of all jobs of the run), `jobs/*.json`
(one per submitted job), `done/` (markers).
"""

import asyncio
import math
import shlex
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from snakemake_executor_plugin_slurm import Executor as SlurmExecutor
from snakemake_executor_plugin_slurm import ExecutorSettings as SlurmSettings
from snakemake_executor_plugin_slurm import common_settings as common_settings
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from segtrail.errors import ConfigError
from segtrail.files import read_json, sha256_of, write_json, write_text
from segtrail.runs.slurm import ENDED_BADLY, ENDED_BY_CLUSTER, OVER, SlurmJob, SlurmSilentError, squeue

# Why a waiting job will never start, in squeue's words.
HOPELESS = {
    "AccountNotAllowed",
    "BadConstraints",
    "InvalidAccount",
    "InvalidQOS",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
}
RESUBMISSIONS = 20  # a job that the cluster ended so often is reported as failed
FORGOTTEN_AFTER = 120  # seconds without a marker and without a word of SLURM
SILENCE_TOLD_EVERY = 300  # seconds
INDENT = " " * 10  # of the second line of a message's part
WHERE = (
    "partition and account are set in slurm/config.yaml, what a rule asks for in workflow/rules;\n"
    f"{INDENT}set-resources in slurm/config.yaml, or --set-resources {{rule}}:mem_mb=…, is laid over it"
)


@dataclass
class ExecutorSettings(SlurmSettings):
    """Those of the SLURM plugin, under the prefix --segtrail."""

    def __post_init__(self) -> None:
        # The batch script has variables; in sbatch --wrap the submitting shell would expand them.
        self.pass_command_as_script = True
        self.status_command = None  # squeue, and the jobs' own markers
        super().__post_init__()


@dataclass(frozen=True)
class Submission:
    """Jobs that one SLURM job runs, one after the other."""

    name: str  # of its markers: SLURM's numbers begin anew when a cluster is set up anew
    jobs: list[JobExecutorInterface]


class Executor(SlurmExecutor):
    def __post_init__(self, test_mode: bool = False) -> None:
        if shutil.which("sbatch") is None or shutil.which("squeue") is None:
            _stop(
                ConfigError(
                    f"no SLURM on {socket.gethostname()}: sbatch and squeue are not on PATH",
                    expected="a login node of a cluster",
                    remedy="start this command there, or without --profile slurm and with --cores",
                )
            )
        super().__post_init__(test_mode)
        self.folder = Path(self.workflow.globals["TREE"]).absolute() / "slurm"
        self.run_uuid = self._name_of_run()
        self.logger.info(f"All jobs of this run are called {self.run_uuid} in SLURM.")
        self._submissions: dict[JobExecutorInterface, Submission] = {}  # by the first of their jobs
        self._resubmitted: dict[JobExecutorInterface, int] = {}
        self._unheard: dict[str, float] = {}  # SLURM job → since when SLURM does not list it
        self._silent_since: float | None = None
        self._silence_told = -math.inf
        try:
            squeue(self.run_uuid)
        except SlurmSilentError as error:
            _stop(ConfigError(f"SLURM does not answer: {error}", remedy="try again when it does"))
        self._preflight()

    # --- before anything is submitted ------------------------------------------------------------

    def _name_of_run(self) -> str:
        """SLURM's name of the run's jobs: the same for every controller, so that each finds all of them."""
        path = self.folder / "name"
        if not path.exists():
            (self.folder / "done").mkdir(parents=True, exist_ok=True)
            write_text(path, f"segtrail-{self.folder.parent.name}-{uuid.uuid4().hex[:8]}\n")
        return path.read_text(encoding="utf-8").strip()

    def _preflight(self) -> None:
        """Asks SLURM whether it would accept the largest request of each rule."""
        largest: dict[tuple[str, str], JobExecutorInterface] = {}
        for job in self.workflow.dag.needrun_jobs():
            if not job.is_local:
                for what in ("mem_mb", "runtime"):
                    known = largest.setdefault((job.rule.name, what), job)
                    if _number(job, what) > _number(known, what):
                        largest[job.rule.name, what] = job
        for job in {id(job): job for job in largest.values()}.values():
            done = _ask(self._sbatch(job) + " --test-only --wrap true")
            if done.returncode != 0:
                refusal = f"\n{INDENT}".join(done.stderr.split("\n")).strip()
                self._stop_unless_nodes_are_away(job, refusal)

    def _stop_unless_nodes_are_away(self, job: JobExecutorInterface, refusal: str) -> None:
        """SLURM refuses in the same words what no node has and what a node has that is down for a while."""
        chosen = f"--partition={shlex.quote(str(job.resources.get('slurm_partition', '')))}"
        away = _ask(f"sinfo --noheader {chosen} --dead --format=%D").stdout.strip()
        if away:
            self.logger.warning(f"{away} node(s) of {chosen} are down: rule {job.rule.name} waits for them.")
            return
        nodes = _ask(f"sinfo --noheader {chosen} --format='%D nodes of %c CPUs, %m MB, %G, limit %l'").stdout
        _stop(
            ConfigError(
                f"rule {job.rule.name} asks for {_request(job)}\n{INDENT}{refusal}",
                expected=f"what the partition has: {nodes.strip() or 'no nodes'}",
                remedy=WHERE.format(rule=job.rule.name),
            )
        )

    def _sbatch(self, job: JobExecutorInterface) -> str:
        """The submit command of a job, without the job."""
        params = {
            "run_uuid": self.run_uuid,
            "slurm_logfile": "/dev/null",
            "comment_str": job.rule.name,
            "account": next(self.get_account_arg(job)),
            "partition": self.get_partition_arg(job),
            "workdir": self.workflow.workdir_init,
        }
        return get_submit_command(job, params, self.workflow.executor_settings) + set_gres_string(job)

    def get_account_arg(self, job: JobExecutorInterface) -> Iterator[str]:
        """The account that is set, or none; sbatch is the judge of it. Nothing is guessed."""
        account = job.resources.get("slurm_account")
        yield f" -A {shlex.quote(str(account))}" if account else ""

    # --- submitting ------------------------------------------------------------------------------

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        # Before SLURM has told what still runs, anything that is submitted may be a second time.
        while (states := self._states()) is None:
            time.sleep(10)
        for pack in packs([job for job in jobs if not self._adopted(job, states)]):
            for job in pack:
                self.workflow.async_run(self._record_origin(job))
                self.run_job_pre(job)
            self._submit(pack)

    async def _record_origin(self, job: JobExecutorInterface) -> None:
        """Records what a job is made from: if this process dies, the job ends without it.

        Outputs of an earlier origin go first; the job itself would remove them when it starts.
        """
        await job.remove_existing_output()
        await self.workflow.persistence.finished(job)

    def _submit(self, jobs: list[JobExecutorInterface]) -> None:
        self._submissions[jobs[0]] = Submission(uuid.uuid4().hex[:12], jobs)
        self._job_submission_executor.submit(self.run_job, jobs[0])

    def format_job_exec(self, job: JobExecutorInterface) -> str:
        """The batch script of a submission; Snakemake's own way to run one job, for each of its jobs."""
        submission = self._submissions[job]
        commands = {
            self._marker(submission.name, index): super(Executor, self).format_job_exec(member)
            for index, member in enumerate(submission.jobs)
        }
        return batch_script(self.get_python_executable(), commands)

    def additional_general_args(self) -> str:
        """Without the script mode of the outer submission: srun can take its command as it is."""
        return "--executor slurm-jobstep --jobs 1"

    def report_job_submission(self, job_info: SubmittedJobInfo, register_job: bool = True) -> None:
        submission = self._submissions.pop(job_info.job)
        for index, job in enumerate(submission.jobs):
            marker = self._marker(submission.name, index)
            log = (job_info.aux or {})["slurm_logfile"]
            write_json(
                self._record(job),
                {
                    "slurm_job": job_info.external_jobid,
                    "marker": marker.name,
                    "rule": job.rule.name,
                    "made_from": made_from(job),
                    "log": str(job.log[0]),
                    "slurm_log": str(log),
                    "submitted": datetime.now().astimezone().isoformat(timespec="seconds"),
                },
            )
            aux = {"slurm_logfile": log, "marker": marker}
            super().report_job_submission(SubmittedJobInfo(job, job_info.external_jobid, aux), register_job)

    def _record(self, job: JobExecutorInterface) -> Path:
        name = Path(job.log[0]).with_suffix("").absolute().relative_to(self.folder.parent / "logs")
        return self.folder / "jobs" / f"{str(name).replace('/', '__')}.json"

    # --- adopting what another controller has submitted --------------------------------------------

    def _adopted(self, job: JobExecutorInterface, states: dict[str, SlurmJob]) -> bool:
        """Takes over a job of a controller that died, if it still runs or ended since the DAG was built."""
        path = self._record(job)
        if job.attempt > 1 or not path.exists():
            return False
        record = read_json(path)
        slurm_job, marker = record["slurm_job"], self.folder / "done" / record["marker"]
        alive = slurm_job in states and states[slurm_job].state not in OVER
        if record["made_from"] != made_from(job) or changed_since(path, _read_by(job)):
            if alive:
                self.logger.info(f"SLURM job {slurm_job} makes it from something else: cancelled.")
                self._cancel(slurm_job)
            return False
        if not alive and not (marker.exists() and self._appeared(job)):
            return False
        self.logger.info(f"Job {job.jobid} goes on as SLURM job {slurm_job} of {record['submitted']}.")
        aux = {"slurm_logfile": Path(record["slurm_log"]), "marker": marker}
        super().report_job_submission(SubmittedJobInfo(job, slurm_job, aux))
        return True

    def _cancel(self, slurm_job: str) -> None:
        """Cancels a job and waits until it has left its node."""
        _ask(f"scancel {slurm_job}")
        for _ in range(60):
            states = self._states()
            if states is not None and states.get(slurm_job, SlurmJob("COMPLETED")).state in OVER:
                return
            time.sleep(2)
        raise WorkflowError(f"SLURM job {slurm_job} does not end, two minutes after scancel {slurm_job}.")

    def _appeared(self, job: JobExecutorInterface) -> bool:
        """Whether all outputs are there, some of which were missing when the DAG was built."""
        missing = self.workflow.dag.reason(job).missing_output
        return bool(missing) and all(Path(path).exists() for path in job.output)

    def _marker(self, submission: str, index: int) -> Path:
        return self.folder / "done" / f"{submission}.{index}"

    # --- watching ----------------------------------------------------------------------------------

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        self.next_seconds_between_status_checks = (
            self.workflow.executor_settings.init_seconds_before_status_checks
        )
        if not active_jobs:
            return
        async with self.status_rate_limiter:
            states = await asyncio.to_thread(self._states)
        for info in active_jobs:
            if info.aux["marker"].exists():
                self.report_job_success(info)
            elif states is None:
                yield info
            elif trouble := self._trouble(info, states.get(info.external_jobid)):
                self.report_job_error(info, msg=trouble, aux_logs=[str(info.aux["slurm_logfile"])])
            elif self._to_submit_again(info, states.get(info.external_jobid)):
                self._submit([info.job])
            else:
                yield info

    def _states(self) -> dict[str, SlurmJob] | None:
        """SLURM's number → state, of all jobs of this run it remembers; None if it does not answer."""
        try:
            states = squeue(self.run_uuid)
        except SlurmSilentError as error:
            now = time.monotonic()
            self._silent_since = now if self._silent_since is None else self._silent_since
            if now - self._silence_told > SILENCE_TOLD_EVERY:
                self._silence_told = now
                silent = round(now - self._silent_since)
                self.logger.warning(
                    f"SLURM does not answer for {silent} s ({error}). Jobs go on; it is asked again."
                )
            return None
        self._silent_since = None
        return states

    def _trouble(self, info: SubmittedJobInfo, state: SlurmJob | None) -> str | None:
        """Why a job that has not written its marker has failed, or None if it has not."""
        slurm_job = info.external_jobid
        if state is None:
            since = self._unheard.setdefault(slurm_job, time.monotonic())
            if time.monotonic() - since < FORGOTTEN_AFTER:
                return None
            return f"SLURM knows nothing of job {slurm_job} any more, and it has not said that it is done.\n"
        self._unheard.pop(slurm_job, None)
        if state.state == "PENDING" and state.reason in HOPELESS:
            _ask(f"scancel {slurm_job}")
            return (
                f"SLURM would never start job {slurm_job} ({_request(info.job)}): {state.reason}.\n"
                f"{INDENT}{WHERE.format(rule=info.job.rule.name)}\n"
            )
        # COMPLETED without a marker: the file system is late, or the disk full; SLURM forgets it in the end.
        if state.state in ENDED_BADLY or (
            state.state in ENDED_BY_CLUSTER and self._resubmitted.get(info.job, 0) >= RESUBMISSIONS
        ):
            return f"SLURM job {slurm_job} ended as {state.state}.\n{_tail(self._telling_log(info))}"
        return None

    def _telling_log(self, info: SubmittedJobInfo) -> Path:
        """The job's own log, which ends with the reason, if it got so far as to write one; else SLURM's."""
        own = Path(info.job.log[0])
        if own.exists() and own.stat().st_mtime_ns >= self._record(info.job).stat().st_mtime_ns:
            return own
        return info.aux["slurm_logfile"]

    def _to_submit_again(self, info: SubmittedJobInfo, state: SlurmJob | None) -> bool:
        if state is None or state.state not in ENDED_BY_CLUSTER:
            return False
        self.logger.info(f"SLURM job {info.external_jobid} ended as {state.state}: submitted again.")
        self._resubmitted[info.job] = self._resubmitted.get(info.job, 0) + 1
        return True

    def report_job_error(self, job_info: SubmittedJobInfo, msg: str | None = None, **kwargs: Any) -> None:
        # Without a SLURM job the submission itself has failed, for every job of its pack.
        submission = self._submissions.pop(job_info.job, None)
        for job in submission.jobs if submission else [job_info.job]:
            info = SubmittedJobInfo(job, job_info.external_jobid, job_info.aux)
            super().report_job_error(info, msg=msg, **kwargs)


def batch_script(python: str, commands: dict[Path, str]) -> str:
    """A shell script of marker → command: each command in its turn, and its marker once it has succeeded.

    SLURM runs the script again when it requeues the job; what has its marker is not done again. The script
    fails if any command does; told to leave by SIGTERM, it begins no other.
    """
    missing = (
        f"segtrail: node $(hostname) cannot run {python}: the clone and its .venv must lie on a file system "
        "that the nodes share, at the same path (docs/cluster.md)"
    )
    lines = [
        f'{shlex.quote(python)} -c "" || {{ echo "{missing}" >&2; exit 127; }}',
        "failed=0",
        "trap 'exit 143' TERM",
    ]
    for path, command in commands.items():
        marker = shlex.quote(str(path))
        lines.append(f"[ -e {marker} ] || {{ ( {command} ) && : > {marker}; }} || failed=1")
    return "\n".join([*lines, "exit $failed"])


def packs(jobs: Sequence[JobExecutorInterface]) -> list[list[JobExecutorInterface]]:
    """Jobs that share a submission: `members_per_job` of one rule with the same resource `pack`."""
    groups: dict[tuple[str, str | None], list[JobExecutorInterface]] = {}
    for job in jobs:
        pack = job.resources.get("pack")
        groups.setdefault((job.rule.name, pack), []).append(job)
    result = []
    for (_, pack), members in groups.items():
        size = members[0].resources.get("members_per_job") or 1 if pack else 1
        result += [members[start : start + size] for start in range(0, len(members), size)]
    return result


def made_from(job: JobExecutorInterface) -> str:
    """A hash of what would make a job's outputs others, but for the content of its inputs.

    That is told by their times (`changed_since`): where a phantom was not drawn yet when the job was planned,
    its key file does not know them.
    """
    key = read_json(Path(job.input.key))
    own = {part: key[part] for part in ("config", "seed", "code")}
    return sha256_of([job.rule.name, sorted(map(str, job.input)), sorted(map(str, job.output)), own])[:16]


def changed_since(record: Path, inputs: Iterable[Path]) -> bool:
    """Whether an input was made anew after the job was submitted, which may have read the old one.

    All these times are given by the controller: it writes the record, and touches what a job has made.
    """
    submitted = record.stat().st_mtime_ns
    return any(_made(path) > submitted for path in inputs)


def _read_by(job: JobExecutorInterface) -> list[Path]:
    return [Path(path) for path in job.input if path != job.input.key]


def _made(path: Path) -> int:
    timestamp = path / ".snakemake_timestamp"  # Snakemake's, in a folder that is an output
    return (timestamp if timestamp.exists() else path).stat().st_mtime_ns


def _ask(command: str) -> subprocess.CompletedProcess[str]:
    """Runs one of SLURM's commands, without a shell. Raises TimeoutExpired after 30 s."""
    return subprocess.run(
        shlex.split(command),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def _stop(error: ConfigError) -> NoReturn:
    sys.exit(f"segtrail: the run cannot start\n{error}")


def _number(job: JobExecutorInterface, resource: str) -> int:
    value = job.resources.get(resource)
    return value if isinstance(value, int) else 0


def _request(job: JobExecutorInterface) -> str:
    names = ("slurm_partition", "slurm_account", "qos", "mem_mb", "runtime", "gpu", "gres")
    asked = [f"{name}={job.resources.get(name)}" for name in names if job.resources.get(name)]
    return ", ".join([f"threads={job.threads}", *asked])


def _tail(log: Path, lines: int = 12) -> str:
    """The end of a log, for the error on the screen."""
    if not log.exists():
        return f"    It has left no log: {log}"
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([f"    The end of {log}:", *(f"    | {line}" for line in text[-lines:])])
