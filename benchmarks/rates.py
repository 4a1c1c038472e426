"""Rates of this machine, from the benchmark files of finished runs: a table for `segtrail plan --rates`.

    .venv/bin/python benchmarks/rates.py results/demo results/ours=ours.yaml --hardware "Xeon" > rates.csv

Each tree is followed by `=` and its configuration, unless its name alone tells it. Time and peak memory of
each step are fitted to what its jobs handled. Rates that these runs cannot tell (a GPU's from runs without
one, space on disk, steps and sizes that they do not have) are taken over from the table that is there.
"""

import argparse
import csv
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from segtrail.config import named_run
from segtrail.layout import Layout
from segtrail.runs.jobs import Job, jobs
from segtrail.runs.plan import Rate, read_rates
from segtrail.runs.quantities import Counted

NETWORKS = ("train", "sample")
SEEN = {"cpu seconds": "core_seconds", "gpu seconds": "seconds", "memory MB": "memory_mb"}
LAST_LOOK = (
    30  # seconds before its end, at the most, that Snakemake has last looked at a job's processor time
)


@dataclass(frozen=True)
class Seen:
    """One finished job: what it handled and what it took."""

    name: str
    step: str
    handled: dict[str, float]
    seconds: float  # by the clock
    core_seconds: float  # of one core: no more than by the clock, and no more than what Snakemake saw it use
    memory_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Rates of this machine from the benchmark files of finished runs."
    )
    parser.add_argument("trees", nargs="+", help="results/RUN or results/RUN=CONFIG.yaml")
    parser.add_argument(
        "--rates", type=Path, default=Path("config/rates.csv"), help="the table to start from"
    )
    parser.add_argument("--hardware", required=True, help="what the runs ran on, in words")
    parser.add_argument("--gpu", action="store_true", help="train and sample ran on a GPU")
    parser.add_argument(
        "--jobs", action="store_true", help="print each job beside what the table says instead"
    )
    given = parser.parse_args()
    seen = [job for tree in given.trees for job in finished(tree)]
    rates = read_rates(given.rates)
    if given.jobs:
        compare(rates, seen, given.gpu)
        return
    writer = csv.DictWriter(sys.stdout, [field.name for field in fields(Rate)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(rate) for rate in refitted(rates, seen, given.hardware, given.gpu))


def finished(tree: str) -> list[Seen]:
    """The jobs of one tree that have left a benchmark file."""
    folder, _, config = tree.partition("=")
    path = Path(folder)
    layout = Layout(named_run(path.name, Path(config) if config else None, Path("config")), path.parent)
    counted, found = Counted(layout), []
    for job in jobs(layout):
        file = path / "benchmarks" / f"{job.name}.tsv"
        if file.exists() and not went_on(path, job):
            with file.open(newline="", encoding="utf-8") as handle:
                row = next(csv.DictReader(handle, delimiter="\t"))
            seconds, memory = float(row["s"]), float(row["max_rss"])
            core = min(seconds * counted.processes(job), float(row["cpu_time"]) + LAST_LOOK)
            handled = counted.of(job) if job.step != "train" else as_trained(layout, job, counted.of(job))
            found.append(Seen(f"{path.name}/{job.name}", job.step, handled, seconds, core, memory))
    return found


def went_on(tree: Path, job: Job) -> bool:
    """A training that was killed once: its benchmark file tells of its last part only."""
    log = tree / "logs" / f"{job.name}.log"
    return job.step == "train" and log.exists() and "goes on after epoch" in log.read_text(encoding="utf-8")


def as_trained(layout: Layout, job: Job, handled: dict[str, float]) -> dict[str, float]:
    """With the epochs that the member was trained in place of those that it was allowed."""
    study, cohort, model, member = (job.of[key] for key in ("study", "cohort", "model", "member"))
    allowed = layout.run.studies[study].model(cohort, model).training.epochs
    history = layout.cohort(study, cohort) / "members" / model / f"{member}.csv"
    done = len(history.read_text(encoding="utf-8").splitlines()) - 1
    return {unit: value * (done / allowed if "GFLOP" in unit else 1) for unit, value in handled.items()}


def refitted(rates: list[Rate], seen: list[Seen], hardware: str, gpu: bool) -> list[Rate]:
    """The table with new values for what these jobs can tell."""
    result = list(rates)
    for step in dict.fromkeys(rate.step for rate in rates):
        for resource in SEEN:
            if resource.endswith("seconds") and (resource == "gpu seconds") != (gpu and step in NETWORKS):
                continue
            done = [job for job in seen if job.step == step]
            told = [
                index
                for index, rate in enumerate(result)
                if (rate.step, rate.resource) == (step, resource)
                and any(job.handled.get(rate.unit) for job in done)
            ]
            if not told:
                continue
            values, groups, miss = fit(done, [result[index].unit for index in told], resource)
            runs = ", ".join(dict.fromkeys(job.name.split("/")[0] for job in done))
            how = f"{len(done)} jobs of {runs}; sizes: {groups}; the fit is off by {miss:.0%} (median)"
            for index, value in zip(told, values, strict=True):
                new = float(f"{value:.3g}")
                result[index] = replace(result[index], rate=new, basis="measured", hardware=hardware, how=how)
    return result


def fit(done: list[Seen], units: list[str], resource: str) -> tuple[np.ndarray, int, float]:
    """Rates, none below 0; how many sizes of job; the median relative error.

    A job weighs by the root of what it took: the sum over all comes out right, and small jobs still count.
    Of jobs of one size the fastest counts (what else a machine does only slows down), and of memory the most.
    """
    sizes: dict[tuple[float, ...], float] = {}
    for job in done:
        key = tuple(job.handled.get(unit, 0.0) for unit in units)
        took = getattr(job, SEEN[resource])
        sizes[key] = (max if resource == "memory MB" else min)(took, sizes.get(key, took))
    took = np.array(list(sizes.values()))
    handled, root = np.array(list(sizes)), np.sqrt(took)
    scale = handled.max(axis=0)
    values = nnls(handled / scale / root[:, None], root)[0] / scale
    return values, len(sizes), float(np.median(np.abs(handled @ values / took - 1)))


def compare(rates: list[Rate], seen: list[Seen], gpu: bool) -> None:
    """Prints took and told, in seconds and MB, of every job."""
    for job in seen:
        clock = "gpu seconds" if gpu and job.step in NETWORKS else "cpu seconds"
        told = {
            resource: sum(
                rate.rate * job.handled.get(rate.unit, 0.0)
                for rate in rates
                if (rate.step, rate.resource) == (job.step, resource)
            )
            for resource in (clock, "memory MB")
        }
        print(
            f"{job.name:60} {getattr(job, SEEN[clock]):9.1f} s, told {told[clock]:9.1f}"
            f"   {job.memory_mb:7.0f} MB, told {told['memory MB']:7.0f}"
        )


if __name__ == "__main__":
    main()
