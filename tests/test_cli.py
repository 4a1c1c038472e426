"""The command line as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import fixtures
from fixtures import real
from typer.testing import CliRunner

from segtrail.cli import app

RUNNER = CliRunner()


def test_check_prints_one_readable_screen(tmp_path):
    fixtures.acdc(tmp_path, 1)
    fixtures.acdc(tmp_path, 2)
    done = RUNNER.invoke(app, ["check", "acdc", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert len(done.output.splitlines()) < 40
    for text in (
        "labelled subjects  2",
        "2 (4 images)",
        "ED 2, ES 2",
        "DCM 4",
        "1.5 × 1.5 × 6 mm",
        "right ventricle",
    ):
        assert text in done.output, done.output


def test_check_fails_where_the_pipeline_would_refuse(tmp_path):
    fixtures.brats(tmp_path, channels="t1ce flair")
    done = RUNNER.invoke(app, ["check", "brats", str(tmp_path)])
    assert done.exit_code == 1
    for text in (
        "Brats17_CBICA_AAB_1",
        "missing: t1, t2",
        "expected:",
        "found:",
        "remedy:",
        "labelled subjects  1",
    ):
        assert text in done.output, done.output


def test_many_problems_stay_on_one_screen_and_json_has_them_all(tmp_path):
    for number in range(30):
        fixtures.brats(tmp_path, f"Brats17_TCIA_{number}_1", channels="t1")
    done = RUNNER.invoke(app, ["check", "brats", str(tmp_path)])
    assert done.exit_code == 1
    assert "27 more problems" in done.output
    assert len(done.output.splitlines()) < 40
    done = RUNNER.invoke(app, ["check", "brats", str(tmp_path), "--json"])
    assert done.exit_code == 1
    values = json.loads(done.stdout)
    assert len(values["problems"]) == 30
    assert set(values["problems"][0]) == {"subject", "file", "expected", "found", "remedy"}


def test_json_of_a_folder_of_ones_own(tmp_path):
    fixtures.folder(tmp_path, "a", "b")
    done = RUNNER.invoke(app, ["check", "folder", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    assert values["labelled_subjects"] == values["usable_subjects"] == 2
    assert values["problems"] == values["warnings"] == []
    assert values["channels"] == ["t1", "t2"]
    assert [row["labels"] for row in values["subjects"]] == [{"0": 468, "1": 12}] * 2


def test_an_unusable_root_is_an_error_and_still_json(tmp_path):
    done = RUNNER.invoke(app, ["check", "acdc", str(tmp_path / "absent")])
    assert done.exit_code == 1
    assert "absent" in done.output
    assert "Traceback" not in done.output
    done = RUNNER.invoke(app, ["check", "acdc", str(tmp_path / "absent"), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["labelled_subjects"] == 0
    assert json.loads(done.stdout)["problems"][0]["file"] == str(tmp_path / "absent")


def test_an_unknown_name_is_told_with_what_there_is(tmp_path):
    done = RUNNER.invoke(app, ["check", "acdcc", str(tmp_path)])
    assert done.exit_code == 1
    assert "acdcc" in done.output
    assert "promise12" in done.output


def test_a_name_under_config_datasets_is_found_here_first(tmp_path, monkeypatch):
    fixtures.folder(tmp_path / "data", "a")
    (tmp_path / "data" / "dataset.yaml").unlink()
    (tmp_path / "config" / "datasets").mkdir(parents=True)
    described = tmp_path / "config" / "datasets" / "mine.yaml"
    described.write_text(
        "title: mine\nlayout: folder\nsource: here\nterms: mine\n"
        "channels: [t1, t2]\nlabels: {0: background, 1: spot}\n"
    )
    monkeypatch.chdir(tmp_path)
    done = RUNNER.invoke(app, ["check", "mine", "data"])
    assert done.exit_code == 0, done.output
    assert "spot" in done.output
    described.write_text(described.read_text() + "chanels: [t1]\n")
    done = RUNNER.invoke(app, ["check", "mine", "data"])
    assert done.exit_code == 1
    assert "chanels" in done.output


def test_configured_names_work_from_any_folder(tmp_path):
    folder = fixtures.brats(tmp_path / "HGG")
    done = subprocess.run(
        [sys.executable, "-m", "segtrail.cli", "check", "brats17", str(folder.parent.parent), "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sites"] == {"CBICA": 1}
    assert done.stderr == ""


def test_real_brats_2013_names_the_missing_channels():
    done = RUNNER.invoke(app, ["check", "brats", str(real("brats2013"))])
    assert done.exit_code == 1
    assert "labelled subjects  4" in done.output
    assert "missing: t1, t2" in done.output


def test_check_never_imports_torch(tmp_path):
    fixtures.promise12(tmp_path)
    code = (
        "import sys; from segtrail.cli import app\n"
        f"try: app(['check', 'promise12', {str(tmp_path)!r}])\n"
        "except SystemExit: print(*{'torch', 'monai', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "", done.stdout + done.stderr


def test_help_names_every_command():
    done = RUNNER.invoke(app, ["--help"])
    assert done.exit_code == 0
    assert "check" in done.output
    assert Path(sys.executable).with_name("segtrail").exists()
