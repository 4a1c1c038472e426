"""`segtrail data add`: a data set that is in order becomes one that DVC tracks, at data/<dataset>.

DVC is called as a user would call it; nothing here imports it.
"""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ..config import Run, load_run, merged, read_yaml
from ..errors import ConfigError, DataError, SegtrailError
from ..files import atomic_folder, read_json, write_text
from ..layout import Layout
from . import stages

DATA = Path("data")
CONFIG = Path("config")
FULL = ("No space left on device", "Disk quota exceeded")


def stop_if_not_addable(dataset: str, root: Path) -> None:
    """Everything that can be told before the scans are read.

    Raises SegtrailError where DVC is missing, ConfigError where the clone does not use it or data/<dataset>
    is taken, DataError for a link that leads out of the data set.
    """
    dvc_command()
    if not Path(".dvc").is_dir():
        raise ConfigError(
            "no folder .dvc here",
            file=Path.cwd(),
            remedy="start the command in the clone's root, or: dvc init",
        )
    target = DATA / dataset
    if target.is_symlink():
        raise ConfigError(
            f"a link to {target.resolve()}",
            file=target,
            expected="a folder, which DVC can keep",
            remedy="remove the link, and give the folder it leads to as the root: "
            f"segtrail data add {dataset} {target.resolve()}",
        )
    if not _same(root, target):
        if (pointer := target.with_name(f"{dataset}.dvc")).exists() or os.path.lexists(target):
            raise ConfigError(
                f"{target} {'is tracked' if pointer.exists() else 'exists'} already",
                file=pointer if pointer.exists() else target,
                expected=f"no {target} yet, or {target} itself as the root",
                remedy=f"a new version of a data set: change the files in {target}, then segtrail data add "
                f"{dataset} {target}; the earlier one stays in DVC's cache",
            )
        here, there = target.resolve(), root.resolve()
        if here.is_relative_to(there) or there.is_relative_to(here):
            raise ConfigError(
                f"{root} and {target} hold one another", expected="a root outside, or the folder itself"
            )
    _stop_at_links(root, in_place=_same(root, target))


def add(dataset: str, root: Path) -> list[str]:
    """Tracks `root`, sets it in config/config.yaml and writes dvc.yaml; returns what to tell the user.

    From elsewhere the data set is copied to data/<dataset>. Nothing is left behind by an error. Raises
    ConfigError if the configuration does not take the data set, SegtrailError for a full disk and whatever
    else DVC says.
    """
    target = DATA / dataset
    _run_with(dataset, root)
    copied = not _same(root, target)
    if copied:
        with atomic_folder(target) as folder:
            shutil.copytree(root, folder, dirs_exist_ok=True, copy_function=_copy)
    try:
        _dvc("add", str(target))
    except SegtrailError:
        if copied:
            shutil.rmtree(target)
        raise
    _set_root(CONFIG / "config.yaml", dataset, target)
    run = _run_with(dataset, target)
    stages.write(run)
    return [f"{target}.dvc: {_measured(target)}", *_next(run, target)]


def dvc_command() -> str:
    """DVC's command, of this environment or else on the path. Raises SegtrailError where there is none."""
    beside = Path(sys.executable).with_name("dvc")
    found = str(beside) if beside.exists() else shutil.which("dvc")
    if found is None:
        raise SegtrailError(
            "no command dvc", expected="DVC in the environment", remedy="pip install -r requirements.lock"
        )
    return found


def _dvc(*arguments: str) -> None:
    done = subprocess.run(
        [dvc_command(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        errors = [
            line.removeprefix("ERROR: ") for line in done.stdout.splitlines() if line.startswith("ERROR: ")
        ]
        raise _trouble("; ".join(errors) or f"dvc {arguments[0]}: exit status {done.returncode}")


def _copy(source: str, target: str) -> None:
    try:
        shutil.copy2(source, target)
    except OSError as error:
        raise _trouble(str(error)) from error


def _trouble(told: str) -> SegtrailError:
    """What DVC or the file system has told, and what can be done about it."""
    if any(words in told for words in FULL):
        return SegtrailError(
            told,
            expected="room for the data set in data/, and once more in DVC's cache",
            remedy="free space, or take the cache to a larger disk (dvc cache dir --local /larger/disk), and "
            "run the same command again",
        )
    return SegtrailError(told, remedy="dvc doctor tells what the disks and the cache can do; see docs/dvc.md")


def _run_with(dataset: str, root: Path) -> Run:
    """The run of config/config.yaml with this root; raises ConfigError as `load_run` does."""
    values = read_yaml(CONFIG / "config.yaml")
    return load_run(merged(values, {"data": {dataset: str(root)}}), CONFIG)


def _set_root(file: Path, dataset: str, root: Path) -> None:
    """Sets data.<dataset>; comments and everything else stay."""
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 2**16
    editor.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    values: Any = editor.load(file.read_text(encoding="utf-8"))
    if values.get("data") is None:
        values["data"] = {}
    values["data"][dataset] = str(root)
    text = io.StringIO()
    editor.dump(values, text)
    write_text(file, text.getvalue())


def _stop_at_links(root: Path, in_place: bool) -> None:
    """DVC follows a link to a file and passes over one to a folder; what lies elsewhere may change unseen."""
    inside = root.resolve()
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            if not path.is_symlink():
                continue
            leads = path.resolve()
            if not leads.is_relative_to(inside) or not leads.exists():
                raise DataError(
                    f"a link to {leads}",
                    file=path,
                    expected=f"files below {root}, where DVC can keep them",
                    remedy="put what it leads to in its place (cp -rL), or remove the link",
                )
            if in_place and leads.is_dir():
                raise DataError(
                    f"a link to the folder {leads}",
                    file=path,
                    expected="folders: DVC passes over links to them",
                    remedy="put what it leads to in its place (cp -rL), or remove the link",
                )


def _next(run: Run, target: Path) -> list[str]:
    lines = []
    marker = Layout(run).tree / "run.json"
    if marker.exists() and read_json(marker)["phantom"] != run.phantom:
        lines.append(
            f"{marker.parent} holds a run on phantoms: give this one another name (config/config.yaml: run)"
        )
    lines.append(f"config/config.yaml: data.{target.name} is {target}; dvc.yaml is up to date")
    lines.append(
        f"next: git add {target}.dvc data/.gitignore config/config.yaml dvc.yaml; dvc repro; dvc push"
    )
    return lines


def _measured(target: Path) -> str:
    sizes = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
    return f"{len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB"


def _same(root: Path, target: Path) -> bool:
    return root.resolve() == target.resolve()
