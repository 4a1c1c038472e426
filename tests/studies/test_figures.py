"""Figures drawn from invented measures and maps."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
import synthetic_maps
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy import stats

from segtrail import config
from segtrail.config.figure import Pick
from segtrail.data.geometry import Geometry
from segtrail.data.prepared import Prepared
from segtrail.errors import ArtifactError, ConfigError
from segtrail.studies.cases import NotComputedError
from segtrail.studies.figures import PAINTERS, curves, draw
from segtrail.studies.figures.common import largest_slice, mark_phantom, spread_slices, view
from segtrail.studies.figures.source import Case, Source

SUBJECTS = 5
STUDY = synthetic.study()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / synthetic.NAME
    synthetic.write(folder, STUDY, SUBJECTS)
    synthetic_maps.write(folder, STUDY, SUBJECTS)
    return folder


@pytest.fixture(scope="module")
def source(folder: Path) -> Source:
    return Source(folder, run(), synthetic.NAME)


def run(study: config.Study = STUDY, **options: object) -> config.Run:
    return synthetic_maps.with_datasets(synthetic.run(study, **options))


def paint(name: str, source: Source) -> Figure:
    spec = source.study.figures[name]
    return PAINTERS[spec.kind](spec, source)


def texts(figure: Figure) -> str:
    return "\n".join(artist.get_text() for artist in figure.findobj(Text))


def test_the_paper_s_figures_are_all_described() -> None:
    assert list(STUDY.figures) == [
        f"figure_{n}" for n in (1, 2, 3, "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8")
    ]
    for spec in STUDY.figures.values():
        assert set(spec.cohorts_used()) <= set(STUDY.cohorts)
        assert set(spec.predictors_used()) <= set(STUDY.predictors)


@pytest.mark.parametrize("name", list(STUDY.figures))
def test_a_figure_is_drawn_as_svg_and_png(name: str, folder: Path) -> None:
    draw(name, folder, run(phantom=True), synthetic.NAME)
    svg = ElementTree.parse(folder / "figures" / f"{name}.svg").getroot()
    assert svg.tag.endswith("svg")
    assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "figures" / f"{name}.svg").stat().st_size < 2_000_000


@pytest.mark.parametrize("name", ["figure_2", "figure_S3"])
def test_the_same_inputs_give_the_same_bytes(name: str, folder: Path) -> None:
    written = []
    for _ in range(2):
        draw(name, folder, run(), synthetic.NAME)
        written.append([(folder / "figures" / f"{name}{suffix}").read_bytes() for suffix in (".svg", ".png")])
    assert written[0] == written[1]


@pytest.mark.parametrize("name", ["figure_1", "figure_2"])
def test_a_phantom_figure_is_marked_everywhere(name: str, source: Source) -> None:
    figure = paint(name, source)
    assert "phantom" not in texts(figure).lower()
    mark_phantom(figure)
    assert "PHANTOM DATA" in texts(figure)
    pictures = [ax for ax in figure.get_axes() if ax.images]
    assert all("phantom" in [text.get_text() for text in ax.texts] for ax in pictures)


@pytest.mark.parametrize("name", list(STUDY.figures))
def test_a_cohort_that_was_not_run_is_said_in_its_panels(name: str, folder: Path) -> None:
    gone = {cohort: f"{cohort} has no data root" for cohort in STUDY.figures[name].cohorts_used()}
    kept = {key: value for key, value in STUDY.cohorts.items() if key not in gone}
    partial = run(STUDY.model_copy(update={"cohorts": kept}), absent=gone)
    shown = texts(paint(name, Source(folder, partial, synthetic.NAME))).replace("\n", " ")
    for reason in gone.values():
        assert f"not computed: {reason}" in shown


def test_sizes_come_from_the_configuration(folder: Path) -> None:
    patch = {
        "predictors": {"dice_ensemble": {"maps": [5]}},
        "cohorts": {"heart": {"predictor": {"maps": []}}},
    }
    shown = texts(paint("figure_S5", Source(folder, run(synthetic.study(patch)), synthetic.NAME)))
    assert "M = 5" in shown
    assert "M = 2" not in shown
    assert "no map sizes are set for dice_ensemble in cohort heart" in shown.replace("\n", " ")


def test_a_map_of_a_size_that_is_not_kept_is_said(source: Source) -> None:
    case = source.pick("heart", Pick(predictors=["dice_ensemble"]))
    assert source.probabilities(case, "dice_ensemble", 2).shape[0] == 4
    with pytest.raises(NotComputedError, match="M=1 is not kept"):
        source.probabilities(case, "dice_ensemble", 1)


def test_a_missing_map_file_is_an_error_not_an_empty_panel(source: Source, tmp_path: Path) -> None:
    case = source.pick("heart", Pick(predictors=["dice_ensemble"]))
    with pytest.raises(ArtifactError, match="0 files"):
        Source(tmp_path, source.run, synthetic.NAME).probabilities(case, "dice_ensemble", 5)


def test_an_unknown_figure_names_the_known_ones(folder: Path) -> None:
    with pytest.raises(ConfigError, match="figure_S8"):
        draw("figure_9", folder, run(), synthetic.NAME)


def dice_by_case(table: pd.DataFrame, predictors: list[str], size: dict[str, int]) -> pd.Series:
    """Mean Dice of the heart's three segments, computed without the package."""
    rows = table[(table.cohort == "heart") & (table.part == "test") & (table.measure == "dice")]
    rows = rows[
        [
            row.predictor in predictors and row.size == size[row.predictor]
            for row in rows[["predictor", "size"]].itertuples()
        ]
    ]
    return (
        rows.groupby(["subject", "predictor", "segment"])["value"]
        .mean()
        .groupby("subject")
        .mean()
        .sort_values()
    )


@pytest.mark.parametrize(
    ("rank", "position"), [("lowest", 0), ("median", (SUBJECTS - 1) // 2), ("highest", -1)]
)
def test_a_case_is_picked_by_its_rank(source: Source, rank: str, position: int) -> None:
    predictors = ["ce", "dice_ensemble"]
    expected = dice_by_case(source.measures, predictors, {"ce": 1, "dice_ensemble": 5})
    case = source.pick("heart", Pick(predictors=predictors, rank=rank))
    assert case.subject == expected.index[position]
    assert rank in case.rule
    assert f"among {SUBJECTS} test cases" in case.rule


def test_a_case_with_an_undefined_measure_is_never_picked(source: Source, folder: Path) -> None:
    table = source.measures.copy()
    pick = Pick(predictors=["dice"], measure="seg_entropy", rank="highest")
    highest = source.pick("heart", pick).subject
    gone = (table.measure == "seg_entropy") & (table.subject == highest) & (table.segment == 1)
    table.loc[gone, "value"] = np.nan
    other = Source(folder, source.run, synthetic.NAME)
    other.__dict__["measures"] = table
    assert other.pick("heart", pick).subject != highest
    table.loc[table.measure == "seg_entropy", "value"] = np.nan
    empty = Source(folder, source.run, synthetic.NAME)
    empty.__dict__["measures"] = table
    with pytest.raises(NotComputedError, match="undefined for every test case"):
        empty.pick("heart", pick)


def test_the_scatter_prints_the_correlation_of_its_points(source: Source) -> None:
    table = source.measures
    rows = table[(table.cohort == "heart") & (table.predictor == "dice_ensemble") & (table["size"] == 5)]
    means = rows.groupby(["subject", "segment", "measure"])["value"].mean().unstack("measure")
    fit = stats.linregress(
        means["seg_entropy"].dropna(), np.log(means["dice"] / (1 - means["dice"])).dropna()
    )
    figure = paint("figure_3", source)
    heart = next(ax for ax in figure.get_axes() if "Heart" in ax.get_title())
    shown = heart.get_title().replace("−", "-")
    assert f"r = {fit.rvalue:.2f}" in shown
    assert f"p = {fit.pvalue:.1e}" in shown
    assert f"n = {3 * SUBJECTS}" in shown
    line = heart.lines[0]
    assert np.allclose(line.get_ydata(), fit.slope * line.get_xdata() + fit.intercept)
    assert sum(len(group.get_offsets()) for group in heart.collections) == 3 * SUBJECTS


def test_the_prostate_panel_tells_the_domains_apart(source: Source) -> None:
    prostate = next(ax for ax in paint("figure_3", source).get_axes() if "Prostate" in ax.get_title())
    labels = prostate.get_legend_handles_labels()[1]
    assert labels == [f"PROSTATEx ({SUBJECTS})", f"PROMISE12 ({SUBJECTS})"]
    assert {"Case I", "Case II"} <= {text.get_text() for text in prostate.texts}


def test_a_scatter_of_too_few_points_says_so(source: Source) -> None:
    few = Source(source.study_dir, source.run, synthetic.NAME)
    table = source.measures
    few.__dict__["measures"] = table[table.subject.isin(["test000", "shift000"])]
    prostate = next(ax for ax in paint("figure_3", few).get_axes() if "Prostate" in ax.get_title())
    assert "r undefined, n = 2" in prostate.get_title()


def test_a_curve_is_the_mean_over_cases_of_the_mean_over_draws() -> None:
    values = {("a", 0): 1.0, ("a", 1): 3.0, ("b", 0): 4.0, ("b", 1): 8.0}
    rows = pd.DataFrame(
        [
            {"part": "test", "dataset": "d", "subject": subject, "draw": draw, "size": 2, "value": value}
            for (subject, draw), value in values.items()
        ]
    )
    plain = curves.curve(rows, None, 100, 1)
    assert plain.loc[2, "mean"] == 4.0
    assert (plain.loc[2, "cases"], plain.loc[2, "draws"]) == (2, 2)
    by_case, by_draw = curves.curve(rows, "cases", 100, 1), curves.curve(rows, "draws", 100, 1)
    assert by_case.loc[2, ["lo", "hi"]].tolist() == pytest.approx([2 + 0.025 * 4, 6 - 0.025 * 4])
    assert by_draw.loc[2, ["lo", "hi"]].tolist() == pytest.approx([2.5 + 0.025 * 3, 5.5 - 0.025 * 3])
    boot = curves.curve(rows, "mean", 500, 1)
    assert boot.loc[2, ["lo", "hi"]].tolist() == [2.0, 6.0]
    assert boot.equals(curves.curve(rows, "mean", 500, 1))


def test_reliability_shows_only_bins_above_the_minimum_count(source: Source) -> None:
    figure = paint("figure_S2", source)
    case = source.pick("heart", STUDY.figures["figure_S2"].pick)
    reliability = [ax for ax in figure.get_axes() if "Confidence" in ax.get_xlabel()]
    assert len(reliability) == 6
    for ax, name in zip(reliability, STUDY.figures["figure_S2"].predictors, strict=True):
        size = 5 if name.endswith("ensemble") else 1
        table = source.reliability
        bins = table[(table.cohort == "heart") & (table.subject == case.subject) & (table.predictor == name)]
        bins = bins[
            (bins["size"] == size) & (bins.draw == 0) & (bins.region == "volume") & (bins["count"] > 1000)
        ]
        assert np.allclose(ax.lines[1].get_ydata(), bins.correct / bins["count"])
        nll = source.value(case, name, size, "nll")
        assert f"NLL {nll:.3f}" in ax.get_xlabel()


def test_every_example_case_is_named_with_its_rule(source: Source) -> None:
    case = source.pick("prostate", STUDY.figures["figure_1"].examples[1].pick)
    shown = texts(paint("figure_1", source))
    assert f"promise12 {case.subject} (highest segment entropy of EN" in shown


def subject(label: np.ndarray, affine: np.ndarray) -> Prepared:
    geometry = Geometry.of_scan(label.shape[::-1], affine, tuple(np.abs(np.diag(affine)[:3])))
    image = np.zeros((1, *label.shape), np.float32)
    return Prepared("s", "s", "d", "", "", "", "test", image, label, geometry)


@pytest.mark.parametrize(("x", "y"), [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_slices_are_shown_anterior_up_and_right_on_the_left(x: int, y: int) -> None:
    label = np.ones((1, 4, 5), np.uint8)
    # World coordinates (RAS+) of each voxel: x grows to the patient's left-to-right, y to anterior.
    right = np.broadcast_to(x * np.arange(5), (4, 5))[None]
    anterior = np.broadcast_to(y * np.arange(4)[:, None], (4, 5))[None]
    seen = view(subject(label, np.diag([x, y, 1, 1])), 0)
    assert (np.diff(seen.plane(right), axis=1) < 0).all()
    assert (np.diff(seen.plane(anterior), axis=0) < 0).all()


@given(
    st.tuples(st.integers(5, 60), st.integers(5, 60)).flatmap(
        lambda shape: st.tuples(
            st.just(shape),
            st.tuples(*(st.integers(0, n - 1) for n in shape)),
            st.tuples(*(st.integers(0, n - 1) for n in shape)),
            st.floats(0.4, 4),
        )
    )
)
def test_the_window_holds_all_foreground(drawn: tuple) -> None:
    shape, one, other, spacing = drawn
    label = np.zeros((2, *shape), np.uint8)
    label[0][one] = label[1][other] = 1
    seen = view(subject(label, np.diag([spacing, spacing, 3.0, 1.0])), 0)
    assert label[:, seen.rows, seen.columns].sum() == label.sum()
    assert seen.plane(label).shape[0] <= shape[0]


def test_a_case_without_foreground_can_be_shown() -> None:
    empty = subject(np.zeros((3, 8, 6), np.uint8), np.diag([2.0, 2.0, 5.0, 1.0]))
    assert view(empty, largest_slice(empty, 1)).plane(empty.label).shape == (8, 6)
    assert spread_slices(empty, 3) == [0, 1, 2]


def test_drawing_needs_no_torch() -> None:
    code = "import sys, segtrail.studies.figures, segtrail.studies.report; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )


def test_case_names_carry_the_site() -> None:
    assert Case("c", "test", "brats17", "s1", "TCIA", "").name == "brats17 s1, TCIA"
    assert Case("c", "test", "acdc", "s1", "", "").name == "acdc s1"
