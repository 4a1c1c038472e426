"""What `snakemake --report` says of results: the run's own texts, as they stand, and the phantom mark."""

from pathlib import Path

import pytest
import synthetic
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined

from segtrail.studies import captions

STUDY = synthetic.study()
TEMPLATES = Path(__file__).parents[2] / "workflow" / "report"


class Job:
    """What a caption sees of its job."""

    def __init__(self, caption: dict[str, str]) -> None:
        self.params = self
        self.caption = caption


def html(template: str, caption: dict[str, str]) -> str:
    """A caption as Snakemake renders it; what docutils does not understand is an error."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    text = Environment(undefined=StrictUndefined).from_string(text).render(snakemake=Job(caption))
    return publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["body"]


@pytest.mark.parametrize("phantom", [True, False])
def test_every_figure_has_its_own_caption(phantom):
    run = synthetic.run(STUDY, phantom=phantom)
    for name, figure in STUDY.figures.items():
        shown = html("figure.rst", captions.figure_texts(run, synthetic.NAME, name))
        assert f"<strong>{figure.title}.</strong>" in shown
        assert " ".join(figure.caption.split())[:40] in " ".join(shown.split())
        assert STUDY.title in " ".join(shown.split())
        assert ("PHANTOM DATA" in shown) == phantom


@pytest.mark.parametrize("template", ["tables.rst", "cells.rst", "claims.rst", "audit.rst"])
def test_every_table_names_its_paper_and_phantoms(template):
    shown = html(template, captions.study_texts(synthetic.run(STUDY, phantom=True), synthetic.NAME))
    assert STUDY.citation in " ".join(shown.split())
    assert "PHANTOM DATA" in shown


def test_the_page_names_its_studies():
    assert STUDY.title in " ".join(html("page.rst", captions.page_texts(synthetic.run(STUDY))).split())


@pytest.mark.parametrize(
    "text", ["|r| ≥ 0.77", "a `quoted` *word*", "L_ of Eq. 4_", r"\alpha", "**two**", "<b>"]
)
def test_texts_stand_as_they_are(text):
    caption = {"mark": "", "study": "s", "citation": "c", "title": "t", "text": captions.literal(text)}
    assert text.replace("<b>", "&lt;b&gt;") in html("figure.rst", caption).replace("&quot;", '"')
