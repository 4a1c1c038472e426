"""A trail and its steps in words: rows of a label and a text, and long lists that a page folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

if TYPE_CHECKING:
    from .chain import Step
    from .formulas import Formula
    from .trails import Trail

COUNTED = {
    "mean": "cases",
    "patients": "patients",
    "reduction_percent": "cases",
    "correlation_min": "points (a case and segment each)",
    "correlation_max": "points (a case and segment each)",
    "pooled": "cases",
    "underconfident": "cases",
    "overconfident": "cases",
}
FEW_NAMES = 3  # of the subjects of a fold
SHORT = 16  # digits of a hash that are shown where the whole one stands in a list or in --json


class Row(NamedTuple):
    label: str
    text: str


class Listing(NamedTuple):
    label: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def rows_of_trail(trail: Trail) -> list[Row]:
    """The cell: value, intervals, n, what is printed, verdict, formulas, digest."""
    found = trail.values
    value = "none" if trail.value is None else _number(trail.value, trail.cell.unit)
    rows = [Row("value", value)]
    for one in trail.intervals:
        ends = f"{_number(one['lo'])} to {_number(one['hi'])}"
        by = _formula(trail.formulas[one["formula"]])
        rows.append(Row("interval", f"{ends} {one['text']}: {by}"))
    rows.append(Row("n", counts(found, COUNTED[trail.cell.statistic])))
    if found["beside"] is not None:
        rows.append(Row("beside", f"{_number(found['beside'])} by {found['beside_measure']}"))
    rows.append(Row("published", "not in print" if trail.line is None else _published(trail)))
    if found["rank"] is not None:
        printed = "" if found["published_rank"] is None else f", in the paper {found['published_rank']}"
        rows.append(Row("rank", f"{found['rank']} in its column{printed}"))
    rows.append(Row("verdict", found["verdict"]))
    if found["reason"]:
        rows.append(Row("reason", found["reason"]))
    for one in trail.predictors:
        rows.append(Row("predictor", f"{one['title']} ({one['name']}) on {one['cohort']}{_drawn(one)}"))
    rows += [Row(one.of, f"{one.name}: {_formula(one)}") for one in trail.formulas if one.of != "interval"]
    run = trail.run
    rows.append(Row("run", f"{run['name']}, {'PHANTOM DATA' if run['phantom'] else 'real scans'}"))
    rows += [Row("environment", environment(one)) for one in trail.environments.values()]
    rows += [Row("missing", link(one)) for one in trail.missing]
    return [*rows, Row("digest", trail.digest or _no_digest(trail))]


def counts(values: dict[str, Any], counted: str) -> str:
    """n of a cell, and who is not among them."""
    if values["n"] is None:
        return "none"
    parts = [f"{values['n']} {counted}"]
    for name, text in (
        ("n_undefined", "undefined"),
        ("n_excluded", "excluded"),
        ("n_members", "members"),
        ("dead_members", "of them with a class never learnt"),
    ):
        if values[name] is not None:
            parts.append(f"{values[name]} {text}")
    return ", ".join(parts)


def environment(one: dict[str, Any]) -> str:
    """Version, commit, lock and machine of a run."""
    commit = "no clone" if one["commit"] is None else f"commit {one['commit'][:SHORT]}"
    changed = ", with changes that are not committed" if one["changed"] else ""
    lock = "no lock" if one["lock"] is None else f"lock {one['lock'][:SHORT]}"
    return f"segtrail {one['segtrail']}, {commit}{changed}, {lock}, Python {one['python']}, {one['machine']}"


def link(missing: dict[str, Any]) -> str:
    """A missing link and how to get it."""
    return f"{missing['what']} ({missing['step']}): {missing['remedy']}"


def rows_of_step(step: Step) -> list[Row]:
    """Configuration, seed, code; jobs; what only this kind of step has."""
    rows = []
    for made in step.made:
        if made["config"]:
            rows.append(Row("config", flow(made["config"])))
        seed = "" if made["seed"] is None else f", seed {made['seed']}"
        rows.append(Row("code", f"{made['code']}{seed}"))
    if step.jobs:
        seconds = sum(job["seconds"] for job in step.jobs)
        last = max(job["finished"] for job in step.jobs)
        rows.append(Row("jobs", f"{len(step.jobs)} ({seconds:.0f} s, ended {last})"))
    if parts := step.about.get("parts"):
        rows.append(Row("parts", ", ".join(f"{part} {count}" for part, count in parts.items())))
    if members := step.about.get("members"):
        rows.append(Row("members", _members(members)))
    if folds := step.about.get("folds"):
        rows.append(Row("folds", f"{len(folds)}, {sum(map(len, folds))} subjects, each in one"))
    if found := step.about.get("range"):
        rows.append(Row("range", _range(found)))
    if subjects := step.about.get("subjects"):
        rows.append(Row("subjects", _subjects(subjects)))
    if step.kind == "data":
        rows.append(Row("scans", "PHANTOM DATA" if step.about["phantom"] else "real scans"))
    return rows + [Row("missing", link(one)) for one in step.missing]


def lists_of_step(step: Step) -> list[Listing]:
    """Members, files of subjects, jobs with their outputs."""
    found = []
    if members := step.about.get("members"):
        names = ("member", "seed", "epochs", "best_epoch", "val_dice", "dead_classes", "weights")
        found.append(
            Listing("members", names, [tuple(_text(one[name]) for name in names) for one in members])
        )
    if folds := held_out(step):
        rows = [(member, f"{len(fold)} subjects: {_few(fold)}") for member, fold in folds.items()]
        found.append(Listing("folds", ("member", "held out"), rows))
    if subjects := step.about.get("subjects"):
        files = [
            (f"{one['dataset']}/{one['subject']}", _text(one["excluded"]), file, sha256)
            for one in subjects
            for file, sha256 in one["files"].items()
        ]
        found.append(Listing("files", ("subject", "excluded", "file", "sha256"), files))
    if step.jobs:
        jobs = [(job["job"], job["key"], job["finished"]) for job in step.jobs]
        found.append(Listing("jobs", ("job", "key", "finished"), jobs))
        outputs = [(file, _text(sha256)) for job in step.jobs for file, sha256 in job["outputs"].items()]
        found.append(Listing("outputs", ("file", "sha256"), outputs))
    return found


def held_out(step: Step) -> dict[str, list[str]]:
    """member → the subjects that it is trained without, or that it segments unseen; of steps with folds."""
    folds = {one["member"]: one["held_out"] for one in step.about.get("members", [])}
    folds |= {f"{number:03d}": fold for number, fold in enumerate(step.about.get("folds", []))}
    return {member: fold for member, fold in folds.items() if fold}


def _few(names: list[str]) -> str:
    return " ".join(names[:FEW_NAMES]) + (" …" if len(names) > FEW_NAMES else "")


def flow(value: Any) -> str:
    """A configuration on one line, as YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.strip()


def _published(trail: Trail) -> str:
    one = trail.printed
    interval = f" [{one.lo}, {one.hi}]" if one.lo else ""
    note = f" ({one.note})" if one.note else ""
    return f"{one.value}{interval}{note}, {trail.file} line {trail.line}: {' / '.join(one.place)}"


def _formula(one: Formula) -> str:
    return f"{one.text} Source: {one.source} ({one.defined})"


def _drawn(predictor: dict[str, Any]) -> str:
    parts = []
    if "sizes" in predictor:
        parts.append(f"M = {' and '.join(map(str, predictor['sizes']))}, {predictor['draws']} draws")
    if "samples" in predictor:
        parts.append(f"T = {predictor['samples']}")
    if "rescale" in predictor:
        parts.append(f"uncertainty rescaled over the {predictor['rescale']['over']}")
    return "".join(f", {part}" for part in parts)


def _members(members: list[dict[str, Any]]) -> str:
    epochs = [one["epochs"] for one in members if one["epochs"] is not None]
    held = [len(one["held_out"]) for one in members if one["held_out"]]
    told = f"{len(members)}{f', {min(epochs)} to {max(epochs)} epochs' if epochs else ''}"
    return f"{told}{f', each without a fold of {min(held)} to {max(held)} subjects' if held else ''}"


def _range(found: dict[str, Any]) -> str:
    return f"{_number(found['min'])} to {_number(found['max'])} over {found['subjects']} subjects"


def _subjects(subjects: list[dict[str, Any]]) -> str:
    excluded = sum(bool(one["excluded"]) for one in subjects)
    files = sum(len(one["files"]) for one in subjects)
    return f"{len(subjects)}, {excluded} of them excluded; {files} files"


def _no_digest(trail: Trail) -> str:
    return "none: nothing feeds it in this run" if not trail.reads else "none: see what is missing"


def _number(value: float, unit: str = "") -> str:
    return f"{value:.6g}{' ' if unit else ''}{unit}"


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
