"""A small run whose jobs really hold their inputs to receipts and leave their own, but compute nothing.

    with working_in(folder): ...       the working directory, as for Snakemake's jobs
    made = Made.new(folder)            a clone with the records of drawn scans, nothing made yet
    made.start()                       what the Snakefile does before the DAG is built
    made.do("mehrtash2020/cells")      what Snakemake and the job's script do
    made.finish()                      every job, in order

What a job writes depends on its name alone.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from segtrail import source
from segtrail.config import load_run, merged, read_yaml
from segtrail.files import sha256_of_file, write_json
from segtrail.layout import Layout
from segtrail.provenance import keys, receipts
from segtrail.provenance.keys import Keys, records_of
from segtrail.provenance.making import is_data, making
from segtrail.provenance.settle import STAMP, settle
from segtrail.runs.jobs import Job, outputs

ROOT = Path(__file__).parents[2]
STUDY = "mehrtash2020"
HEART = f"{STUDY}/heart"
STARTED = {"run": "smoke", "scale": "smoke", "studies": ["mehrtash2020"], "cohorts": ["heart"]}


class Inputs(list):
    """A job's inputs as Snakemake gives them: a list in which one has a name."""

    key: str


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """The working directory; scripts are remembered by their place, so they are named in full."""
    before, keys.SCRIPTS = (Path.cwd(), keys.SCRIPTS), folder.absolute() / keys.SCRIPTS
    os.chdir(folder)
    yield
    os.chdir(before[0])
    keys.SCRIPTS = before[1]


def forget() -> None:
    """Code is read once in a process: for tests that edit it."""
    source._normal_form.cache_clear()
    keys._script_hash.cache_clear()


@dataclass
class Made:
    folder: Path
    more: dict[str, Any] = field(default_factory=dict)  # configuration

    @classmethod
    def new(cls, folder: Path) -> "Made":
        for part in ("config", "workflow"):
            shutil.copytree(ROOT / part, folder / part)
        made = cls(folder)
        with working_in(folder):
            made.layout.claim_tree()
            for dataset, planned in made.layout.planned.items():
                for subject in planned:
                    scans = [made.layout.root(dataset) / file for file in subject.files]
                    for scan in scans:
                        scan.parent.mkdir(parents=True, exist_ok=True)
                        scan.write_text(scan.name)
                    files = {file: sha256_of_file(made.layout.root(dataset) / file) for file in subject.files}
                    write_json(made.layout.records(dataset, [subject.id])[0], {"files": files, "found": {}})
        return made

    @property
    def values(self) -> dict[str, Any]:
        """The configuration that Snakemake gives to jobs."""
        return merged(merged(read_yaml(Path("config/config.yaml")), STARTED), self.more)

    @property
    def tree(self) -> Path:
        return Path("results/smoke")

    @cached_property
    def layout(self) -> Layout:
        return Layout(load_run(self.values, Path("config")))

    @cached_property
    def jobs(self) -> dict[str, Job]:
        return Keys(self.layout).jobs

    def again(self, **more: Any) -> "Made":
        """The same clone, started with another configuration, or with what lies in config/ now."""
        return Made(self.folder, more)

    def start(self) -> None:
        settle(self.layout)
        receipts.write_environment(self.tree, Path())
        write_json(self.tree / "controller.json", {"given": merged(STARTED, self.more)})

    def finish(self) -> None:
        self.start()
        for name in self.jobs:
            self.do(name)
        shutil.rmtree(self.tree / f"scratch/{HEART}/posteriors")  # as Snakemake does once they are measured

    def do(self, name: str) -> None:
        """One job from its start to its end; raises what it raises."""
        job = self.jobs[name]
        made = [self.tree / path for path in outputs(self.layout, job)]
        with making(self.snakemake(name)):
            for path in made:
                self.write(path, name)
        (self.tree / "benchmarks" / name).parent.mkdir(parents=True, exist_ok=True)
        (self.tree / "benchmarks" / f"{name}.tsv").write_text("s\n1\n")

    def write(self, path: Path, name: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_data(str(path.relative_to(self.tree))):
            return  # drawn already
        if path.suffix:
            path.write_text(f"{name} {path.name}")
        else:
            path.mkdir(exist_ok=True)
            (path / "one.npz").write_text(f"{name} one")
            (path / "two.npz").write_text(f"{name} two")
            (path / STAMP).touch()

    def snakemake(self, name: str) -> SimpleNamespace:
        """What a script is given. A job reads here all that the jobs before it have made."""
        job = self.jobs[name]
        inputs = Inputs(
            str(path)
            for before in job.after
            for path in (self.tree / output for output in outputs(self.layout, self.jobs[before]))
            if path.exists()
        )
        inputs += map(str, records_of(self.layout, job).values())
        inputs.key = str(receipts.key_path(self.tree, name))
        inputs.append(inputs.key)
        made = [str(self.tree / path) for path in outputs(self.layout, job)]
        return SimpleNamespace(config=self.values, input=inputs, output=made, rule=job.rule)

    def after(self, *names: str) -> set[str]:
        """Jobs and all that come after them."""
        found = set(names)
        for name, job in self.jobs.items():
            if found.intersection(job.after):
                found.add(name)
        return found

    def of(self, *steps: str) -> list[str]:
        return [name for name, job in self.jobs.items() if job.step in steps]

    def keys(self) -> dict[str, str | None]:
        found = Keys(Layout(self.layout.run))  # nothing that is remembered
        return {name: found.key(name) for name in found.jobs}


def flip(path: Path) -> None:
    """Changes one byte of a file, and neither its size nor its time."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
