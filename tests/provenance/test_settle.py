"""At each start: what is right has nothing to do, what is stale is made again, what was edited stops it."""

import os
import random
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made import HEART, STUDY, edit, flip

from segtrail.errors import ArtifactError
from segtrail.files import read_json, sha256_of_file, write_json
from segtrail.provenance import receipts
from segtrail.provenance.settle import CACHE, time_made, time_read
from segtrail.runs.jobs import outputs

MEMBER = f"{HEART}/members/ce/000.safetensors"
CELLS = f"{STUDY}/cells.csv"
BINS = {"overrides": {STUDY: {"measures": {"ece_bins": 20}}}}
SECOND = 1_000_000_000


def to_do(run) -> set[str]:
    """The jobs that Snakemake would do again by the times it looks at: an input is younger than the oldest
    output. Of a job without any output it asks those that come after it."""
    products, reads = {}, {}
    for name, job in run.jobs.items():
        benchmark = run.tree / "benchmarks" / f"{name}.tsv"
        made = [run.tree / path for path in outputs(run.layout, job)]
        products[name] = [time_made(path) for path in (*made, benchmark) if path.exists()]
        reads[name] = [Path(path) for path in run.snakemake(name).input]
    oldest = {name: min(times) for name, times in products.items() if times}
    for name in run.jobs:
        after = [oldest[one] for one, job in run.jobs.items() if name in job.after and products[one]]
        if name not in oldest and after:
            oldest[name] = min(after)
    return {
        name
        for name, paths in reads.items()
        if name in oldest and any(time_read(path) > oldest[name] for path in paths if path.exists())
    }


def everything(run) -> list[Path]:
    """Whatever has a time that Snakemake looks at."""
    return [
        path
        for part in (STUDY, "scratch", "data", "keys", "benchmarks", "report.html")
        for path in ([run.tree / part] if (run.tree / part).is_file() else (run.tree / part).rglob("*"))
        if path.is_file() and "/phantom/" not in str(path) and path.name != ".settled"
    ]


def scramble(run, seed: int, future: int = 0) -> None:
    """Gives every file any time of the last months, and of up to `future` seconds from now."""
    draw = random.Random(seed)
    for path in sorted(everything(run)):
        at = time.time() + draw.randint(-(10**7), future)
        os.utime(path, (at, at))


def times(run) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in everything(run)}


def test_of_a_finished_run_nothing_is_to_do_and_nothing_changes(finished):
    finished.start()
    before = times(finished)
    finished.start()
    assert times(finished) == before
    assert to_do(finished) == set()


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), future=st.sampled_from([0, 0, 10**5]))
def test_however_times_are_scrambled_nothing_is_to_do_and_a_second_start_changes_nothing(
    finished, seed, future
):
    """Clocks of nodes and servers may also be ahead."""
    scramble(finished, seed, future)
    finished.start()
    assert to_do(finished) == set()
    before = times(finished)
    finished.start()
    assert times(finished) == before


@pytest.mark.parametrize("future", [0, 10**5])
def test_what_is_stale_is_to_do_and_nothing_else(finished, future):
    finished.start()
    changed = finished.again(**BINS)
    scramble(changed, 1, future)
    for _ in range(2):
        changed.start()
        # Snakemake does what comes after them, too; their key files say so by themselves.
        assert to_do(changed) == changed.after(*changed.of("measure"))
    finished.start()  # back to what there was
    assert to_do(finished) == set()


def test_times_that_are_kept_in_seconds_only_do_not_hide_what_is_stale(finished, monkeypatch):
    """As on some file systems of clusters."""
    set_time = os.utime

    def coarse(path, *arguments, ns=None, **more):
        if ns is not None:
            more["ns"] = tuple(one // SECOND * SECOND for one in ns)
        set_time(path, *arguments, **more)

    monkeypatch.setattr(os, "utime", coarse)
    for path in everything(finished):
        now = time.time_ns()
        coarse(path, ns=(now, now))
    changed = finished.again(**BINS)
    changed.start()
    assert set(changed.of("measure")) <= to_do(changed)


def test_a_clone_with_results_and_receipts_alone_has_nothing_to_do(finished):
    """Records have just been written there, all that lay in scratch is missing, and times tell nothing."""
    for part in ("scratch", "keys", "benchmarks"):
        shutil.rmtree(finished.tree / part)
    for dataset in finished.layout.run.datasets:
        for record in finished.layout.records(dataset):
            Path(record).touch()
    finished.start()
    assert to_do(finished) == set()
    scramble(finished, 2)
    finished.start()
    assert to_do(finished) == set()


def test_a_tree_where_only_tables_were_pulled_has_nothing_to_do(finished):
    keep = {finished.tree / CELLS, *(finished.tree / STUDY / "tables").iterdir()}
    for path in everything(finished):
        if path not in keep and "/records/" not in str(path):
            path.unlink()
    shutil.rmtree(finished.tree / "scratch")
    scramble(finished, 3)
    finished.start()
    assert to_do(finished) == set()
    changed = finished.again(**BINS)
    changed.start()
    assert f"{STUDY}/cells" in to_do(changed)


@pytest.mark.parametrize("target", ["older", "younger"])
def test_artifacts_may_be_links_into_a_cache(finished, target, tmp_path):
    for index, path in enumerate(sorted((finished.tree / HEART / "members").rglob("*.*"))):
        cached = tmp_path / "cache" / str(index)
        cached.parent.mkdir(exist_ok=True)
        path.rename(cached)
        path.symlink_to(cached)
        at = time.time() + (1000 if target == "younger" else -1000)
        os.utime(cached, (at, at))
    finished.start()
    assert to_do(finished) == set()
    flip((finished.tree / MEMBER).resolve())
    with pytest.raises(ArtifactError, match=r"members/ce/000\.safetensors"):
        finished.start()


def test_a_job_that_still_runs_elsewhere_keeps_its_key_file(finished):
    """Its controller is gone; SLURM has the job, which has not written anything yet."""
    job = f"{HEART}/train_ce_000"
    for path in (finished.tree / MEMBER, finished.tree / MEMBER.replace(".safetensors", ".csv")):
        path.unlink()
    receipts.path(finished.tree, job).unlink()
    (finished.tree / f"benchmarks/{job}.tsv").unlink()
    key_file = receipts.key_path(finished.tree, job)
    before = key_file.stat()
    finished.start()
    after = key_file.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_what_has_no_receipt_is_to_do(finished):
    """As after a kill between the outputs and the receipt."""
    finished.start()
    receipts.path(finished.tree, f"{HEART}/train_ce_000").unlink()
    finished.start()
    assert f"{HEART}/train_ce_000" in to_do(finished)


def test_where_a_phantom_lies_nowhere_results_stay_and_without_receipts_are_to_do(finished):
    shutil.rmtree(finished.tree / "data/acdc/phantom")
    shutil.rmtree(finished.tree / "data/acdc/records")
    finished.start()
    assert to_do(finished) == set()
    for step in ("index", "preprocess"):
        for name in finished.of(step):
            receipts.path(finished.tree, name).unlink()
    finished.start()
    assert set(finished.of("index", "preprocess", "train")) <= to_do(finished)


# --- edited, damaged ------------------------------------------------------------------------------


def edited(run, *paths: str) -> ArtifactError:
    """The error of a start, which must leave the files as they are."""
    content = [(run.tree / path).read_bytes() for path in paths]
    with pytest.raises(ArtifactError, match="edited or damaged") as error:
        run.start()
    assert [(run.tree / path).read_bytes() for path in paths] == content
    return error.value


def test_an_artifact_edited_by_hand_stops_the_start_with_the_way_back(finished):
    finished.start()
    recorded = receipts.read(finished.tree, f"{STUDY}/cells")["outputs"][CELLS]["sha256"]
    path = finished.tree / CELLS
    path.write_text(path.read_text().replace("cells", "CELLS"))
    error = edited(finished, CELLS)
    assert error.file == str(path)
    assert recorded in error.expected
    assert "sha256" in error.found
    assert recorded not in error.found
    assert f"rm -f {path}" in error.remedy
    edited(finished, CELLS)  # and again, whatever the cache says
    path.unlink()
    finished.start()


def test_one_byte_of_a_weight_file_is_seen_though_its_size_and_time_are_kept(finished):
    finished.start()
    flip(finished.tree / MEMBER)
    assert edited(finished, MEMBER).file == str(finished.tree / MEMBER)


def test_a_stale_artifact_that_was_edited_is_not_overwritten(finished):
    finished.start()
    (finished.tree / CELLS).write_text("by hand")
    edited(finished.again(**BINS), CELLS)


def test_of_many_edited_artifacts_the_first_are_told(finished):
    finished.start()
    for path in (finished.tree / HEART / "members").rglob("*.safetensors"):
        flip(path)
    with pytest.raises(ArtifactError, match="6 artifacts were edited or damaged") as error:
        finished.start()
    assert error.value.found.count("remedy:") == 3
    assert "… and 3 more: segtrail verify names them all" in error.value.found


def test_a_folder_in_the_place_of_a_file_is_told(finished):
    (finished.tree / CELLS).unlink()
    (finished.tree / CELLS).mkdir()
    with pytest.raises(ArtifactError, match="Is a directory"):
        finished.start()


def test_an_edited_file_in_scratch_is_left_to_its_reader(finished):
    finished.start()
    flip(finished.tree / f"scratch/{HEART}/arrays/train/one.npz")
    finished.start()
    with pytest.raises(ArtifactError, match=r"arrays/train/one\.npz"):
        finished.do(f"{HEART}/train_ce_000")


def test_what_was_hashed_once_is_not_hashed_again(finished, monkeypatch):
    finished.start()  # members get another name, in the resume folder, and so another ctime
    finished.start()
    hashed = []
    monkeypatch.setattr(receipts, "_hash", lambda path: hashed.append(path) or "")
    finished.start()
    assert hashed == []
    (finished.tree / CELLS).touch()
    with pytest.raises(ArtifactError):
        finished.start()
    assert hashed == [finished.tree / CELLS]


@pytest.mark.parametrize("damage", [lambda text: text[:50], lambda text: "[]", lambda text: "\x00"])
def test_a_damaged_cache_is_written_anew(finished, damage):
    finished.start()  # members get another name, in the resume folder, and so another ctime
    finished.start()
    cache = finished.tree / CACHE
    before = read_json(cache)
    cache.write_text(damage(cache.read_text()))
    finished.start()
    assert read_json(cache) == before


def test_a_cache_in_which_one_hash_is_another_refuses_nothing(finished):
    finished.start()
    known = read_json(finished.tree / CACHE)
    known[CELLS][-1] = "0" * 64
    write_json(finished.tree / CACHE, known)
    finished.start()
    assert read_json(finished.tree / CACHE)[CELLS][-1] != "0" * 64


def test_a_damaged_key_file_is_written_anew(finished):
    finished.start()
    key_file = receipts.key_path(finished.tree, f"{STUDY}/cells")
    before = key_file.read_text()
    key_file.write_bytes(b"\xff{")
    finished.start()
    assert key_file.read_text() == before
    assert to_do(finished) == set()


def test_a_published_number_that_was_corrected_makes_cells_and_claims_anew(finished):
    finished.start()
    edit(Path(f"config/published/{STUDY}.csv"), "0.12", "0.13")
    finished.start()
    assert to_do(finished) == finished.after(f"{STUDY}/cells", f"{STUDY}/claims")


@pytest.mark.parametrize("cloned", [False, True])
def test_what_was_made_from_other_bytes_is_made_again(finished, cloned):
    """A member that was trained anew, on a GPU say, may have other bytes under the same key."""
    if cloned:
        for folder in ("scratch", "benchmarks", "keys"):
            shutil.rmtree(finished.tree / folder)
    weights = finished.tree / MEMBER
    weights.write_bytes(weights.read_bytes() + b"other digits")
    receipt = receipts.read(finished.tree, f"{HEART}/train_ce_000")
    receipt["outputs"] = receipts.contents(finished.tree, receipt["outputs"])
    write_json(receipts.path(finished.tree, f"{HEART}/train_ce_000"), receipt)
    finished.start()
    again = to_do(finished)
    assert not [name for name in again if "/train_" in name or "dice_test" in name]
    assert {f"{HEART}/measure_ce_test_000", f"{STUDY}/collect", f"{STUDY}/cells"} <= again


def test_a_member_of_a_clone_is_kept_where_its_training_looks_first(finished):
    """Where arrays are made anew, for one member more say, Snakemake deletes weights and starts the job."""
    finished.start()
    folder = finished.tree / "resume" / HEART / "ce/000"
    weights = finished.tree / MEMBER
    assert (folder / "done/000.safetensors").samefile(weights)
    assert read_json(folder / "sha256.json")["000.safetensors"] == sha256_of_file(weights)
    (folder / "sha256.json").write_text("{}")  # of another revision
    finished.start()
    assert read_json(folder / "sha256.json")["000.safetensors"] == sha256_of_file(weights)
