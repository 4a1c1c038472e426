"""Where each artifact of a run lies, and which subjects each job handles.

Everything is known from the configuration and the names of the files in the data roots, so that the
Snakefile can build its whole DAG on start-up; no pixel is read and no heavy library is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .config import PART_NAMES, Cohort, Run, load_run
from .data import phantoms, records, splits
from .data.items import Item
from .data.phantoms import PlannedSubject
from .data.readers import list_subjects
from .data.subject import Listing, Subject
from .errors import ConfigError, DataError
from .files import read_json, write_json
from .provenance import receipts

Key = tuple[str, str]  # data set, subject id


@dataclass(frozen=True)
class Layout:
    """The tree `results/<run>` of one run."""

    run: Run
    results: Path = Path("results")
    _splits: dict[tuple[str, str], dict[str, list[Key]]] = field(
        default_factory=dict, repr=False, compare=False
    )
    _held_out: dict[tuple[str, str, str], list[list[Key]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def load(cls, values: dict[str, Any]) -> "Layout":
        """The layout of the configuration that a job was given; jobs run in the clone's root."""
        return cls(load_run(values, Path("config")))

    @property
    def tree(self) -> Path:
        return self.results / self.run.name

    # --- data sets -------------------------------------------------------------------------------

    def data(self, dataset: str) -> Path:
        return self.tree / "data" / dataset

    def root(self, dataset: str) -> Path:
        """The data set's root: the user's, or that of the phantom."""
        return self.run.roots.get(dataset, self.data(dataset) / "phantom")

    @cached_property
    def planned(self) -> dict[str, list[PlannedSubject]]:
        """What the phantom rules will write; empty in a run on real scans."""
        if not self.run.drawn:
            return {}
        return {
            name: phantoms.plan(name, dataset, dataset.phantoms[self.run.scale])
            for name, dataset in self.run.datasets.items()
        }

    @cached_property
    def subjects(self) -> dict[str, list[Subject] | list[PlannedSubject]]:
        """Every subject of each data set, by name only."""
        if self.run.drawn:
            return dict(self.planned)
        return {name: self.known(name) for name in self.run.datasets}

    def known(self, dataset: str) -> list[Subject]:
        """Every subject of a data root, those that are refused too: they leave their part after the split."""
        listing = self.listing(dataset)
        return sorted([*listing.subjects, *listing.refused], key=lambda subject: subject.id)

    def listing(self, dataset: str) -> Listing:
        """What lies in the data set's root, as its reader sees it."""
        return list_subjects(self.root(dataset), self.run.datasets[dataset])

    def records(self, dataset: str, ids: Sequence[str] | None = None) -> list[str]:
        """The record of each subject: what the rules depend on in place of its scans."""
        wanted = [subject.id for subject in self.subjects[dataset]] if ids is None else ids
        return [str(self.data(dataset) / "records" / f"{name}.json") for name in wanted]

    def refresh_records(self, jobs: int = 1) -> None:
        """Reads every scan once, and notices by their content those that have changed since.

        Before a phantom is drawn there is nothing to read. Raises DataError where a subject is found to be
        bad and the run does not exclude it.
        """
        for name, dataset in self.run.datasets.items():
            folder = self.data(name) / "records"
            if not self.run.drawn or (any(folder.glob("*.json")) and self.root(name).exists()):
                records.refresh(folder, self.listing(name), dataset, self.root(name), jobs)
                self.stop_if_bad(name)

    def stop_if_bad(self, dataset: str) -> None:
        """Raises DataError for bad subjects of a data set, unless the run leaves them out."""
        listing = self.listing(dataset)
        ids = [subject.id for subject in listing.subjects]
        found = records.problems(self.data(dataset) / "records", ids)
        bad = [*listing.problems, *found.values()]
        records.stop_if_bad(bad, dataset, self.run.on_bad_subject)

    @property
    def kind(self) -> dict[str, Any]:
        """What a tree of this run says that it is, in run.json."""
        run = self.run
        kind = {"run": run.name, "phantom": run.phantom, "scale": run.scale}
        if run.sensitivity is not None:
            kind["sensitivity"] = run.sensitivity
        return {**kind, "format": receipts.FORMAT}

    def claim_tree(self) -> None:
        """Writes down what this tree is, once. Raises ConfigError as `stop_if_another`."""
        self.stop_if_another()
        if not (self.tree / "run.json").exists():
            write_json(self.tree / "run.json", self.kind)

    def stop_if_another(self) -> None:
        """Raises ConfigError for a tree of another kind (phantom and real never share one) or of another
        version of segtrail."""
        theirs = kind_of(self.tree)
        if theirs is not None and theirs != self.kind:
            raise ConfigError(
                f"run = {self.run.name!r}: {self.tree} holds another kind of run: {theirs}",
                expected=str(self.kind),
                remedy="give the configuration it was started with (--config FILE, --root DATASET=FOLDER), "
                "give this run another name (config key `run`), or remove the tree",
            )

    # --- cohorts ---------------------------------------------------------------------------------

    def study(self, study: str) -> Path:
        return self.tree / study

    def cohort(self, study: str, cohort: str) -> Path:
        return self.study(study) / cohort

    def scratch(self, study: str) -> Path:
        """What is large and made anew from scans and members: arrays, posteriors, maps, by cohort."""
        return self.tree / "scratch" / study

    def split(self, study: str, cohort: str) -> dict[str, list[Key]]:
        """part → (data set, subject id), before bad subjects are left out.

        Raises ConfigError if nobody is there to train, validate or test on.
        """
        if (study, cohort) not in self._splits:
            self._splits[study, cohort] = self._split(study, cohort)
        return self._splits[study, cohort]

    def _split(self, study: str, cohort: str) -> dict[str, list[Key]]:
        parts = splits.split(self.selected(study, cohort), self.run.studies[study].cohorts[cohort].split)
        if missing := [part for part in ("train", "val", "test") if part not in parts]:
            raise ConfigError(
                f"{study}: cohorts.{cohort}.split has no part {', '.join(missing)}",
                expected="at least train, val and test",
                remedy="add it to parts or to the list; with folds, give val",
            )
        return parts

    def selected(self, study: str, cohort: str) -> dict[str, list[Any]]:
        """data set → its subjects that the cohort's `where` selects."""
        chosen = self.run.studies[study].cohorts[cohort]
        return {name: matching(self.subjects[name], chosen) for name in chosen.datasets}

    def chunks(self, study: str, cohort: str) -> dict[str, list[Key]]:
        """chunk → (data set, subject id): train and val whole, the others in pieces."""
        size = self.run.studies[study].cohorts[cohort].chunk
        result = {}
        for part, members in self.split(study, cohort).items():
            if part in ("train", "val"):
                result[part] = members
            else:
                for start in range(0, len(members), size):
                    result[f"{part}_{start // size:03d}"] = members[start : start + size]
        return result

    def measured_chunks(self, study: str, cohort: str) -> list[str]:
        """The chunks of those parts that predictors are measured on."""
        measured = self.run.studies[study].cohorts[cohort].measured
        return [name for name in self.chunks(study, cohort) if part_of(name) in measured]

    def range_part(self, study: str, cohort: str, posterior: str, chunk: str) -> str | None:
        """The part over whose predictions a posterior's uncertainty is rescaled in a chunk; None: no part's.

        Raises ConfigError where predictors that share the posterior differ in it.
        """
        wanted = set()
        for name in self.posteriors(study)[posterior]:
            rescale = self.run.studies[study].predictor(cohort, name).rescale
            if rescale is not None and rescale.over != "subject":
                wanted.add("val" if rescale.over == "validation" else part_of(chunk))
        if len(wanted) > 1:
            raise ConfigError(
                f"{study}: predictors {', '.join(self.posteriors(study)[posterior])} share a posterior, and "
                f"rescale {part_of(chunk)} of {cohort} over {' and '.join(sorted(wanted))}",
                expected="one range for each posterior and part",
                remedy="give them one `rescale.over`, or each its own model",
            )
        return next(iter(wanted), None)

    def ranged_parts(self, study: str, cohort: str, posterior: str) -> list[str]:
        """The parts over which a posterior's uncertainty is rescaled somewhere."""
        chunks = self.measured_chunks(study, cohort)
        found = {self.range_part(study, cohort, posterior, chunk) for chunk in chunks}
        return [part for part in PART_NAMES if part in found]

    def keeps_maps(self, study: str, cohort: str, posterior: str) -> bool:
        """Whether a figure shows the posterior's maps, or picks what it shows by them."""
        figures = self.run.studies[study].figures
        return any(posterior in self.shown(study, figure).get(cohort, []) for figure in figures)

    def shown(self, study: str, figure: str) -> dict[str, list[str]]:
        """cohort → posteriors, of the maps that a figure shows, and of those that it picks its cases by."""
        chosen = self.run.studies[study]
        drawn = chosen.figures[figure]
        used = {chosen.predictors[name].posterior for name in drawn.predictors_used()}
        posteriors = [name for name in self.posteriors(study) if name in used]
        return {cohort: posteriors for cohort in chosen.cohorts if cohort in drawn.cohorts_shown()}

    def scans(self, study: str, cohort: str, chunk: str) -> list[Item]:
        """The subjects of one chunk with their files."""
        members = self.chunks(study, cohort)[chunk]
        found = {
            (name, subject.id): subject
            for name in {dataset for dataset, _ in members}
            for subject in self.known(name)
        }
        return [Item(key[0], found[key], part_of(chunk)) for key in members]

    def rejected(self, study: str, cohort: str, chunk: str) -> dict[tuple[str, str], DataError]:
        """(data set, subject id) → why it is refused, for the refused subjects of one chunk."""
        bad = {}
        for dataset, subject in self.chunks(study, cohort)[chunk]:
            for error in records.problems(self.data(dataset) / "records", [subject]).values():
                bad[dataset, subject] = error
        return bad

    def resume(self, study: str, cohort: str, model: str, member: str) -> Path:
        """A training's state, and once it is done links to its weights; no rule's output: outlives a kill."""
        return self.tree / "resume" / study / cohort / model / member

    def members(self, study: str, cohort: str, model: str) -> list[str]:
        count = self.run.studies[study].model(cohort, model).members
        return [f"{member:03d}" for member in range(count)]

    def held_out(self, study: str, cohort: str, model: str) -> list[list[Key]]:
        """The subjects that member 0, 1, … of a model with folds is trained without, before bad subjects are
        left out; k lists, however many members there are. Empty where the model has no folds.

        Raises ConfigError as `member_folds`.
        """
        place = (study, cohort, model)
        if place not in self._held_out:
            folds = self.run.studies[study].model(cohort, model).folds
            rule = self.run.studies[study].cohorts[cohort].split
            self._held_out[place] = (
                [] if folds is None else splits.member_folds(self.selected(study, cohort), rule, folds)
            )
        return self._held_out[place]

    def trained_on(self, study: str, cohort: str, model: str, member: str) -> dict[str, list[Key]]:
        """train, val → the subjects that a member learns from, and those that its weights are chosen on."""
        parts = self.split(study, cohort)
        folds = self.run.studies[study].model(cohort, model).folds
        if folds is None:
            return {"train": parts["train"], "val": parts["val"]}
        held = set(self.held_out(study, cohort, model)[int(member)])
        seen = sorted({key for part in ("train", *folds.of) for key in parts[part]} - held)
        return {"train": seen, "val": sorted(held) if folds.held_out == "validation" else parts["val"]}

    def cross_validated(self, study: str, cohort: str) -> list[str]:
        """The models whose segmentations of what their members have not seen others learn from."""
        models = self.run.studies[study].models
        chosen = [self.run.studies[study].model(cohort, name).auxiliary for name in models]
        named = {one.folds for one in chosen if one is not None}
        return [name for name in models if name in named]

    def predicted(self, study: str, cohort: str, model: str) -> list[str]:
        """The parts that a cross-validated model segments, each member the fold that it has not seen."""
        folds = self.run.studies[study].model(cohort, model).folds
        return [] if folds is None else [part for part in PART_NAMES if part in folds.of]

    def sampled_from(self, study: str, cohort: str, posterior: str) -> list[tuple[str, str]]:
        """(model, member) of every member that a posterior is made from; those of an auxiliary model come
        first, then the segmentation members whose errors they tell."""
        model = self.model_of(study, posterior)
        members = self.members(study, cohort, model)
        auxiliary = self.run.studies[study].model(cohort, model).auxiliary
        models = [model] if auxiliary is None else [model, auxiliary.model]
        return [(name, member) for name in models for member in members]

    def posteriors(self, study: str) -> dict[str, list[str]]:
        """posterior → the predictors that read it."""
        result: dict[str, list[str]] = {}
        for name, predictor in self.run.studies[study].predictors.items():
            result.setdefault(predictor.posterior, []).append(name)
        return result

    def model_of(self, study: str, posterior: str) -> str:
        return self.run.studies[study].predictors[self.posteriors(study)[posterior][0]].model


def kind_of(tree: Path) -> dict[str, Any] | None:
    """What a tree is, by its run.json; None where nobody has said so. Raises ConfigError for a tree of
    another version of segtrail."""
    marker = tree / "run.json"
    if not marker.exists():
        return None
    try:
        kind: dict[str, Any] = read_json(marker)
    except ValueError as error:
        raise ConfigError(
            f"not JSON: {error}", file=marker, remedy="delete it: it is written anew at the next start"
        ) from error
    if kind.get("format") != receipts.FORMAT:
        raise ConfigError(
            f"{tree} was made by another version of segtrail (format {kind.get('format', 0)})",
            expected=f"format {receipts.FORMAT}",
            remedy="give this run another name (config key `run`), remove the tree, or go on with that "
            "version",
        )
    return kind


def part_of(chunk: str) -> str:
    """The part of a split that a chunk belongs to."""
    return next(part for part in PART_NAMES if chunk.split("_")[0] == part)


def matching(subjects: Sequence[Any], cohort: Cohort) -> list[Any]:
    """The subjects that the cohort's `where` selects."""
    wanted: Mapping[str, list[str] | None] = cohort.where.model_dump()
    return [
        subject
        for subject in subjects
        if all(values is None or getattr(subject, key) in values for key, values in wanted.items())
    ]
