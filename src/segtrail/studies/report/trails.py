"""Where each number comes from: a section for each cell, and what several cells share once."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import text
from .numbers import Cell


class Trail(Protocol):
    def about(self) -> dict[str, Any]: ...


class Step(Protocol):
    def as_dict(self) -> dict[str, Any]: ...


class Trails(Protocol):
    """Of `segtrail.trail`, what the page asks for."""

    def cell(self, study: str, table: str, row: str, column: str) -> Trail: ...

    def step(self, id: str) -> Step: ...


@dataclass(frozen=True)
class StudyTrails:
    """`cells`: table → (its cell, its trail); `formulas`: id → formula; `steps`: id → step."""

    cells: dict[str, list[tuple[Cell, dict[str, Any]]]] = field(default_factory=dict)
    formulas: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)


def of_study(trails: Trails, study: str, cells: Iterable[Cell], taken: set[str]) -> StudyTrails:
    """The trails of a study's cells. Steps in `taken` stand elsewhere on the page; new ones are added to it.

    Raises ArtifactError for what disagrees with its receipt.
    """
    found = StudyTrails()
    for cell in cells:
        about = trails.cell(study, *cell.place).about()
        names = []
        for formula in about["formulas"]:
            anchor = f"{text.slug(study)}-formula-{text.slug(formula['of'])}-{text.slug(formula['name'])}"
            found.formulas.setdefault(anchor, formula)
            names.append((formula["name"], anchor))
        for step in about["steps"]:
            if step not in taken:
                taken.add(step)
                found.steps[step] = _step(trails.step(step).as_dict())
        view = about | {
            "formula_links": names,
            "step_links": [(text.step_anchor(step), step) for step in about["steps"]],
            "missing": [one | {"step_anchor": text.step_anchor(one["step"])} for one in about["missing"]],
            "recipe_text": json.dumps(_said(about["recipe"]), ensure_ascii=False),
        }
        found.cells.setdefault(cell.place[0], []).append((cell, view))
    return found


def _step(step: dict[str, Any]) -> dict[str, Any]:
    """With its hashes as lines that `sha256sum --check` reads, and how many files have none."""
    jobs = step["jobs"]
    weights = {one["file"] for one in step.get("members", [])}  # these stand with their members
    outputs = {path: sha256 for job in jobs for path, sha256 in job["outputs"].items() if path not in weights}
    files = [pair for subject in step.get("subjects", []) for pair in subject["files"].items()]
    return step | {
        "anchor": text.step_anchor(step["id"]),
        "made": [one | {"config_text": _json(one["config"])} for one in step["made"]],
        "key_lines": sums((job["job"], job["key"]) for job in jobs),
        "environments": list(dict.fromkeys(job["environment"] for job in jobs)),
        "output_lines": sums(outputs.items()),
        "fold_lines": "\n".join(f"{member}  {subjects}" for member, subjects in _held_out(step).items()),
        "unhashed": list(outputs.values()).count(None),
        "file_lines": sums(files),
        "after_links": [(text.step_anchor(before), before) for before in step["after"]],
    }


def _held_out(step: dict[str, Any]) -> dict[str, str]:
    """member → the subjects that it has not seen, of steps with folds."""
    folds = {one["member"]: one.get("held_out", []) for one in step.get("members", [])}
    folds |= {f"{number:03d}": fold for number, fold in enumerate(step.get("folds", []))}
    return {member: " ".join(fold) for member, fold in folds.items() if fold}


def _said(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe says, without the keys that it leaves open."""
    return {name: value for name, value in recipe.items() if value not in (None, "", [])}


def sums(files: Iterable[tuple[str, str | None]]) -> str:
    return "\n".join(f"{sha256}  {path}" for path, sha256 in files if sha256 is not None)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)
