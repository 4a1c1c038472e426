"""Every job of `snakemake all` from scratch, from the configuration alone; a test holds it equal to the DAG.

Progress and cost are told from this list, so that neither has to build the workflow's graph.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..layout import Layout, part_of

# What a job of each rule is called: its log's path below results/<run>/logs, without the suffix.
NAMES = {
    "phantom": "phantom_{dataset}",
    "index": "index_{dataset}",
    "split": "{study}/{cohort}/split",
    "population": "{study}/{cohort}/population",
    "preprocess": "{study}/{cohort}/preprocess_{chunk}",
    "train": "{study}/{cohort}/train_{model}_{member}",
    "predictions": "{study}/{cohort}/predictions_{model}",
    "sample": "{study}/{cohort}/sample_{posterior}_{chunk}",
    "range": "{study}/{cohort}/range_{posterior}_{part}",
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
    "predictions": ("scratch/{study}/{cohort}/predictions/{model}",),
    "sample": ("scratch/{study}/{cohort}/posteriors/{posterior}/{chunk}",),
    "range": ("{study}/{cohort}/ranges/{posterior}_{part}.json",),
    "measure": (
        "{study}/{cohort}/measures/{posterior}/{chunk}.parquet",
        "{study}/{cohort}/reliability/{posterior}/{chunk}.parquet",
        "{study}/{cohort}/errors/{posterior}/{chunk}.parquet",
        "scratch/{study}/{cohort}/maps/{posterior}/{chunk}",
    ),
    "collect": tuple(
        f"{{study}}/{name}.parquet" for name in ("measures", "reliability", "errors", "members", "subjects")
    ),
    "cells": ("{study}/cells.csv", "{study}/unprinted.csv", "{study}/metrics.json"),
    "audit": ("{study}/audit.csv",),
    "claims": ("{study}/claims.csv",),
    "figure": ("{study}/figures/{figure}.svg", "{study}/figures/{figure}.png"),
    "report": ("report.html",),
}
TABLE_FORMATS = ("csv", "md", "tex", "html")
# These have one rule per data set or per study, named after it.
RULES = {"phantom": "phantom_{dataset}", "tables": "tables_{study}"}

WHOLE = ("train", "val")  # parts in one chunk: what members are made from


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
        for chunk in layout.measured_chunks(study, cohort):
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
    yield from _trainings(layout, place, arrays)
    for posterior in layout.posteriors(study):
        yield from _measurings(layout, place, posterior, arrays)


def _trainings(layout: Layout, place: dict[str, str], arrays: dict[str, str]) -> Iterator[Job]:
    """Segmentation models first; then what they say of what they have not seen; then who learns from it."""
    study, cohort = place["study"], place["cohort"]
    content = layout.run.studies[study]
    learnt_from = {name: content.model(cohort, name).auxiliary for name in content.models}
    both = (arrays["train"], arrays["val"])
    for model, auxiliary in learnt_from.items():
        if auxiliary is None:
            for member in layout.members(study, cohort, model):
                yield job_of("train", both, **place, model=model, member=member)
    for model in layout.cross_validated(study, cohort):
        after = (
            *_members(layout, place, model),
            *(arrays[part] for part in layout.predicted(**place, model=model)),
        )
        yield job_of("predictions", after, **place, model=model)
    for model, auxiliary in learnt_from.items():
        if auxiliary is not None:
            for member in layout.members(study, cohort, model):
                if auxiliary.folds is None:
                    before = job_name("train", **place, model=auxiliary.model, member=member)
                else:
                    before = job_name("predictions", **place, model=auxiliary.folds)
                yield job_of("train", (*both, before), **place, model=model, member=member)


def _measurings(
    layout: Layout, place: dict[str, str], posterior: str, arrays: dict[str, str]
) -> Iterator[Job]:
    """Sampling, the ranges of uncertainty that need all samples of a part, and measuring."""
    study, cohort = place["study"], place["cohort"]
    chunks = layout.measured_chunks(study, cohort)
    made_from = tuple(
        job_name("train", **place, model=model, member=member)
        for model, member in layout.sampled_from(study, cohort, posterior)
    )
    samples = {}
    for chunk in chunks:
        job = job_of("sample", (*made_from, arrays[chunk]), **place, posterior=posterior, chunk=chunk)
        samples[chunk] = job.name
        yield job
    for part in layout.ranged_parts(study, cohort, posterior):
        after = tuple(name for chunk, name in samples.items() if part_of(chunk) == part)
        yield job_of("range", after, **place, posterior=posterior, part=part)
    for chunk in chunks:
        over = layout.range_part(study, cohort, posterior, chunk)
        ranges = (job_name("range", **place, posterior=posterior, part=over),) if over else ()
        yield job_of(
            "measure", (samples[chunk], arrays[chunk], *ranges), **place, posterior=posterior, chunk=chunk
        )


def _members(layout: Layout, place: dict[str, str], model: str) -> tuple[str, ...]:
    members = layout.members(place["study"], place["cohort"], model)
    return tuple(job_name("train", **place, model=model, member=member) for member in members)
