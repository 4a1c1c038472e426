"""One source of versions: the lock."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def locked() -> list[str]:
    return (ROOT / "requirements.lock").read_text(encoding="utf-8").split()


def test_conda_users_get_the_versions_of_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (pins,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pins == locked(), "run: make lock"


def test_every_pin_is_one_exact_version_and_nothing_of_this_machine():
    assert locked()
    for pin in locked():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin), pin


def test_the_lock_holds_what_the_project_names():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    names = re.findall(r'^  "([a-z0-9-]+)",$', text, flags=re.MULTILINE)
    pinned = {re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower() for pin in locked()}
    assert len(names) > 20
    assert set(names) <= pinned


@pytest.mark.parametrize(
    "module",
    [
        "segtrail.layout",
        "segtrail.cli",
        "segtrail.source",
        "segtrail.data.check",
        "segtrail.data.preprocess",
        "segtrail.data.phantoms",
        "segtrail.studies.cells",
        "segtrail.studies.claims",
        "segtrail.studies.collect",
        "segtrail.studies.figures",
        "segtrail.studies.measure",
        "segtrail.studies.report",
    ],
)
def test_light_jobs_do_not_import_torch(module):
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in ('torch', 'monai')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
