"""Every job of `snakemake all` from scratch, from the configuration alone; a test holds it equal to the DAG.

Progress and cost are told from this list, so that neither has to build the workflow's graph.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..layout import Layout

# What a job of each rule is called: its log's path below results/<run>/logs, without the suffix.
NAMES = {
    "phantom": "phantom_{dataset}",
    "index": "index_{dataset}",
    "split": "{study}/{cohort}/split",
    "population": "{study}/{cohort}/population",
    "preprocess": "{study}/{cohort}/preprocess_{chunk}",
    "train": "{study}/{cohort}/train_{model}_{member}",
    "sample": "{study}/{cohort}/sample_{posterior}_{chunk}",
    "measure": "{study}/{cohort}/measure_{posterior}_{chunk}",
    "collect": "{study}/collect",
    "cells": "{study}/cells",
    "audit": "{study}/audit",
    "claims": "{study}/claims",
    "tables": "{study}/tables",
    "figure": "{study}/{figure}",
    "report": "report",
}
# What a job of each rule makes, below results/<run>; a path without a suffix is a folder. `tables` and what
# is drawn for a data set are told by `outputs`.
OUTPUTS = {
    "index": ("data/{dataset}/subjects.csv", "data/{dataset}/rejected.csv"),
    "split": ("{study}/{cohort}/split.json",),
    "population": ("{study}/{cohort}/population.json",),
    "preprocess": ("scratch/{study}/{cohort}/arrays/{chunk}", "{study}/{cohort}/subjects/{chunk}.json"),
    "train": (
        "{study}/{cohort}/members/{model}/{member}.safetensors",
        "{study}/{cohort}/members/{model}/{member}.csv",
    ),
    "sample": ("scratch/{study}/{cohort}/posteriors/{posterior}/{chunk}",),
    "measure": (
        "{study}/{cohort}/measures/{posterior}/{chunk}.parquet",
        "{study}/{cohort}/reliability/{posterior}/{chunk}.parquet",
        "scratch/{study}/{cohort}/maps/{posterior}/{chunk}",
    ),
    "collect": tuple(
        f"{{study}}/{name}.parquet" for name in ("measures", "reliability", "members", "subjects")
    ),
    "cells": ("{study}/cells.csv", "{study}/metrics.json"),
    "audit": ("{study}/audit.csv",),
    "claims": ("{study}/claims.csv",),
    "figure": ("{study}/figures/{figure}.svg", "{study}/figures/{figure}.png"),
    "report": ("report.html",),
}
TABLE_FORMATS = ("csv", "md", "tex", "html")
# These have one rule per data set or per study, named after it.
RULES = {"phantom": "phantom_{dataset}", "tables": "tables_{study}"}

WHOLE = ("train", "val")  # parts in one chunk, which no member is measured on


@dataclass(frozen=True)
class Job:
    """One job of the workflow."""

    rule: str  # as Snakemake names it: train, tables_mehrtash2020, phantom_acdc
    study: str | None  # None: data sets and the report
    name: str  # path of its log below results/<run>/logs, and of its benchmark below benchmarks, no suffix
    step: str  # a key of NAMES: the rule, or what its rules have in common
    of: dict[str, str] = field(default_factory=dict, hash=False)  # its wildcards
    after: tuple[str, ...] = ()  # names of the jobs whose output it reads


def jobs(layout: Layout) -> list[Job]:
    """Every job but the target `all`, each after those that it waits for.

    Raises ConfigError for a split that cannot be made, DataError for a data root that cannot be listed.
    """
    found = list(_data(layout))
    for study in layout.run.studies:
        found += _study(layout, study)
    data = [job.name for job in found if job.step == "index"]
    made = [
        job.name
        for job in found
        if job.step in ("split", "cells", "audit", "claims", "tables", "figure", "collect")
    ]
    return [*found, job_of("report", (*made, *data))]


def outputs(layout: Layout, job: Job) -> list[str]:
    """What a job makes, as paths below results/<run>; posteriors are deleted once measured."""
    if job.step == "phantom":
        return [
            f"data/{job.of['dataset']}/{path}"
            for subject in layout.planned[job.of["dataset"]]
            for path in (*(f"phantom/{file}" for file in subject.files), f"records/{subject.id}.json")
        ]
    if job.step == "tables":
        tables = layout.run.studies[job.of["study"]].tables
        return [
            f"{job.of['study']}/tables/{table.slug}.{suffix}" for table in tables for suffix in TABLE_FORMATS
        ]
    return [pattern.format(**job.of) for pattern in OUTPUTS[job.step]]


def job_name(step: str, **of: str) -> str:
    return NAMES[step].format(**of)


def job_of(step: str, after: tuple[str, ...] = (), /, **of: str) -> Job:
    """The job of a step with these wildcards."""
    rule = RULES.get(step, step).format(**of)
    return Job(rule, of.get("study"), job_name(step, **of), step, of, after)


def _data(layout: Layout) -> Iterator[Job]:
    for dataset in layout.run.datasets:
        drawn: tuple[str, ...] = ()
        if layout.run.drawn:
            phantom = job_of("phantom", dataset=dataset)
            drawn = (phantom.name,)
            yield phantom
        yield job_of("index", drawn, dataset=dataset)


def _study(layout: Layout, study: str) -> Iterator[Job]:
    content = layout.run.studies[study]
    done = []
    for cohort in content.cohorts:
        for job in _cohort(layout, study, cohort):
            done.append(job)
            yield job
    of = {
        step: tuple(job.name for job in done if job.step == step)
        for step in ("preprocess", "train", "measure")
    }
    collect = job_of("collect", (*of["preprocess"], *of["train"], *of["measure"]), study=study)
    cells = job_of("cells", (collect.name,), study=study)
    audit = job_of("audit", (cells.name,), study=study)
    yield from (collect, cells, audit, job_of("claims", (collect.name,), study=study))
    if content.tables:
        yield job_of("tables", (cells.name,), study=study)
    for figure in content.figures:
        yield job_of("figure", (collect.name, *_shown(layout, study, figure)), study=study, figure=figure)


def _shown(layout: Layout, study: str, figure: str) -> Iterator[str]:
    """The jobs whose arrays and maps a figure shows."""
    for cohort, posteriors in layout.shown(study, figure).items():
        for chunk in layout.test_chunks(study, cohort):
            place = {"study": study, "cohort": cohort, "chunk": chunk}
            yield job_name("preprocess", **place)
            yield from (job_name("measure", **place, posterior=posterior) for posterior in posteriors)


def _cohort(layout: Layout, study: str, cohort: str) -> Iterator[Job]:
    chosen, place = layout.run.studies[study].cohorts[cohort], {"study": study, "cohort": cohort}
    drawn = {
        chunk: tuple(
            job_name("phantom", dataset=dataset)
            for dataset in sorted({dataset for dataset, _ in subjects})
            if layout.run.drawn
        )
        for chunk, subjects in layout.chunks(study, cohort).items()
    }
    chunks = list(drawn)
    yield job_of("split", **place)
    population: tuple[str, ...] = ()
    if chosen.needs_population:
        job = job_of("population", drawn["train"], **place)
        population = (job.name,)
        yield job
    for chunk in chunks:
        yield job_of("preprocess", (*drawn[chunk], *population), **place, chunk=chunk)
    arrays = {chunk: job_name("preprocess", **place, chunk=chunk) for chunk in chunks}
    members: dict[str, tuple[str, ...]] = {}
    for model in layout.run.studies[study].models:
        trained = [
            job_of("train", (arrays["train"], arrays["val"]), **place, model=model, member=member)
            for member in layout.members(study, cohort, model)
        ]
        members[model] = tuple(job.name for job in trained)
        yield from trained
    for posterior in layout.posteriors(study):
        made_from = members[layout.model_of(study, posterior)]
        for chunk in chunks:
            if chunk not in WHOLE:
                of = {**place, "posterior": posterior, "chunk": chunk}
                sample = job_of("sample", (*made_from, arrays[chunk]), **of)
                yield sample
                yield job_of("measure", (sample.name, arrays[chunk]), **of)
