"""`segtrail trail` as a user meets it."""

import json

import pytest
import trees
from trees import JUNGO, NAME, ROOT
from typer.testing import CliRunner

from segtrail.cli import app
from segtrail.trail import Trails

CELL = (NAME, "Table II", "Heart (EN L_DSC)", "NLL")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        trees.finish(trees.smoke(folder))
    return folder


@pytest.fixture
def trail(monkeypatch, results):
    monkeypatch.chdir(ROOT)

    def run(*arguments):
        return CliRunner().invoke(app, ["trail", *arguments, "--results", str(results)])

    return run


def test_it_tells_what_an_uncertainty_is_and_who_learnt_from_whom(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    layout = trees.smoke(tmp_path, studies=[JUNGO])
    trees.finish(layout)
    place = (JUNGO, "Table 1", "auxiliary segm.", "BraTS U-E")
    done = CliRunner().invoke(app, ["trail", *place, "--run", "smoke", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert len(done.output.splitlines()) < 145
    words = " ".join(done.output.split())
    first = layout.held_out(JUNGO, "brats", "cv")[0]
    for text in (
        "2 (FPU + FNU) / (FP + FN + TPU + FPU + TNU + FNU)",
        "The threshold with the highest mean over subjects",
        "A network that learns where the segmentation of another model is wrong",
        "uncertainty rescaled over the subject",
        "2 in its column, in the paper 4",
        "Measures of aux_segm on the val part of brats",
        "Members of baseline, trained on brats",
        "Segmentations by the members of cv of the folds of brats that each has not seen",
        f"member 000 held out {len(first)} subjects: {'/'.join(first[0])}",
    ):
        assert text in words, text
    assert words.index("Members of aux_segm") < words.index("Segmentations by") < words.index("Members of cv")


def test_it_prints_the_number_the_printed_one_and_the_chain_to_the_files(trail, results):
    done = trail(*CELL, "--run", "smoke")
    assert done.exit_code == 0, done.output
    assert len(done.output.splitlines()) < 100
    digest = Trails(results / "smoke").cell(*CELL).digest
    assert done.output.strip().endswith(f"digest: {digest}")
    words = " ".join(done.output.split())
    for text in (
        "0.31 [0.16, 0.78], config/published/mehrtash2020.csv line 68",
        "Mean −ln p_true in nats",
        "Mehrtash 2020, §V.B, eq. 3",
        "phantom, not comparable",
        "PHANTOM DATA",
        "Members of dice, trained on heart",
        "Scans of the test part of heart",
        "with changes that are not committed",
    ):
        assert text in words


def test_json_has_all_of_it(trail, results):
    done = trail(*CELL, "--run", "smoke", "--json")
    assert json.loads(done.output) == Trails(results / "smoke").cell(*CELL).as_dict()


def test_the_data_roots_of_the_run_need_not_be_there(trail, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("run: smoke\nscale: smoke\ndata: {acdc: /nowhere/acdc}\n", encoding="utf-8")
    assert trail(*CELL, "--config", str(config)).exit_code == 0


def test_an_unknown_row_is_refused_in_a_few_lines(trail):
    done = trail(NAME, "Table II", "Heart", "NLL", "--run", "smoke")
    assert done.exit_code == 1
    assert "ROW = 'Heart'" in done.output
    assert "Heart (L_CE)" in done.output
    assert "Traceback" not in done.output
