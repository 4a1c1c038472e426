"""The report page of a run, from invented results."""

import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import synthetic
import synthetic_maps
from PIL import Image

from segtrail import config
from segtrail.errors import ArtifactError
from segtrail.studies import report, schema
from segtrail.studies.cells import write_cells
from segtrail.studies.claims import write_claims

STUDY = synthetic.study()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Without these a headless Chromium looks up its maker's hosts; none of them changes how a page is shown.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
    "--virtual-time-budget=5000",
    "--enable-logging=stderr",
    "--dump-dom",
]
VOID = {"meta", "link", "img", "br", "hr", "input", "wbr", "line", "circle"}


class Page(HTMLParser):
    """Elements with their attributes, the text of each cell, and whether every tag is closed."""

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

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def results(folder: Path, *, phantom: bool, absent: dict[str, str] | None = None) -> config.Run:
    """A run's tree with what its study rules write; the figures are stand-ins of the right kind."""
    study = STUDY
    if absent:
        kept = {name: cohort for name, cohort in STUDY.cohorts.items() if name not in absent}
        study = STUDY.model_copy(update={"cohorts": kept})
    run = synthetic_maps.with_datasets(synthetic.run(study, phantom=phantom, absent=absent))
    home = folder / run.name / synthetic.NAME
    synthetic.write(home, study, 4)
    published = synthetic.CONFIG / "published" / f"{synthetic.NAME}.csv"
    tables = {name: home / f"{name}.parquet" for name in ("measures", "members", "subjects")}
    write_cells(run, synthetic.NAME, **tables, published=published, out=home / "cells.csv")
    write_claims(
        run, synthetic.NAME, measures=tables["measures"], published=published, out=home / "claims.csv"
    )
    (home / "figures").mkdir()
    for name in study.figures:
        (home / "figures" / f"{name}.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
        Image.new("L", (716, 10)).save(home / "figures" / f"{name}.png")
    return run


def copied(made: tuple[config.Run, Path, str], folder: Path) -> config.Run:
    """The same results in `folder`, to be damaged there."""
    shutil.copytree(made[1] / made[0].name, folder / made[0].name)
    return made[0]


def write(run: config.Run, folder: Path) -> str:
    report.write_report(run, folder, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[config.Run, Path, str]:
    folder = tmp_path_factory.mktemp("real")
    run = results(folder, phantom=False, absent={"brain": "no data root is set for brats17"})
    return run, folder, write(run, folder)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[config.Run, Path, str]:
    folder = tmp_path_factory.mktemp("phantom")
    run = results(folder, phantom=True)
    return run, folder, write(run, folder)


def test_every_printed_number_stands_beside_ours(real: tuple[config.Run, Path, str]) -> None:
    run, folder, text = real
    cells = schema.read_csv(folder / run.name / synthetic.NAME / "cells.csv", schema.CELLS)
    assert len(cells) == 237
    page = Page(text)
    verdict_classes = {report.VERDICTS[verdict][0] for verdict in report.VERDICTS}
    shown = Counter(attributes.get("class") for attributes in page.all("td"))
    assert sum(shown[name] for name in verdict_classes) == 237
    for verdict, count in cells["verdict"].value_counts().items():
        assert f"{count} {report.VERDICTS[verdict][1]} {verdict}" in page.text


def test_a_cell_shows_value_interval_difference_verdict_and_n(real: tuple[config.Run, Path, str]) -> None:
    run, folder, text = real
    cells = schema.read_csv(folder / run.name / synthetic.NAME / "cells.csv", schema.CELLS)
    place = (cells.table == "Table II") & (cells.row == "Heart (EN L_CE)") & (cells.column == "NLL")
    cell = cells[place].iloc[0]
    half = (float(cell.published_hi) - float(cell.published_lo)) / 2
    steps = f"{(cell.reproduced - float(cell.published)) / half:+.2f}".replace("-", "−")
    ours = f"{cell.reproduced:.2f} ({cell.lo:.2f}–{cell.hi:.2f})"
    assert f"published 0.23 (0.13–0.58) ours {ours} {steps} half-intervals" in Page(text).text


def test_what_was_not_run_is_said_with_its_reason(real: tuple[config.Run, Path, str]) -> None:
    page = Page(real[2])
    assert "brain: no data root is set for brats17" in page.text
    assert "not computed" in page.text


def test_members_with_a_dead_class_and_excluded_subjects_are_named(
    real: tuple[config.Run, Path, str], tmp_path: Path
) -> None:
    run = copied(real, tmp_path)
    path = tmp_path / run.name / synthetic.NAME / "subjects.parquet"
    subjects = pd.read_parquet(path)
    heart = subjects.index[(subjects.cohort == "heart") & (subjects.part == "test")][1]
    subjects.loc[heart, "excluded"] = "label is <empty>"
    subjects.to_parquet(path)
    page = Page(write(run, tmp_path))
    assert "1 of 6" in page.text
    assert "member 1: right ventricle, myocardium" in page.text
    assert f"{subjects.loc[heart, 'subject']}: label is <empty>" in page.text


def test_a_phantom_page_says_so_all_over(
    phantom: tuple[config.Run, Path, str], real: tuple[config.Run, Path, str]
) -> None:
    marks = Counter(attributes.get("class") for attributes in Page(phantom[2]).all("span"))["mark"]
    run = phantom[0]
    study = run.studies[synthetic.NAME]
    assert marks >= len(study.tables) + len(study.figures) + len(study.claims) + 2
    assert "PHANTOM DATA." in Page(phantom[2]).text
    assert "On phantoms a verdict says nothing" in Page(phantom[2]).text
    assert all(attributes["alt"].startswith("Phantom data.") for attributes in Page(phantom[2]).all("img"))
    assert "PHANTOM" not in Page(real[2]).text


def test_the_page_needs_no_network_and_runs_no_script(phantom: tuple[config.Run, Path, str]) -> None:
    page = Page(phantom[2])
    assert not page.all("script")
    assert not page.all("link")
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data"):
            if attributes.get(name) is not None:
                assert attributes[name].startswith(("#", "data:")), (tag, attributes)
    assert "url(" not in phantom[2]
    assert "default-src 'none'" in phantom[2]


def test_ids_are_unique_links_resolve_and_headings_do_not_skip(phantom: tuple[config.Run, Path, str]) -> None:
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


def test_figures_are_embedded_and_captioned(phantom: tuple[config.Run, Path, str]) -> None:
    run, _, text = phantom
    page = Page(text)
    images = page.all("img")
    figures = run.studies[synthetic.NAME].figures
    assert len(images) == len(figures)
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in images)
    assert all(" ".join(spec.caption.split()) in page.text for spec in figures.values())


def test_a_large_svg_gives_way_to_its_png(tmp_path: Path) -> None:
    Image.new("L", (716, 10)).save(tmp_path / "figure.png")
    (tmp_path / "figure.svg").write_bytes(b" " * (report.LARGEST_SVG + 1))
    shown = report.picture(tmp_path / "figure")
    assert shown["source"].startswith("data:image/png;base64,iVBORw")
    assert shown["width"] == 31.0


def test_text_from_files_cannot_become_markup(real: tuple[config.Run, Path, str], tmp_path: Path) -> None:
    run = copied(real, tmp_path)
    path = tmp_path / run.name / synthetic.NAME / "claims.csv"
    path.write_text(path.read_text().replace("cross-entropy", "<script>alert(1)</script>"))
    cells = tmp_path / run.name / synthetic.NAME / "cells.csv"
    table = pd.read_csv(cells, dtype=str, keep_default_na=False)
    table["reason"] = "<img src=x> L_CE"
    table.to_csv(cells, index=False)
    text = write(run, tmp_path)
    assert "<script" not in text
    assert "&lt;img src=x&gt; ℒ<sub>CE</sub>" in text


def test_the_same_inputs_give_the_same_bytes(real: tuple[config.Run, Path, str]) -> None:
    run, folder, text = real
    assert write(run, folder) == text


@pytest.mark.parametrize("name", ["cells.csv", "members.parquet", "figures/figure_2.svg"])
def test_a_missing_input_is_named(name: str, real: tuple[config.Run, Path, str], tmp_path: Path) -> None:
    run = copied(real, tmp_path)
    (tmp_path / run.name / synthetic.NAME / name).unlink()
    with pytest.raises(ArtifactError, match=Path(name).name):
        write(run, tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("published", "printed", "ours", "text"),
    [
        (0.5, (0.3, 0.7), 0.7, "+1.00 half-intervals"),
        (0.5, (0.3, 0.7), 0.4, "−0.50 half-intervals"),
        (0.5, None, 0.6, "+20 %"),
        (2.0, None, 1.0, "−50 %"),
        (0.0, None, 0.25, "+0.25"),
        (0.01, (0.01, 0.01), 0.02, "+100 %"),
        (0.5, None, float("nan"), ""),
    ],
)
def test_differences(published: float, printed: tuple[float, float] | None, ours: float, text: str) -> None:
    assert report.difference(published, printed, ours) == text


def test_notes_have_letters_without_end() -> None:
    letters = [report.note_letter(index) for index in range(60)]
    assert letters[:2] + letters[25:28] + letters[52:53] == ["a", "b", "z", "aa", "ab", "ba"]
    assert len(set(letters)) == 60


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_no_overflow_and_no_console_error_in_a_browser(
    phantom: tuple[config.Run, Path, str], tmp_path: Path
) -> None:
    """At the width of a phone and of a laptop nothing but the boxes made for it scrolls sideways."""
    widths = (390, 1440)
    frames = "".join(
        f'<iframe src="{phantom[1] / "report.html"}" style="width:{w}px;height:900px"></iframe>'
        for w in widths
    )
    script = """addEventListener("load", () => { document.querySelector("pre").textContent = JSON.stringify(
        [...document.querySelectorAll("iframe")].map(f => f.contentDocument.documentElement).map(e =>
        [e.clientWidth, e.scrollWidth, e.querySelectorAll("td").length])) })"""
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(f"<!doctype html><pre></pre>{frames}<script>{script}</script>")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"file://{wrapper}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(re.search("<pre>(.*?)</pre>", done.stdout)[1])
    for width, (client, scroll, cells) in zip(widths, found, strict=True):
        assert width - 20 <= client <= width
        assert scroll <= client
        assert cells >= 237
    assert "CONSOLE" not in done.stderr
