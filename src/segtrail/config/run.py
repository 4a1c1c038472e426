"""A run: which studies, at which scale, on which data; the one entry to the configuration.

Nothing here imports torch: the Snakefile reads the configuration on every start.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, PositiveInt, ValidationError

from ..errors import ConfigError
from .base import Strict, mistakes
from .cohort import Cohort
from .dataset import Dataset
from .study import Study, merged

T = TypeVar("T", bound=BaseModel)
# Every drawn data set holds this file: a root that has it is a phantom wherever it was moved.
PHANTOM_MARKER = "phantom.json"


class RunFile(Strict):
    """config/config.yaml, or any --configfile laid over it."""

    run: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="the tree's name under results/")
    scale: str = Field(description="one of the scales of the studies: smoke, demo, paper")
    studies: list[str] = Field(min_length=1)
    cohorts: list[str] | None = Field(default=None, description="only these cohorts; all when left out")
    sensitivity: str | None = Field(
        default=None, description="the name of a sensitivity run, which every study of the run must have"
    )
    seed: int = 1
    on_bad_subject: Literal["stop", "exclude"] = "stop"
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="where networks run; auto: a GPU where there is one; cuda: an error without",
    )
    members_per_job: PositiveInt = Field(
        default=1, description="members of one model that share a SLURM job, one after the other"
    )
    data: dict[str, Path | None] = Field(default={}, description="data set → its root; null: a phantom")
    datasets: dict[str, dict[str, Any]] = Field(default={}, description="patches on config/datasets")
    overrides: dict[str, dict[str, Any]] = Field(default={}, description="study → patch on its YAML")


class Run(Strict):
    """Everything a run is made from, checked."""

    name: str
    scale: str
    sensitivity: str | None
    seed: int
    on_bad_subject: Literal["stop", "exclude"]
    device: Literal["auto", "cpu", "cuda"]
    members_per_job: int
    drawn: bool = Field(description="no root is set: the workflow draws phantoms")
    phantom: bool = Field(description="the scans are phantoms, drawn by this run or by another")
    roots: dict[str, Path]
    datasets: dict[str, Dataset]
    studies: dict[str, Study]
    absent: dict[str, dict[str, str]] = Field(
        description="study → cohort that is not computed → why; a study without any other is left out"
    )

    def reported_by(self) -> dict[str, Any]:
        """What the report reads: all but where and how the jobs run."""
        return self.model_dump(mode="json", exclude={"device", "members_per_job"})


def load_run(values: dict[str, Any], config_dir: Path) -> Run:
    """Checks a run's configuration and loads the studies and data sets it names.

    `values` is the merged content of config.yaml and what the user laid over it (relative data
    roots are taken from the working directory). Raises ConfigError naming the key, the value and
    what is allowed.
    """
    wanted = _validated(RunFile, values, "config.yaml")
    loaded = known_datasets(wanted.datasets, config_dir)
    for name in wanted.data:
        if name not in loaded:
            raise _unknown(f"data.{name}", name, list(loaded))
    roots = {name: root.expanduser() for name, root in wanted.data.items() if root is not None}
    for name, root in roots.items():
        if not root.is_dir():
            raise ConfigError(
                f"data.{name}: {root} is not a folder",
                expected=f"the root of the data set {name} as distributed",
                remedy=f"fetch it (dvc pull {root}, where DVC tracks it), correct the path, or set it to "
                "null to work on a phantom",
            )
    files = {name: _study_file(name, config_dir) for name in wanted.studies}
    cohorts = {cohort for content in files.values() for cohort in content.get("cohorts", {})}
    for name in wanted.cohorts or []:
        if name not in cohorts:
            raise _unknown("cohorts", name, sorted(cohorts))
    studies: dict[str, Study] = {}
    absent: dict[str, dict[str, str]] = {}
    for name, content in files.items():
        study, absent[name] = _load_study(name, content, wanted, loaded, roots)
        if study is not None:
            studies[name] = study
    for name in wanted.overrides:
        if name not in files:
            raise _unknown(f"overrides.{name}", name, list(files))
    if not studies:
        raise ConfigError(
            "; ".join(
                f"no cohort of {name} can be computed: {'; '.join(reasons.values())}"
                for name, reasons in absent.items()
            ),
            remedy="set the data roots of at least one cohort, or of none to work on phantoms",
        )
    used = sorted({d for study in studies.values() for c in study.cohorts.values() for d in c.datasets})
    return Run(
        name=wanted.run,
        scale=wanted.scale,
        sensitivity=wanted.sensitivity,
        seed=wanted.seed,
        on_bad_subject=wanted.on_bad_subject,
        device=wanted.device,
        members_per_job=wanted.members_per_job,
        drawn=not roots,
        phantom=not roots or any((root / PHANTOM_MARKER).exists() for root in roots.values()),
        roots=roots,
        datasets={name: loaded[name] for name in used},
        studies=studies,
        absent=absent,
    )


def known_datasets(patches: dict[str, dict[str, Any]], config_dir: Path) -> dict[str, Dataset]:
    """Every data set under config/datasets and of `patches`, which are laid over those (key `datasets`)."""
    files = {path.stem: path for path in sorted((config_dir / "datasets").glob("*.yaml"))}
    return {
        name: _validated(
            Dataset,
            merged(read_yaml(files[name]) if name in files else {}, patches.get(name, {})),
            f"datasets/{name}.yaml",
        )
        for name in {**files, **patches}
    }


def named_run(name: str | None, config_file: Path | None, config_dir: Path, roots: Sequence[str] = ()) -> Run:
    """The run called `name`, as `segtrail plan` and `segtrail status` find it without Snakemake.

    Without a name: config.yaml, with `config_file` laid over it. Any other name is config.yaml with
    config/runs/<name>.yaml laid over it, where there is such a file, or else with run and scale set to
    `name`, as `--config run=smoke scale=smoke` does; beside a `config_file` only the run's name is set.
    `roots` are data roots laid over all that, as `acdc=/data/acdc`. Raises ConfigError as `load_run` does.
    """
    return load_run(named_values(name, config_file, config_dir, roots), config_dir)


def run_name(name: str | None, config_file: Path | None, config_dir: Path) -> str:
    """The name of that run, for who reads its results alone: its data roots need not be there."""
    return _validated(RunFile, named_values(name, config_file, config_dir), "config.yaml").run


def named_values(
    name: str | None, config_file: Path | None, config_dir: Path, roots: Sequence[str] = ()
) -> dict[str, Any]:
    """What the Snakefile would be given for the run called `name`."""
    values = read_yaml(config_dir / "config.yaml")
    if config_file is not None:
        values = merged(values, read_yaml(config_file))
    if name is not None and name != values.get("run"):
        own = config_dir / "runs" / f"{name}.yaml"
        if config_file is not None:
            values["run"] = name
        else:
            values = merged(values, read_yaml(own) if own.is_file() else {"run": name, "scale": name})
    for root in roots:
        dataset, equals, path = root.partition("=")
        if not equals:
            raise ConfigError(f"--root {root}", expected="DATASET=FOLDER, as acdc=/data/acdc")
        values = merged(values, {"data": {dataset: path}})
    return values


def _study_file(name: str, config_dir: Path) -> dict[str, Any]:
    path = config_dir / "studies" / f"{name}.yaml"
    if not path.is_file():
        raise _unknown("studies", name, [p.stem for p in sorted((config_dir / "studies").glob("*.yaml"))])
    return read_yaml(path)


def _load_study(
    name: str,
    values: dict[str, Any],
    wanted: RunFile,
    datasets: dict[str, Dataset],
    roots: dict[str, Path],
) -> tuple[Study | None, dict[str, str]]:
    """A study and its cohorts that are not computed; None where there is no other."""
    scales = values.pop("scales", {})
    if wanted.scale not in scales:
        raise _unknown("scale", wanted.scale, list(scales))
    values = merged(values, scales[wanted.scale] or {})
    if wanted.sensitivity is not None:
        values = merged(values, _sensitivity(name, values, wanted.sensitivity))
    values = merged(values, wanted.overrides.get(name, {}))
    absent = _absent_cohorts(values.get("cohorts", {}), wanted, roots)
    if absent and len(absent) == len(values["cohorts"]):
        return None, absent
    values["cohorts"] = {key: cohort for key, cohort in values["cohorts"].items() if key not in absent}
    study = _validated(Study, values, f"studies/{name}.yaml")
    if unknown := study.unknown_names(absent):
        raise ConfigError("\n          ".join(unknown[:8]), file=f"config/studies/{name}.yaml")
    for cohort_name, cohort in study.cohorts.items():
        for dataset in cohort.datasets:
            if dataset not in datasets:
                raise _unknown(f"cohorts.{cohort_name}.datasets", dataset, list(datasets))
            _check_channels(cohort_name, cohort, dataset, datasets[dataset].channels)
            if not roots and wanted.scale not in datasets[dataset].phantoms:
                raise ConfigError(
                    f"datasets/{dataset}.yaml has no phantom for scale {wanted.scale}",
                    expected=f"one of {sorted(datasets[dataset].phantoms)}",
                    remedy=f"set data.{dataset} to the data set's root, or describe a phantom",
                )
    return study, absent


def _check_channels(name: str, cohort: Cohort, dataset: str, known: Sequence[str]) -> None:
    """Raises ConfigError where the cohort names a channel that one of its data sets does not have."""
    wanted = [(f"cohorts.{name}.channels", channel) for channel in cohort.channels]
    if cohort.mask is not None:
        wanted.append((f"cohorts.{name}.mask.channel", cohort.mask.channel))
    for key, channel in wanted:
        if channel not in known:
            raise ConfigError(
                f"{key} = {channel!r}",
                expected=f"one of the channels of {dataset}: {', '.join(known)}",
                remedy=f"correct the study's cohort, or name the channel in config/datasets/{dataset}.yaml",
            )


def _sensitivity(study: str, values: dict[str, Any], wanted: str) -> dict[str, Any]:
    """The patch of a study's sensitivity run; ConfigError where the study has none of that name."""
    known = values.get("sensitivity") or {}
    if wanted not in known:
        raise ConfigError(
            f"sensitivity = {wanted!r}, which {study} does not have",
            file=f"config/studies/{study}.yaml",
            expected=f"one of: {', '.join(known) or '(none)'}",
            remedy="name one of these, or leave the study out (config key `studies`)",
        )
    patch: dict[str, Any] = known[wanted].get("patch") or {}
    return patch


def _absent_cohorts(cohorts: dict[str, Any], wanted: RunFile, roots: dict[str, Path]) -> dict[str, str]:
    """Cohorts that this run does not compute, each with the reason."""
    absent = {}
    for name, cohort in cohorts.items():
        missing = [dataset for dataset in cohort.get("datasets", []) if dataset not in roots]
        if wanted.cohorts is not None and name not in wanted.cohorts:
            absent[name] = f"cohort {name} is not part of this run (config: cohorts)"
        elif roots and missing:
            absent[name] = f"no data root is set for {', '.join(missing)} (config: data)"
    return absent


class _UniqueKeys(yaml.SafeLoader):
    """The safe loader, which by itself would silently take the last of two equal keys."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"a second {key.value!r}", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping, by the safe loader."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except FileNotFoundError as error:
        raise ConfigError(
            "no such file", file=path, remedy="start the command in the clone's root"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {error}", file=path) from error
    if not isinstance(values, dict):
        raise ConfigError(f"a {type(values).__name__}", file=path, expected="a mapping")
    return values


def _validated(model: type[T], values: dict[str, Any], file: str) -> T:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        text = mistakes(error, lambda location: _allowed(model, location))
        raise ConfigError(text, file=f"config/{file}") from error


def _allowed(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed beside the unknown key at `location`."""
    current: Any = model
    for part in location[:-1]:
        fields = getattr(current, "model_fields", {})
        current = fields[part].annotation if part in fields else _member(current)
        if isinstance(current, type) and issubclass(current, BaseModel):
            continue
    current = current if hasattr(current, "model_fields") else _member(current)
    return sorted(getattr(current, "model_fields", {}))


def _member(annotation: Any) -> Any:
    """The model inside dict[str, Model], list[Model] or Model | None."""
    for argument in getattr(annotation, "__args__", ()):
        if hasattr(argument, "model_fields"):
            return argument
        inner = _member(argument)
        if inner is not None:
            return inner
    return None


def _unknown(key: str, value: str, allowed: list[str]) -> ConfigError:
    return ConfigError(f"{key} = {value!r}", expected=f"one of: {', '.join(sorted(allowed)) or '(none)'}")
