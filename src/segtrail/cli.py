"""The command line: `segtrail`. Each command imports what it needs, so that all of them start fast."""

import json
import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from .config import Dataset, read_yaml
from .errors import ConfigError, DataError, SegtrailError

RunName = Annotated[str | None, typer.Option(help="a run's name; that of config/config.yaml if left out")]
ConfigFile = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="laid over config/config.yaml")
]
Roots = Annotated[list[str] | None, typer.Option(help="a data root of the run, as acdc=/data/acdc")]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Regenerates every number and figure of five papers on uncertainty in medical image segmentation."""


@app.command()
def check(
    dataset: Annotated[
        str, typer.Argument(help="a name under config/datasets, or a layout such as msd or folder")
    ],
    root: Annotated[Path, typer.Argument(help="the folder that holds the data set as distributed")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for programs")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="processes; one per core if left out")] = None,
) -> None:
    """Prints what a data set holds; exit status 1 where the pipeline would refuse it."""
    from .data.check import check_dataset
    from .data.summary import show

    try:
        report = check_dataset(root, _described(dataset, root), jobs or len(os.sched_getaffinity(0)))
    except DataError as error:
        if as_json:
            _print_json({"root": str(root), "labelled_subjects": 0, "problems": [error.as_dict()]})
        _stop(error)
    except SegtrailError as error:
        _stop(error)
    if as_json:
        _print_json({"dataset": dataset, **report.as_dict()})
    else:
        show(dataset, report)
    raise typer.Exit(1 if report.problems else 0)


@app.command()
def summary(
    run: Annotated[str, typer.Option(help="the tree under results/")] = "demo",
    results: Annotated[Path, typer.Option(help="the folder of all runs")] = Path("results"),
) -> None:
    """Prints the verdicts on a run's cells, table by table, and where its report is."""
    from .studies.summary import show

    try:
        show(results / run)
    except SegtrailError as error:
        _stop(error)


@app.command()
def evidence(
    study: Annotated[str, typer.Argument(help="a study of the run")],
    config: Annotated[Path, typer.Option(help="the run's configuration, laid over config/config.yaml")],
    root: Roots = None,
    results: Annotated[Path, typer.Option(help="the folder of all runs")] = Path("results"),
) -> None:
    """Prints a finished run of one study as Markdown: members, cells that were computed, claims."""
    from .config import named_run
    from .studies.evidence import page

    try:
        run = named_run(None, config, Path("config"), root or [])
        typer.echo(page(run, study, results / run.name), nl=False)
    except SegtrailError as error:
        _stop(error)


@app.command()
def status(
    run: RunName = None,
    config: ConfigFile = None,
    root: Roots = None,
    rules: Annotated[bool, typer.Option("--rules", help="count each rule")] = False,
    listed: Annotated[
        str | None, typer.Option("--list", help="list the jobs in one state: running, waiting, failed …")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for programs: every job")] = False,
) -> None:
    """Prints how far a run is: jobs done, running, waiting, failed; and the log to look at."""
    from .layout import Layout
    from .runs.screen import show, show_list
    from .runs.status import STATES, run_of
    from .runs.status import status as status_of

    try:
        if listed is not None and listed not in STATES:
            raise ConfigError(f"--list {listed}", expected=f"one of: {', '.join(STATES)}")
        now = status_of(Layout(run_of(run, config, root or [])))
    except SegtrailError as error:
        _stop(error)
    if as_json:
        _print_json(now.as_dict())
    elif listed is not None:
        show_list(now, listed)
    else:
        show(now, by_rule=rules)


@app.command()
def plan(
    run: RunName = None,
    config: ConfigFile = None,
    root: Roots = None,
    rates: Annotated[Path, typer.Option(help="what things cost; your own: benchmarks/rates.py")] = Path(
        "config/rates.csv"
    ),
    at_once: Annotated[
        int | None, typer.Option(min=1, help="posteriors that exist together; the SLURM profile's jobs")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for programs")] = False,
) -> None:
    """Prints what a run will cost before it starts: jobs, GPU-hours, CPU-hours, disk, longest chain."""
    from .config import named_run
    from .layout import Layout
    from .runs.bill import show
    from .runs.plan import Plan, posteriors_at_once

    try:
        bill = Plan.of(Layout(named_run(run, config, Path("config"), root or [])), rates)
        together = at_once or posteriors_at_once()
        if as_json:
            _print_json(bill.as_dict(together))
        else:
            show(bill, together)
    except SegtrailError as error:
        _stop(error)


@app.command()
def audit(
    studies: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STUDY]...", help="papers under config/audit; all if left out"),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="audit the cells of this run, not the printed numbers")
    ] = None,
    config: ConfigFile = None,
    root: Roots = None,
    results: Annotated[Path, typer.Option(help="with --run: the folder of all runs")] = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for programs: every finding")] = False,
) -> None:
    """Holds printed numbers, or with --run a run's own, to arithmetic: what holds, what is violated, by how
    much, and what would repair it. With --run: exit status 1 on any violation."""
    from .audit.cells import audit_cells
    from .audit.paper import audit_paper, papers
    from .audit.show import show
    from .config import named_run

    try:
        if run is not None:
            made = named_run(run, config, Path("config"), root or [])
            for name in studies or []:
                if name not in made.studies:
                    raise ConfigError(f"STUDY = {name!r}", expected=f"one of: {', '.join(made.studies)}")
            findings = {
                name: audit_cells(results / made.name / name / "cells.csv", made.studies[name])
                for name in studies or made.studies
            }
        elif config is not None or root:
            raise ConfigError("--config and --root without --run", expected="the run whose cells to audit")
        else:
            folder = Path("config")
            findings = {name: audit_paper(name, folder) for name in studies or papers(folder)}
    except SegtrailError as error:
        _stop(error)
    if as_json:
        _print_json([finding.as_dict(name) for name, found in findings.items() for finding in found])
    else:
        for name, found in findings.items():
            show(name, found)
    violated = any(finding.status == "violated" for found in findings.values() for finding in found)
    raise typer.Exit(1 if run is not None and violated else 0)


def _described(name: str, root: Path) -> Dataset:
    """The data set of a YAML under config/datasets, here or in the repository, or else a bare layout."""
    from .data.readers import READERS, default_dataset
    from .data.readers.collect import validated

    folders = [Path("config/datasets"), Path(__file__).parents[2] / "config" / "datasets"]
    known = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.yaml"))}
    if name in known:
        return validated(Dataset, read_yaml(known[name]), known[name])
    if name in READERS:
        return default_dataset(name, root)
    raise ConfigError(
        f"DATASET = {name!r}",
        expected=f"a name under config/datasets ({', '.join(sorted(known)) or 'none here'}) "
        f"or a layout ({', '.join(sorted(READERS))})",
    )


def _stop(error: SegtrailError) -> NoReturn:
    typer.echo(str(error), err=True)
    raise typer.Exit(1)


def _print_json(values: object) -> None:
    print(json.dumps(values, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    app()
