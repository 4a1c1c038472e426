"""Whether what lies in a results tree is right: what its jobs left, made from what there is now.

    right     its key is that of the configuration, code and scans of now; its content is as its receipt says
    stale     made from something else: the next start makes it anew
    edited    its content is not what its receipt says: edited by hand, or damaged
    foreign   no job of the run makes it, or no receipt tells what it is

All content is hashed, whatever any cache says, and nothing is written. An artifact is a file, or in scratch/
a folder. Drawn scans and their records are none: they are inputs. Scans that are not as their records say
make stale what was made from them.

Where the data roots are not there, as in a clone of a run on real scans, the jobs are those that have left a
receipt; whether they were made from the configuration and the scans of now is not known then.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from ..config import load_run, merged, named_values, read_yaml
from ..errors import ArtifactError, ConfigError
from ..files import read_json, sha256_of_file
from ..layout import Layout, kind_of
from ..runs.jobs import OUTPUTS, Job, job_of, outputs
from ..runs.status import place
from . import receipts
from .keys import Keys, code_of, differences, differing, files_of
from .making import is_data
from .settle import CACHE, STAMP

RIGHT, STALE, EDITED, FOREIGN = STATES = ("right", "stale", "edited", "foreign")
OTHER = "other"  # the place of what is of no study

# The tree's own bookkeeping.
FILES = {"run.json", "environment.json", "controller.json", "controller.lock", CACHE}
FOLDERS = {"keys", "logs", "benchmarks", "resume", "slurm"}
NAMES = {STAMP, ".gitignore"}
PART = re.compile(r"\..*\.[0-9a-f]{8}\.part(\..*)?")  # what `files.atomic` writes until it is whole
SHOWN = 4  # differences told

NEXT = "the next start makes it anew (snakemake -n lists the jobs)"
AWAY = "nothing reads it: move it out of the tree, or delete it"

Watch = Callable[[int, int], None]  # bytes that are hashed, of how many


@dataclass(frozen=True)
class Artifact:
    """One artifact and what is wrong with it."""

    path: str  # below results/<run>
    place: str  # its study, data, report or other
    state: str
    job: str | None = None  # that makes it
    why: str = ""
    causes: tuple[str, ...] = ()  # of a stale one: the jobs that are stale by themselves
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value not in (None, "", ())}


@dataclass(frozen=True)
class Verified:
    """What a tree holds."""

    tree: Path
    artifacts: list[Artifact]
    missing: list[Artifact]  # that jobs make and that are not there; no posteriors
    measured: int  # posteriors that are not there: they are deleted once measured
    reasons: dict[str, str]  # job that is stale by itself → why
    unknown: list[str]  # what could not be told, in words

    @property
    def right(self) -> bool:
        return all(one.state == RIGHT for one in self.artifacts)

    def count(self, place: str | None = None) -> dict[str, int]:
        """state, or missing → how many artifacts, of one place or of all."""
        counts = dict.fromkeys((*STATES, "missing"), 0)
        for state, found in [
            *((one.state, one) for one in self.artifacts),
            *(("missing", m) for m in self.missing),
        ]:
            counts[state] += place in (None, found.place)
        return counts

    @property
    def places(self) -> list[str]:
        return list(dict.fromkeys(one.place for one in (*self.artifacts, *self.missing)))

    def as_dict(self) -> dict[str, Any]:
        return {
            "tree": str(self.tree),
            "counts": self.count(),
            "studies": {place: self.count(place) for place in self.places},
            "posteriors_deleted_once_measured": self.measured,
            "unknown": self.unknown,
            "artifacts": [one.as_dict() for one in self.artifacts],
            "missing": [one.path for one in self.missing],
        }


def verify(
    name: str | None,
    config_file: Path | None,
    roots: Sequence[str] = (),
    watch: Watch = lambda done, total: None,
) -> Verified:
    """Holds each artifact of a run to its receipt and to its key; for the clone's root.

    The run is that of `name`, `config_file` and `roots` as in `named_run`; where only its name is given, that
    of the command that it was started with last, on config/config.yaml as it is now. Raises ConfigError where
    there is no such run, or its tree is that of another kind of run or of another version, and what `jobs`
    raises.
    """
    values = run_now(name, config_file, roots)
    tree = Path("results") / values["run"]
    if not tree.is_dir():
        raise ConfigError(
            "no such run", file=tree, remedy="name one that there is: segtrail verify --run NAME"
        )
    absent = [f"data.{one}: {root}" for one, root in _absent(values)]
    if absent:
        kind_of(tree)
        note = (
            f"whether the configuration and the scans are still those that artifacts were made from: not a "
            f"folder: {', '.join(absent)} (--root DATASET=FOLDER names the data)"
        )
        return _Tree(tree, None, watch).verified([note])
    layout = Layout(load_run(values, Path("config")))
    layout.stop_if_another()
    return _Tree(tree, layout, watch).verified([])


def run_now(name: str | None, config_file: Path | None, roots: Sequence[str]) -> dict[str, Any]:
    """The configuration that the same command would have now."""
    base = read_yaml(Path("config/config.yaml"))
    about = Path("results") / str(name or base.get("run")) / "controller.json"
    if config_file is None and not roots and about.exists() and "given" in (last := read_json(about)):
        return merged(base, last["given"]) | {"run": about.parent.name}
    return named_values(name, config_file, Path("config"), roots)


def _absent(values: Mapping[str, Any]) -> list[tuple[str, Path]]:
    data = values.get("data")
    named = data.items() if isinstance(data, Mapping) else ()
    found = [(dataset, Path(str(root)).expanduser()) for dataset, root in named if root is not None]
    return [(dataset, root) for dataset, root in found if not root.is_dir()]


@dataclass(frozen=True)
class _Stale:
    """Why a job's outputs are stale, and which jobs are to blame: itself, or some that come before it."""

    why: str
    causes: tuple[str, ...]


@dataclass(eq=False)
class _Tree:
    """A results tree while it is looked at; without a layout all that is known of it are its receipts."""

    tree: Path
    layout: Layout | None
    watch: Watch
    files: dict[str, int] = field(default_factory=dict)  # below the tree → bytes; no bookkeeping
    found: dict[str, dict[str, Any]] = field(default_factory=dict)  # job → its receipt
    damaged: dict[str, ArtifactError] = field(default_factory=dict)  # job → what is wrong with its receipt

    def verified(self, unknown: list[str]) -> Verified:
        self._read()
        keys = None if self.layout is None else Keys(self.layout)
        jobs = _by_receipts(self.found) if keys is None else keys.jobs
        scans = self._scans(unknown)
        wrong, changed = self._hashed(scans)
        stale = _stale(jobs, self.found, keys, changed)
        artifacts, missing, measured = self._judged(jobs, stale, wrong)
        reasons = {job: one.why for job, one in stale.items() if one.causes == (job,)}
        return Verified(self.tree, artifacts, missing, measured, reasons, unknown)

    def _read(self) -> None:
        """Lists the tree, and reads the receipts."""
        scans = [path for part in ("phantom", "records") for path in self.tree.glob(f"data/*/{part}")]
        skipped = [*(self.tree / folder for folder in FOLDERS), *scans]
        self.files = {
            path: size
            for path, size in _walk(self.tree, skipped)
            if path not in FILES and path.rpartition("/")[2] not in NAMES
        }
        for path in [path for path in self.files if path.startswith("receipts/") and path.endswith(".json")]:
            job = path.removeprefix("receipts/").removesuffix(".json")
            try:
                if (receipt := receipts.read(self.tree, job)) is not None:
                    self.found[job] = receipt
            except ArtifactError as error:
                self.damaged[job] = error

    # --- content ----------------------------------------------------------------------------------

    def _scans(self, unknown: list[str]) -> dict[Path, tuple[str, str]]:
        """file of a scan → its subject and the hash that its record tells, of all scans that there are."""
        scans: dict[Path, tuple[str, str]] = {}
        for dataset in [] if self.layout is None else self.layout.run.datasets:
            assert self.layout is not None
            root = self.layout.root(dataset)
            records = [path for path in map(Path, self.layout.records(dataset)) if path.exists()]
            if not root.exists():
                unknown.append(f"whether the scans of {dataset} are as they were drawn: they are not here")
                continue
            if lacking := len(self.layout.subjects[dataset]) - len(records):
                unknown.append(
                    f"whether the scans of {lacking} subjects of {dataset} are those that were read: they "
                    "have no records here (snakemake -n makes them)"
                )
            for path in records:
                for file, sha256 in read_json(path)["files"].items():
                    scans[root / file] = (f"{dataset}/{path.stem}", sha256)
        return scans

    def _hashed(self, scans: Mapping[Path, tuple[str, str]]) -> tuple[dict[str, str], set[str]]:
        """file below the tree → how it differs from its receipt; and the subjects whose scans changed."""
        entries = {file: entry for one in self.found.values() for file, entry in one["outputs"].items()}
        wrong = {
            file: f"{self.files[file]} bytes, and its receipt says {entry['size']}"
            for file, entry in entries.items()
            if file in self.files and self.files[file] != entry["size"]
        }
        expected = {
            self.tree / file: entry["sha256"]
            for file, entry in entries.items()
            if file in self.files and file not in wrong and entry["sha256"] is not None
        }
        paths = [*expected, *scans]
        sizes = [path.stat().st_size if path.exists() else 0 for path in paths]
        total, done, changed = sum(sizes), 0, set()
        for path, size, sha256 in zip(paths, sizes, receipts.hashes(paths), strict=True):
            done += size
            self.watch(done, total)
            if path in expected and sha256 != expected[path]:
                told = f"sha256 {sha256}, and its receipt says {expected[path]}"
                wrong[str(path.relative_to(self.tree))] = told
            elif path in scans and sha256 != scans[path][1]:
                changed.add(scans[path][0])
        return wrong, changed

    # --- verdicts ---------------------------------------------------------------------------------

    def _judged(
        self, jobs: Mapping[str, Job], stale: Mapping[str, _Stale], wrong: Mapping[str, str]
    ) -> tuple[list[Artifact], list[Artifact], int]:
        artifacts = [
            Artifact(f"receipts/{job}.json", OTHER, EDITED, job, error.found, (), error.remedy or "")
            for job, error in self.damaged.items()
            if job in jobs or self.layout is None
        ]
        missing, measured = [], 0
        claimed = {f"receipts/{job}.json" for job in (*jobs, *self.damaged)}
        below = _folders(self.files)
        for name, job in jobs.items():
            for path in self._outputs(job):
                if is_data(path):
                    continue
                here = [path] if path in self.files else below.get(path, [])
                claimed.update(here)
                if here:
                    artifacts.append(self._artifact(path, job, here, stale.get(name), wrong))
                elif job.step == "sample" and name in self.found:
                    measured += 1
                elif name in self.found and not _entries(self.found[name], path):
                    continue  # an empty folder, as that of maps that no figure shows
                else:
                    missing.append(Artifact(path, place(job), "missing", name))
        left = [path for path in self.files if path not in claimed]
        return [*artifacts, *self._foreign(left, jobs)], missing, measured

    def _outputs(self, job: Job) -> list[str]:
        if self.layout is not None:
            return outputs(self.layout, job)
        if job.step in OUTPUTS:
            return [pattern.format(**job.of) for pattern in OUTPUTS[job.step]]
        return list(self.found[job.name]["outputs"])

    def _artifact(
        self, path: str, job: Job, here: list[str], stale: _Stale | None, wrong: Mapping[str, str]
    ) -> Artifact:
        where = (path, place(job))
        if job.name not in self.found:
            lost = "cannot be read" if job.name in self.damaged else "is not there: the job has not ended"
            return Artifact(*where, FOREIGN, job.name, f"the receipt of its job {job.name} {lost}", (), NEXT)
        entries = _entries(self.found[job.name], path)
        told = [
            *(f"{file}: {wrong[file]}" if file != path else wrong[file] for file in here if file in wrong),
            *(f"{file}: its receipt does not have it" for file in here if file not in entries),
            *(f"{file}: no such file" for file in sorted(entries - set(here))),
        ]
        if told:
            file = self.tree / path
            remedy = receipts.remedy(file, file if path not in entries else None)
            return Artifact(*where, EDITED, job.name, "; ".join(told[:SHOWN]), (), remedy)
        if stale is not None:
            return Artifact(*where, STALE, job.name, stale.why, stale.causes, NEXT)
        return Artifact(*where, RIGHT, job.name)

    def _foreign(self, left: Iterable[str], jobs: Mapping[str, Job]) -> Iterator[Artifact]:
        """What no job of the run makes."""
        others = {file: job for job, one in self.found.items() if job not in jobs for file in one["outputs"]}
        studies = [] if self.layout is None else list(self.layout.run.studies)
        for path in left:
            why, job = "no job of this run makes it", path.removeprefix("receipts/").removesuffix(".json")
            if path in others:
                job = others[path]
                why = f"made by the job {job}, which this run does not have"
            elif path.startswith("receipts/") and job in self.found:
                why = "the receipt of a job that this run does not have"
            elif any(map(PART.fullmatch, path.split("/"))):
                why = "left by a process that was killed, unless one is writing it now"
            at = next((part for part in path.split("/")[:2] if part in studies), OTHER)
            yield Artifact(path, at, FOREIGN, None, why, (), AWAY)


def _walk(tree: Path, skipped: Iterable[Path]) -> Iterator[tuple[str, int]]:
    """path below the tree → bytes, of each file outside the folders that are skipped."""
    without = set(map(str, skipped))
    for folder, folders, files in os.walk(tree, followlinks=True):
        folders[:] = sorted(name for name in folders if os.path.join(folder, name) not in without)  # noqa: PTH118
        for name in sorted(files):
            path = Path(folder, name)
            if path.exists():  # not a link that leads nowhere
                yield str(path.relative_to(tree)), path.stat().st_size


def _entries(receipt: Mapping[str, Any], path: str) -> set[str]:
    """The files of an artifact, by the receipt of the job that made it."""
    return {file for file in receipt["outputs"] if file == path or file.startswith(f"{path}/")}


def _folders(files: Iterable[str]) -> dict[str, list[str]]:
    """folder in scratch/ → the files below it."""
    below: dict[str, list[str]] = {}
    for file in files:
        if file.startswith("scratch/"):
            for folder in map(str, Path(file).parents):
                below.setdefault(folder, []).append(file)
    return below


# --- what is stale --------------------------------------------------------------------------------


def _by_receipts(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Job]:
    """The jobs that have left a receipt, each after those whose outputs it read."""
    after = {
        name: [one for one in receipt["made_from"]["after"] if one in found]
        for name, receipt in found.items()
    }
    made = {name: found[name]["made_from"] for name in TopologicalSorter(after).static_order()}
    return {name: job_of(one["step"], tuple(one["after"]), **one["of"]) for name, one in made.items()}


def _expected(job: Job, found: Mapping[str, Mapping[str, Any]], keys: Keys | None) -> dict[str, Any]:
    """What a job should be made from; without keys, as far as the code and the other receipts tell."""
    if keys is not None:
        return keys.made_from(job.name)
    return found[job.name]["made_from"] | {
        "code": code_of(job),
        "files": {str(path): sha256_of_file(path) for path in files_of(job)},
        "after": {name: found[name]["key"] if name in found else None for name in job.after},
    }


def _stale(
    jobs: Mapping[str, Job], found: Mapping[str, Mapping[str, Any]], keys: Keys | None, changed: set[str]
) -> dict[str, _Stale]:
    """job → why what it left is stale; `changed` are subjects whose scans are not what their records say."""
    stale: dict[str, _Stale] = {}
    apart: set[str] = set()  # jobs that are stale though the keys of those after them are as expected
    for name, job in jobs.items():
        if name not in found:
            continue
        expected, was = _expected(job, found, keys), found[name]["made_from"]
        alone: dict[str, Any] = {"after": {}}
        own = differences(expected | alone, was | alone)
        scans = [one for one in expected["data"] or () if one in changed]
        own += [f"the scans of {one}, since they were read" for one in scans]
        before = differing(expected["after"], was["after"])
        others = (*apart.intersection(job.after), *receipts.made_since(found[name], found))
        before += [one for one in job.after if one in others and one not in before]
        if keys is not None and keys.key(name) is None and not own and not before:
            own = ["no phantom is drawn here, and no receipt tells what was made of it"]
        own = own or [f"what the job {one} made" for one in before if one not in stale]
        if own:
            stale[name] = _Stale("; ".join(_some(own)), (name,))
        elif before:
            causes = sorted({cause for one in before for cause in stale[one].causes})
            stale[name] = _Stale(f"earlier jobs are stale: {', '.join(_some(causes))}", tuple(causes))
        if name in stale and (keys is None or scans or apart.intersection(before)):
            apart.add(name)
    return stale


def _some(words: Sequence[str]) -> list[str]:
    more = len(words) - SHOWN
    return [*words[:SHOWN], *([f"and {more} more"] if more > 0 else [])]
