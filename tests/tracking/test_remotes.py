"""Every kind of remote takes results and data there and back; what is wrong with one is told, and nothing
wrong is taken."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import RESULTS, Lab
from .servers import Remote, free_port, s3_server, ssh_server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dvc")]


@pytest.fixture(params=["folder", "ssh", "s3"])
def store(request, tmp_path) -> Iterator[Remote]:
    if request.param == "folder":
        yield Remote(str(tmp_path / "store"), {})
    elif request.param == "ssh":
        with ssh_server(tmp_path / "ssh") as remote:
            yield remote
    else:
        with s3_server() as remote:
            yield remote


def set_remote(lab: Lab, remote: Remote) -> None:
    """As docs/dvc.md says."""
    lab.dvc("remote", "add", "--local", "--default", "store", remote.url)
    for name, value in (remote.settings | {"verify": "true"}).items():
        lab.dvc("remote", "modify", "--local", "store", name, value)


def restored(lab: Lab) -> str:
    """What `make restore` says, in this environment."""
    installed = f"{sys.prefix}/.installed"
    return lab.run("make", "restore", f"VENV={sys.prefix}", f"--old-file={installed}")


def test_there_and_back(lab, made, store):
    set_remote(lab, store)
    lab.dvc("push")
    assert "up to date" in lab.dvc("push")
    other = lab.clone()
    set_remote(other, store)
    assert "Nothing to be done" in restored(other)
    assert other.cells == made.cells
    assert other.weights() == made.weights()
    assert other.nothing_to_do()
    assert not other.repro()


def test_without_a_remote_the_cache_restores(lab, made):
    (lab.folder / RESULTS / "cells.csv").unlink()
    assert "Nothing to be done" in restored(lab)
    assert lab.cells == made.cells


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("/nowhere/at/all", {}),
        ("ssh://nobody@127.0.0.1:{port}/store", {"timeout": "5"}),
        ("s3://segtrail/store", {"endpointurl": "http://127.0.0.1:{port}", "connect_timeout": "2"}),
    ],
    ids=["folder", "ssh", "s3"],
)
def test_a_remote_that_cannot_be_reached(lab, made, url, settings):
    port = str(free_port())
    told = {name: value.format(port=port) for name, value in settings.items()}
    other = lab.clone()
    set_remote(other, Remote(url.format(port=port), told))
    said = other.fails("dvc", "pull")
    assert "ERROR: " in said
    assert "Traceback" not in said
    assert not (other.folder / RESULTS / "cells.csv").exists()
    assert made.cells == lab.cells


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    file.chmod(0o444)


def object_of(folder: Path, artifact: bytes) -> Path:
    """Where DVC keeps an artifact below a cache or a remote."""
    (found,) = [path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == artifact]
    return found


def test_a_byte_flipped_in_the_remote_is_not_taken(lab, remote):
    flip_a_byte(object_of(remote, lab.weights()))
    other = lab.clone()
    set_remote(other, Remote(str(remote), {}))
    said = other.fails("dvc", "pull")
    assert f"{RESULTS}" in said
    assert not (other.folder / RESULTS / "heart/members/ce/000.safetensors").exists()


def test_a_byte_flipped_in_the_cache_stops_the_next_run(lab):
    """DVC takes its own cache on trust; the receipts do not."""
    weights = RESULTS / "heart/members/ce/000.safetensors"
    flip_a_byte(object_of(lab.folder / ".dvc/cache", lab.weights()))
    (lab.folder / weights).unlink()
    lab.dvc("checkout", "--quiet")
    before = lab.weights()
    said = lab.fails("snakemake", "--cores", "2", "all")
    assert f"file:     {weights}" in said
    assert "expected: sha256" in said
    assert "remedy:" in said
    assert lab.weights() == before
    lab.edit("config/studies/toy.yaml", "ece_bins: 10", "ece_bins: 11")
    assert f"file:     {weights}" in lab.fails("dvc", "repro")


def test_locks_of_a_killed_command(lab):
    (lab.folder / ".dvc/tmp").mkdir(exist_ok=True)
    lock = lab.folder / ".dvc/tmp/rwlock"
    # The process id of a killed `dvc repro` that another process has now: the first of all.
    held = {"write": {str(lab.folder / RESULTS): {"pid": 1, "cmd": "dvc repro"}}, "read": {}}
    lock.write_text(json.dumps(held))
    lab.edit("config/studies/toy.yaml", "citation: of nothing", "citation: of something")
    assert "is busy, it is being blocked by" in lab.fails("dvc", "repro")
    lab.run("segtrail", "unlock")
    lab.repro()
    assert lab.nothing_to_do()
