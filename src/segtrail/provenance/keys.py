"""Keys: what each job of a run should be made from, by the configuration, scans and code that there are now.

A key hashes everything that shapes a job's outputs and nothing else: the values of the configuration that it
reads, the seed, its code, the scans and files that it reads itself, and the keys of the jobs whose outputs it
reads. What artifacts were made from stands in their receipts (`receipts`); where the key is another, they are
stale.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ..files import sha256_of, sha256_of_file
from ..layout import Layout
from ..runs.jobs import Job, jobs
from ..source import script_hash
from . import receipts

SCRIPTS = Path("workflow/scripts")
SEEDED = ("phantom", "train", "sample", "measure", "cells", "claims")


@dataclass(eq=False)
class Keys:
    """The keys of all jobs of a run, in the clone that is the working directory."""

    layout: Layout
    _configs: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    _made_from: dict[str, dict[str, Any]] = field(default_factory=dict)
    _keys: dict[str, str | None] = field(default_factory=dict)

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """name → job, each after those whose outputs it reads."""
        return {job.name: job for job in jobs(self.layout)}

    def key(self, name: str) -> str | None:
        """The key of a job; None where it depends on a phantom that is not drawn yet."""
        if name not in self._keys:
            made_from = self.made_from(name)
            known = made_from["data"] is not None and None not in made_from["after"].values()
            self._keys[name] = sha256_of(made_from) if known else None
        return self._keys[name]

    def made_from(self, name: str) -> dict[str, Any]:
        """What a job should be made from; its parts as in `receipts`. `data` is None where a phantom is not
        drawn yet.

        Where a phantom's scans are not there but what was made of them is, as in a clone that holds results
        only, `data` is taken from the job's receipt; the phantom's own key tells whether it is still so.
        """
        if name not in self._made_from:
            job = self.jobs[name]
            made_from = own(self.layout, job, self._config(job)) | {
                "code": code_of(job),
                "after": {before: self.key(before) for before in job.after},
            }
            if made_from["data"] is None and (receipt := receipts.read(self.layout.tree, name)) is not None:
                data = receipt["made_from"]["data"]
                # Of the same subjects: a phantom of others is drawn anew.
                made_from["data"] = data if data.keys() == records_of(self.layout, job).keys() else None
            self._made_from[name] = made_from
        return self._made_from[name]

    def _config(self, job: Job) -> dict[str, Any]:
        """What `config_of` gives, once for all members of a model that are trained on the same subjects."""
        alike = job.step == "train" and not _has_folds(self.layout, **job.of)
        place = (job.step, *(value for name, value in job.of.items() if name != "member" or not alike))
        if place not in self._configs:
            self._configs[place] = config_of(self.layout, job)
        return self._configs[place]


def own(layout: Layout, job: Job, config: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a job is made from, but for its code and the jobs before it; `config` where it is known."""
    return {
        "step": job.step,
        "of": job.of,
        "config": config_of(layout, job) if config is None else config,
        "seed": layout.run.seed if job.step in SEEDED else None,
        "data": _data(layout, job),
        "files": {str(path): sha256_of_file(path) for path in files_of(job)},
    }


def config_of(layout: Layout, job: Job) -> dict[str, Any]:
    """The values of the configuration that a job reads; those of two members differ only where folds are
    held out."""
    return CONFIG[job.step](layout, **job.of)


@cache
def _script_hash(script: Path) -> str:
    return script_hash(script)


def code_of(job: Job) -> str:
    """The hash of the job's script and of the modules that it imports."""
    return _script_hash(SCRIPTS / f"{job.step}.py")


def files_of(job: Job) -> list[Path]:
    """The files of the clone, other than the configuration, that a job reads itself."""
    if job.step in ("cells", "claims"):
        return [Path(f"config/published/{job.of['study']}.csv")]
    if job.step == "report":
        found = [*Path("config/published").glob("*.csv"), *Path("config/audit").glob("*.yaml")]
        return sorted(path for path in found if path.is_file())
    return []


def records_of(layout: Layout, job: Job) -> dict[str, Path]:
    """subject → its record, of those whose scans a job reads."""
    return {
        f"{dataset}/{subject}": Path(layout.records(dataset, [subject])[0])
        for dataset, subject in _subjects(layout, job)
    }


def _data(layout: Layout, job: Job) -> dict[str, str] | None:
    """subject → hash of its record; None where some are not drawn yet."""
    records = records_of(layout, job)
    if not all(path.exists() for path in records.values()):
        return None
    return {name: sha256_of_file(path) for name, path in records.items()}


def _subjects(layout: Layout, job: Job) -> list[tuple[str, str]]:
    if job.step == "index":
        dataset = job.of["dataset"]
        return [(dataset, subject.id) for subject in layout.subjects[dataset]]
    if job.step in ("population", "preprocess"):
        return layout.chunks(job.of["study"], job.of["cohort"])[job.of.get("chunk", "train")]
    return []


# --- the configuration that each step reads -------------------------------------------------------


def _phantom(layout: Layout, dataset: str) -> dict[str, Any]:
    chosen = layout.run.datasets[dataset]
    drawn = chosen.phantoms[layout.run.scale].model_dump(mode="json")
    return {"phantom": drawn, "looked_for": chosen.inspected_by()}


def _index(layout: Layout, dataset: str) -> dict[str, Any]:
    """What the layout of a data root itself shows to be wrong; a phantom of this run has nothing wrong."""
    problems = [] if layout.run.drawn else layout.listing(dataset).problems
    return {"problems": [problem.as_dict() for problem in problems]}


def _split(layout: Layout, study: str, cohort: str) -> dict[str, Any]:
    return {part: _listed(members) for part, members in layout.split(study, cohort).items()}


def _population(layout: Layout, study: str, cohort: str) -> dict[str, Any]:
    return layout.run.studies[study].cohorts[cohort].prepared_by()


def _preprocess(layout: Layout, study: str, cohort: str, chunk: str) -> dict[str, Any]:
    return layout.run.studies[study].cohorts[cohort].prepared_by()


def _train(layout: Layout, study: str, cohort: str, model: str, member: str) -> dict[str, Any]:
    config = layout.run.studies[study].model(cohort, model).trained_by()
    if _has_folds(layout, study, cohort, model, member):
        config["held_out_subjects"] = _listed(layout.held_out(study, cohort, model)[int(member)])
    return config


def _has_folds(layout: Layout, study: str, cohort: str, model: str, member: str) -> bool:
    return layout.run.studies[study].model(cohort, model).folds is not None


def _listed(keys: list[tuple[str, str]]) -> list[str]:
    return [f"{dataset}/{subject}" for dataset, subject in keys]


def _predictions(layout: Layout, study: str, cohort: str, model: str) -> dict[str, Any]:
    return {"held_out_subjects": [_listed(fold) for fold in layout.held_out(study, cohort, model)]}


def _sample(layout: Layout, study: str, cohort: str, posterior: str, chunk: str) -> dict[str, Any]:
    """Kind and T of the predictors that read one posterior; they agree in both."""
    chosen = [layout.run.studies[study].predictor(cohort, p) for p in layout.posteriors(study)[posterior]]
    (found,) = {(one.kind == "mc_dropout", one.samples) for one in chosen}
    return {"mc_dropout": found[0], "samples": found[1]}


def _measure(layout: Layout, study: str, cohort: str, posterior: str, chunk: str) -> dict[str, Any]:
    chosen = layout.run.studies[study]
    box = chosen.cohorts[cohort].box
    return {
        "predictors": {
            name: chosen.predictor(cohort, name).model_dump(mode="json", exclude={"title"})
            for name in layout.posteriors(study)[posterior]
        },
        "box": box.model_dump(mode="json") if box else None,
        "measures": chosen.measures.measured_by(),
        "maps": layout.keeps_maps(study, cohort, posterior),
    }


def _results(*sections: str) -> Callable[..., dict[str, Any]]:
    """What cells, claims, tables and figures read; of the study's sections on results only those named."""

    def config(layout: Layout, study: str) -> dict[str, Any]:
        others = {"tables", "claims", "figures"} - set(sections) | {"recipes", "sensitivity"}
        run = layout.run
        tables = run.studies[study].tables if "tables" in sections else []
        return {
            "study": run.studies[study].model_dump(mode="json", exclude=others),
            # As they are read: a table says them by rows and columns.
            "cells": [cell.model_dump(mode="json") for table in tables for cell in table.cells()],
            "absent": run.absent[study],
            "phantom": run.phantom,
            "titles": {name: dataset.title for name, dataset in run.datasets.items()},
        }

    return config


def _figure(layout: Layout, study: str, figure: str) -> dict[str, Any]:
    chosen = layout.run.studies[study].figures[figure]
    return {**_results()(layout, study), "figure": chosen.model_dump(mode="json")}


def _report(layout: Layout) -> dict[str, Any]:
    return layout.run.reported_by()


def _nothing(layout: Layout, **of: str) -> dict[str, Any]:
    return {}


CONFIG: dict[str, Callable[..., dict[str, Any]]] = {
    "phantom": _phantom,
    "index": _index,
    "split": _split,
    "population": _population,
    "preprocess": _preprocess,
    "train": _train,
    "predictions": _predictions,
    "sample": _sample,
    "range": _nothing,
    "measure": _measure,
    "collect": _nothing,
    "cells": _results("tables"),
    "audit": _results("tables"),
    "claims": _results("tables", "claims"),
    "tables": _results("tables"),
    "figure": _figure,
    "report": _report,
}


# --- what differs ---------------------------------------------------------------------------------


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """In words, where two `made_from` differ, the expected one's value last; what is None is not known."""
    told = [
        f"{part} {'.'.join(place)}: {_short(was)}, now {_short(now)}"
        for part in ("config", "seed")
        for place, was, now in _unequal(found[part], expected[part])
    ]
    if expected["code"] != found["code"]:
        told.append("its code")
    for part, words in (("data", "the scans of {}"), ("files", "{}"), ("after", "what the job {} made")):
        told += [words.format(name) for name in differing(expected[part], found[part])]
    return [text.replace(" : ", ": ") for text in told]


def differing(expected: Mapping[str, str | None] | None, found: Mapping[str, str | None] | None) -> list[str]:
    """The names that only one has, or whose hashes differ; what is None is not known."""
    if expected is None or found is None:
        return []
    both = {name: (found[name], expected[name]) for name in found if name in expected}
    return [
        name
        for name in {**found, **expected}
        if name not in both or (None not in both[name] and both[name][0] != both[name][1])
    ]


def _unequal(was: Any, now: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """The places where two JSON values differ, as deep as both have them."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in {**was, **now}:
            yield from _unequal(was.get(name), now.get(name), (*place, name))
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for index, pair in enumerate(zip(was, now, strict=True)):
            yield from _unequal(*pair, (*place, str(index)))
    elif was != now:
        yield place, was, now


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
