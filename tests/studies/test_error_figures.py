"""Figures of calibration by subject and of detecting errors, drawn from invented tables alone."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_jungo
from matplotlib.figure import Figure
from matplotlib.text import Text
from pydantic import ValidationError

from segtrail import config
from segtrail.studies.figures import PAINTERS, draw
from segtrail.studies.figures.common import mark_phantom, predictor_lines
from segtrail.studies.figures.source import Source

SUBJECTS = 6
STUDY = synthetic_jungo.study()
METHODS = list(STUDY.predictors)
NAMES = ["figure_1", "figure_S1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / synthetic_jungo.NAME
    synthetic_jungo.write(folder, STUDY, SUBJECTS)
    return folder


def source(folder: Path, study: config.Study = STUDY, **options: object) -> Source:
    return Source(folder, synthetic_jungo.run(study, **options), synthetic_jungo.NAME)


def paint(name: str, source: Source) -> Figure:
    spec = source.study.figures[name]
    return PAINTERS[spec.kind](spec, source)


def texts(figure: Figure) -> str:
    return " ".join(" ".join(artist.get_text() for artist in figure.findobj(Text)).split())


def panels(figure: Figure) -> list:
    return [ax for ax in figure.get_axes() if ax.axison]


def test_every_figure_of_the_study_is_tested_here():
    assert list(STUDY.figures) == NAMES
    for spec in STUDY.figures.values():
        assert spec.cohorts_shown() == []  # so no probability map is kept for it


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_drawn_twice_to_the_same_bytes(name: str, folder: Path) -> None:
    written = []
    for _ in range(2):
        draw(name, folder, synthetic_jungo.run(STUDY, phantom=True), synthetic_jungo.NAME)
        written.append([(folder / "figures" / f"{name}{suffix}").read_bytes() for suffix in (".svg", ".png")])
    assert written[0] == written[1]
    svg, png = written[0]
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert png.startswith(b"\x89PNG")


@pytest.mark.parametrize("name", NAMES)
def test_a_phantom_figure_says_so_above_its_legend(name: str, folder: Path) -> None:
    figure = paint(name, source(folder))
    assert "PHANTOM" not in texts(figure)
    mark_phantom(figure)
    figure.draw_without_rendering()
    title = next(text for text in figure.findobj(Text) if text.get_text().startswith("PHANTOM DATA"))
    legend = next(ax for ax in figure.get_axes() if ax.get_legend()).get_legend()
    assert title.get_window_extent().y0 >= legend.get_window_extent().y1


@pytest.mark.parametrize("name", NAMES)
def test_a_cohort_that_was_not_run_is_said_in_its_panels(name: str, folder: Path) -> None:
    kept = STUDY.model_copy(update={"cohorts": {"isic": STUDY.cohorts["isic"]}})
    figure = paint(name, source(folder, kept, absent={"brats": "brats18 has no data root"}))
    assert "not computed: brats18 has no data root" in texts(figure)
    drawn = [ax for ax in panels(figure) if len(ax.lines) > len(METHODS)]
    assert len(drawn) == len(panels(figure)) / 2
    legend = next(ax.get_legend() for ax in figure.get_axes() if ax.get_legend())
    assert [text.get_text() for text in legend.get_texts()] == [
        one.title for one in STUDY.predictors.values()
    ]


def test_the_curves_are_the_bins_of_all_subjects_and_of_one(folder: Path) -> None:
    here = source(folder)
    axes = panels(paint("figure_1", here))
    assert len(axes) == 2 * 4
    table = here.reliability.query("cohort == 'brats' and part == 'test' and region == 'mask'")
    for number, name in enumerate(METHODS):
        bins = table.query("of == 'foreground' and predictor == @name")
        subject = here.cases.values("brats", "test", name, None, "signed_ce", "mask", 0).index[0][1]
        sums = bins.groupby("bin")[["count", "confidence", "correct"]].sum()
        line = axes[0].lines[1 + number]
        assert np.allclose(line.get_xdata(), sums["confidence"] / sums["count"])
        assert np.allclose(line.get_ydata(), sums["correct"] / sums["count"])
        assert subject.startswith("test")
    scores = signed_errors(here, "isic", "volume")
    bins = here.reliability.query("cohort == 'isic' and part == 'test' and of == 'foreground'")
    bins = bins[(bins["subject"] == scores.idxmax()) & (bins["predictor"] == "ensemble")]
    line = axes[5].lines[1 + METHODS.index("ensemble")]
    assert np.allclose(line.get_ydata(), bins["correct"] / bins["count"])


def signed_errors(source: Source, cohort: str, region: str) -> pd.Series:
    """Each subject's signed error, mean over methods, without the package."""
    rows = source.measures.query("cohort == @cohort and part == 'test' and region == @region")
    return rows[rows["measure"] == "signed_ce"].groupby("subject")["value"].mean()


def test_subjects_are_found_by_rule_and_named(folder: Path) -> None:
    here = source(folder)
    shown = texts(paint("figure_1", here))
    for cohort, region in (("brats", "mask"), ("isic", "volume")):
        scores = signed_errors(here, cohort, region)
        for label, subject, words in (
            ("S1", scores.idxmax(), "highest"),
            ("S2", scores.idxmin(), "lowest"),
            ("S3", scores.abs().idxmin(), "nearest to 0"),
        ):
            dataset = STUDY.cohorts[cohort].datasets[0]
            assert f"{label}: {dataset} {subject} (e {words} of {SUBJECTS} test subjects)" in shown
            assert f"e = {scores[subject]:+.3f}".replace("-", "−") in shown
    assert "by it subjects are picked where the paper's own is not there" in shown


def test_the_paper_s_subject_is_shown_where_it_is_there(folder: Path) -> None:
    here = source(folder)
    renamed = source(folder)
    for name in ("measures", "reliability", "errors"):
        table = getattr(here, name).copy()
        table.loc[(table["cohort"] == "isic") & (table["subject"] == "test002"), "subject"] = "ISIC_0012654"
        renamed.__dict__[name] = table
    shown = texts(paint("figure_1", renamed))
    assert "S2: isic17 ISIC_0012654 (the paper's)" in shown
    assert "S2: brats18 test" in shown


def test_a_kind_of_subject_that_no_one_is_is_said(folder: Path) -> None:
    here = source(folder)
    table = here.measures.copy()
    rows = table["measure"] == "signed_ce"
    table.loc[rows, "value"] = -table.loc[rows, "value"].abs()
    here.__dict__["measures"] = table
    shown = texts(paint("figure_1", here))
    assert f"not computed: none of {SUBJECTS} test subjects of brats is underconfident" in shown
    assert "S2: brats18 test" in shown
    assert "S1: underconfident" in shown


def test_a_curve_of_a_single_bin_shows_its_marker(folder: Path) -> None:
    here = source(folder)
    table = here.reliability
    here.__dict__["reliability"] = table[table["bin"] == 4]
    for ax in panels(paint("figure_1", here)):
        assert len(ax.lines) == 1 + len(METHODS)
        assert all(line.get_markevery() is None for line in ax.lines[1:])


def test_bins_of_few_voxels_can_be_left_out(folder: Path) -> None:
    here = source(folder)
    spec = STUDY.figures["figure_1"].model_copy(update={"min_count": 1000})
    axes = panels(PAINTERS[spec.kind](spec, here))
    assert len(axes[1].lines[1].get_xdata()) < 10
    assert "at least 1000 voxels" in texts(axes[0].figure)


def test_detection_is_the_mean_over_subjects_at_each_threshold(folder: Path) -> None:
    here = source(folder)
    axes = panels(paint("figure_S1", here))
    assert [ax.get_title() for ax in axes] == ["BraTS", "ISIC"]
    rows = here.errors.query("cohort == 'isic' and part == 'test' and predictor == 'center'")
    found = rows["fpu"] + rows["fnu"]
    uncertain = found + rows["tpu"] + rows["tnu"]
    precision = np.where(uncertain > 0, found / uncertain.clip(lower=1), 1)
    recall = found / (rows["fp"] + rows["fn"])
    overlap = 2 * found / (uncertain + rows["fp"] + rows["fn"])
    means = rows.assign(precision=precision, recall=recall, overlap=overlap)
    means = means.groupby("threshold")[["precision", "recall", "overlap"]].mean()
    line, ring = (axes[1].lines[2 * METHODS.index("center") + offset] for offset in (0, 1))
    assert np.allclose(line.get_xdata(), means["precision"])
    assert np.allclose(line.get_ydata(), means["recall"])
    best = means["overlap"].idxmax()
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == pytest.approx(
        tuple(means.loc[best, ["precision", "recall"]])
    )
    assert axes[1].get_xlim() == (0, 0.6)


def test_eight_curves_are_told_apart_by_colour_dashes_or_marker() -> None:
    styles = predictor_lines(STUDY, METHODS)
    assert len({(style["color"], str(style["linestyle"])) for style in styles.values()}) == len(METHODS)
    assert len({style["marker"] for style in styles.values()}) == len(METHODS)
    assert styles["baseline"]["color"] == styles["baseline_mc"]["color"]  # one network


@pytest.mark.parametrize("left", ["tables", "claims", "figures"])
def test_a_study_that_counts_no_errors_cannot_show_them(left: str) -> None:
    nothing = {"tables": [], "claims": [], "figures": {}}
    values = STUDY.model_dump(exclude_unset=True) | {name: nothing[name] for name in nothing if name != left}
    values["measures"]["errors"] = None
    with pytest.raises(ValidationError, match=rf"{left}\..* needs the key measures.errors"):
        config.Study.model_validate(values)
