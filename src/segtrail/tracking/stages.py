"""dvc.yaml, from the configuration: one stage per study, and one for the report.

DVC cannot build a list of dependencies from the configuration by itself, and a stage must name exactly the
data sets that the run has: so the file is written here, by `segtrail stages`, and each stage first makes sure
that it is what would be written now. A stage names a Snakemake target and declares no step a second time.
"""

from pathlib import Path
from typing import Any

import yaml

from ..config import Run
from ..errors import ConfigError
from ..files import write_text

HEAD = """\
# Written by `segtrail stages` from config/config.yaml; do not edit (docs/dvc.md).
# Each stage is one Snakemake target. SNAKEMAKE_PROFILE=slurm takes its jobs to a cluster.
"""
# The code that a revision holds, also where an experiment runs in a folder of its own.
HERE = "PYTHONPATH=src"
CHECK = f"{HERE} segtrail stages --check"
# A profile says itself what it has: `--cores all` would limit a cluster's jobs to the cores of this machine.
SNAKEMAKE = f'{HERE} snakemake $([ "$SNAKEMAKE_PROFILE" ] || echo --cores all) --rerun-incomplete'
CODE = ["Snakefile", "workflow", "src/segtrail"]
CONFIG = Path("config")
TREE = "results/${run}"  # DVC puts in what config/config.yaml says


def text(run: Run) -> str:
    """dvc.yaml for a run, in the clone that is the working directory."""
    stages = {study: _study(run, study) for study in run.studies} | {"report": _report(run)}
    whole = {
        "vars": ["config/config.yaml"],
        "stages": stages,
        "metrics": [f"{TREE}/{study}/metrics.json" for study in run.studies],
        "plots": [plot for study in run.studies for plot in _plots(run, study)],
    }
    return HEAD + yaml.safe_dump(whole, sort_keys=False, width=110, allow_unicode=True)


def _study(run: Run, study: str) -> dict[str, Any]:
    datasets = sorted({name for cohort in run.studies[study].cohorts.values() for name in cohort.datasets})
    own = [CONFIG / "studies" / f"{study}.yaml", CONFIG / "published" / f"{study}.csv"]
    rules = CONFIG / "audit" / f"{study}.yaml"
    return _stage(
        study,
        deps=[
            *CODE,
            "config/datasets",
            *map(str, own),
            *([str(rules)] if rules.exists() else []),
            *(str(run.roots[name]) for name in datasets if name in run.roots),
        ],
        outs=[f"{TREE}/{study}", f"{TREE}/receipts/{study}"],
    )


def _report(run: Run) -> dict[str, Any]:
    studies = [f"{TREE}/{part}{study}" for study in run.studies for part in ("", "receipts/")]
    index = [
        path
        for name in run.datasets
        for path in (
            f"{TREE}/data/{name}/subjects.csv",
            f"{TREE}/data/{name}/rejected.csv",
            f"{TREE}/receipts/index_{name}.json",
        )
    ]
    return _stage(
        "report",
        deps=[*CODE, *(f"config/{name}" for name in ("audit", "datasets", "published", "studies")), *studies],
        outs=[f"{TREE}/report.html", f"{TREE}/receipts/report.json", *index],
    )


def _stage(target: str, deps: list[str], outs: list[str]) -> dict[str, Any]:
    return {
        "cmd": [CHECK, f"{SNAKEMAKE} {target}"],
        "deps": deps,
        "params": [{"config/config.yaml": None}],  # all of it
        # Snakemake makes again what is stale, by its key: DVC need not empty the folders first.
        "outs": [{out: {"persist": True}} for out in outs],
    }


def _plots(run: Run, study: str) -> list[Any]:
    cells = f"{TREE}/{study}/cells.csv"
    scatter = {
        "template": "published",
        "x": {cells: "published"},
        "y": {cells: "reproduced"},
        "title": f"{study}: published against reproduced",
    }
    figures = [f"{TREE}/{study}/figures/{name}.svg" for name in run.studies[study].figures]
    return [{f"{study}: published against reproduced": scatter}, *figures]


def write(run: Run, path: Path = Path("dvc.yaml")) -> bool:
    """Writes dvc.yaml where it is not up to date; whether it had to."""
    if _found(path) == text(run):
        return False
    write_text(path, text(run))
    return True


def check(run: Run, path: Path = Path("dvc.yaml")) -> None:
    """Raises ConfigError where dvc.yaml is not what the configuration asks for."""
    if _found(path) != text(run):
        raise ConfigError(
            "its stages are not those of config/config.yaml: a study or a data set has come or gone",
            file=path,
            expected="what `segtrail stages` writes",
            remedy="segtrail stages, and the same command again",
        )


def _found(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
