"""The command line: `segtrail`. Each command imports what it needs, so that all of them start fast."""

import json
import os
from collections.abc import Iterable
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
data_app = typer.Typer(no_args_is_help=True, help="Data sets that DVC tracks.")
app.add_typer(data_app, name="data")


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
    run: RunName = None,
    config: ConfigFile = None,
    results: Annotated[Path, typer.Option(help="the folder of all runs")] = Path("results"),
) -> None:
    """Prints the verdicts on a run's cells, table by table, and where its report is."""
    from .config import run_name
    from .studies.summary import show

    try:
        tree = results / run_name(run, config, Path("config"))
        _hold(tree, [path.parent.name for path in sorted(tree.glob("*/cells.csv"))])
        show(tree)
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
        if study not in run.studies:
            raise ConfigError(f"STUDY = {study!r}", expected=f"one of: {', '.join(run.studies)}")
        _hold(results / run.name, [study])
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
def verify(
    run: RunName = None,
    config: ConfigFile = None,
    root: Roots = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for programs: every artifact")] = False,
) -> None:
    """Says of each artifact of a run whether it is right, stale, edited or foreign.

    Hashes all of it and writes nothing. Exit status 1 where anything is not right.
    """
    from .provenance.verify import verify as found_in
    from .provenance.verify_screen import show, watched

    try:
        with watched() as watch:
            found = found_in(run, config, root or [], watch)
    except SegtrailError as error:
        _stop(error)
    if as_json:
        _print_json(found.as_dict())
    else:
        show(found)
    raise typer.Exit(0 if found.right else 1)


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
        typer.Argument(metavar="STUDY", help="papers under config/audit; all if left out"),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="audit the cells of this run, not the printed numbers")
    ] = None,
    config: ConfigFile = None,
    root: Roots = None,
    results: Annotated[Path, typer.Option(help="with --run: the folder of all runs")] = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for programs: every finding")] = False,
) -> None:
    """Holds printed numbers, or with --run a run's own, to arithmetic.

    Says what holds, what is violated, by how much, and what would repair it. With --run: exit status 1 on any
    violation.
    """
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
            _hold(results / made.name, studies or made.studies)
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


@app.command()
def export(
    ro_crate: Annotated[Path, typer.Option(help="a folder that is empty or not there, or a new .zip")],
    run: RunName = None,
    config: ConfigFile = None,
    root: Roots = None,
    agent: Annotated[
        str | None, typer.Option(help="who ran it: 'Name' or 'Name <https://orcid.org/…>'")
    ] = None,
    weights: Annotated[bool, typer.Option("--weights", help="pack the members' weights too")] = False,
) -> None:
    """Writes a finished run as an RO-Crate: results, receipts, workflow, configuration; never a scan."""
    from .config import named_run
    from .layout import Layout
    from .provenance.crate import export as write

    try:
        layout = Layout(named_run(run, config, Path("config"), root or []))
        layout.stop_if_another()
        size = write(layout, ro_crate, config=config, agent=agent, weights=weights)
    except SegtrailError as error:
        _stop(error)
    typer.echo(f"{ro_crate}: {size / 2**20:.1f} MiB")
    if agent is None:
        typer.echo("it does not say who ran it: --agent 'Name <https://orcid.org/…>' does")


@app.command()
def trail(
    study: Annotated[str, typer.Argument(help="a study of the run, as mehrtash2020")],
    table: Annotated[str, typer.Argument(help="as the published CSV calls it, as 'Table II'")],
    row: Annotated[str, typer.Argument(help="as 'Heart (EN L_DSC)'")],
    column: Annotated[str, typer.Argument(help="as NLL")],
    run: RunName = None,
    config: ConfigFile = None,
    results: Annotated[Path, typer.Option(help="the folder of all runs")] = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for programs: all of it")] = False,
) -> None:
    """Prints where one number comes from, down to the hashes of the scans.

    Value, formula and printed counterpart, and the chain with seeds, configuration, code and environment.
    """
    from .config import run_name
    from .layout import kind_of
    from .trail import Trails
    from .trail.show import show

    try:
        tree = results / run_name(run, config, Path("config"))
        kind_of(tree)
        found = Trails(tree).cell(study, table, row, column)
        if as_json:
            _print_json(found.as_dict())
        else:
            show(found)
    except SegtrailError as error:
        _stop(error)


@data_app.command("add")
def data_add(
    dataset: Annotated[
        str, typer.Argument(help="a name under config/datasets, or of config.yaml's datasets")
    ],
    root: Annotated[Path, typer.Argument(help="the folder that holds the data set as distributed")],
    jobs: Annotated[int | None, typer.Option(min=1, help="processes; one per core if left out")] = None,
) -> None:
    """Checks a data set and tracks it with DVC, at data/DATASET.

    Sets its root in config/config.yaml and brings dvc.yaml up to date. Exit status 1 where the pipeline would
    refuse it.
    """
    from .config import known_datasets
    from .data.check import check_dataset
    from .data.summary import show
    from .tracking.datasets import add, stop_if_not_addable

    try:
        known = known_datasets(read_yaml(Path("config/config.yaml")).get("datasets") or {}, Path("config"))
        if dataset not in known:
            raise ConfigError(f"DATASET = {dataset!r}", expected=f"one of: {', '.join(sorted(known))}")
        stop_if_not_addable(dataset, root)
        report = check_dataset(root, known[dataset], jobs or len(os.sched_getaffinity(0)))
        show(dataset, report)
        if report.problems:
            raise typer.Exit(1)
        told = add(dataset, root)
    except SegtrailError as error:
        _stop(error)
    for line in told:
        typer.echo(line)


@app.command()
def stages(
    check: Annotated[
        bool, typer.Option("--check", help="write nothing; exit status 1 where it is not up to date")
    ] = False,
) -> None:
    """Writes dvc.yaml: one stage for each study of config/config.yaml, and one for the report."""
    from .config import named_run
    from .tracking import stages

    try:
        run = named_run(None, None, Path("config"))
        if check:
            stages.check(run)
        else:
            typer.echo("dvc.yaml: written" if stages.write(run) else "dvc.yaml: up to date")
    except SegtrailError as error:
        _stop(error)


@app.command()
def unlock(run: RunName = None, config: ConfigFile = None) -> None:
    """Removes the locks that killed commands have left, Snakemake's and DVC's; refuses while one works."""
    from .config import run_name
    from .tracking.unlock import unlock as remove_locks

    try:
        tree = Path("results") / run_name(run, config, Path("config"))
        if run is not None and not tree.exists():
            raise ConfigError(f"--run {run}: no such run", expected="the name of a folder below results/")
        remove_locks(tree)
    except SegtrailError as error:
        _stop(error)
    typer.echo("unlocked")


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


def _hold(tree: Path, studies: Iterable[str]) -> None:
    """Stops at a tree of another version, and where the cells in it are not what their receipts say."""
    from .layout import kind_of
    from .provenance.receipts import stop_unless_held

    kind_of(tree)
    for study in studies:
        stop_unless_held(tree, f"{study}/cells")


def _stop(error: SegtrailError) -> NoReturn:
    typer.echo(str(error), err=True)
    raise typer.Exit(1)


def _print_json(values: object) -> None:
    print(json.dumps(values, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    app()
