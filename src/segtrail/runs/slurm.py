"""What SLURM's own commands say of a run's jobs. Nothing is written or cancelled."""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

# SLURM's words for the state of a job; those that are in none of these sets are words for running.
PENDING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD"}
ENDED_BY_CLUSTER = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED"}
ENDED_BADLY = {"CANCELLED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "REVOKED", "SPECIAL_EXIT", "TIMEOUT"}
OVER = ENDED_BY_CLUSTER | ENDED_BADLY | {"COMPLETED"}
MEANING = {
    "TIMEOUT": "it reached its time limit",
    "OUT_OF_MEMORY": "it used more memory than it had asked for",
    "CANCELLED": "somebody cancelled it",
    "FAILED": "it ended with an error",
}
PATIENCE = 20  # seconds in which a command of SLURM has to answer


@dataclass(frozen=True)
class SlurmJob:
    """What squeue or sacct says of a job."""

    state: str
    elapsed: str = ""
    node: str = ""
    reason: str = ""


class SlurmSilentError(Exception):
    """A command of SLURM has not answered."""


def squeue(name: str) -> dict[str, SlurmJob]:
    """SLURM's number → what squeue says, for all jobs of this name that SLURM remembers.

    Raises SlurmSilentError if there is no squeue, or if it fails or does not answer.
    """
    command = ["squeue", "--name", name, "--noheader", "--states=all", "--format=%i|%T|%M|%N|%r"]
    rows = [line.split("|") for line in _ask(command).splitlines() if line.count("|") == 4]
    return {row[0].strip(): SlurmJob(*(text.strip() for text in row[1:])) for row in rows}


def sacct(name: str, numbers: Iterable[str]) -> dict[str, SlurmJob]:
    """The same of jobs that squeue has forgotten; nothing where SLURM keeps no accounts."""
    command = ["sacct", "--name", name, "--jobs", ",".join(sorted(numbers)), "--allocations", "--noheader"]
    try:
        text = _ask([*command, "--parsable2", "--format=JobIDRaw,State,Elapsed,NodeList"])
    except SlurmSilentError:
        return {}  # accounting is a site's choice; nothing else depends on it
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 3]
    # "CANCELLED by 1000"
    return {row[0]: SlurmJob(row[1].split()[0], row[2], row[3]) for row in rows if row[1]}


def _ask(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except FileNotFoundError:
        raise SlurmSilentError(f"there is no {command[0]} on this machine") from None
    except subprocess.TimeoutExpired:
        raise SlurmSilentError(f"{command[0]} did not answer within {PATIENCE} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"{command[0]}: exit status {done.returncode}"]
        raise SlurmSilentError(said[-1])
    return done.stdout
