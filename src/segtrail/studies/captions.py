"""What `snakemake --report` says of each result, as reStructuredText: the texts of workflow/report/*.rst."""

import re

from ..config import Run

PHANTOM_MARK = "PHANTOM DATA, NOT A REPRODUCTION"
# Where two words meet, a mark-up sign would be read as one.
SIGNS = re.compile(r"([\\`*_|])")


def study_texts(run: Run, study_id: str) -> dict[str, str]:
    """Of any result of a study: `study` (its title), `citation`, and `mark`, empty for real
    scans as the paper has them."""
    study = run.studies[study_id]
    return {
        "study": literal(study.title),
        "citation": literal(study.citation),
        "mark": _mark(run),
    }


def page_texts(run: Run) -> dict[str, str]:
    """Of the page of the whole run: `studies` and `mark`."""
    studies = ", ".join(study.title for study in run.studies.values())
    return {"studies": literal(studies), "mark": _mark(run)}


def figure_texts(run: Run, study_id: str, figure: str) -> dict[str, str]:
    """Those of the study, and the figure's `title` and `text`."""
    drawn = run.studies[study_id].figures[figure]
    return {**study_texts(run, study_id), "title": literal(drawn.title), "text": literal(drawn.caption)}


def _mark(run: Run) -> str:
    marks = [PHANTOM_MARK] if run.phantom else []
    if run.sensitivity:
        marks.append(f"Sensitivity run {literal(run.sensitivity)}")
    return " ".join(f"**{mark}.**" for mark in marks)


def literal(text: str) -> str:
    """Text that reStructuredText shows as it stands."""
    return SIGNS.sub(r"\\\1", text)
