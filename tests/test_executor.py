"""The parts of the executor that need no SLURM; the rest is tested on real daemons in tests/cluster."""

import os
import shlex
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_segtrail import batch_script, changed_since, packs


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)


def test_each_command_that_succeeds_leaves_its_marker(tmp_path):
    one, two, log = tmp_path / "a b.0", tmp_path / "a b.1", tmp_path / "log"
    done = run(batch_script(sys.executable, {one: f"echo 1 >> {log}", two: f"echo 2 >> {log}"}))
    assert done.returncode == 0
    assert one.exists()
    assert two.exists()
    assert log.read_text() == "1\n2\n"


def test_a_failed_command_does_not_stop_the_next_and_fails_the_script(tmp_path):
    one, two = tmp_path / "0", tmp_path / "1"
    assert run(batch_script(sys.executable, {one: "exit 3", two: "true"})).returncode == 1
    assert not one.exists()
    assert two.exists()


def test_a_requeued_script_does_nothing_twice(tmp_path):
    one, two, log = tmp_path / "0", tmp_path / "1", tmp_path / "log"
    one.touch()
    assert (
        run(batch_script(sys.executable, {one: f"echo 1 >> {log}", two: f"echo 2 >> {log}"})).returncode == 0
    )
    assert log.read_text() == "2\n"


def test_told_to_leave_it_begins_no_other(tmp_path):
    one, two, begun = tmp_path / "0", tmp_path / "1", tmp_path / "begun"
    script = batch_script(sys.executable, {one: f"touch {begun}; sleep 1; exit 143", two: "true"})
    process = subprocess.Popen(["/bin/sh", "-c", script])
    while not begun.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert not one.exists()
    assert not two.exists()


def test_a_node_without_the_environment_says_so(tmp_path):
    done = run(batch_script("/nowhere/.venv/bin/python", {tmp_path / "0": "true"}))
    assert done.returncode == 127
    assert "cannot run /nowhere/.venv/bin/python" in done.stderr
    assert "file system that the nodes share" in done.stderr
    assert not (tmp_path / "0").exists()


def job(rule: str, **resources):
    return SimpleNamespace(rule=SimpleNamespace(name=rule), resources=resources)


@given(st.lists(st.sampled_from("ab"), max_size=30), st.integers(1, 7))
def test_packs_hold_members_of_one_model_and_lose_none(models, size):
    members = [job("train", pack=model, members_per_job=size) for model in models]
    found = packs(members)
    assert sorted(id(member) for pack in found for member in pack) == sorted(map(id, members))
    assert all(len({member.resources["pack"] for member in pack}) == 1 for pack in found)
    assert all(len(pack) <= size for pack in found)
    full = sum(len(pack) == size for pack in found)
    assert full == sum(models.count(model) // size for model in "ab")


def test_other_rules_are_submitted_one_by_one():
    jobs = [job("measure"), job("measure"), job("train", pack="a", members_per_job=1)]
    assert packs(jobs) == [[jobs[0]], [jobs[1]], [jobs[2]]]


def test_a_path_with_a_blank_or_a_quote_stays_one_word(tmp_path):
    folder = tmp_path / "it's here"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    marker = folder / "0"
    command = f"test -d {shlex.quote(str(folder))}"
    assert run(batch_script(str(folder / "python"), {marker: command})).returncode == 0
    assert marker.exists()


def test_an_input_made_after_the_submission_is_noticed(tmp_path):
    folder, file, record = tmp_path / "arrays", tmp_path / "members.csv", tmp_path / "record.json"
    folder.mkdir()
    timestamp = folder / ".snakemake_timestamp"
    for second, path in enumerate((timestamp, file, record)):
        path.touch()
        os.utime(path, (second, second))
    assert not changed_since(record, [folder, file])  # a folder's own time tells nothing
    os.utime(file, (5, 5))
    assert changed_since(record, [folder, file])
    os.utime(file, (1, 1))
    os.utime(timestamp, (5, 5))
    assert changed_since(record, [folder, file])
