"""After any change `snakemake` and `dvc repro` make again what it touches, nothing else, and never show a
stale number, in whatever way the repository came to be where it is."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import CHANGES, RESULTS, Lab, jobs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dvc")]

# What follows once there are other measures.
CELLS = {"collect", "cells", "claims", "audit", "tables_toy", "figure", "report"}
# What follows a change in the only test subject: no training.
TESTED = CELLS | {"index", "preprocess", "sample", "measure"}


@pytest.fixture(params=["reflink", "copy", "hardlink"])
def cache(request, lab) -> str:
    """`lab` with this kind of links to DVC's cache."""
    kind: str = request.param
    if kind == "reflink" and not reflinks(lab):
        pytest.skip("this file system has no reflinks")
    lab.dvc("config", "--local", "cache.type", kind)
    lab.dvc("checkout", "--relink", "--quiet")
    return kind


def reflinks(lab: Lab) -> bool:
    copy = ["cp", "--reflink=always", "Snakefile", ".dvc/tmp/reflink"]
    return subprocess.run(copy, cwd=lab.folder, capture_output=True, check=False).returncode == 0


def append(lab: Lab, file: str, line: str) -> None:
    with (lab.folder / file).open("a") as handle:
        handle.write(f"\n\n{line}\n")


# --- on the machine where it was made -------------------------------------------------------------


@pytest.mark.usefixtures("cache")
def test_the_data_of_one_subject_changed(lab, made, truth):
    CHANGES["voxel"](lab)
    assert set(lab.repro()) == TESTED
    assert lab.cells == truth("voxel")
    assert lab.weights() == made.weights()
    assert lab.nothing_to_do()


def test_a_parameter_changed(lab, made, truth):
    CHANGES["learning rate"](lab)
    assert set(lab.repro()) == CELLS | {"train", "sample", "measure"}
    assert lab.cells == truth("learning rate")
    assert lab.nothing_to_do()
    told = lab.dvc("metrics", "diff", "--no-path")
    assert "cells.Table I.single.NLL" in told
    page = lab.dvc("plots", "diff", "--out", "plots").strip().removeprefix("file://")
    text = Path(page).read_text()
    assert '"reproduced"' in text
    assert "figure_1.svg" in text


def test_the_code_of_one_step_changed(lab, made):
    append(lab, "src/segtrail/studies/claims.py", "# A comment counts for nothing.")
    assert not lab.repro()
    append(lab, "src/segtrail/studies/claims.py", "ANOTHER = 1")
    assert set(lab.repro()) == {"claims", "report"}
    assert lab.cells == made.cells
    assert lab.nothing_to_do()


def test_the_code_of_a_plot_changed(lab, made):
    append(lab, "src/segtrail/studies/figures/curves.py", "ANOTHER = 1")
    # On another machine, as its profile tells: that is no change.
    (lab.folder / "mine").mkdir()
    (lab.folder / "mine/config.yaml").write_text("cores: 1")
    said = lab.run("env", "SNAKEMAKE_PROFILE=mine", "dvc", "repro")
    assert "Provided cores: 1 " in said
    assert set(jobs(said)) == {"figure", "report"}
    assert lab.cells == made.cells
    assert not lab.repro()


def test_killed_between_two_steps_and_snakemakes_own_records_lost(lab, truth):
    CHANGES["learning rate"](lab)
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=lab.folder,
        env=lab.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    weights, before = lab.folder / RESULTS / "heart/members/ce/000.safetensors", lab.weights()
    end = time.monotonic() + 300
    while not (weights.exists() and weights.read_bytes() != before):
        assert process.poll() is None, "it has ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.rmtree(lab.folder / ".snakemake")
    ran = lab.repro()
    assert set(ran) >= CELLS
    assert set(ran) <= CELLS | {"train", "sample", "measure"}
    assert lab.cells == truth("learning rate")


def test_snakemake_first_and_then_dvc(lab, truth):
    CHANGES["learning rate"](lab)
    assert set(lab.snakemake("all")) == CELLS | {"train", "sample", "measure"}
    assert not lab.repro(), "there was nothing left to do"
    assert lab.cells == truth("learning rate")
    assert lab.nothing_to_do()


@pytest.mark.usefixtures("cache")
def test_an_old_revision_and_then_only_its_data(lab, made, truth):
    first = lab.run("git", "rev-parse", "HEAD").strip()
    CHANGES["voxel"](lab)
    lab.repro()
    lab.commit("new data, new results")
    lab.run("git", "checkout", "--quiet", first)
    lab.dvc("checkout", "--quiet")
    assert lab.nothing_to_do()
    assert not lab.repro()
    assert lab.cells == made.cells
    lab.run("git", "checkout", "--quiet", "main")
    lab.dvc("checkout", "--quiet")
    assert lab.cells == truth("voxel")
    lab.run("git", "checkout", "--quiet", first, "--", "data/acdc.dvc")
    lab.dvc("checkout", "--quiet", "data/acdc.dvc")
    assert set(lab.repro()) == TESTED
    assert lab.cells == made.cells
    assert lab.nothing_to_do()


# --- in a clone -----------------------------------------------------------------------------------


def test_a_colleague_has_everything_and_nothing_to_do(lab, made, remote, cache):
    other = lab.clone(remote=remote)
    other.dvc("config", "--local", "cache.type", cache)
    other.dvc("pull", "--quiet")
    assert other.cells == made.cells
    assert other.nothing_to_do()
    assert not other.repro()


def test_a_clone_where_the_data_is_newer_than_the_results(lab, made, truth, remote):
    CHANGES["voxel"](lab)
    lab.run("segtrail", "data", "add", "acdc", "data/acdc")
    lab.commit("new data")
    lab.dvc("push", "--quiet")
    other = lab.clone(remote=remote)
    other.dvc("pull", "--quiet")
    assert other.cells == made.cells  # of before
    assert set(other.repro()) == TESTED
    assert other.cells == truth("voxel")
    assert other.weights() == made.weights()
    assert other.nothing_to_do()


def test_a_clone_with_another_seed(lab, truth, remote):
    other = lab.clone(remote=remote)
    other.dvc("pull", "--quiet")
    CHANGES["seed 5"](other)
    assert other.repro()["train"] == 1
    assert other.cells == truth("seed 5")
    assert other.nothing_to_do()


def test_a_clone_that_has_only_the_tables(lab, made, remote):
    other = lab.clone(remote=remote)
    other.dvc("pull", "--quiet", str(RESULTS))
    assert other.cells == made.cells
    assert not (other.folder / "data/acdc").exists()
    assert not other.repro("--allow-missing")
    assert "dvc pull data/acdc" in other.fails("snakemake", "--dry-run", "all")


# --- experiments ----------------------------------------------------------------------------------


def test_experiments_in_folders_of_their_own(lab, made, truth):
    lab.dvc("exp", "run", "--temp", "--name", "seed-5", "--set-param", "config/config.yaml:seed=5")
    lab.dvc("exp", "run", "--queue", "--name", "seed-6", "--set-param", "config/config.yaml:seed=6")
    # What is edited later is not what was queued.
    append(lab, "src/segtrail/studies/claims.py", "ANOTHER = 1")
    lab.dvc("exp", "run", "--run-all")
    lab.run("git", "checkout", "--quiet", "src")
    assert lab.cells == made.cells
    assert lab.nothing_to_do()
    for seed in ("5", "6"):
        lab.dvc("exp", "apply", f"seed-{seed}")
        assert lab.cells == truth(f"seed {seed}")
        assert "a comment" in (lab.folder / "config/config.yaml").read_text()
        assert lab.nothing_to_do()
