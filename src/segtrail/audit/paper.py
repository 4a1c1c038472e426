"""The audit of a paper's printed numbers: its CSV and its rules file are all that it needs."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from math import nan
from pathlib import Path

from ..config import Run
from ..config.audit import Audit, Meaning, load_audit
from ..errors import ConfigError
from ..studies.published import Printed, read, recipe, slack
from . import bounds, statements
from .findings import NOT_APPLICABLE, VIOLATED, Entry, Finding, Place

COUNTS = ("patients",)


def papers(config_dir: Path) -> list[str]:
    """Every paper with printed numbers or rules. ConfigError where there is none."""
    found = {
        path.stem for pattern in ("published/*.csv", "audit/*.yaml") for path in config_dir.glob(pattern)
    }
    if not found:
        raise ConfigError(
            "no papers", file=config_dir / "published", remedy="start the command in the clone's root"
        )
    return sorted(found)


def audit_paper(study: str, config_dir: Path) -> list[Finding]:
    """All rules on config/published/<study>.csv as config/audit/<study>.yaml describes it.

    Raises ConfigError for an unknown paper, one without either file, a cell that the rules do not describe,
    and rules on what is not printed.
    """
    csv, yaml = config_dir / "published" / f"{study}.csv", config_dir / "audit" / f"{study}.yaml"
    if not csv.is_file() and not yaml.is_file():
        raise ConfigError(f"STUDY = {study!r}", expected=f"one of: {', '.join(papers(config_dir))}")
    _require_known(study, config_dir)
    if not yaml.is_file():
        raise ConfigError(
            f"{csv} has no rules file",
            file=yaml,
            expected="a YAML that says what each of its columns is",
            remedy="write one: docs/audit.md",
        )
    return audit_printed(read(csv), load_audit(yaml), yaml)


def check_published(run: Run, config_dir: Path) -> None:
    """Holds together all that is printed and said of it, before a run starts. Raises ConfigError for numbers
    that cannot be read or belong to no paper, a rules file that does not fit them, and a number of which the
    run's study does not say what it is computed from."""
    for paper in papers(config_dir):
        _require_known(paper, config_dir)
        if (config_dir / "audit" / f"{paper}.yaml").is_file():
            audit_paper(paper, config_dir)
        else:
            read(config_dir / "published" / f"{paper}.csv")
    for name, study in run.studies.items():
        for one in read(config_dir / "published" / f"{name}.csv"):
            recipe(one, study)


def _require_known(paper: str, config_dir: Path) -> None:
    """ConfigError for numbers that neither a study nor a rules file describes."""
    described = {
        path.stem for folder in ("studies", "audit") for path in (config_dir / folder).glob("*.yaml")
    }
    if paper not in described:
        raise ConfigError(
            f"numbers of an unknown paper: {paper}",
            file=config_dir / "published" / f"{paper}.csv",
            expected=f"the name of a study or of a rules file: {', '.join(sorted(described))}",
            remedy=f"rename it, or describe them in {config_dir / 'audit' / f'{paper}.yaml'} (docs/audit.md)",
        )


def audit_printed(printed: Sequence[Printed], rules: Audit, file: str | Path) -> list[Finding]:
    """The findings on printed numbers; `file` is where the rules stand."""
    _check_tables(printed, rules, file)
    meanings = {one.place: _meaning(one, rules, file) for one in printed}
    entries = [_entry(one, meanings[one.place]) for one in printed if meanings[one.place].measure != "other"]
    page = statements.Page(
        rules, str(file), {one.place: one for one in printed}, {entry.place: entry for entry in entries}
    )
    general = bounds.audit(entries, shared=_shared(rules))
    said = statements.audit(page)
    unread = [
        Finding("range", (place,), NOT_APPLICABLE, nan, "no rule reads it", text=meaning.where)
        for place, meaning in meanings.items()
        if meaning.measure == "other"
    ]
    findings = [*_told_apart(general, said), *said, *unread]
    return findings + bounds.not_applicable(findings, bounds.NEEDS | statements.NEEDS)


def _check_tables(printed: Sequence[Printed], rules: Audit, file: str | Path) -> None:
    known = list(dict.fromkeys(one.table for one in printed))
    for name, table in rules.tables.items():
        if name not in known:
            raise ConfigError(
                f"tables.{name} is not printed", file=file, expected=f"one of: {', '.join(known)}"
            )
        for kind, names, there in (
            ("rows", table.rows, {one.row for one in printed if one.table == name}),
            ("columns", table.columns, {one.column for one in printed if one.table == name}),
        ):
            if unknown := sorted(set(names) - there):
                raise ConfigError(
                    f"tables.{name}.{kind}: {', '.join(unknown)} is not printed",
                    file=file,
                    expected=f"one of: {', '.join(sorted(there))}",
                )


def _meaning(one: Printed, rules: Audit, file: str | Path) -> Meaning:
    table = rules.tables.get(one.table)
    if table is None or one.row not in table.rows or one.column not in table.columns:
        raise ConfigError(
            f"{' / '.join(one.place)} is printed, but the rules do not say what it is",
            file=file,
            expected=f"its table, row and column under `tables`; {'no such table' if table is None else ''}"
            f"{'' if table is None or one.row in table.rows else 'no such row'}"
            f"{'' if table is None or one.column in table.columns else ' no such column'}",
            remedy="describe it, with `measure: other` if no rule is to read it",
        )
    return table.meaning(one.row, one.column)


def _entry(one: Printed, meaning: Meaning) -> Entry:
    def half(text: str) -> float:
        if meaning.measure in COUNTS:
            return 0.0
        return slack(text) if meaning.decimals is None else 0.5 * 10.0**-meaning.decimals

    texts = {"value": one.value, "lo": one.lo, "hi": one.hi}
    return Entry(
        one.place,
        meaning.measure or "other",
        meaning.region,
        meaning.classes,
        {
            name: (float(text) / meaning.factor, half(text) / meaning.factor)
            for name, text in texts.items()
            if text
        },
        readings=tuple(meaning.readings),
        n=meaning.n,
        interval=meaning.interval,
        interval_readings=tuple(meaning.interval_readings),
        factor=meaning.factor,
    )


def _shared(rules: Audit) -> set[frozenset[Place]]:
    return {
        frozenset(((one.table, a, column), (one.table, b, column)))
        for one in rules.statements
        if one.kind == "shared"
        for column in one.columns
        for a, b in combinations(one.rows, 2)
    }


def _told_apart(general: Iterable[Finding], said: Sequence[Finding]) -> list[Finding]:
    """Of two rows that repeat each other the repair tells what else the paper says of each: the copy is
    likely the one that contradicts it. Statements about numbers that are impossible in themselves do not
    count."""
    general = list(general)
    broken = {
        place
        for finding in general
        if finding.status == VIOLATED and finding.rule.startswith("NLL") and "holds if" not in finding.repair
        for place in finding.places
    }
    against = [
        finding.places for finding in said if finding.status == VIOLATED and not broken & set(finding.places)
    ]
    result = []
    for finding in general:
        if finding.rule == "rows differ" and finding.status == VIOLATED:
            rows: dict[str, set[Place]] = {}
            for place in finding.places:
                rows.setdefault(place[1], set()).add(place)
            told = [
                f"{row} contradicts {sum(bool(cells & set(places)) for places in against)}"
                for row, cells in rows.items()
            ]
            repair = f"{finding.repair}; of the paper's other statements {', '.join(told)}"
            finding = replace(finding, repair=repair)
        result.append(finding)
    return result
