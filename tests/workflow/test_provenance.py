"""What artifacts are and what they were made from decides what Snakemake does; times and records do not."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segtrail.runs.jobs import NAMES

from .conftest import HEART, Clone

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("smoke")]

TREE = "results/smoke"
STUDY = f"{TREE}/mehrtash2020"
MEMBER = f"{STUDY}/heart/members/ce/000.safetensors"
CELLS = f"{STUDY}/cells.csv"
CONFIG = "config/studies/mehrtash2020.yaml"


def verified(clone: Clone) -> dict[str, dict]:
    """artifact → what `segtrail verify` says of it, of all that are not right."""
    command = [str(Path(sys.executable).with_name("segtrail")), "verify", "--run", "smoke", "--json"]
    done = subprocess.run(command, cwd=clone.folder, capture_output=True, text=True, check=False)
    wrong = {
        f"{TREE}/{one['path']}": one
        for one in json.loads(done.stdout)["artifacts"]
        if one["state"] != "right"
    }
    assert done.returncode == bool(wrong), done.stderr
    return wrong


def refused(clone: Clone, file: str) -> str:
    """What a start says, which must not start anything and leave the file as it is."""
    content = (clone.folder / file).read_bytes()
    done = clone.snakemake(*HEART, check=False)
    assert done.returncode != 0
    assert f"file:     {file}" in done.stderr
    assert "edited or damaged since it was made" in done.stderr
    assert "rule " not in done.stdout + done.stderr
    assert (clone.folder / file).read_bytes() == content
    return done.stderr


def flip(path: Path) -> None:
    """Changes one byte, and neither size nor time."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_damaged_weight_file_is_refused_and_the_remedy_gives_it_back_to_the_byte(heart):
    assert verified(heart) == {}
    weights = heart.folder / MEMBER
    before = weights.read_bytes()
    flip(weights)
    told = refused(heart, MEMBER)
    assert f"rm -f {MEMBER}, and the same command with {MEMBER} as its target" in told
    assert {file: one["state"] for file, one in verified(heart).items()} == {MEMBER: "edited"}
    weights.unlink()
    done = heart.snakemake(*HEART, "--", MEMBER)
    assert "1 of 1 steps (100%) done" in done.stdout + done.stderr
    assert weights.read_bytes() == before
    assert verified(heart) == {}
    assert heart.jobs(*HEART) == {}


def test_cells_edited_by_hand_are_not_written_over(heart):
    cells = heart.folder / CELLS
    before = cells.read_bytes()
    cells.write_bytes(before.replace(b"0.", b"1.", 1))
    refused(heart, CELLS)
    assert {file: one["state"] for file, one in verified(heart).items()} == {CELLS: "edited"}
    cells.unlink()
    heart.snakemake(*HEART)
    assert cells.read_bytes() == before
    assert verified(heart) == {}


def test_times_and_snakemakes_own_records_decide_nothing(heart):
    shutil.rmtree(heart.folder / ".snakemake")
    draw = random.Random(0)
    for path in sorted((heart.folder / TREE).rglob("*")):
        if path.is_file():
            at = time.time() + draw.randint(-(10**7), 10**4)
            os.utime(path, (at, at))
    assert heart.jobs(*HEART) == {}
    assert verified(heart) == {}


def test_in_a_clone_that_has_the_results_alone_nothing_is_to_do(heart):
    for part in ("scratch", "keys", "benchmarks", "logs"):
        shutil.rmtree(heart.folder / TREE / part)
    shutil.rmtree(heart.folder / TREE / "data/acdc/phantom")
    shutil.rmtree(heart.folder / ".snakemake")
    assert heart.jobs(*HEART) == {}
    assert verified(heart) == {}


def test_a_dry_run_and_verify_agree_on_what_a_changed_parameter_makes_stale(heart):
    path = heart.folder / CONFIG
    path.write_text(path.read_text().replace("ece_bins: 10", "ece_bins: 20"))
    jobs = heart.jobs(*HEART)
    assert not {"train", "preprocess", "split", "index", "phantom_acdc"} & set(jobs)
    assert jobs["measure"] == jobs["sample"] == 4
    wrong = verified(heart)
    assert {one["state"] for one in wrong.values()} == {"stale"}
    # Posteriors are made again because they are deleted, not because they would be others.
    made = {one["job"] for one in wrong.values()}
    targets = {"mehrtash2020", "all", "sample"}
    assert len(made) == sum(count for rule, count in jobs.items() if rule not in targets)
    assert {one["why"] for one in wrong.values() if "/measures/" in one["path"]} == {
        "config measures.ece_bins: 10, now 20"
    }
    assert NAMES["collect"].format(study="mehrtash2020") in made
    path.write_text(path.read_text().replace("ece_bins: 20", "ece_bins: 10"))
    assert heart.jobs(*HEART) == {}
