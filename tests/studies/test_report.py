"""The report page of a run, from invented results."""

import base64
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic
import synthetic_jungo
import synthetic_maps
import synthetic_trails
from browser import CHROMIUM, Browser
from PIL import Image

from segtrail import config
from segtrail.audit.paper import audit_paper, papers
from segtrail.audit.table import write_audit
from segtrail.errors import ArtifactError
from segtrail.layout import Layout
from segtrail.studies import published, schema
from segtrail.studies.cells import write_cells
from segtrail.studies.claims import write_claims
from segtrail.studies.report import page as report_page
from segtrail.studies.report import pictures, states, text, write_report
from segtrail.studies.tables import rank_sums

STUDY = synthetic.study()
PAPERS = {
    name: published.read(synthetic.CONFIG / "published" / f"{name}.csv") for name in papers(synthetic.CONFIG)
}
NUMBERS = sum(len(found) for found in PAPERS.values())
OURS = len(PAPERS[synthetic.NAME])
BLOCKS = {
    "td",
    "th",
    "p",
    "li",
    "dt",
    "dd",
    "div",
    "h2",
    "h3",
    "h4",
    "h5",
    "summary",
    "caption",
    "figcaption",
}
VOID = {"meta", "link", "img", "br", "hr", "input", "wbr", "line", "circle", "path"}
Made = tuple[config.Run, Path, str]


class Page(HTMLParser):
    """Elements with their attributes, the text of the page, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag
        if tag in BLOCKS:
            self.texts.append(" ")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    def all(self, tag: str, of: str = "") -> list[dict[str, str | None]]:
        """The attributes of every element of a tag, and of a class."""
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and (not of or of in (attributes.get("class") or "").split())
        ]

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def results(
    folder: Path, *, phantom: bool, absent: dict[str, str] | None = None, source: Any = synthetic, **run: Any
) -> config.Run:
    """A run's tree with what its rules write; the figures are stand-ins of the right kind."""
    study = source.study()
    if absent:
        kept = {name: cohort for name, cohort in study.cohorts.items() if name not in absent}
        study = study.model_copy(update={"cohorts": kept})
    made = source.run(study, phantom=phantom, absent=absent, **run)
    return written(folder, synthetic_maps.with_datasets(made), source)


def written(folder: Path, run: config.Run, source: Any) -> config.Run:
    study_id, study = source.NAME, run.studies[source.NAME]
    tree = folder / run.name
    home = tree / study_id
    source.write(home, study, 4)
    printed = synthetic.CONFIG / "published" / f"{study_id}.csv"
    names = ("measures", "reliability", "errors", "members", "subjects")
    tables = {name: home / f"{name}.parquet" for name in names}
    written = {"out": home / "cells.csv", "unprinted": home / "unprinted.csv"}
    write_cells(run, study_id, **tables, published=printed, **written)
    counted = {name: tables[name] for name in names[:3]}
    write_claims(run, study_id, **counted, published=printed, out=home / "claims.csv")
    write_audit(
        run,
        study_id,
        cells=home / "cells.csv",
        out=home / "audit.csv",
        log=folder / "logs" / "audit.log",
    )
    (home / "figures").mkdir()
    for name in study.figures:
        (home / "figures" / f"{name}.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
        Image.new("L", (1432, 20)).save(home / "figures" / f"{name}.png")
    for name in run.datasets:
        (tree / "data" / name).mkdir(parents=True)
        (tree / "data" / name / "subjects.csv").write_text("id\na\nb\n")
        (tree / "data" / name / "rejected.csv").write_text("subject,file,expected,found,remedy\n")
    synthetic_trails.write_receipts(tree, study_id)
    return run


def write(run: config.Run, folder: Path, subject: str = "test000", study: config.Study = STUDY) -> str:
    out = folder / "report.html"
    write_report(Layout(run, folder), synthetic_trails.Trails(study, subject), synthetic.CONFIG, out)
    return out.read_text(encoding="utf-8")


def copied(made: Made, folder: Path) -> config.Run:
    """The same results in `folder`, to be damaged there."""
    shutil.copytree(made[1] / made[0].name, folder / made[0].name)
    return made[0]


def cells_of(made: Made) -> pd.DataFrame:
    return schema.read_csv(made[1] / made[0].name / synthetic.NAME / "cells.csv", schema.CELLS)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("real")
    run = results(folder, phantom=False, absent={"brain": "no data root is set for brats17"})
    return run, folder, write(run, folder)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("phantom")
    run = results(folder, phantom=True)
    return run, folder, write(run, folder)


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A sensitivity run of a study with a ranked table and one whose numbers are not in print."""
    folder = tmp_path_factory.mktemp("ranked")
    run = results(folder, phantom=True, source=synthetic_jungo, sensitivity="equal_epochs")
    return run, folder, write(run, folder, study=run.studies[synthetic_jungo.NAME])


# --- what it says -------------------------------------------------------------------------------------


def test_the_map_has_one_square_for_each_published_number_and_each_leads_to_its_line(real: Made) -> None:
    page = Page(real[2])
    squares = page.all("a", "square")
    lines = {attributes["id"] for attributes in page.all("tr") if "data-state" in attributes}
    assert NUMBERS >= 389
    assert len(squares) == len(lines) == NUMBERS
    assert {square["href"][1:] for square in squares} == lines
    assert all(square["aria-label"] for square in squares)


def test_states_are_counted_as_cells_and_papers_have_them(real: Made) -> None:
    expected = Counter(cells_of(real)["verdict"])
    expected[states.NO_STUDY] = NUMBERS - OURS
    page = Page(real[2])
    shown = Counter(attributes["data-state"] for attributes in page.all("tr") if "data-state" in attributes)
    squares = Counter(attributes["class"].split()[1] for attributes in page.all("a", "square"))
    assert shown == expected
    assert squares == Counter({states.STATES[name][0]: count for name, count in expected.items()})
    totals = " ".join(str(expected[name]) for name in states.STATES)
    assert f"All {NUMBERS} {totals}" in page.text


def test_a_line_shows_value_interval_difference_verdict_and_n(real: Made) -> None:
    cells = cells_of(real)
    place = (cells.table == "Table II") & (cells.row == "Heart (EN L_CE)") & (cells.column == "NLL")
    cell = cells[place].iloc[0]
    half = (float(cell.published_hi) - float(cell.published_lo)) / 2
    steps = f"{(cell.reproduced - float(cell.published)) / half:+.2f}".replace("-", "−")
    ours = f"{cell.reproduced:.2f} ({cell.lo:.2f}–{cell.hi:.2f})"
    line = real[2].split('id="mehrtash2020--table-ii--heart-en-l-ce--nll"')[1].split("</tr>")[0]
    told = Page(f"<table><tr{line}</tr></table>").text
    assert f"Heart (EN ℒCE) NLL 0.23 (0.13–0.58) ⚑ {ours} {steps} {cell.n} {cell.n_members}" in told
    assert states.STATES[cell.verdict][2] in told


def test_a_paper_without_a_study_stands_there_with_the_reason_and_its_audit(real: Made) -> None:
    page = Page(real[2])
    for name in set(PAPERS) - {synthetic.NAME}:
        why = [attributes for attributes in page.all("p", "why") if attributes["id"] == f"{name}-why"]
        assert len(why) == 1
        assert sum(attributes["href"] == f"#{name}-why" for attributes in page.all("a")) > len(PAPERS[name])
    assert "segtrail has no study of this paper yet" in page.text


def test_a_study_that_the_run_leaves_out_is_told_from_one_that_there_is_not(tmp_path: Path) -> None:
    run = synthetic_maps.with_datasets(synthetic.run(STUDY, phantom=True))
    run = run.model_copy(update={"studies": {}, "absent": {}, "datasets": {}})
    synthetic_trails.write_receipts(tmp_path / run.name, synthetic.NAME)
    page = Page(write(run, tmp_path))
    assert "This run leaves the paper out: its list of studies does not hold mehrtash2020" in page.text
    assert len(page.all("a", "absent")) == NUMBERS


def test_what_was_not_run_is_said_with_its_reason(real: Made) -> None:
    page = Page(real[2])
    assert "brain: no data root is set for brats17" in page.text
    assert "not computed" in page.text


def test_members_with_a_dead_class_and_excluded_subjects_are_named(real: Made, tmp_path: Path) -> None:
    run = copied(real, tmp_path)
    path = tmp_path / run.name / synthetic.NAME / "subjects.parquet"
    subjects = pd.read_parquet(path)
    heart = subjects.index[(subjects.cohort == "heart") & (subjects.part == "test")][1]
    subjects.loc[heart, "excluded"] = "label is <empty>"
    subjects.to_parquet(path)
    refused = tmp_path / run.name / "data" / "acdc" / "rejected.csv"
    refused.write_text("subject,file,expected,found,remedy\npatient007_ED,a.nii,1,2 labels,mend\n")
    page = Page(write(run, tmp_path))
    assert "1 of 6" in page.text
    assert "member 1: right ventricle, myocardium" in page.text
    assert f"{subjects.loc[heart, 'subject']}: label is <empty>" in page.text
    assert "patient007_ED: 2 labels" in page.text


def test_claims_show_both_verdicts(real: Made) -> None:
    claims = schema.read_csv(real[1] / real[0].name / synthetic.NAME / "claims.csv", schema.CLAIMS)
    page = Page(real[2])
    for claim in claims.drop_duplicates("claim").itertuples():
        shown = real[2].split(f'id="mehrtash2020-claim-{text.slug(claim.claim)}"')[1].split("<details>")[0]
        told = Page(f"<article{shown}").text
        ours, in_print = claim.claim_verdict, claim.claim_printed_verdict
        assert f"ours {states.ALL[ours][1]} {ours} in print {states.ALL[in_print][1]} {in_print}" in told
    assert len(page.all("article", "claim")) == claims["claim"].nunique()


def test_every_violation_in_print_stands_there_with_links_to_its_cells(real: Made) -> None:
    page = Page(real[2])
    for name in PAPERS:
        violated = [one for one in audit_paper(name, synthetic.CONFIG) if one.status == "violated"]
        lists = re.findall(rf'id="{name}-audit-\d+">(.*?)</article>', real[2], re.DOTALL)
        shown = [item for one in lists for item in re.findall("<li>(.*?)</li>", one, re.DOTALL)]
        links = Counter(link for item in shown for link in re.findall('href="#([^"]*)"', item))
        places = Counter(place for one in violated for place in set(one.places))
        ids = text.anchors(name, [one.place for one in PAPERS[name]])
        assert len(shown) == len(violated)
        assert links == Counter({ids[place]: count for place, count in places.items()})
        flagged = [
            attributes
            for attributes in page.all("a", "flag")
            if attributes["href"].startswith(f"#{name}-audit-")
        ]
        assert len(flagged) == len(places)


def test_a_violation_in_our_own_numbers_is_not_hidden(real: Made, tmp_path: Path) -> None:
    run = copied(real, tmp_path)
    path = tmp_path / run.name / synthetic.NAME / "audit.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    first = table.index[table["status"] == "holds"][0]
    table.loc[first, ["status", "sentence"]] = ["violated", "Dice of 1.2 is <no> Dice"]
    table.to_csv(path, index=False)
    page = Page(write(run, tmp_path))
    assert "1 fail: a measure or a rule is wrong" in page.text
    assert "Dice of 1.2 is <no> Dice" in page.text
    assert "none fails" in Page(real[2]).text


def test_a_phantom_page_says_so_all_over(phantom: Made, real: Made) -> None:
    page = Page(phantom[2])
    run = phantom[0]
    study = run.studies[synthetic.NAME]
    ours = phantom[2].split(f'<section id="{synthetic.NAME}"')[1].split('<section id="eatonrosen2018"')[0]
    captions = re.findall("<(?:fig)?caption.*?</(?:fig)?caption>", ours, re.DOTALL)
    assert len(captions) == 1 + len(study.tables) + len(study.figures)
    assert all('class="mark"' in caption for caption in captions)
    assert ours.count('<dt>ours <span class="mark">') == len(study.claims)
    assert all('class="mark"' in one for one in re.findall('class="trail".*?</summary>', ours, re.DOTALL))
    assert "<title>PHANTOM · " in phantom[2]
    assert "PHANTOM DATA." in page.text
    assert "On phantoms a verdict on ours says nothing" in page.text
    assert all(attributes["alt"].startswith("Phantom data.") for attributes in page.all("img"))
    assert "PHANTOM" not in Page(real[2]).text
    assert not Page(real[2]).all("span", "mark")


def test_ranks_stand_beside_the_numbers_and_their_sums_in_the_grid(ranked: Made) -> None:
    run, folder, html = ranked
    cells = schema.read_csv(folder / run.name / "jungo2019" / "cells.csv", schema.CELLS)
    cell = cells.set_index(["table", "row", "column"]).loc[("Table 1", "center", "BraTS U-E")]
    line = html.split('id="jungo2019--table-1--center--brats-u-e"')[1].split("</tr>")[0]
    told = Page(f"<table><tr{line}</tr></table>").text
    assert f"0.409 rank 5 {cell.reproduced:.3f}" in told
    assert f"rank {cell['rank']}u_e_val {cell.beside:.3f}" in told
    grid = html.split('id="jungo2019-table-1"')[1].split("</details>")[0]
    sums = rank_sums(run.studies["jungo2019"].tables[0], cells)
    rows = [Page(row).text for row in re.findall("<tr>.*?</tr>", grid, re.DOTALL)[1:]]
    for name, row in zip(run.studies["jungo2019"].tables[0].rows, rows, strict=True):
        assert row.startswith(name)
        assert row.endswith(f"{sums[name, 'published']}ours {sums[name, 'reproduced']}")
    assert sums["ensemble", "published"] == "15"


def test_numbers_that_are_not_in_print_have_their_table_and_their_trails(ranked: Made) -> None:
    run, folder, html = ranked
    others = schema.read_csv(folder / run.name / "jungo2019" / "unprinted.csv", schema.CELLS)
    page = Page(html)
    table = html.split('id="jungo2019-suppl-table"')[1].split("</details>")[0]
    shown = Page(f"<details{table}</details>").text
    assert len(others) == 32
    for value in others["reproduced"]:
        assert f"{value:.3f}" in shown
    pooled = others[others["column"] == "BraTS data set ECE%"].iloc[0]
    assert f"{pooled.reproduced:.3f} 95 %: {pooled.boot_lo:.3f}–{pooled.boot_hi:.3f}" in shown
    ids = {attributes.get("id") for _, attributes in page.elements}
    links = re.findall('href="#(trail--[^"]*)"', table)
    assert len(links) == 32
    assert set(links) <= ids
    assert len(page.all("details", "trail")) == 68 + 32
    assert len(page.all("a", "square")) == NUMBERS, "they are no published numbers"


def test_a_sensitivity_run_says_which(ranked: Made, phantom: Made) -> None:
    about = " ".join(ranked[0].studies["jungo2019"].sensitivity["equal_epochs"].about.split())
    assert "Sensitivity run equal_epochs" in Page(ranked[2]).text
    assert about in Page(ranked[2]).text
    assert "ensitivity run" not in Page(phantom[2]).text


def test_a_phantom_page_marks_what_is_ranked_and_what_is_not_in_print(ranked: Made) -> None:
    ours = ranked[2].split('<section id="jungo2019"')[1].split('<section id="eatonrosen2018"')[0]
    captions = re.findall("<caption.*?</caption>", ours, re.DOTALL)
    assert len(captions) == 1 + 3
    assert all('class="mark"' in caption for caption in captions)


def test_a_study_of_which_no_cohort_is_computed_says_why(tmp_path: Path) -> None:
    run = synthetic_maps.with_datasets(synthetic.run(STUDY, phantom=True))
    why = {"brats": "no data root is set for brats18"}
    run = run.model_copy(update={"studies": {}, "absent": {"jungo2019": why}, "datasets": {}})
    synthetic_trails.write_receipts(tmp_path / run.name, synthetic.NAME)
    assert "brats: no data root is set for brats18" in Page(write(run, tmp_path)).text


def test_figures_are_embedded_and_captioned(phantom: Made) -> None:
    run, _, html = phantom
    page = Page(html)
    images = page.all("img")
    figures = run.studies[synthetic.NAME].figures
    assert len(images) == len(figures)
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in images)
    assert all(" ".join(spec.caption.split()) in page.text for spec in figures.values())


def test_a_large_svg_gives_way_to_the_pixels_of_its_png(tmp_path: Path) -> None:
    picture = Image.effect_noise((716, 10), 50)
    picture.save(tmp_path / "figure.png")
    (tmp_path / "figure.svg").write_bytes(b" " * (pictures.LARGEST_SVG + 1))
    shown = pictures.picture(tmp_path / "figure")
    kind, content = shown["source"].split(";base64,")
    (tmp_path / "shown.webp").write_bytes(base64.b64decode(content))
    assert kind == "data:image/webp"
    with Image.open(tmp_path / "shown.webp") as found:
        assert found.convert("RGB").tobytes() == picture.convert("RGB").tobytes()
    assert (shown["width"], shown["height"]) == (496, 7)


def test_the_trail_of_each_number_ends_at_hashes_of_files(real: Made) -> None:
    page = Page(real[2])
    trails = page.all("details", "trail")
    assert len(trails) == OURS
    assert synthetic_trails.sha256("scan") + "  test000/image.nii.gz" in real[2]
    assert synthetic_trails.sha256("Dice I") in page.text
    assert len(page.all("details", "step")) == 3, "shared steps stand there once"
    assert f"environment-{synthetic_trails.ENVIRONMENT_ID}" in real[2]


def test_hours_are_those_of_the_receipts_and_one_state_of_the_code_is_said(real: Made) -> None:
    page = Page(real[2])
    jobs = len(synthetic_trails.JOBS)
    assert f"Work {jobs} jobs, {jobs * synthetic_trails.SECONDS / 3600:.1f} hours" in page.text
    assert "All results come from one state of the code and one lock" in page.text
    assert synthetic_trails.ENVIRONMENT["commit"] in page.text


def test_results_of_two_commits_and_locks_are_told_apart(real: Made, tmp_path: Path) -> None:
    run = copied(real, tmp_path)
    receipt = next((tmp_path / run.name / "receipts").rglob("train.json"))
    content = json.loads(receipt.read_text())
    content["environment"] |= {"commit": "b" * 40, "changed": True, "lock": "c" * 64}
    receipt.write_text(json.dumps(content))
    page = Page(write(run, tmp_path))
    assert (
        "These results do not come from one state of the code: 2 commits, 2 locks of libraries" in page.text
    )
    assert f"{'b' * 40} and uncommitted changes" in page.text


# --- how it is made -----------------------------------------------------------------------------------


def test_nothing_on_the_page_needs_a_network_and_no_other_script_can_run(phantom: Made) -> None:
    html = phantom[2]
    page = Page(html)
    assert not page.all("link")
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, attributes)
            assert name != "style", (tag, attributes)
            if name in ("src", "href", "action", "data"):
                assert value.startswith(("#", "data:")), (tag, attributes)
    policy = next(one["content"] for one in page.all("meta") if "http-equiv" in one)
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed["default-src"] == "'none'"
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert allowed[f"{tag}-src"] == f"'sha256-{digest}'"
        assert "url(" not in content
        assert "http" not in content


def test_ids_are_unique_links_resolve_and_headings_do_not_skip(phantom: Made) -> None:
    page = Page(phantom[2])
    assert not page.open
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert set(ids.values()) == {1}
    targets = {attributes["href"][1:] for attributes in page.all("a")}
    named = {
        attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes
    }
    assert targets | named <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))
    assert all(attributes.get("alt") for attributes in page.all("img"))


def test_text_from_files_cannot_become_markup(real: Made, tmp_path: Path) -> None:
    run = copied(real, tmp_path)
    path = tmp_path / run.name / synthetic.NAME / "claims.csv"
    path.write_text(path.read_text().replace("cross-entropy", "<script>alert(1)</script>"))
    cells = tmp_path / run.name / synthetic.NAME / "cells.csv"
    table = pd.read_csv(cells, dtype=str, keep_default_na=False)
    table["reason"] = '<img src=x> "L_CE" </script>'
    table.to_csv(cells, index=False)
    html = write(run, tmp_path, subject="<b>0</b></pre>")
    page = Page(html)
    assert len(page.all("script")) == 1
    assert html.count("</script>") == 1
    assert "&lt;img src=x&gt; &#34;ℒ<sub>CE</sub>&#34; &lt;/<wbr>script&gt;" in html
    assert "&lt;b&gt;0&lt;/b&gt;&lt;/pre&gt;/image.nii.gz" in html
    assert "<b>0</b>" not in html


def test_the_same_inputs_give_the_same_bytes(real: Made) -> None:
    run, folder, html = real
    assert write(run, folder) == html


@pytest.mark.parametrize(
    "name",
    [
        "mehrtash2020/cells.csv",
        "mehrtash2020/audit.csv",
        "mehrtash2020/members.parquet",
        "mehrtash2020/figures/figure_2.svg",
        "data/acdc/rejected.csv",
        "receipts",
    ],
)
def test_a_missing_input_is_named(name: str, real: Made, tmp_path: Path) -> None:
    run = copied(real, tmp_path)
    path = tmp_path / run.name / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ArtifactError, match=path.name):
        write(run, tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_damaged_picture_is_named(real: Made, tmp_path: Path) -> None:
    run = copied(real, tmp_path)
    path = tmp_path / run.name / synthetic.NAME / "figures" / "figure_2.png"
    path.write_bytes(b"no picture")
    with pytest.raises(ArtifactError, match=r"figure_2\.png"):
        write(run, tmp_path)


def test_a_paper_without_rules_is_shown_without_an_audit(real: Made, tmp_path: Path) -> None:
    shutil.copytree(synthetic.CONFIG, tmp_path / "config")
    (tmp_path / "config" / "audit" / "sagar2020.yaml").unlink()
    (tmp_path / "config" / "studies" / "sagar2020.yaml").write_text("title: a study that is not finished\n")
    run, folder = real[:2]
    layout, trails = Layout(run, folder), synthetic_trails.Trails(STUDY)
    write_report(layout, trails, tmp_path / "config", tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    assert "There is no rules file for this paper (config/audit/sagar2020.yaml)" in page.text
    assert len(page.all("a", "square")) == NUMBERS


@pytest.mark.parametrize(
    ("published", "printed", "ours", "expected", "unit"),
    [
        (0.5, (0.3, 0.7), 0.7, "+1.00", ""),
        (0.5, (0.3, 0.7), 0.4, "−0.50", ""),
        (0.5, None, 0.6, "+20", "%"),
        (2.0, None, 1.0, "−50", "%"),
        (-0.5, None, -0.6, "−20", "%"),
        (0.0, None, 0.25, "+0.25", "absolute"),
        (0.01, (0.01, 0.01), 0.02, "+100", "%"),
        (0.5, None, float("nan"), "", ""),
    ],
)
def test_differences(
    published: float, printed: tuple[float, float] | None, ours: float, expected: str, unit: str
) -> None:
    assert text.difference(published, printed, ours)[:2] == (expected, unit)


def test_names_that_look_alike_in_an_id_are_kept_apart() -> None:
    places = [("T", "a (b)", "c"), ("T", "a b", "c"), ("T", "ℒ", "c"), ("T", "–", "c")]
    found = text.anchors("study", places)
    assert found[places[0]] == "study--t--a-b--c"
    assert len(set(found.values())) == 4


def test_hours_are_told_to_a_tenth() -> None:
    assert [text.hours(seconds) for seconds in (0, 20, 360, 5400, 7.2e6)] == [
        "0.0",
        "< 0.1",
        "0.1",
        "1.5",
        "2,000.0",
    ]


def test_every_file_of_the_page_is_one_that_it_is_made_from() -> None:
    """`source` finds the files that shape a result by their names in the code."""
    folder = Path(report_page.__file__).parent
    files = {path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".py"}
    assert files == set(report_page.ASSETS)


# --- in a browser -------------------------------------------------------------------------------------

LIST = "document.getElementById('mehrtash2020-list')"
TOOLS = "document.querySelector('.tools[data-for=mehrtash2020-list]')"
SHOWN = f"[...{LIST}.tBodies[0].rows].filter(row => !row.hidden)"
FOCUSED = "document.activeElement.getAttribute('href')"
WIDTHS = "(e => [e.clientWidth, e.scrollWidth])(document.documentElement)"
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


@pytest.fixture
def tab(browser: Browser, phantom: Made) -> Iterator[Browser]:
    """The phantom page on a laptop; nothing may stand in the console after the test."""
    browser.told.clear()
    browser.media()
    browser.open(phantom[1] / "report.html")
    yield browser
    assert browser.ask("1") == 1, "and with it every message so far has come"
    assert browser.told == []


def sort_by(tab: Browser, column: int) -> tuple[str, list[str]]:
    """Presses a head of the long list: (aria-sort, the keys of its column)."""
    tab.ask(f"{LIST}.tHead.rows[0].cells[{column}].querySelector('button').click()")
    state = tab.ask(f"{LIST}.tHead.rows[0].cells[{column}].ariaSort")
    cells = f"[...{LIST}.tBodies[0].rows].map(row => row.cells[{column}])"
    return state, tab.ask(f"{cells}.map(cell => cell.dataset.key ?? cell.textContent)")


def choose(tab: Browser, name: str, value: str) -> None:
    """Chooses from one of the two lists above the long list, as a user does."""
    tab.ask(
        f"""(list => {{
            list.value = {json.dumps(value)};
            list.dispatchEvent(new Event("input", {{bubbles: true}}));
        }})({TOOLS}.querySelector("[name={name}]"))"""
    )


def settle(tab: Browser) -> None:
    """Waits until a followed link has been scrolled to."""
    tab.ask("new Promise(done => setTimeout(done, 100))")


@in_a_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_but_boxes_made_for_it_scrolls_sideways(width: int, tab: Browser, phantom: Made) -> None:
    tab.open(phantom[1] / "report.html", width)
    tab.ask("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    inside, needed = tab.ask(WIDTHS)
    assert width - 20 <= inside <= width
    assert needed <= inside


@in_a_browser
def test_lists_are_sorted_by_any_column_and_back(tab: Browser) -> None:
    as_printed = tab.ask(f"[...{LIST}.tBodies[0].rows].map(row => row.id)")
    assert sort_by(tab, 4)[0] == "ascending"
    state, keys = sort_by(tab, 4)
    numbers = [float(key) for key in keys if key]
    assert state == "descending"
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) > 200
    assert not any(keys[len(numbers) :]), "what has no value is last, either way"
    state, keys = sort_by(tab, 1)
    assert state == "ascending"
    assert keys[0].startswith("-")
    assert keys.index("Brain (ℒCE)") < keys.index("Heart (ℒCE)") < keys.index("Prostate (ℒCE)")
    assert tab.ask(f"{LIST}.querySelectorAll('[aria-sort=none]').length") == 8
    sort_by(tab, 1)
    assert sort_by(tab, 1)[0] == "none"
    assert tab.ask(f"[...{LIST}.tBodies[0].rows].map(row => row.id)") == as_printed


@in_a_browser
def test_what_a_line_and_a_column_are_stays_in_sight(tab: Browser, phantom: Made) -> None:
    """On a laptop the heads of the long list, on a phone the names of its rows."""
    tab.ask(f"{LIST}.tBodies[0].rows[120].scrollIntoView()")
    assert 0 <= tab.ask(f"{LIST}.tHead.rows[0].cells[0].getBoundingClientRect().top") < 60
    tab.open(phantom[1] / "report.html", 390)
    tab.ask(f"{LIST}.parentElement.scrollLeft = 400")
    assert tab.ask(f"{LIST}.tHead.rows[0].cells[0].getBoundingClientRect().right") < 0
    assert 0 <= tab.ask(f"{LIST}.tBodies[0].rows[0].querySelector('th').getBoundingClientRect().left") < 30


@in_a_browser
def test_lists_are_searched_by_words_table_and_verdict(tab: Browser, real: Made) -> None:
    tab.open(real[1] / "report.html")
    cells = [one for one in PAPERS[synthetic.NAME] if one.table == "Table II" and "EN L_DSC" in one.row]
    tab.ask(f"{TOOLS}.querySelector('input').focus()")
    tab.type("en l_dsc")
    choose(tab, "table", "Table II")
    assert tab.ask(f"{SHOWN}.length") == len(cells)
    told = tab.ask(f"{TOOLS}.querySelector('[role=status]').textContent")
    assert told == f"{len(cells)} of {OURS} numbers shown"
    choose(tab, "state", "not computed")
    assert tab.ask(f"{SHOWN}.length") == sum("Brain" in one.row for one in cells)


@in_a_browser
def test_a_link_opens_what_is_folded_and_brings_back_what_was_filtered_out(tab: Browser) -> None:
    cell = "mehrtash2020--table-ii--heart-en-l-dsc--nll"
    tab.ask(f"{TOOLS}.querySelector('input').focus()")
    tab.type("prostate")
    assert tab.ask(f"document.getElementById('{cell}').hidden")
    tab.ask(f"document.querySelector('.map a[href=\"#{cell}\"]').click()")
    settle(tab)
    assert not tab.ask(f"document.getElementById('{cell}').hidden")
    tab.ask(f"document.querySelector('#{cell} td:last-child a').click()")
    settle(tab)
    top, bottom = tab.ask(
        f"(b => [b.top, b.bottom])(document.getElementById('trail--{cell}').getBoundingClientRect())"
    )
    assert tab.ask(f"document.getElementById('trail--{cell}').open")
    assert bottom > top + 100
    assert 0 <= top < 900


@in_a_browser
def test_every_fragment_can_be_shown(tab: Browser) -> None:
    """All links of the page lead to something that then has a size."""
    lost = tab.ask(
        """[...new Set([...document.querySelectorAll('a')].map(link => link.hash.slice(1)))].filter(id => {
            const target = document.getElementById(id);
            if (!target) return true;
            for (let e = target.closest('details'); e; e = e.parentElement.closest('details')) e.open = true;
            return target.getBoundingClientRect().height === 0;
        })"""
    )
    assert lost == []


@in_a_browser
def test_the_map_is_walked_with_arrows_and_left_with_one_tab(tab: Browser) -> None:
    maps = tab.ask("document.querySelectorAll('.map').length")
    assert (
        tab.ask("[...document.querySelectorAll('.map a')].filter(link => link.tabIndex === 0).length") == maps
    )
    tab.ask("document.querySelector('.map[aria-label=\"Mehrtash 2020, Table I\"] a').focus()")
    assert tab.ask(FOCUSED) == "#mehrtash2020--table-i--brain-cbica--train"
    tab.press("ArrowRight")
    assert tab.ask(FOCUSED) == "#mehrtash2020--table-i--brain-cbica--val"
    tab.press("ArrowDown")  # over a place where nothing is printed
    assert tab.ask(FOCUSED) == "#mehrtash2020--table-i--heart-acdc--val"
    tab.press("ArrowLeft")
    tab.press("ArrowLeft")  # there is nothing further left
    assert tab.ask(FOCUSED) == "#mehrtash2020--table-i--heart-acdc--train"
    told = tab.ask("document.querySelector('.readout').textContent")
    assert told.startswith("Mehrtash 2020, Table I: Heart/ACDC, train: published 40, ours ")
    tab.press("Tab")
    assert tab.ask(FOCUSED) == "#mehrtash2020--table-ii--brain-l-ce--nll"
    tab.press("Enter")
    settle(tab)
    assert tab.ask("location.hash") == "#mehrtash2020--table-ii--brain-l-ce--nll"


@in_a_browser
def test_the_first_tab_skips_to_the_content_and_focus_is_seen(tab: Browser) -> None:
    tab.press("Tab")
    assert tab.ask(FOCUSED) == "#content"
    left, width = tab.ask("(b => [b.left, b.width])(document.activeElement.getBoundingClientRect())")
    assert left >= 0
    assert width > 50
    tab.ask(f"{LIST}.querySelector('thead button').focus({{focusVisible: true}})")
    assert tab.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@in_a_browser
def test_without_scripts_every_number_is_there(tab: Browser, phantom: Made) -> None:
    tab.open(phantom[1] / "report.html", script=False)
    assert tab.ask(f"{SHOWN}.filter(row => row.getBoundingClientRect().height > 0).length") == OURS
    assert tab.ask("document.querySelectorAll('button').length") == 0
    assert tab.ask("[...document.querySelectorAll('.tools, .readout')].every(e => e.offsetHeight === 0)")


# For each text that is to be seen: how its colour stands out from the first opaque ground behind it.
CONTRAST = """(() => {
  const parse = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const known = new Map();
  const groundsOf = e => {
    if (!known.has(e)) {
      const {backgroundColor, backgroundImage} = getComputedStyle(e);
      const clear = parse(backgroundColor)[3] === 0;
      known.set(e, backgroundImage !== 'none' ? backgroundImage.match(/rgb\\([^)]*\\)/g)
        : clear ? groundsOf(e.parentElement) : [backgroundColor]);
    }
    return known.get(e);
  };
  const found = {};
  document.querySelectorAll('details').forEach(fold => fold.open = true);
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const e = node.parentElement;
    if (!node.data.trim() || !e.getClientRects().length || e.closest('script, style')) continue;
    const colour = getComputedStyle(e).color;
    for (const ground of groundsOf(e)) {
      const [a, b] = [light(parse(colour)), light(parse(ground))].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) found[`${e.tagName}.${e.className}: ${colour} on ${ground}`] = ratio;
    }
  }
  return found;
})()"""


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(scheme: str, tab: Browser, phantom: Made, real: Made) -> None:
    tab.media(scheme=scheme)
    for made in (phantom, real):
        tab.open(made[1] / "report.html")
        assert tab.ask("getComputedStyle(document.body).backgroundColor") != "rgba(0, 0, 0, 0)"
        assert tab.ask(CONTRAST) == {}


@in_a_browser
def test_on_paper_details_are_open_and_trails_are_left_out(tab: Browser) -> None:
    tab.media("print")
    tab.resize(745)  # of a page of A4
    tab.ask("dispatchEvent(new Event('beforeprint'))")
    folded = "[...document.querySelectorAll('details:not([open])')].filter(fold => !fold.closest('.trails'))"
    assert tab.ask(f"{folded}.length") == 0
    hidden = "[...document.querySelectorAll('.trails, .tools, .contents, .list td:last-child')]"
    assert tab.ask(f"{hidden}.every(e => !e.offsetHeight)")
    inside, needed = tab.ask(WIDTHS)
    assert needed <= inside
    boxes = "[...document.querySelectorAll('main .scroll')]"
    assert tab.ask(f"{boxes}.every(box => getComputedStyle(box).overflowX === 'visible')")
    tab.ask("dispatchEvent(new Event('afterprint'))")
    assert tab.ask("document.querySelectorAll('details.printed[open]').length") == 0
