"""A finished run as an RO-Crate: its files, verified, and what says how each came to be (`metadata`)."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import ArtifactError, ConfigError
from ...files import atomic, atomic_folder, sha256_of_file, write_json
from ...layout import Layout
from .. import receipts
from ..keys import Keys, differences
from .words import CONFIGURATION

# What a run is made with, in the clone.
CLONE = (
    *("Snakefile", "workflow", "src", "config", "slurm", "pyproject.toml", "requirements.lock"),
    *("environment.yml", "LICENSE", "CITATION.cff", "README.md"),
)
WEIGHTS = ".safetensors"
SHOWN = 5  # jobs and differences told


def export(
    layout: Layout,
    target: Path,
    *,
    config: Path | None = None,
    agent: str | None = None,
    weights: bool = False,
) -> int:
    """Writes a finished run as a Provenance Run Crate, a folder or a .zip; returns its size in bytes.

    It holds the run's results and receipts, the workflow, its code and its configuration, and with `weights`
    the members' weights; never a scan. `config` is the file that is laid over config/config.yaml; `agent` is
    who ran it, as `Name` or `Name <https://orcid.org/…>`. Raises ConfigError where `target` is there and not
    empty; ArtifactError where the run is not finished or was made from something else than there is now, and
    where a file is not what its receipt says. After an error `target` is as it was.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(
            f"--ro-crate {target}: it is there, and not empty",
            expected="the name of a folder that is empty or not there, or of a new .zip",
            remedy="name another, or remove it",
        )
    if target.suffix != ".zip":
        with atomic_folder(target) as folder:
            _fill(folder, layout, config, agent, weights)
            return sum(file.stat().st_size for file in receipts.files_of(folder))
    with atomic(target) as file, tempfile.TemporaryDirectory(dir=file.parent) as name:
        _fill(Path(name), layout, config, agent, weights)
        shutil.make_archive(str(file.with_suffix("")), "zip", name)
        return file.stat().st_size


def _fill(folder: Path, layout: Layout, config: Path | None, agent: str | None, weights: bool) -> None:
    from .metadata import described

    keys = Keys(layout)
    made = _finished(keys)
    for path in _clone_files(config):
        _copy(path, folder / path)
    for file, sha256 in _results(layout.tree, made, weights):
        _copy(layout.tree / file, folder / "results" / layout.run.name / file, sha256)
    write_json(folder / CONFIGURATION, layout.run.model_dump(mode="json", exclude={"roots"}))
    crate = described(layout, keys.jobs, made, folder, agent)
    crate.metadata.write(folder)
    crate.preview.write(folder)


def _finished(keys: Keys) -> dict[str, dict[str, Any]]:
    """job → its receipt. Raises ArtifactError unless every job is done, and made from what there is now."""
    tree, made, missing = keys.layout.tree, {}, []
    for job in keys.jobs:
        receipt = receipts.read(tree, job)
        if receipt is None:
            missing.append(job)
        elif receipt["key"] != keys.key(job):
            told = differences(keys.made_from(job), receipt["made_from"])
            raise ArtifactError(
                f"{job} was made from something else: {'; '.join(told[:SHOWN])}",
                file=receipts.path(tree, job),
                expected="results of the configuration, code and scans that there are: the crate holds these",
                remedy="name the configuration that the run was made with (--run, --config, --root), or run "
                "snakemake again",
            )
        else:
            made[job] = receipt
    if missing:
        more = ", …" if len(missing) > SHOWN else ""
        raise ArtifactError(
            f"{len(missing)} of {len(keys.jobs)} jobs left no receipt: {', '.join(missing[:SHOWN])}{more}",
            file=tree / "receipts",
            expected="a finished run",
            remedy="run snakemake again: it makes what is missing; segtrail status shows how far it is",
        )
    return made


def _clone_files(config: Path | None) -> list[Path]:
    """The workflow, its code and its configuration, as paths in the clone."""
    found = [file for name in CLONE for file in receipts.files_of(Path(name))]
    files = {file for file in found if not any(_passing(part) for part in file.parts)}
    if config is not None:
        if not config.resolve().is_relative_to(Path.cwd()):
            raise ConfigError(
                f"--config {config}: not in the clone",
                expected="a file in the clone, as config/runs/acdc.yaml: a crate has the clone's paths",
                remedy="copy it to config/runs",
            )
        files.add(config.resolve().relative_to(Path.cwd()))
    return sorted(files)


def _passing(part: str) -> bool:
    """Whether a part of a path names what tools leave in a clone."""
    return part.startswith(".") or part == "__pycache__" or part.endswith(".egg-info")


def _results(tree: Path, made: dict[str, dict[str, Any]], weights: bool) -> Iterator[tuple[str, str | None]]:
    """What the crate holds of the run, below `tree`, with the hash that a receipt gives it."""
    yield "run.json", None
    for job, receipt in made.items():
        yield str(receipts.path(tree, job).relative_to(tree)), None
        for file, entry in receipt["outputs"].items():
            if not file.startswith("scratch/") and (weights or not file.endswith(WEIGHTS)):
                yield file, entry["sha256"]


def _copy(source: Path, copy: Path, sha256: str | None = None) -> None:
    """Copies a file; raises ArtifactError where it is gone, or not what its receipt says."""
    if not source.is_file():
        raise ArtifactError("no such file", file=source, remedy=receipts.remedy(source))
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)
    if sha256 is not None and (found := sha256_of_file(copy)) != sha256:
        raise receipts.changed(source, f"sha256 {sha256}", f"sha256 {found}")
