"""dvc.yaml is written from the configuration, and nobody forgets to."""

from pathlib import Path

import pytest
import yaml

from segtrail.config import load_run, read_yaml
from segtrail.errors import ConfigError
from segtrail.tracking import stages

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.chdir(ROOT)


def run(**values):
    return load_run(read_yaml(ROOT / "config/config.yaml") | values, ROOT / "config")


def test_the_committed_file_is_up_to_date():
    stages.check(run())


def test_a_run_on_phantoms_depends_on_no_data_set_and_on_what_is_there():
    for stage in yaml.safe_load(stages.text(run()))["stages"].values():
        named = [path for path in stage["deps"] if not path.startswith("results/")]
        assert named
        assert all((ROOT / path).exists() for path in named)
        assert not any(path.startswith("data/") for path in named)


def test_a_study_depends_on_the_data_sets_that_its_cohorts_have(tmp_path):
    with_data = run(data={"acdc": str(tmp_path), "brats17": None})
    whole = yaml.safe_load(stages.text(with_data))["stages"]
    assert str(tmp_path) in whole["mehrtash2020"]["deps"]
    assert str(tmp_path) not in whole["report"]["deps"]


def test_another_set_of_studies_is_noticed(tmp_path):
    file = tmp_path / "dvc.yaml"
    with pytest.raises(ConfigError, match="segtrail stages"):
        stages.check(run(), file)
    assert stages.write(run(), file)
    assert not stages.write(run(), file)
    stages.check(run(), file)
    file.write_text(file.read_text().replace("config/datasets", "config/runs"))
    with pytest.raises(ConfigError, match="segtrail stages"):
        stages.check(run(), file)


def test_commands_are_the_same_on_every_machine_and_for_every_run(tmp_path, monkeypatch):
    """They are part of dvc.lock: a laptop's results must not be made again on a cluster."""
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "slurm")
    commands = [stage["cmd"] for stage in yaml.safe_load(stages.text(run()))["stages"].values()]
    others = run(run="other", seed=7)
    assert [stage["cmd"] for stage in yaml.safe_load(stages.text(others))["stages"].values()] == commands
    assert str(ROOT) not in str(commands)


def test_links_to_the_cache_are_never_written_through():
    """With hardlinks and symlinks DVC gives kept outputs new times, and an edit would reach the cache."""
    text = (ROOT / ".dvc/config").read_text()
    assert 'type = "reflink,copy"' in text
