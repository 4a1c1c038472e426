# What all rules share: the checked configuration, where artifacts lie, and the threads of a job.

import os
import sys
from pathlib import Path

from segtrail.config import load_run
from segtrail.runs.controller import Controller, remove_dead_locks
from segtrail.errors import SegtrailError
from segtrail.files import sha256_of
from segtrail.runs.jobs import job_of
from segtrail.layout import Layout
from segtrail.runs.plan import Plan, posteriors_at_once
from segtrail.runs.quantities import preprocess_threads
from segtrail.source import code_hash

# One thread a process: two processes of one thread train twice as fast as one of two (benchmarks/).
# The allocator keeps its pages: without this a training step spends a third of its time in page faults.
for name in (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
):
    os.environ.setdefault(name, "1")
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(64 * 2**30))
os.environ.setdefault("MALLOC_TOP_PAD_", str(64 * 2**20))

try:
    RUN = load_run(config, Path("config"))
    LAYOUT = Layout(RUN)
    LAYOUT.claim_tree()
    CONTROLLER = Controller(LAYOUT.tree)
    if workflow.is_main_process:
        if other := CONTROLLER.other():
            print(f"segtrail: {other}. A second start is refused until it ends.", file=sys.stderr)
        else:
            remove_dead_locks(LAYOUT.tree)
            # A bad subject in any data set is told here, before any job starts.
            LAYOUT.refresh_records(jobs=len(os.sched_getaffinity(0)))
    # Splits are made here once, so that one that cannot be made is told before any job starts.
    for study, content in RUN.studies.items():
        for cohort in content.cohorts:
            LAYOUT.split(study, cohort)
except SegtrailError as error:
    sys.exit(f"segtrail: the run cannot start\n{error}")

TREE = str(LAYOUT.tree)


def take_tree():
    """Called before the first job: two controllers never make one tree."""
    try:
        CONTROLLER.take(config)
    except SegtrailError as error:
        sys.exit(f"segtrail: the run cannot start\n{error}")


wildcard_constraints:
    study="|".join(RUN.studies),
    dataset="|".join(RUN.datasets),
    cohort="[A-Za-z0-9]+",
    chunk="train|val|(test|shift)_[0-9]{3}",
    member="[0-9]{3}",


def config_hash(*branches):
    """A step's params hold the hash of exactly the configuration that it reads."""
    values = [
        branch.model_dump(mode="json") if hasattr(branch, "model_dump") else branch for branch in branches
    ]
    return sha256_of(values)[:16]


def cohort_of(wildcards):
    return RUN.studies[wildcards.study].cohorts[wildcards.cohort]


def records_of_chunk(wildcards, chunk=None):
    return [
        path
        for dataset, subject in LAYOUT.chunks(wildcards.study, wildcards.cohort)[chunk or wildcards.chunk]
        for path in LAYOUT.records(dataset, [subject])
    ]


def population_of(wildcards):
    """The training part's statistics, where the recipe asks for them."""
    if cohort_of(wildcards).needs_population:
        return [f"{TREE}/{wildcards.study}/{wildcards.cohort}/population.json"]
    return []


def measured_by(wildcards):
    study = RUN.studies[wildcards.study]
    names = LAYOUT.posteriors(wildcards.study)[wildcards.posterior]
    return {name: study.predictor(wildcards.cohort, name) for name in names}


def chunks_of(study, pattern):
    """`pattern` for each cohort, posterior and test chunk of a study."""
    return [
        pattern.format(folder=f"{TREE}/{study}/{cohort}", posterior=posterior, chunk=chunk)
        for cohort in RUN.studies[study].cohorts
        for posterior in LAYOUT.posteriors(study)
        for chunk in LAYOUT.test_chunks(study, cohort)
    ]


def members_of(study):
    return [
        f"{TREE}/{study}/{cohort}/members/{model}/{member}.safetensors"
        for cohort in RUN.studies[study].cohorts
        for model in RUN.studies[study].models
        for member in LAYOUT.members(study, cohort, model)
    ]


def study_results(study):
    content = RUN.studies[study]
    folder = f"{TREE}/{study}"
    return [
        f"{folder}/cells.csv",
        f"{folder}/claims.csv",
        *(
            f"{folder}/tables/{table.slug}.{suffix}"
            for table in content.tables
            for suffix in ("csv", "md", "tex")
        ),
        *(f"{folder}/figures/{name}.{suffix}" for name in content.figures for suffix in ("svg", "png")),
    ]


def results_hash(study, *sections):
    """What cells, claims, tables and figures read of the configuration; of its sections only those named."""
    others = {"tables", "claims", "figures"} - set(sections)
    content = RUN.studies[study].model_dump(mode="json", exclude=others)
    titles = {name: dataset.title for name, dataset in RUN.datasets.items()}
    return config_hash(content, RUN.absent[study], RUN.phantom, titles)


def problems_hash(dataset):
    """What the layout of a data root itself shows to be wrong; a phantom of this run has nothing wrong."""
    problems = [] if RUN.drawn else LAYOUT.listing(dataset).problems
    return sha256_of([problem.as_dict() for problem in problems])[:16]


def sampled_by(wildcards):
    """Kind and T of the predictors that read one posterior; they agree in both."""
    (found,) = {(p.kind == "mc_dropout", p.samples) for p in measured_by(wildcards).values()}
    return found


# --- what a job asks for -------------------------------------------------------------------------
# Memory, time and disk come from the same estimate as `segtrail plan`; no rerun follows from a change of it.

try:
    PLAN = Plan.of(LAYOUT)
    PLAN.check()
except SegtrailError as error:
    sys.exit(f"segtrail: the run cannot start\n{error}")


def asked(step, resource, **of):
    """A resource of a rule as a function of what its job handles, and of the attempt."""

    def value(wildcards, attempt):
        return PLAN.asked(job_of(step, **dict(wildcards.items()), **of), resource, attempt)

    return value


if workflow.is_main_process and workflow.output_settings.dryrun:
    print(PLAN.line(posteriors_at_once(), workflow.overwrite_configfiles), file=sys.stderr)
