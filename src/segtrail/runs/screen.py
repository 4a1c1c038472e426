"""A run's status in the terminal, on one screen however many jobs it has."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from .slurm import PENDING
from .status import DONE, FAILED, RUNNING, STATES, TO_COME, WAITING, Progress, Status, place, training

SHOWN, LINES, WIDTH = 10, 12, 200  # failures, lines of each, characters of a line


def show(status: Status, by_rule: bool = False, console: Console | None = None) -> None:
    """Prints where a run stands, on one screen."""
    console = console or Console(highlight=False)
    for line in _head(status):
        console.print(line, markup=False, soft_wrap=True)
    if status.started:
        console.print(_table(status, by_rule))
    for line in [*_notes(status), *_training_lines(training(status)), *_failures(status)]:
        console.print(line, markup=False, soft_wrap=True)


def show_list(status: Status, state: str, console: Console | None = None) -> None:
    """Prints each job in one state, one a line: its name, where it runs, its epoch, its log."""
    console = console or Console(highlight=False)
    for job in status.of(state):
        slurm = f"SLURM {job.slurm_job} {job.slurm.state}" if job.slurm else ""
        where = [job.slurm.node, job.slurm.elapsed] if job.slurm and state == RUNNING else []
        epoch = f"epoch {job.epoch}" if job.epoch is not None else ""
        log = str(job.log) if job.begun and state in (RUNNING, FAILED) else ""
        parts = [job.job.name, slurm, *where, epoch, log]
        console.print("  ".join(part for part in parts if part), markup=False, soft_wrap=True)


def _head(status: Status) -> list[str]:
    run, total = status.layout.run, len(status.jobs)
    kind = f"scale {run.scale}, {'PHANTOM DATA' if run.phantom else 'real scans'}"
    if not status.started:
        return [f"run {run.name} ({kind}): nothing made yet: {total} jobs to come"]
    lines = [f"run {run.name} ({kind}): {len(status.of(DONE))} of {total} jobs done"]
    one = status.controller
    if one is not None:
        who = f"{one.user} on {one.host} (process {one.pid}, since {one.started})"
        if one.alive:
            lines.append(f"run by {who}")
        elif one.alive is None:
            lines.append(f"last run by {who}; whether it is alive, this file system does not tell")
        else:
            left = "; the same command goes on where it stopped" if len(status.of(DONE)) < total else ""
            lines.append(f"nobody runs it now; last run by {who}{left}")
    return lines


def _table(status: Status, by_rule: bool) -> Table:
    rows = status.count(lambda job: (place(job), job.step) if by_rule else (place(job),))
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("", "rule")[: 1 + by_rule]:
        table.add_column(name, no_wrap=True)
    for state in (*STATES, "all"):
        table.add_column(state, justify="right", no_wrap=True)
    sums: Counter[str] = Counter()
    before = ""
    for names, counts in rows.items():
        shown = ("" if names[0] == before else names[0], *names[1:])
        before = names[0]
        table.add_row(*shown, *_numbers(counts))
        sums += counts
    if len(rows) > 1:
        table.add_section()
        table.add_row("all", *([""] if by_rule else []), *_numbers(sums))
    return table


def _numbers(counts: Mapping[str, int]) -> list[str]:
    return [*(str(counts.get(state) or "") for state in STATES), str(sum(counts.values()))]


def _notes(status: Status) -> list[str]:
    lines = []
    if status.silence:
        lines.append(
            f"SLURM does not answer ({status.silence}): running and waiting are as the files tell it"
        )
    queued = [job.slurm for job in status.of(WAITING) if job.slurm]
    reasons = Counter(job.reason for job in queued if job.state in PENDING)
    if turn := len(queued) - reasons.total():
        lines.append(f"waiting for their turn in a SLURM job that runs, or to be submitted again: {turn}")
    if reasons:
        told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        lines.append(f"waiting in SLURM's queue for: {told}")
    if begun := sum(job.begun for job in status.of(TO_COME)):
        lines.append(
            f"{begun} of the jobs to come have begun before, and go on where they stopped or begin anew"
        )
    if status.strangers:
        lines.append(
            f"SLURM has {len(status.strangers)} more jobs named {status.name}, of which no file tells: "
            + ", ".join(status.strangers[:SHOWN])
        )
    return lines


def _training_lines(about: dict[str, Any] | None) -> list[str]:
    if about is None or not (about["trained"] or about["running"]):
        return []
    line = f"members: {about['trained']} of {about['members']} trained"
    if about["running"]:
        line += f"; {about['running']} train now"
    if epochs := about["epochs"]:
        reached = f"{epochs[0]} to {epochs[-1]}" if epochs[0] < epochs[-1] else f"{epochs[0]}"
        line += f", after epoch {reached} of at most {about['at_most']}"
    lines = [line]
    if about["hours_left"] is not None:
        time = _duration(about["hours_left"])
        lines.append(f"if it goes on as so far, {about['running']} at a time, training takes {time} more")
    elif about["running"] and about["untimed"]:
        lines.append(f"no estimate yet: no member is trained of {_some(about['untimed'], 4)}")
    return lines


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{max(1, round(hours * 60))} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _failures(status: Status) -> list[str]:
    """The failed jobs, those with the same reason together, the first of them in full."""
    alike: dict[str, list[Progress]] = {}
    for job in status.of(FAILED):
        alike.setdefault(_without_number(job), []).append(job)
    lines = []
    for group in list(alike.values())[:SHOWN]:
        first = group[0]
        slurm = f" (SLURM job {first.slurm_job})" if first.slurm_job else ""
        lines += ["", f"failed: {first.job.name}{slurm}"]
        lines += [f"  {line[:WIDTH]}" for line in first.reason.splitlines()[:LINES]]
        if first.begun:
            lines.append(f"  log: {first.log}")
        if first.slurm_log is not None:
            lines.append(f"  SLURM's log: {first.slurm_log}")
        if others := [job.job.name for job in group[1:]]:
            lines.append(f"  and for the same reason {len(others)} more: {_some(others, 3)}")
    if hidden := sum(len(group) for group in list(alike.values())[SHOWN:]):
        lines += ["", f"and {hidden} more failed jobs: segtrail status --list failed"]
    return lines


def _without_number(job: Progress) -> str:
    return job.reason.replace(f"job {job.slurm_job} ", "job ") if job.slurm_job else job.reason


def _some(names: list[str], count: int) -> str:
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
