# What all rules share: the checked configuration, where artifacts lie, and the threads of a job.

import os
import sys
from pathlib import Path

from segtrail.config import load_run
from segtrail.errors import SegtrailError
from segtrail.files import sha256_of
from segtrail.layout import Layout
from segtrail.source import code_hash

# One thread a process: two processes of one thread train twice as fast as one of two (benchmarks/).
# The allocator keeps its pages: without this a training step spends a third of its time in page faults.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(64 * 2**30))
os.environ.setdefault("MALLOC_TOP_PAD_", str(64 * 2**20))

try:
    RUN = load_run(config, Path("config"))
    LAYOUT = Layout(RUN)
    LAYOUT.claim_tree()
    # A bad subject in any data set is told here, before any job starts.
    if workflow.is_main_process:
        LAYOUT.refresh_records(jobs=len(os.sched_getaffinity(0)))
    # Splits are made here once, so that one that cannot be made is told before any job starts.
    for study, content in RUN.studies.items():
        for cohort in content.cohorts:
            LAYOUT.split(study, cohort)
except SegtrailError as error:
    sys.exit(f"segtrail: the run cannot start\n{error}")

TREE = str(LAYOUT.tree)


wildcard_constraints:
    study="|".join(RUN.studies),
    dataset="|".join(RUN.datasets),
    cohort="[A-Za-z0-9]+",
    chunk="train|val|(test|shift)_[0-9]{3}",
    member="[0-9]{3}",


def config_hash(*branches):
    """A step's params hold the hash of exactly the configuration that it reads."""
    values = [branch.model_dump(mode="json") if hasattr(branch, "model_dump") else branch for branch in branches]
    return sha256_of(values)[:16]


def cohort_of(wildcards):
    return RUN.studies[wildcards.study].cohorts[wildcards.cohort]

