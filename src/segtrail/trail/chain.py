"""The steps that a number came through, each made once from the receipts of its jobs and shared by all cells.

A step is what stands under one heading of a trail: all members of one model, all chunks of one part. Where a
receipt is of another making than the one that was read, there is no chain, and the trail stops.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..config import Study
from ..errors import ArtifactError
from ..files import read_json, sha256_of
from ..runs.jobs import job_name
from ..studies import schema
from .jobs import PULL, SCRATCH, Jobs, wildcards
from .words import Listing, Row, lists_of_step, rows_of_step

# From the number down to the files.
KINDS = (
    "cells",
    "collect",
    "measure",
    "range",
    "posterior",
    "members",
    "predictions",
    "population",
    "arrays",
    "split",
    "scans",
    "data",
)
LEARNT = ("members", "predictions")  # trainings may be made from these, which are made from trainings
HELD_OUT = "held_out_subjects"  # in the configuration of trainings with folds, and of predictions


@dataclass(frozen=True, eq=False)
class Step:
    """One heading of a trail; `as_dict` is what `segtrail trail --json` prints of it."""

    id: str
    kind: str  # one of KINDS
    title: str
    made: list[dict[str, Any]] = field(default_factory=list)  # config, seed, code and the jobs that have them
    jobs: list[dict[str, Any]] = field(default_factory=list)
    after: list[str] = field(default_factory=list)  # ids of the steps that it was made from
    missing: list[dict[str, Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)  # what only its kind has
    # The hash of what shapes a number here, None where that is not known; '' where nothing does.
    digest: str | None = ""

    @property
    def rows(self) -> list[Row]:
        """What a page shows of it in few words."""
        return rows_of_step(self)

    @property
    def lists(self) -> list[Listing]:
        """What a page folds: members, subjects with their files, jobs."""
        return lists_of_step(self)

    def as_dict(self) -> dict[str, Any]:
        shown = ("id", "kind", "title", "made", "jobs", "after", "missing", "digest")
        return {name: getattr(self, name) for name in shown} | self.about


def in_order(steps: Mapping[str, Step]) -> list[Step]:
    """By KINDS; of trainings, and of what they learn from, each before what it was made from."""
    depths = dict.fromkeys(steps, 0)

    def sink(step: Step, depth: int) -> None:
        depths[step.id] = max(depths[step.id], depth)
        for name in step.after:
            if name in steps and steps[name].kind in LEARNT:
                sink(steps[name], depth + 1)

    for step in steps.values():
        if step.kind in LEARNT:
            sink(step, 0)

    def place(step: Step) -> tuple[int, int]:
        kind = LEARNT[0] if step.kind in LEARNT else step.kind
        return KINDS.index(kind), depths[step.id]

    return sorted(steps.values(), key=place)


@dataclass(eq=False)
class Chain:
    """The steps of one study of one run."""

    jobs: Jobs
    study_id: str
    study: Study
    titles: dict[str, str]  # data set → its title
    phantom: bool
    steps: dict[str, Step]
    _tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)

    def step(self, kind: str, *place: str, make: Callable[[str], Step]) -> Step:
        """The step of this kind and place, made when it is first asked for."""
        parts = (self.study_id, *place[:1], kind, *place[1:]) if kind != "data" else (kind, *place)
        name = "/".join(parts)
        if name not in self.steps:
            self.steps[name] = make(name)
        return self.steps[name]

    def below(self, ids: Sequence[str]) -> list[Step]:
        """The steps named and all that they were made from, from the number down. Where they name the scans
        of one data set of a part, not the other scans of that part."""
        whole = {name.rpartition("/")[0] for name in ids if self.steps[name].kind == "scans"}
        found: dict[str, Step] = {}
        waiting = list(ids)
        while waiting:
            step = self.steps[waiting.pop(0)]
            if step.id not in found:
                found[step.id] = step
                waiting += [name for name in step.after if name not in whole]
        return in_order(found)

    # --- the steps, from the number down ----------------------------------------------------------

    def cells(self) -> Step:
        def make(name: str) -> Step:
            job = job_name("cells", study=self.study_id)
            receipt = self.jobs.needed(job)
            settings = {"measures": self.study.measures.model_dump(mode="json")}
            return self._of_jobs(
                name,
                "cells",
                "Each printed number beside the run's own",
                {job: receipt["key"]},
                config=lambda _: settings,
                after=[self.collect()],
            )

        return self.step("cells", make=make)

    def collect(self) -> Step:
        """What the cells are computed from below it differs from cell to cell: see `Trail.reads`."""

        def make(name: str) -> Step:
            after = self.jobs.needed(job_name("cells", study=self.study_id))["made_from"]["after"]
            title = "One table of all measures, members and subjects of the study"
            return self._of_jobs(name, "collect", title, after)

        return self.step("collect", make=make)

    def measures(self, cohort: str, part: str, posterior: str) -> Step:
        def make(name: str) -> Step:
            wanted = self._collected("measure", cohort, part, posterior=posterior)
            title = f"Measures of {posterior} on the {part} part of {cohort}"
            after = [self.posterior(cohort, part, posterior), self.arrays(cohort, part)]
            ranged = self._read_by("range", wanted)
            over = {of["part"] for job in ranged if (of := wildcards("range", job))}
            after += [self.range(cohort, one, posterior, ranged) for one in sorted(over)]
            return self._of_jobs(name, "measure", title, wanted, after=after)

        return self.step("measure", cohort, posterior, part, make=make)

    def range(self, cohort: str, part: str, posterior: str, jobs: Mapping[str, str | None]) -> Step:
        """The smallest and largest uncertainty of a part; `jobs` are those that have found them, with their
        keys."""

        def make(name: str) -> Step:
            title = f"Range of the uncertainty of {posterior} over the {part} part of {cohort}"
            after = [self.posterior(cohort, part, posterior)]
            step = self._of_jobs(name, "range", title, jobs, after=after)
            file = self.jobs.tree / self.study_id / cohort / "ranges" / f"{posterior}_{part}.json"
            return replace(step, about={"range": read_json(file)} if file.exists() else {})

        return self.step("range", cohort, posterior, part, make=make)

    def posterior(self, cohort: str, part: str, posterior: str) -> Step:
        def make(name: str) -> Step:
            measured = self._collected("measure", cohort, part, posterior=posterior)
            sampled = self._read_by("sample", measured)
            models = {
                of["model"] for job in self._read_by("train", sampled) if (of := wildcards("train", job))
            }
            after = [self.members(cohort, model) for model in sorted(models)]
            return self._of_jobs(
                name,
                "posterior",
                f"Posterior {posterior} of the {part} part of {cohort}, deleted once measured",
                sampled,
                after=[*after, self.arrays(cohort, part)],
            )

        return self.step("posterior", cohort, posterior, part, make=make)

    def members(self, cohort: str, model: str) -> Step:
        """The trainings of a model, after those of the model whose errors it learns, or what that model's
        cross-validated members say of the folds that they have not seen."""

        def make(name: str) -> Step:
            trained = self._collected("train", cohort, model=model)
            predicted = self._read_by("predictions", trained)
            bases = {
                of["model"] for job in self._read_by("train", trained) if (of := wildcards("train", job))
            }
            folds = {of["model"] for job in predicted if (of := wildcards("predictions", job))}
            rows = self._member_rows(cohort, model, trained)
            made = self._of_jobs(
                name,
                "members",
                f"Members of {model}, trained on {cohort}",
                trained,
                config=_without_folds,
                after=[
                    *(self.members(cohort, base) for base in sorted(bases)),
                    *(self.predictions(cohort, one, predicted) for one in sorted(folds)),
                    *(self.arrays(cohort, part) for part in ("train", "val")),
                ],
                told=[
                    *(name.rpartition("_")[2] for name in trained),
                    *([row["member"], row["held_out"]] for row in rows if row["held_out"]),
                ],
            )
            return replace(made, about={"members": rows})

        return self.step("members", cohort, model, make=make)

    def predictions(self, cohort: str, model: str, jobs: Mapping[str, str | None]) -> Step:
        """What cross-validated members say of the folds that they have not seen; `jobs` as in `range`."""

        def make(name: str) -> Step:
            receipts_there = [receipt for job in jobs if (receipt := self.jobs.receipt(job)) is not None]
            folds = [fold for receipt in receipts_there for fold in receipt["made_from"]["config"][HELD_OUT]]
            parts = {
                of["chunk"]
                for job in self._read_by("preprocess", jobs)
                if (of := wildcards("preprocess", job))
            }
            made = self._of_jobs(
                name,
                "predictions",
                f"Segmentations by the members of {model} of the folds of {cohort} that each has not seen",
                jobs,
                config=_without_folds,
                after=[self.members(cohort, model), *(self.arrays(cohort, part) for part in sorted(parts))],
                told=folds,
            )
            return replace(made, about={"folds": folds})

        return self.step("predictions", cohort, model, make=make)

    def arrays(self, cohort: str, part: str) -> Step:
        def make(name: str) -> Step:
            prepared = self._collected("preprocess", cohort, part)
            after = [self.scans(cohort, part)]
            if self._read_by("population", prepared):
                after.append(self.population(cohort))
            title = f"Arrays of the {part} part of {cohort}, ready to train on"
            return self._of_jobs(name, "arrays", title, prepared, after=after)

        return self.step("arrays", cohort, part, make=make)

    def population(self, cohort: str) -> Step:
        def make(name: str) -> Step:
            prepared = self._collected("preprocess", cohort)
            title = f"Statistics of the training part of {cohort}"
            after = [self.scans(cohort, "train")]
            return self._of_jobs(
                name, "population", title, self._read_by("population", prepared), after=after
            )

        return self.step("population", cohort, make=make)

    def split(self, cohort: str) -> Step:
        """Which subject is in which part. It shapes a number only by its subjects, which the scans name."""

        def make(name: str) -> Step:
            job = job_name("split", study=self.study_id, cohort=cohort)
            rule = self.study.cohorts[cohort].split.model_dump(mode="json", exclude_none=True)
            step = self._of_jobs(name, "split", f"Split of {cohort}", {job: None}, config=lambda _: rule)
            receipt = self.jobs.receipt(job)
            parts = {} if receipt is None else receipt["made_from"]["config"]
            counts = {part: len(subjects) for part, subjects in parts.items()}
            return replace(step, about={"parts": counts}, digest="")

        return self.step("split", cohort, make=make)

    def scans(self, cohort: str, part: str, dataset: str | None = None) -> Step:
        """The subjects of a part, or of one data set in it, with their files."""

        def make(name: str) -> Step:
            rows, missing = self._subject_rows(name, cohort, part, dataset)
            self._stop_if_split_again(cohort, part, dataset, rows, missing)
            datasets = dict.fromkeys(row["dataset"] for row in rows)
            of = f" in {dataset}" if dataset else ""
            shaping = [[row["dataset"], row["subject"], row["files"]] for row in rows]
            return Step(
                id=name,
                kind="scans",
                title=f"Scans of the {part} part of {cohort}{of}",
                after=[self.split(cohort).id, *(self.data(one).id for one in datasets)],
                missing=missing,
                about={"part": part, "subjects": rows},
                digest=None if missing else sha256_of([part, shaping]),
            )

        return self.step("scans", cohort, part, *([dataset] if dataset else []), make=make)

    def data(self, dataset: str) -> Step:
        """A data set. Its scans' hashes tell what it is; a phantom's drawing is told beside them."""

        def make(name: str) -> Step:
            title = self.titles.get(dataset, dataset)
            job = job_name("phantom", dataset=dataset)
            drawn = any(
                job in receipt["made_from"]["after"]
                for receipt in map(self.jobs.receipt, self._collected("preprocess"))
                if receipt is not None
            )
            if not drawn:
                return Step(name, "data", title, about={"phantom": self.phantom})
            step = self._of_jobs(name, "data", f"Phantom of {title}", {job: None})
            missing = [one | {"known": True} for one in step.missing]
            return replace(step, about={"phantom": True}, digest="", missing=missing)

        return self.step("data", dataset, make=make)

    # --- what they consist of ---------------------------------------------------------------------

    @cached_property
    def _collect(self) -> dict[str, str]:
        """The jobs whose outputs were collected, with their keys; none where the receipt is missing."""
        step = self.collect()
        receipt = self.jobs.receipt(step.jobs[0]["job"]) if step.jobs else None
        return {} if receipt is None else dict(receipt["made_from"]["after"])

    def _collected(
        self, step: str, cohort: str | None = None, part: str | None = None, **of: str
    ) -> dict[str, str | None]:
        """The collected jobs of a step, cohort, part, … with their keys."""
        wanted = of if cohort is None else {**of, "cohort": cohort}
        found: dict[str, str | None] = {}
        for job, key in self._collect.items():
            place = wildcards(step, job)
            if place is None or any(place[name] != value for name, value in wanted.items()):
                continue
            if part is None or place["chunk"].split("_")[0] == part:
                found[job] = key
        return found

    def _read_by(self, step: str, jobs: Iterable[str]) -> dict[str, str | None]:
        """The jobs of a step whose outputs `jobs` have read, with their keys."""
        found: dict[str, str | None] = {}
        for receipt in map(self.jobs.receipt, jobs):
            after = {} if receipt is None else receipt["made_from"]["after"]
            found |= {job: key for job, key in after.items() if wildcards(step, job) is not None}
        return found

    def _of_jobs(
        self,
        name: str,
        kind: str,
        title: str,
        jobs: Mapping[str, str | None],
        config: Callable[[dict[str, Any]], Any] = lambda value: value,
        after: Iterable[Step] = (),
        told: Iterable[Any] = (),
    ) -> Step:
        """A step of jobs, which the given keys are of. `config` picks what of their configuration is told,
        `told` is further what shapes the number."""
        made: list[dict[str, Any]] = []
        shown, missing, absent = [], [], []
        for job, key in jobs.items():
            receipt = self.jobs.receipt(job, key)
            if receipt is None:
                missing.append(_link(name, f"no receipt of the job {job}", f"{PULL}, or run the workflow"))
                continue
            shown.append(self.jobs.told(kind, job, receipt))
            absent += self.jobs.not_here(kind, receipt)
            source = receipt["made_from"]
            values = {"config": config(source["config"]), "seed": source["seed"], "code": source["code"]}
            same = next((one for one in made if values.items() <= one.items()), None)
            if same is None:
                made.append({**values, "jobs": [job]})
            else:
                same["jobs"].append(job)
        if not jobs:
            missing.append(_link(name, f"{kind}: no job of it is known", f"{PULL}, or run the workflow"))
        if absent:
            missing.append(_not_here(name, absent))
        known = all(one["known"] for one in missing)
        shaping = [{key: one[key] for key in ("config", "seed", "code")} for one in made]
        digest = sha256_of([kind, shaping, *told]) if known else None
        return Step(name, kind, title, made, shown, [step.id for step in after], missing, digest=digest)

    def _member_rows(
        self, cohort: str, model: str, trained: Mapping[str, str | None]
    ) -> list[dict[str, Any]]:
        """One row per member: its seed, how its training went, its weights."""
        table = self._table("members", ("cohort", "model", "member"))
        rows = []
        for job in trained:
            receipt = self.jobs.receipt(job)
            if receipt is None:
                continue
            made_from, of = receipt["made_from"], receipt["made_from"]["of"]
            ((file, entry),) = self.jobs.leading("members", receipt).items()
            row: dict[str, Any] = {
                "member": of["member"],
                "seed": made_from["seed"],
                # The random state of a member is seeded by all of these (models.training).
                "seed_of": [made_from["seed"], self.study_id, cohort, model, of["member"]],
                "weights": entry["sha256"],
                "file": file,
                "held_out": made_from["config"].get(HELD_OUT, []),
            }
            training = table.get((cohort, model, int(of["member"])), {})
            names = ("epochs", "best_epoch", "val_dice", "dead_classes")
            rows.append(row | {name: training.get(name) for name in names})
        return rows

    def _subject_rows(
        self, name: str, cohort: str, part: str, dataset: str | None
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """One row per subject with its files, and the receipts that are missing for more."""
        rows, missing = [], []
        table = self._table("subjects", ("cohort", "part", "dataset", "subject"))
        for job, key in self._collected("preprocess", cohort, part).items():
            receipt = self.jobs.receipt(job, key)
            if receipt is None:
                text = f"no receipt of the job {job}, which names the subjects and their files"
                missing.append(_link(name, text, f"{PULL}, or run the workflow"))
                continue
            for subject, files in receipt["scans"].items():
                of, _, subject_id = subject.partition("/")
                if dataset in (None, of):
                    listed = table.get((cohort, part, of, subject_id), {})
                    about = {name: listed.get(name) for name in ("patient", "excluded")}
                    rows.append({"dataset": of, "subject": subject_id, **about, "files": files})
        return rows, missing

    def _stop_if_split_again(
        self,
        cohort: str,
        part: str,
        dataset: str | None,
        rows: list[dict[str, Any]],
        missing: list[dict[str, Any]],
    ) -> None:
        """Raises ArtifactError where the split that is there has other subjects in a part than were used."""
        job = job_name("split", study=self.study_id, cohort=cohort)
        receipt = self.jobs.receipt(job)
        if receipt is None or missing:
            return
        listed = {name.partition("/")[::2] for name in receipt["made_from"]["config"].get(part, [])}
        used = {(row["dataset"], row["subject"]) for row in rows}
        if used != {(of, subject) for of, subject in listed if dataset in (None, of)}:
            raise ArtifactError(
                f"the {part} part of {cohort} has been split again since the number was made",
                file=self.jobs.tree / self.study_id / cohort / "split.json",
                expected=f"the {len(used)} subjects that the number was made from",
                remedy="run the workflow to its end, so that all is made from one thing",
            )

    def _table(self, table: str, keys: tuple[str, ...]) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The rows of members.parquet or subjects.parquet by `keys`; none where it is not here. `collect` has
        held it to its receipt."""
        self.collect()
        if table not in self._tables:
            path = self.jobs.tree / self.study_id / f"{table}.parquet"
            content = {"members": schema.MEMBERS, "subjects": schema.SUBJECTS}[table]
            rows = schema.read(path, content).to_dict("index") if path.exists() else {}
            self._tables[table] = {
                tuple(row[key] for key in keys): {str(name): value for name, value in row.items()}
                for row in rows.values()
            }
        return self._tables[table]


def _link(step: str, what: str, remedy: str, known: bool = False) -> dict[str, Any]:
    """A link of the chain that is missing; `known`: its content is known by its hash, it only is not here."""
    return {"step": step, "what": what, "remedy": remedy, "known": known}


def _not_here(step: str, absent: list[str]) -> dict[str, Any]:
    first = absent[0] if len(absent) == 1 else f"{len(absent)} files, the first {absent[0]}"
    made_anew = all(file.startswith(SCRATCH) for file in absent)
    remedy = (
        "none needed: it is made anew from scans and members by the job that reads it" if made_anew else PULL
    )
    return _link(step, f"not here: {first}", remedy, known=True)


def _without_folds(config: Any) -> Any:
    """The configuration of a training without the subjects of its fold, which are told of each member."""
    return {key: value for key, value in config.items() if key != HELD_OUT}
