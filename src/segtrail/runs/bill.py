"""What a run will cost, in the terminal."""

from rich import box
from rich.console import Console
from rich.table import Table

from .plan import Line, Plan, Rate, number, total

COLUMNS = ("jobs", "GPU\nhours", "CPU\nhours", "no GPU:\nCPU h", "longest\nhours", "memory\nGB", "disk\nGB")


def show(plan: Plan, at_once: int, console: Console | None = None) -> None:
    """Prints a table per study, what the whole run takes, and how each rate was measured."""
    console = console or Console(highlight=False)
    for study in [None, *plan.layout.run.studies]:
        title = study or "data sets and the report"
        console.print(_table(title, [line for line in plan.lines if line.study == study]))
    for text in [*_summary(plan, at_once), "", "The rates:", *_rates(plan)]:
        console.print(text, markup=False, soft_wrap=True)


def _table(title: str, lines: list[Line]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_footer=True,
    )
    table.add_column("rule", "all", no_wrap=True)
    for name, value in zip(COLUMNS, _cells(total(lines)), strict=True):
        table.add_column(name, value, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(line.rule, *_cells(line))
    return table


def _cells(line: Line) -> list[str]:
    hours = (line.gpu_hours, line.cpu_hours, line.cpu_hours_without_gpu, line.longest_hours)
    return [str(line.jobs), *map(_cell, (*hours, line.memory_gb, line.kept_gb))]


def _cell(value: float) -> str:
    if value == 0:
        return ""
    return number(value) if value >= 0.01 else "<0.01"


def _summary(plan: Plan, at_once: int) -> list[str]:
    whole, run = total(plan.lines), plan.layout.run
    local = sum(line.jobs for line in plan.lines if not line.submissions)
    posteriors = min(at_once, plan.posteriors)
    seconds, path = plan.chain
    parts = [
        f"Run {run.name} (scale {run.scale}) from scratch: {whole.jobs} jobs, {whole.submissions} submitted "
        f"(members_per_job: {run.members_per_job}); {local} run beside the controller.",
        f"Time: {number(whole.gpu_hours)} GPU-hours and {number(whole.cpu_hours)} CPU-hours; "
        f"with device: cpu {number(whole.cpu_hours_without_gpu)} CPU-hours. Every epoch is counted: early "
        "stopping makes it less.",
        f"Disk: {number(whole.kept_gb)} GB stay, and up to {number(plan.passing_gb(at_once))} GB of "
        f"posteriors pass, if {posteriors} of {plan.posteriors} exist at once (--at-once).",
        f"Memory of the largest job: {number(whole.memory_gb)} GB.",
        f"Longest chain: {number(seconds / 3600)} h, with as many nodes as one likes and no queue: "
        f"{' > '.join(path)}",
    ]
    if plan.assumed and whole.gpu_hours:
        steps = " and ".join(sorted(plan.assumed))
        parts.append(f"NOT MEASURED: the GPU time of {steps} is arithmetic (see below).")
    return parts


def _rates(plan: Plan) -> list[str]:
    """One line for the rates of one measurement."""
    steps = {job.step for job in plan.jobs.values()}
    groups: dict[tuple[str, ...], list[Rate]] = {}
    for rate in plan.rates:
        if rate.step in steps:
            key = (rate.step, rate.resource, rate.basis, rate.hardware, rate.how)
            groups.setdefault(key, []).append(rate)
    return [
        f"{step}, {resource}: {' + '.join(f'{rate.rate:g} per {rate.unit}' for rate in rates)}; "
        f"{basis}, {hardware}: {how}"
        for (step, resource, basis, hardware, how), rates in groups.items()
    ]
