"""What a run will cost before it starts: rates (config/rates.csv) times what each job handles (quantities).

The workflow's rules ask for memory and time by the same estimate, widened by the factors below.
"""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config import read_yaml
from ..errors import ConfigError
from ..layout import Layout
from .jobs import NAMES, Job, jobs
from .quantities import UNITS, Counted

# What a rule asks for, against what is expected: another machine, a busy file system, unusual subjects.
MEMORY_FACTOR, MEMORY_EXTRA_MB, MEMORY_FLOOR_MB = 1.5, 500, 1000
TIME_FACTOR, TIME_FLOOR_MINUTES = 4, 20

RESOURCES = {
    "cpu seconds": "on one core",
    "gpu seconds": "on a GPU",
    "memory MB": "at the most, of all the job's processes",
    "kept MB": "on disk, for good",
    "passing MB": "on disk, until the posterior has been measured",
}
BASES = ("measured", "arithmetic")


@dataclass(frozen=True)
class Rate:
    """How much of a resource a step takes for each unit that its job handles."""

    step: str  # a key of jobs.NAMES
    resource: str  # a key of RESOURCES
    unit: str  # a key of quantities.UNITS
    rate: float
    basis: str  # measured, or arithmetic: nobody has looked at a clock
    hardware: str
    how: str


def read_rates(path: Path) -> list[Rate]:
    """The table of rates. Raises ConfigError naming the line that is not one."""
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
    except FileNotFoundError:
        raise ConfigError("no table of rates", file=path, remedy="give one with --rates FILE") from None
    return [_rate(row, path, line) for line, row in enumerate(rows, start=2)]


def _rate(row: dict[str, str], path: Path, line: int) -> Rate:
    allowed = {"step": NAMES, "resource": RESOURCES, "unit": UNITS, "basis": BASES}
    for column, values in allowed.items():
        if row.get(column) not in values:
            raise ConfigError(
                f"line {line}: {column} = {row.get(column)!r}",
                file=path,
                expected=f"one of {', '.join(values)}",
            )
    try:
        rate = float(row["rate"])
    except (KeyError, ValueError):
        rate = math.nan
    if not rate >= 0:
        raise ConfigError(
            f"line {line}: rate = {row.get('rate')!r}", file=path, expected="a number, 0 or more"
        )
    texts = {name: row.get(name) or "" for name in ("step", "resource", "unit", "basis", "hardware", "how")}
    return Rate(rate=rate, **texts)


@dataclass(frozen=True)
class Cost:
    """What one job is expected to take."""

    gpu_seconds: float  # 0 where it needs no GPU
    cpu_seconds: float  # all of it on the CPU
    seconds: float  # by the clock, where the run puts it
    memory_mb: float
    kept_mb: float
    passing_mb: float


@dataclass(frozen=True)
class Line:
    """One rule of one study; study None: data sets and the report. Hours and GB are sums, except as named."""

    study: str | None
    rule: str
    jobs: int
    submissions: int  # to SLURM; several members may share one
    gpu_hours: float
    cpu_hours: float  # of what needs no GPU; with device: cpu, of all
    cpu_hours_without_gpu: float  # if nothing ran on a GPU
    longest_hours: float  # of its longest submission
    memory_gb: float  # of its largest job
    kept_gb: float


@dataclass(frozen=True)
class Plan:
    """The expected cost of every job of a run."""

    layout: Layout
    rates: Sequence[Rate]

    @classmethod
    def of(cls, layout: Layout, rates: Path = Path("config/rates.csv")) -> "Plan":
        return cls(layout, read_rates(rates))

    def check(self) -> None:
        """Raises ConfigError where nothing tells how large a data set's scans are."""
        _ = self._counted.sizes

    # --- jobs ------------------------------------------------------------------------------------

    @cached_property
    def jobs(self) -> dict[str, Job]:
        return {job.name: job for job in jobs(self.layout)}

    @cached_property
    def _counted(self) -> Counted:
        return Counted(self.layout)

    @cached_property
    def costs(self) -> dict[str, Cost]:
        return {name: self.cost(job) for name, job in self.jobs.items()}

    def cost(self, job: Job) -> Cost:
        handled = self._counted.of(job)
        total = dict.fromkeys(RESOURCES, 0.0)
        for rate in self._rates_of[job.step]:
            total[rate.resource] += rate.rate * handled.get(rate.unit, 0.0)
        gpu = total["gpu seconds"] if self.layout.run.device != "cpu" else 0.0
        return Cost(
            gpu_seconds=gpu,
            cpu_seconds=total["cpu seconds"],
            seconds=gpu or total["cpu seconds"] / self._counted.processes(job),
            memory_mb=total["memory MB"],
            kept_mb=total["kept MB"],
            passing_mb=total["passing MB"],
        )

    @cached_property
    def _rates_of(self) -> dict[str, list[Rate]]:
        return {step: [rate for rate in self.rates if rate.step == step] for step in NAMES}

    def pack(self, job: Job) -> int:
        """How many jobs share one submission with it: members of one model, trained one after the other."""
        if job.step != "train":
            return 1
        members = self.layout.members(job.of["study"], job.of["cohort"], job.of["model"])
        return min(self.layout.run.members_per_job, len(members))

    # --- what a rule asks for --------------------------------------------------------------------

    def asked(self, job: Job, resource: str, attempt: int = 1) -> int:
        """`mem_mb`, `runtime` (minutes) or `disk_mb` for a job, more on each attempt.

        Time on a GPU follows the GPU's rates: no partition would take what a CPU needs, and a training that
        runs out of time goes on from its last finished epoch, with twice the time.
        """
        cost = self.cost(job)
        if resource == "mem_mb":
            wanted = max(MEMORY_FLOOR_MB, MEMORY_FACTOR * cost.memory_mb + MEMORY_EXTRA_MB)
            return math.ceil(wanted / 100) * 100 * attempt
        if resource == "runtime":
            minutes = TIME_FACTOR * cost.seconds * self.pack(job) / 60
            return max(TIME_FLOOR_MINUTES, math.ceil(minutes)) * 2 ** (attempt - 1)
        return math.ceil(cost.kept_mb + cost.passing_mb) + 1

    # --- the bill --------------------------------------------------------------------------------

    @cached_property
    def lines(self) -> list[Line]:
        groups: dict[tuple[str | None, str], list[Job]] = {}
        for job in self.jobs.values():
            groups.setdefault((job.study, job.rule), []).append(job)
        return [self._line(study, rule, group) for (study, rule), group in groups.items()]

    def _line(self, study: str | None, rule: str, group: Sequence[Job]) -> Line:
        costs = [self.costs[job.name] for job in group]
        return Line(
            study=study,
            rule=rule,
            jobs=len(group),
            submissions=self._submissions(group),
            gpu_hours=sum(cost.gpu_seconds for cost in costs) / 3600,
            cpu_hours=sum(0.0 if cost.gpu_seconds else cost.cpu_seconds for cost in costs) / 3600,
            cpu_hours_without_gpu=sum(cost.cpu_seconds for cost in costs) / 3600,
            longest_hours=max(self.costs[job.name].seconds * self.pack(job) for job in group) / 3600,
            memory_gb=max(cost.memory_mb for cost in costs) / 1e3,
            kept_gb=sum(cost.kept_mb for cost in costs) / 1e3,
        )

    def _submissions(self, group: Iterable[Job]) -> int:
        """Packs hold members of one model; rules of seconds run beside the controller."""
        packs: dict[tuple[str, ...], list[Job]] = {}
        for job in group:
            if job.step not in LOCAL:
                key = (
                    tuple(v for k, v in job.of.items() if k != "member")
                    if job.step == "train"
                    else (job.name,)
                )
                packs.setdefault(key, []).append(job)
        return sum(math.ceil(len(pack) / self.pack(pack[0])) for pack in packs.values())

    def passing_gb(self, at_once: int) -> float:
        """Posteriors on disk when the largest `at_once` of them exist together."""
        found = sorted((cost.passing_mb for cost in self.costs.values()), reverse=True)
        return sum(found[:at_once]) / 1e3

    @cached_property
    def chain(self) -> tuple[float, list[str]]:
        """Seconds of the longest chain of jobs that wait for each other, and their names: what remains with
        as many nodes as one likes. Waiting in the queue is not counted."""
        ends: dict[str, tuple[float, str | None]] = {}
        for name, job in self.jobs.items():
            start, before = max(((ends[other][0], other) for other in job.after), default=(0.0, None))
            ends[name] = start + self.costs[name].seconds * self.pack(job), before
        last: str | None = max(ends, key=lambda name: ends[name][0])
        seconds, path = ends[str(last)][0], []
        while last is not None:
            path.append(last)
            last = ends[last][1]
        return seconds, path[::-1]

    def as_dict(self, at_once: int) -> dict[str, Any]:
        """For programs: the lines, their totals, the chain and the rates."""
        seconds, path = self.chain
        run = self.layout.run
        return {
            "run": run.name,
            "scale": run.scale,
            "device": run.device,
            "members_per_job": run.members_per_job,
            "lines": [asdict(line) for line in self.lines],
            "total": asdict(total(self.lines)),
            "disk_gb": {
                "kept": total(self.lines).kept_gb,
                "passing": self.passing_gb(at_once),
                "posteriors_at_once": min(at_once, self.posteriors),
            },
            "chain": {"hours": seconds / 3600, "jobs": path},
            "rates": [asdict(rate) for rate in self.rates],
        }

    @property
    def posteriors(self) -> int:
        return sum(cost.passing_mb > 0 for cost in self.costs.values())

    @property
    def assumed(self) -> set[str]:
        """Steps whose GPU time nobody has measured."""
        return {
            rate.step for rate in self.rates if rate.resource == "gpu seconds" and rate.basis != "measured"
        }

    def line(self, at_once: int, config_files: Sequence[Path] = ()) -> str:
        """The bill in one line; `config_files` are those that the run was started with."""
        command = f"--config {config_files[-1]}" if config_files else f"--run {self.layout.run.name}"
        whole, run = total(self.lines), self.layout.run
        gpu = f"{number(whole.gpu_hours)} GPU-hours" + (
            " (not measured, by arithmetic)" if self.assumed else ""
        )
        without = f"; without a GPU {number(whole.cpu_hours_without_gpu)} CPU-hours"
        hours = [gpu] if whole.gpu_hours else []
        hours.append(f"{number(whole.cpu_hours)} CPU-hours" + (without if whole.gpu_hours else ""))
        return (
            f"segtrail: run {run.name} from scratch: {whole.jobs} jobs, {', '.join(hours)}, "
            f"{number(whole.kept_gb)} GB on disk and up to {number(self.passing_gb(at_once))} GB in passing, "
            f"longest chain {number(self.chain[0] / 3600)} h. More: segtrail plan {command}"
        )


# Rules that take seconds: the workflow runs them beside its controller (`localrule`).
LOCAL = ("split", "index", "range", "audit", "tables")


def total(lines: Sequence[Line], study: str | None = None) -> Line:
    """The sum of some lines; of longest and largest, the largest."""
    sums = ("jobs", "submissions", "gpu_hours", "cpu_hours", "cpu_hours_without_gpu", "kept_gb")
    values = {name: sum(getattr(line, name) for line in lines) for name in sums}
    largest = {name: max(getattr(line, name) for line in lines) for name in ("longest_hours", "memory_gb")}
    return Line(study=study, rule="total", **values, **largest)


def posteriors_at_once(profile: Path = Path("slurm/config.yaml")) -> int:
    """How many posteriors may exist together: as many as the cluster's profile lets jobs run."""
    return int(read_yaml(profile).get("jobs", 1)) if profile.is_file() else 100


def number(value: float) -> str:
    """Two digits that say something: 0.0021, 0.43, 5.1, 170."""
    if value == 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}" if value < 10 else f"{value:,.0f}"
