"""A run that has left its receipts, for the tests of keys and receipts."""

import shutil
from pathlib import Path

import pytest
from made import Made, working_in

from segtrail.layout import Layout


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory) -> Made:
    made = Made.new(tmp_path_factory.mktemp("made") / "clone")
    with working_in(made.folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Layout, "load", lambda _: made.layout)  # each job would read the same again
        made.finish()
    return made


@pytest.fixture
def finished(finished_once, tmp_path) -> Made:
    """A finished run for a test to change, in the working directory."""
    made = Made(Path(shutil.copytree(finished_once.folder, tmp_path / "clone", symlinks=True)))
    with working_in(made.folder):
        yield made
