# What all rules share: the checked configuration, where artifacts lie, and the threads of a job.

import os
import sys
from pathlib import Path

from segtrail.audit.paper import check_published
from segtrail.config import load_run
from segtrail.errors import SegtrailError
from segtrail.layout import Layout, part_of
from segtrail.provenance.receipts import write_environment
from segtrail.provenance.settle import settle
from segtrail.runs.controller import Controller, remove_dead_locks
from segtrail.runs.jobs import TABLE_FORMATS, job_name, job_of
from segtrail.runs.plan import Plan, posteriors_at_once
from segtrail.runs.quantities import preprocess_threads
from segtrail.studies.captions import figure_texts, page_texts, study_texts
from snakemake.settings.enums import RerunTrigger

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
    if workflow.is_main_process:
        for study in sorted(RUN.absent.keys() - RUN.studies.keys()):
            print(f"segtrail: {study} is left out: {'; '.join(RUN.absent[study].values())}", file=sys.stderr)
        check_published(RUN, Path("config"))
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
            # Splits are made here, too: one that cannot be made is told now.
            settle(LAYOUT)
except SegtrailError as error:
    sys.exit(f"segtrail: the run cannot start\n{error}")

TREE = str(LAYOUT.tree)
SCRATCH = f"{TREE}/scratch"


class KeysDecide(type(workflow)):
    """What has to be done again is told by the key file of each job, which `settle` makes younger than outputs
    of another key. Snakemake's own records of parameters, code and checksums are silent in a clone and wrong
    after a checkout, so times alone are looked at. Snakemake sets its settings after this file is read."""

    @property
    def dag_settings(self):
        return vars(self)["dag_settings"]

    @dag_settings.setter
    def dag_settings(self, settings):
        settings.rerun_triggers = frozenset({RerunTrigger.MTIME})
        settings.max_checksum_file_size = 0
        vars(self)["dag_settings"] = settings


workflow.__class__ = KeysDecide


def take_tree():
    """Called before the first job: two controllers never make one tree."""
    try:
        CONTROLLER.take(config, workflow.config_settings.overwrite_config)
        write_environment(LAYOUT.tree, Path("."))
    except SegtrailError as error:
        sys.exit(f"segtrail: the run cannot start\n{error}")


wildcard_constraints:
    study="|".join(RUN.studies),
    dataset="|".join(RUN.datasets),
    cohort="[A-Za-z0-9]+",
    chunk="train|val|(test|shift)_[0-9]{3}",
    part="train|val|test|shift",
    member="[0-9]{3}",


def key_of(step, **of):
    """The key file of a job: what it is made from. It makes the job run again when that changes."""
    return lambda wildcards: f"{TREE}/keys/{job_name(step, **dict(wildcards.items()), **of)}.json"


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


def members_folder(wildcards):
    return f"{TREE}/{wildcards.study}/{wildcards.cohort}/members"


def auxiliary_of(wildcards):
    return RUN.studies[wildcards.study].model(wildcards.cohort, wildcards.model).auxiliary


def base_of(wildcards):
    """The segmentation member from whose features a member of an auxiliary model learns."""
    auxiliary = auxiliary_of(wildcards)
    if auxiliary is None or auxiliary.input != "features":
        return []
    return [f"{members_folder(wildcards)}/{auxiliary.model}/{wildcards.member}.safetensors"]


def segmentations_of(wildcards):
    """The segmentations whose errors a member of an auxiliary model learns."""
    auxiliary = auxiliary_of(wildcards)
    if auxiliary is None or auxiliary.input != "segmentation":
        return []
    return [f"{SCRATCH}/{wildcards.study}/{wildcards.cohort}/predictions/{auxiliary.folds}"]


def sampled_from(wildcards, own):
    """The members that a posterior is made from: its model's own, or those whose errors these tell."""
    place = (wildcards.study, wildcards.cohort, wildcards.posterior)
    model = LAYOUT.model_of(wildcards.study, wildcards.posterior)
    return [
        f"{members_folder(wildcards)}/{name}/{member}.safetensors"
        for name, member in LAYOUT.sampled_from(*place)
        if (name == model) == own
    ]


def range_of(wildcards):
    """The range by which a posterior's uncertainty is rescaled, where it is that of a part."""
    place = (wildcards.study, wildcards.cohort, wildcards.posterior)
    part = LAYOUT.range_part(*place, wildcards.chunk)
    return [f"{TREE}/{'/'.join(place[:2])}/ranges/{wildcards.posterior}_{part}.json"] if part else []


def chunks_of(study, pattern):
    """`pattern` for each cohort, posterior and measured chunk of a study."""
    return [
        pattern.format(kept=f"{TREE}/{study}/{cohort}", posterior=posterior, chunk=chunk)
        for cohort in RUN.studies[study].cohorts
        for posterior in LAYOUT.posteriors(study)
        for chunk in LAYOUT.measured_chunks(study, cohort)
    ]


def members_of(study):
    return [
        f"{TREE}/{study}/{cohort}/members/{model}/{member}.safetensors"
        for cohort in RUN.studies[study].cohorts
        for model in RUN.studies[study].models
        for member in LAYOUT.members(study, cohort, model)
    ]


def figures_of(study):
    figures = RUN.studies[study].figures
    return [f"{TREE}/{study}/figures/{name}.{suffix}" for name in figures for suffix in ("svg", "png")]


def study_results(study):
    content = RUN.studies[study]
    folder = f"{TREE}/{study}"
    return [
        *(f"{folder}/{cohort}/split.json" for cohort in content.cohorts),
        f"{folder}/cells.csv",
        f"{folder}/unprinted.csv",
        f"{folder}/audit.csv",
        f"{folder}/claims.csv",
        *(f"{folder}/tables/{table.slug}.{suffix}" for table in content.tables for suffix in TABLE_FORMATS),
        *figures_of(study),
    ]


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
