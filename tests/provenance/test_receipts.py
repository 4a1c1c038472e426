"""What a receipt holds, and what is refused."""

import subprocess

import pytest

from segtrail.errors import ArtifactError
from segtrail.files import read_json, sha256_of, sha256_of_file, write_json
from segtrail.provenance import receipts

JOB = "study/heart/train_ce_000"


@pytest.fixture
def tree(tmp_path):
    """A tree with one receipt."""
    made_from = {"step": "train", "config": {"epochs": 2}}
    receipt = {
        "format": receipts.FORMAT,
        "job": JOB,
        "key": sha256_of(made_from),
        "made_from": made_from,
        "outputs": {"study/heart/members/ce/000.safetensors": {"size": 1, "sha256": "a" * 64}},
        "read": {},
        "scans": {},
        "environment": {},
    }
    write_json(receipts.path(tmp_path, JOB), receipt)
    return tmp_path


def test_a_receipt_is_found_by_the_name_of_its_job(tree):
    receipt = receipts.read(tree, JOB)
    assert receipt["job"] == JOB
    assert receipts.read(tree, "study/cells") is None
    assert receipts.all_receipts(tree) == {JOB: receipt}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace('"epochs": 2', '"epochs": 3'),
        lambda text: text.replace('"key": "', '"key": "0'),
        lambda text: text.replace('"outputs"', '"output"'),
        lambda text: text.replace(JOB, "study/heart/train_ce_001"),
        lambda text: "\ufffd\x00",
    ],
)
def test_a_receipt_that_is_damaged_or_edited_is_refused_with_a_remedy(tree, damage):
    file = receipts.path(tree, JOB)
    file.write_text(damage(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ArtifactError, match="not a receipt, or edited") as error:
        receipts.read(tree, JOB)
    assert error.value.file == str(file)
    assert "dvc checkout" in error.value.remedy
    assert "delete it" in error.value.remedy


def test_a_receipt_of_another_version_is_refused(tree):
    file = receipts.path(tree, JOB)
    write_json(file, read_json(file) | {"format": 7})
    with pytest.raises(ArtifactError, match="format 7, written by another version") as error:
        receipts.all_receipts(tree)
    assert error.value.expected == f"format {receipts.FORMAT}"


def test_contents_are_of_each_file_of_a_folder_and_nothing_of_snakemakes(tmp_path):
    (tmp_path / "maps/ce").mkdir(parents=True)
    (tmp_path / "maps/ce/a.npz").write_bytes(b"abc")
    (tmp_path / "maps/.snakemake_timestamp").touch()
    (tmp_path / "cells.csv").write_bytes(b"1,2\n")
    found = receipts.contents(tmp_path, ["maps", "cells.csv"])
    assert found == {
        "maps/ce/a.npz": {"size": 3, "sha256": sha256_of_file(tmp_path / "maps/ce/a.npz")},
        "cells.csv": {"size": 4, "sha256": sha256_of_file(tmp_path / "cells.csv")},
    }
    unhashed = receipts.contents(tmp_path, ["maps"], hashed=False)
    assert unhashed == {"maps/ce/a.npz": {"size": 3, "sha256": None}}


def test_hashes_come_in_order_and_say_what_cannot_be_read(tmp_path):
    files = [tmp_path / str(number) for number in range(20)]
    for file in files[:-1]:
        file.write_text(file.name)
    found = list(receipts.hashes([*files, tmp_path]))
    assert found[:19] == [sha256_of_file(file) for file in files[:19]]
    assert found[19:] == ["unreadable: No such file or directory", "unreadable: Is a directory"]


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"abd", "sha256"), (b"abcd", "4 bytes"), (None, "no such file")],
)
def test_a_changed_file_is_told_with_what_was_expected_and_how_to_have_it_back(tmp_path, content, told):
    (tmp_path / "a.bin").write_bytes(b"abc")
    entry = receipts.contents(tmp_path, ["a.bin"])["a.bin"]
    receipts.stop_if_changed(tmp_path, "a.bin", entry)
    (tmp_path / "a.bin").unlink()
    if content is not None:
        (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(ArtifactError, match=told) as error:
        receipts.stop_if_changed(tmp_path, "a.bin", entry)
    assert error.value.file == str(tmp_path / "a.bin")
    assert f"with {tmp_path / 'a.bin'} as its target" in error.value.remedy


def test_the_environment_tells_the_commit_and_whether_it_is_what_lies_there(tmp_path):
    def environment():
        receipts.write_environment(tmp_path / "results", tmp_path)
        return read_json(receipts.environment_path(tmp_path / "results"))

    found = environment()
    assert (found["commit"], found["changed"], found["lock"]) == (None, None, None)
    assert set(found["libraries"]) == set(receipts.LIBRARIES)

    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "requirements.lock").write_text("torch==2\n")
    git("init")
    git("add", "requirements.lock")
    git("commit", "-m", "first")
    found = environment()
    assert len(found["commit"]) == 40
    assert found["changed"] is False  # what is not tracked is not code
    assert found["lock"] == sha256_of_file(tmp_path / "requirements.lock")
    (tmp_path / "requirements.lock").write_text("torch==3\n")
    assert environment()["changed"] is True
