"""A job reads nothing but what its receipt says, and leaves a receipt of its own."""

import os
import shutil
from pathlib import Path

import pytest
from made import HEART, STUDY, edit, flip, forget

from segtrail.errors import ArtifactError, SegtrailError
from segtrail.files import read_json, sha256_of, sha256_of_file, write_json
from segtrail.provenance import receipts
from segtrail.provenance.making import making

CELLS = f"{STUDY}/cells"
MEMBER = f"{STUDY}/heart/members/ce/000.safetensors"
SAMPLE = f"{HEART}/sample_ce_test_000"


def refused(run, name: str) -> ArtifactError:
    """The error of a job that stops before its work; it must leave no receipt, nor an old one."""
    with pytest.raises(ArtifactError) as error, making(run.snakemake(name)):
        pytest.fail("the job does its work")
    assert receipts.read(run.tree, name) is None
    return error.value


def test_a_job_leaves_a_receipt_of_what_it_made_and_what_from(finished):
    old = receipts.read(finished.tree, CELLS)
    finished.start()
    finished.do(CELLS)
    receipt = receipts.read(finished.tree, CELLS)
    assert {**receipt, "finished": "", "seconds": 0} == {**old, "finished": "", "seconds": 0}
    assert receipt["key"] == sha256_of(receipt["made_from"])
    assert receipt["made_from"]["after"] == {f"{STUDY}/collect": finished.keys()[f"{STUDY}/collect"]}
    file = finished.tree / f"{STUDY}/cells.csv"
    assert receipt["outputs"][f"{STUDY}/cells.csv"] == {
        "size": file.stat().st_size,
        "sha256": sha256_of_file(file),
    }
    assert receipt["environment"]["python"].startswith("3.")


def test_posteriors_have_no_hash_and_scans_are_left_out(finished):
    sample = receipts.read(finished.tree, SAMPLE)
    assert {entry["sha256"] for entry in sample["outputs"].values()} == {None}
    assert receipts.read(finished.tree, "phantom_acdc")["outputs"] == {}


def test_a_job_that_fails_leaves_no_receipt(finished):
    with pytest.raises(ZeroDivisionError), making(finished.snakemake(CELLS)):
        1 / 0  # noqa: B018
    assert receipts.read(finished.tree, CELLS) is None


def test_an_input_of_which_one_byte_is_another_is_refused_with_the_way_back(finished):
    finished.start()
    flip(finished.tree / MEMBER)
    error = refused(finished, SAMPLE)
    assert error.file == str(finished.tree / MEMBER)
    assert "edited or damaged" in error.found
    assert (
        receipts.read(finished.tree, f"{HEART}/train_ce_000")["outputs"][MEMBER]["sha256"] in error.expected
    )
    assert f"rm -f {finished.tree / MEMBER}" in error.remedy


def test_an_edited_file_of_a_folder_is_refused_with_the_folder_to_remove(finished):
    finished.start()
    arrays = finished.tree / f"scratch/{HEART}/arrays/test_000"
    (arrays / "two.npz").write_text("by hand")
    error = refused(finished, SAMPLE)
    assert error.file == str(arrays / "two.npz")
    assert f"rm -r {arrays}," in error.remedy


def test_a_lost_file_of_a_folder_is_refused_with_the_folder_to_remove(finished):
    finished.start()
    arrays = finished.tree / f"scratch/{HEART}/arrays/test_000"
    (arrays / "two.npz").unlink()
    error = refused(finished, SAMPLE)
    assert error.found == "no such file"
    assert f"rm -r {arrays}," in error.remedy


def test_an_input_without_a_receipt_is_refused(finished):
    finished.start()
    receipts.path(finished.tree, f"{HEART}/train_ce_000").unlink()
    error = refused(finished, SAMPLE)
    assert "no receipt of the job mehrtash2020/heart/train_ce_000" in error.found


def test_a_file_that_no_job_before_has_made_is_refused(finished):
    finished.start()
    snakemake = finished.snakemake(SAMPLE)
    other = finished.tree / "by_hand.safetensors"
    other.write_text("by hand")
    snakemake.input.append(str(other))
    with pytest.raises(ArtifactError, match="no receipt tells what it is"), making(snakemake):
        pytest.fail("the job does its work")


def test_an_input_made_from_something_else_is_refused(finished):
    """The member is of another configuration than the one this run was planned with."""
    other = finished.again(overrides={STUDY: {"cohorts": {"heart": {"model": {"training": {"epochs": 3}}}}}})
    other.start()
    other.do(f"{HEART}/train_ce_000")
    finished.start()
    error = refused(finished, SAMPLE)
    assert "has made its outputs from something else" in error.found
    assert "segtrail verify" in error.remedy


def test_a_configuration_edited_during_the_run_stops_its_jobs(finished):
    finished.start()
    edit(Path("config/studies/mehrtash2020.yaml"), "ece_bins: 10", "ece_bins: 20")
    error = refused(finished, CELLS)
    assert "changed since the run was started: config study.measures.ece_bins: 10, now 20" in error.found
    assert "same command again" in error.remedy


@pytest.mark.parametrize("times", ["new", "old"])
def test_code_edited_during_the_run_stops_its_jobs(finished, times):
    """Also where it was put there with the times of another copy."""
    finished.start()
    script = Path("workflow/scripts/cells.py")
    script.write_text(f"{script.read_text(encoding='utf-8')}\nMORE = 1\n", encoding="utf-8")
    if times == "old":
        os.utime(script, (1, 1))
    forget()
    assert "its code" in refused(finished, CELLS).found


def test_a_comment_written_during_the_run_stops_nothing(finished):
    finished.start()
    script = Path("workflow/scripts/cells.py")
    script.write_text(f"# more\n{script.read_text(encoding='utf-8')}", encoding="utf-8")
    forget()
    finished.do(CELLS)
    assert receipts.read(finished.tree, CELLS)["key"] == finished.keys()[CELLS]


def test_scans_that_change_during_the_run_stop_the_jobs_that_read_them(finished):
    finished.start()
    (dataset, subject), *_ = finished.layout.split(STUDY, "heart")["test"]
    record = Path(finished.layout.records(dataset, [subject])[0])
    write_json(record, read_json(record) | {"found": {"spacing": [1, 1, 1]}})
    assert f"the scans of {dataset}/{subject}" in refused(finished, f"{HEART}/preprocess_test_000").found


def test_what_was_not_known_when_the_run_began_is_known_in_the_receipt(finished):
    """A phantom is drawn by the run itself."""
    data = finished.tree / "data/acdc"
    shutil.move(data, "elsewhere")
    shutil.rmtree(finished.tree / "receipts")
    finished.start()
    assert read_json(receipts.key_path(finished.tree, f"{HEART}/preprocess_test_000"))["data"] is None
    shutil.move("elsewhere", data)
    for name in ("phantom_acdc", f"{HEART}/preprocess_test_000"):
        finished.do(name)
    receipt = receipts.read(finished.tree, f"{HEART}/preprocess_test_000")
    assert receipt["key"] == finished.keys()[f"{HEART}/preprocess_test_000"]
    assert set(receipt["scans"]) == set(receipt["made_from"]["data"])


def test_a_figure_looks_at_the_sizes_of_what_is_in_scratch_and_at_all_of_the_rest(finished):
    finished.start()
    figure = next(
        one for one in finished.of("figure") if f"{HEART}/preprocess_test_000" in finished.jobs[one].after
    )
    arrays = finished.tree / f"scratch/{HEART}/arrays/test_000/one.npz"
    flip(arrays)
    finished.do(figure)
    arrays.write_text("shorter")
    assert "bytes" in refused(finished, figure).expected
    arrays.unlink()
    flip(finished.tree / f"{STUDY}/measures.parquet")
    with pytest.raises(SegtrailError, match=r"measures\.parquet"), making(finished.snakemake(figure)):
        pytest.fail("the job does its work")
