"""One controller per run, also after a kill."""

import getpass
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from segtrail.errors import ArtifactError
from segtrail.files import read_json
from segtrail.runs.controller import Controller, remove_dead_locks

HOLD = """
import sys, time
from pathlib import Path
from segtrail.runs.controller import Controller
controller = Controller(Path(sys.argv[1]))
controller.take({"run": "demo"})
print("has it", flush=True)
time.sleep(60)
"""


@pytest.fixture
def another(tmp_path):
    """A process that makes the tree."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "demo")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "has it\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_is_told_who_is_at_work(another, tmp_path):
    second = Controller(tmp_path / "demo")
    assert f"process {another.pid}" in second.other()
    with pytest.raises(ArtifactError, match=f"is being made by .* process {another.pid}, since 20"):
        second.take({"run": "demo"})
    assert read_json(tmp_path / "demo" / "controller.json")["pid"] == another.pid


def test_after_a_kill_the_next_one_has_it(another, tmp_path):
    another.kill()
    another.wait()
    second = Controller(tmp_path / "demo")
    assert second.other() is None
    second.take({"run": "demo", "seed": 2})
    assert read_json(tmp_path / "demo" / "controller.json")["config"] == {"run": "demo", "seed": 2}
    assert Controller(tmp_path / "demo").other() is not None


def test_looking_takes_nothing(tmp_path):
    assert Controller(tmp_path / "demo").other() is None
    assert Controller(tmp_path / "demo").other() is None
    Controller(tmp_path / "demo").take({})


def test_a_glance_of_status_does_not_stop_a_start(tmp_path):
    glance = """
import fcntl, sys, time
with open(sys.argv[1], "a") as lock:
    fcntl.flock(lock, fcntl.LOCK_SH)
    print("looks", flush=True)
    time.sleep(0.3)
"""
    (tmp_path / "demo").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", glance, str(tmp_path / "demo" / "controller.lock")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "looks\n"
    began = time.monotonic()
    Controller(tmp_path / "demo").take({})
    assert time.monotonic() - began > 0.1
    process.wait()


def test_only_the_locks_of_this_tree_are_removed(tmp_path):
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    ours, others, alike = (locks / f"{index}.output.lock" for index in range(3))
    ours.write_text("results/demo/report.html\nresults/demo/x.csv\n")
    others.write_text("results/paper/report.html\n")
    alike.write_text("results/demo2/report.html\n")
    tree = (tmp_path / "results" / "demo").relative_to(tmp_path)
    remove_dead_locks(tree, tmp_path / ".snakemake")
    assert not ours.exists()
    assert others.exists()
    assert alike.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("working", [True, False])
def test_another_user_is_told_who_is_at_work_or_whose_it_is(working):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        tree = Path(folder) / "demo"
        owner = Controller(tree)
        owner.take({})
        if not working:
            assert owner._handle is not None
            os.close(owner._handle)
        found = as_nobody(lambda: Controller(tree).other() or "nobody")
        me = f"{getpass.getuser()} on {socket.gethostname()}, process {os.getpid()}"
        assert me in found
        assert ("is being made by" in found) == working
        assert ("may not write" in found) != working


def as_nobody(look: Callable[[], str]) -> str:
    """What another user finds; the process is a copy of this one, which has imported all it needs."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            found = look()
        except ArtifactError as error:
            found = str(error)
        os.write(writer, found.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as handle:
        return handle.read()
