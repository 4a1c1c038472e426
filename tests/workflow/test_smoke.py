"""The workflow itself, by running it: every rule of every study once, small, on phantoms."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from segtrail.files import sha256_of_file
from segtrail.runs.status import status
from segtrail.trail import Trails

from .conftest import HEART, ROOT, SMOKE, Clone, change_one_voxel, new_clone

# One worker makes each fixture once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("smoke")]


def test_every_published_value_has_a_cell_computed_or_with_a_reason(finished):
    wanted = pd.read_csv(ROOT / "config" / "published" / "mehrtash2020.csv")
    cells = pd.read_csv(finished.folder / "results" / "smoke" / "mehrtash2020" / "cells.csv")
    keys = ["table", "row", "column"]
    assert cells[keys].equals(wanted[keys])
    assert (cells["reproduced"].notna() | cells["reason"].notna()).all()
    assert set(cells["verdict"]) <= {"phantom, not comparable", "not computed"}
    computed = cells[cells["reproduced"].notna()]
    assert len(computed) > 0.9 * len(cells)
    assert (computed["n"] > 0).all()


def test_every_figure_table_and_page_is_there_and_marked_as_phantom(finished):
    results = finished.folder / "results" / "smoke"
    study = results / "mehrtash2020"
    names = {path.stem for path in (study / "figures").glob("*.svg")}
    assert names == {f"figure_{number}" for number in ("1", "2", "3", *(f"S{i}" for i in range(1, 9)))}
    for path in (study / "figures").iterdir():
        assert path.stat().st_size > 2000
    for path in (study / "tables").glob("*.md"):
        assert "phantom" in path.read_text(encoding="utf-8").lower()
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "phantom" in page.lower()
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert (results / "report.html").stat().st_size < 10 * 2**20


def test_a_second_run_has_nothing_to_do_and_touching_a_scan_changes_nothing(finished):
    assert finished.jobs(*SMOKE) == {}
    for scan in (finished.folder / "results/smoke/data/acdc/phantom").rglob("*.nii.gz"):
        scan.touch()
    assert finished.jobs(*SMOKE) == {}


def test_status_finds_a_finished_run_done(finished):
    assert {job.state for job in status(finished.layout).jobs} == {"done"}


def test_no_posterior_is_left_behind(finished):
    assert not list(finished.folder.glob("results/smoke/scratch/*/*/posteriors/*/*"))


def scans_of(clone: Clone, part: str) -> list[Path]:
    split = pd.read_json(clone.folder / "results/smoke/mehrtash2020/heart/split.json", typ="series")
    root = clone.folder / "results/smoke/data/acdc/phantom"
    return [next(root.rglob(f"{subject.split('_')[0]}_frame01.nii.gz")) for _, subject in split[part]]


def chains(clone: Clone) -> dict[tuple[str, str, str], tuple[str | None, set[str]]]:
    """Of each cell: the digest of its trail, and the hashes of the scans that feed it."""
    trails = Trails(clone.folder / "results/smoke")
    found = {}
    for place in trails.places("mehrtash2020"):
        trail = trails.cell("mehrtash2020", *place)
        scans = [step for step in trail.as_dict()["steps"] if step["kind"] == "scans"]
        hashes = {sha256 for step in scans for row in step["subjects"] for sha256 in row["files"].values()}
        found[place] = trail.digest, hashes
    return found


def test_changing_one_voxel_reruns_exactly_what_descends_from_it(heart):
    before = chains(heart)
    scan = scans_of(heart, "test")[0]
    change_one_voxel(scan)
    jobs = heart.jobs(*HEART)
    assert "train" not in jobs
    assert not [rule for rule in jobs if rule.startswith("phantom")]
    assert jobs["preprocess"] == 1
    assert jobs["sample"] == jobs["measure"] == 4
    heart.snakemake(*HEART)
    assert heart.jobs(*HEART) == {}
    after = chains(heart)
    changed = {place for place in after if after[place] != before[place]}
    named = {("Table I", "Heart/ACDC", "test"), ("text", "-", "NLL reduction M=5 heart %")}
    assert changed == {place for place in after if place[1].startswith("Heart (")} | named
    assert changed == {place for place in after if after[place][0] != before[place][0]}
    assert changed == {place for place in after if sha256_of_file(scan) in after[place][1]}

    change_one_voxel(scans_of(heart, "train")[0])
    jobs = heart.jobs(*HEART)
    assert jobs["preprocess"] == 1
    assert jobs["train"] == 6


def test_two_runs_in_two_folders_give_the_same_bytes(heart, tmp_path):
    other = new_clone(tmp_path / "other")
    other.snakemake(*HEART)
    for name in ("cells.csv", "claims.csv", "tables/table_II.md", "figures/figure_2.svg"):
        path = Path("results/smoke/mehrtash2020") / name
        assert (heart.folder / path).read_bytes() == (other.folder / path).read_bytes(), name
    members = Path("results/smoke/mehrtash2020/heart/members")
    for weights in sorted((heart.folder / members).rglob("*.safetensors")):
        relative = weights.relative_to(heart.folder)
        assert weights.read_bytes() == (other.folder / relative).read_bytes(), relative


def test_a_changed_parameter_reruns_only_what_it_shapes(heart):
    bins = "overrides={mehrtash2020: {measures: {ece_bins: 20}}}"
    jobs = heart.jobs(*HEART, bins)
    assert "train" not in jobs
    assert "preprocess" not in jobs
    assert jobs["measure"] == 4
    alpha = "overrides={mehrtash2020: {measures: {alpha: 0.05}}}"
    assert "train" not in heart.jobs(*HEART, alpha)
    one_more = "overrides={mehrtash2020: {models: {ce: {members: 3}}}}"
    assert heart.jobs(*HEART, one_more)["train"] == 1


def test_a_member_of_another_seed_is_another_member(heart):
    folder = heart.folder / "results/smoke/mehrtash2020/heart/members/ce"
    first, second = (folder / f"{member}.safetensors" for member in ("000", "001"))
    assert first.read_bytes() != second.read_bytes()
    shutil.rmtree(heart.folder / "results/smoke/mehrtash2020/heart/members/ce")
    assert heart.jobs(*HEART, "seed=2")["train"] == 6


def replace_in(path: Path, old: str, new: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")


def test_a_change_of_style_draws_figures_again_and_trains_nothing(heart, package):
    figure = "results/smoke/mehrtash2020/figures/figure_2.svg"
    assert heart.jobs(*HEART) == {}
    replace_in(package / "studies" / "segtrail.mplstyle", "lines.linewidth: 1.2", "lines.linewidth: 1.7")
    assert heart.jobs(*HEART) == {"figure": 11, "report": 1, "all": 1}
    assert heart.jobs(figure, *HEART) == {"figure": 1}
    before = (heart.folder / figure).read_text(encoding="utf-8")
    heart.snakemake(figure, *HEART)
    assert (heart.folder / figure).read_text(encoding="utf-8") != before
    assert heart.jobs(*HEART) == {"figure": 10, "report": 1, "all": 1}


def test_a_figure_of_measures_needs_no_scan_map_or_weight(heart, package):
    """As in a clone that has pulled results alone."""
    shutil.rmtree(heart.folder / "results/smoke/scratch")
    replace_in(package / "studies" / "segtrail.mplstyle", "lines.linewidth: 1.2", "lines.linewidth: 1.7")
    assert heart.jobs("results/smoke/mehrtash2020/figures/figure_2.svg", *HEART) == {"figure": 1}
    assert heart.jobs("results/smoke/mehrtash2020/figures/figure_S8.svg", *HEART) == {"figure": 1}
    # A figure that shows maps makes them again, from the members that there are.
    assert "train" not in heart.jobs(*HEART)


def test_make_draws_the_figures_of_a_study(heart):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, heart.folder / name)
    (heart.folder / ".venv").mkdir()
    (heart.folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (heart.folder / ".venv" / ".installed").touch()
    replace_in(heart.folder / "config" / "config.yaml", "seed: 1", "seed: 1\ncohorts: [heart]")

    def make(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "figures", *words]
        return subprocess.run(command, cwd=heart.folder, capture_output=True, text=True, check=False)

    for words in ((), ("STUDY=mehrtash",)):
        refused = make(*words)
        assert refused.returncode != 0
        assert re.search(r"STUDY=… needs one of: .*\bmehrtash2020\b", refused.stderr)
    figures = heart.folder / "results/smoke/mehrtash2020/figures"
    (figures / "figure_2.svg").unlink()
    times = {path.name: path.stat().st_mtime_ns for path in figures.iterdir()}
    done = make("STUDY=mehrtash2020", "RUN=smoke", "SCALE=smoke")
    assert done.returncode == 0, done.stderr
    now = {path.name: path.stat().st_mtime_ns for path in figures.iterdir()}
    assert {name for name in now if now[name] != times.get(name)} == {"figure_2.svg", "figure_2.png"}


def test_numbers_that_no_measures_can_give_fail_the_run(heart, package):
    mean = "reproduced=float(values.mean())"
    replace_in(package / "studies" / "values.py", mean, f"{mean} + 9")
    study = heart.folder / "results/smoke/mehrtash2020"
    done = heart.snakemake(*HEART, check=False)
    assert done.returncode != 0
    for named in (
        "what no measures can give",
        "violated: range",
        "dice lies in [0, 1]",
        "audit_violations.csv",
    ):
        assert named in done.stderr, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    kept = pd.read_csv(heart.folder / "results/smoke/logs/mehrtash2020/audit_violations.csv")
    assert set(kept["status"]) == {"violated"}
    assert not (study / "audit.csv").exists()
    # Nothing that shows the numbers as right is left behind: the page is one of the run before.
    assert "report" in heart.jobs(*HEART)


def test_the_report_of_snakemake_has_every_result_with_a_caption(finished_heart):
    archive = finished_heart.folder / "snakemake_report.zip"
    finished_heart.snakemake("--report", archive.name, *HEART)
    with zipfile.ZipFile(archive) as opened:
        page = opened.read("snakemake_report/report.html").decode()
    start = page.index('{"results/smoke/')
    results = json.JSONDecoder().raw_decode(page[start:])[0]
    tree = Path("results/smoke")
    study = tree / "mehrtash2020"
    wanted = {tree / "report.html", *(study / f"{name}.csv" for name in ("cells", "claims", "audit"))}
    for pattern in ("figures/*.svg", "tables/*.html"):
        wanted |= {
            path.relative_to(finished_heart.folder) for path in (finished_heart.folder / study).glob(pattern)
        }
    assert {Path(name) for name in results} == wanted
    assert len(wanted) == 4 + 11 + 6
    for name, result in results.items():
        assert "PHANTOM DATA" in result["caption"], name
        assert result["labels"], name
        assert "system-message" not in result["caption"], name
    figure = results[str(study / "figures" / "figure_3.svg")]
    assert figure["labels"] == {"figure": "Figure 3"}
    assert "Segment-level uncertainty of ensembles trained with Dice loss" in figure["caption"]
    assert (
        "Calibration in bounding boxes" in results[str(study / "tables" / "table_II.html")]["labels"]["title"]
    )
    assert "every result is made from phantoms" in page
