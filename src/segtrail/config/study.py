"""A study: one paper as data."""

import copy
import math
import re
from collections.abc import Collection
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from .base import Strict
from .claims import Claim, Miscalibrated, NoBest, Pooled, RankSums
from .cohort import Cohort
from .figure import ErrorDetectionCurves, Figure, SubjectReliability
from .model import Model, Predictor
from .recipe import Step
from .results import OF_ERRORS, MeanCell, PooledCell, ShareCell, Table


class ErrorDetection(Strict):
    """Does the uncertainty lie where the segmentation is wrong, and is the foreground's probability right?

    For cohorts of one segment. Counts are kept for each threshold; a voxel is uncertain where its uncertainty
    exceeds it.

    Source: Jungo 2019, §2.4; the thresholds are those of its public code.
    """

    thresholds: list[float] = Field(
        default=[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95], min_length=1
    )
    bins: PositiveInt = Field(default=10, description="equal bins of the foreground's probability")
    picked_on: Literal["same", "val"] = Field(
        default="same",
        description="the part whose mean picks the threshold of u_e and bnf: that which is reported, as "
        "Jungo 2019 does, or the validation part",
    )

    @model_validator(mode="after")
    def thresholds_ascend(self) -> "ErrorDetection":
        if not (self.thresholds[0] >= 0 and self.thresholds[-1] < 1):
            raise ValueError(f"thresholds {self.thresholds}: expected in [0, 1)")
        if any(a >= b for a, b in pairwise(self.thresholds)):
            raise ValueError(f"thresholds {self.thresholds}: expected in ascending order")
        return self


class Measures(Strict):
    """Choices that the measures leave open."""

    ece_bins: PositiveInt = Field(description="equal bins of confidence; Mehrtash 2020 does not say how many")
    nll_clip: float = Field(
        default=1e-7, gt=0, lt=0.1, description="smallest probability inside the logarithm"
    )
    surface: bool = Field(default=True, description="measure distances between surfaces (hd95)")
    errors: ErrorDetection | None = Field(
        default=None, description="null: no measure of uncertainty against errors (ece_fg, u_e, bnf, …)"
    )
    reliability_min_count: int = Field(default=1000, ge=0, description="smaller bins are not drawn")
    dice_clip: float = Field(default=1e-3, gt=0, lt=0.5, description="logit Dice is taken of [clip, 1−clip]")
    bootstrap: PositiveInt = Field(default=10_000, description="resamples")
    alpha: float = Field(
        default=0.01, gt=0, lt=1, description="level of significance after Holm's correction"
    )

    def measured_by(self) -> dict[str, Any]:
        """The keys that shape rows of measures; the others are used on the rows."""
        shown = self.model_dump(mode="json", include={"ece_bins", "nll_clip", "surface", "errors"})
        if shown["errors"] is not None:
            del shown["errors"]["picked_on"]
        return shown


class Sensitivity(Strict):
    """A choice of the paper's turned round, as a run of its own that is asked for by name."""

    about: str = Field(description="what is turned round, and why one would want to know")
    patch: dict[str, Any] = Field(description="laid over the study, after the scale and before overrides")


class Study(Strict):
    """One YAML under config/studies, after the run's scale and overrides have been merged in."""

    title: str
    citation: str
    recipes: dict[str, list[Step]] = Field(default={}, description="name → recipe, which cohorts can name")
    cohorts: dict[str, Cohort]
    models: dict[str, Model]
    predictors: dict[str, Predictor]
    measures: Measures
    tables: list[Table] = Field(default=[])
    claims: list[Claim] = Field(default=[])
    figures: dict[str, Figure] = Field(default={})
    sensitivity: dict[str, Sensitivity] = Field(default={}, description="name → another choice")

    @model_validator(mode="before")
    @classmethod
    def recipes_by_name(cls, values: Any) -> Any:
        """A cohort's recipe is a list of steps, or the name of one of `recipes`."""
        if not isinstance(values, dict) or not isinstance(values.get("cohorts"), dict):
            return values
        recipes, cohorts = values.get("recipes") or {}, dict(values["cohorts"])
        for name, cohort in cohorts.items():
            if isinstance(cohort, dict) and isinstance(wanted := cohort.get("recipe"), str):
                if wanted not in recipes:
                    raise ValueError(
                        f"cohorts.{name}.recipe {wanted!r} is not one of {sorted(recipes)} (key recipes)"
                    )
                cohorts[name] = {**cohort, "recipe": recipes[wanted]}
        return {**values, "cohorts": cohorts}

    @model_validator(mode="after")
    def names_are_words(self) -> "Study":
        """They become parts of paths and patterns."""
        for kind, names, pattern in (
            ("cohorts", self.cohorts, "[A-Za-z0-9]+"),
            ("models", self.models, "[A-Za-z0-9_]+"),
            ("predictors", self.predictors, "[A-Za-z0-9_]+"),
        ):
            for name in names:
                if not re.fullmatch(pattern, name):
                    raise ValueError(f"{kind}.{name}: a name matches {pattern}")
        return self

    @model_validator(mode="after")
    def names_exist(self) -> "Study":
        for name, predictor in self.predictors.items():
            if predictor.model not in self.models:
                raise ValueError(
                    f"predictors.{name}.model {predictor.model!r} is not one of {sorted(self.models)}"
                )
        for cohort, chosen_cohort in self.cohorts.items():
            for name in chosen_cohort.models:
                if name not in self.models:
                    raise ValueError(
                        f"cohorts.{cohort}.models.{name}: expected some of {sorted(self.models)}"
                    )
            for name in self.models:
                self._check_model(cohort, name)
            passes: dict[str, int | None] = {}
            for name in self.predictors:
                chosen = self.predictor(cohort, name)
                if passes.setdefault(chosen.posterior, chosen.samples) != chosen.samples:
                    raise ValueError(
                        f"predictors.{name}: samples {chosen.samples}, but another predictor of the model "
                        f"{chosen.model} has {passes[chosen.posterior]}; they would share one posterior"
                    )
                self._check_predictor(cohort, name, chosen)
        return self

    def _check_predictor(self, cohort: str, name: str, chosen: Predictor) -> None:
        """Raises ValueError for a predictor that does not fit its model, or what its cohort measures."""
        where, model = f"predictors.{name}", self.model(cohort, chosen.model)
        if (chosen.kind == "aleatoric") != (model.aleatoric is not None):
            raise ValueError(f"{where}: kind aleatoric belongs to a model with `aleatoric`")
        if (chosen.kind == "auxiliary") != (model.auxiliary is not None):
            raise ValueError(f"{where}: kind auxiliary belongs to a model with `auxiliary`")
        if chosen.kind == "mc_dropout" and model.dropout is None:
            raise ValueError(
                f"{where}: kind mc_dropout needs a model with `dropout`, and {cohort} trains {chosen.model} "
                "without"
            )
        over = chosen.rescale.over if chosen.rescale else ""
        if over == "validation" and "val" not in self.cohorts[cohort].measured:
            raise ValueError(f"{where}.rescale.over validation: cohorts.{cohort}.measured has no val")
        if chosen.kind == "ensemble" and max([*chosen.sizes, *chosen.maps]) > model.members:
            raise ValueError(
                f"{where}: sizes {chosen.sizes} and maps {chosen.maps} need more members, "
                f"cohort {cohort} trains {model.members}"
            )

    def _check_model(self, cohort: str, name: str) -> None:
        """Raises ValueError for an auxiliary model that has nothing to learn from."""
        model = self.model(cohort, name)
        if model.auxiliary is None:
            return
        where = f"models.{name}.auxiliary"
        named = {"model": model.auxiliary.model, "folds": model.auxiliary.folds}
        for key, other in named.items():
            if other is not None and (other not in self.models or self.models[other].auxiliary):
                known = sorted(one for one, content in self.models.items() if not content.auxiliary)
                raise ValueError(f"{where}.{key} {other!r} is not one of {known}")
        base = self.model(cohort, model.auxiliary.model)
        if model.members > base.members:
            raise ValueError(
                f"{where}: {model.members} members, but {model.auxiliary.model} has {base.members}, and "
                "member m learns the errors of member m"
            )
        if model.dims != base.dims:
            raise ValueError(f"{where}: dims {model.dims}, but {model.auxiliary.model} has {base.dims}")
        if model.auxiliary.folds is not None:
            folds = self.model(cohort, model.auxiliary.folds)
            if folds.folds is None or folds.folds.held_out != "validation" or folds.members != folds.folds.k:
                raise ValueError(
                    f"{where}.folds {model.auxiliary.folds!r}: expected a model with k members, whose folds "
                    "are held out as validation"
                )
            used = {"train"} if model.folds and model.folds.held_out == "validation" else {"train", "val"}
            used |= set(model.folds.of) if model.folds else set()
            if missing := used - set(folds.folds.of):
                raise ValueError(
                    f"{where}.folds {model.auxiliary.folds!r} predicts {folds.folds.of} of {cohort}, but "
                    f"{sorted(missing)} is needed too"
                )

    @model_validator(mode="after")
    def errors_need_one_segment(self) -> "Study":
        if self.measures.errors is not None:
            for name, cohort in self.cohorts.items():
                if len(cohort.segments) != 1:
                    raise ValueError(
                        f"measures.errors: cohorts.{name} has {len(cohort.segments)} segments, expected one"
                    )
        return self

    @model_validator(mode="after")
    def errors_are_counted_where_they_are_shown(self) -> "Study":
        if self.measures.errors is not None:
            return self
        cells = [(f"tables.{table.name}", cell) for table in self.tables for cell in table.cells()]
        parts = [(f"claims.{claim.id}", part) for claim in self.claims for part in claim.parts]
        for where, user in [*cells, *parts]:
            of_errors = isinstance(user, PooledCell | ShareCell | Pooled | Miscalibrated)
            if of_errors or measures_of(user) & {*OF_ERRORS, "background"}:
                raise ValueError(f"{where} needs the key measures.errors")
        for name, figure in self.figures.items():
            if isinstance(figure, SubjectReliability | ErrorDetectionCurves):
                raise ValueError(f"figures.{name} needs the key measures.errors")
        return self

    @model_validator(mode="after")
    def ranked_tables_exist(self) -> "Study":
        """Claims on ranks name a table, its rows and columns."""
        tables = {table.name: table for table in self.tables}
        for claim in self.claims:
            for part in claim.parts:
                if not isinstance(part, RankSums | NoBest):
                    continue
                where = f"claims.{claim.id}"
                if part.table not in tables:
                    raise ValueError(f"{where}: table {part.table!r} is not one of {sorted(tables)}")
                table = tables[part.table]
                rows = [*part.first, *part.last] if isinstance(part, RankSums) else []
                for name in (*rows, *(part.columns or [])):
                    if name not in table.rows and name not in table.columns:
                        raise ValueError(f"{where}: {name!r} is no row or column of {part.table}")
                for column in part.columns or table.columns:
                    cells = [table.cell(row, column) for row in table.rows]
                    means = [cell for cell in cells if isinstance(cell, MeanCell)]
                    if len(means) < len(cells):
                        raise ValueError(f"{where}: {column} of {part.table} has a cell that is no mean")
                    if len({(one.cohort, one.measure, one.factor, one.digits) for one in means}) > 1:
                        raise ValueError(
                            f"{where}: rows of {column} of {part.table} differ in cohort, measure, factor "
                            "or digits"
                        )
        return self

    def unknown_names(self, absent: Collection[str]) -> list[str]:
        """Cohorts and predictors that tables, claims and figures name and the study does not have.

        The `absent` cohorts, which this run does not compute, may be named.
        """
        cells = [(table.name, cell) for table in self.tables for cell in table.cells()]
        parts = [(claim.id, part) for claim in self.claims for part in claim.parts]
        found = []
        for where, user in [*cells, *parts, *self.figures.items()]:
            for kind, names, known in (
                ("cohort", user.cohorts_used(), {*self.cohorts, *absent}),
                ("predictor", user.predictors_used(), self.predictors),
            ):
                found += [f"{where}: no {kind} {name!r}" for name in sorted(set(names) - set(known))]
        return list(dict.fromkeys(found))

    def model(self, cohort: str, name: str) -> Model:
        """The model as this cohort trains it."""
        chosen = self.cohorts[cohort]
        values = merged(self.models[name].model_dump(), chosen.model)
        values = merged(values, chosen.models.get(name, {}))
        model = Model.model_validate(values)
        epochs = math.ceil(model.training.epochs * model.training.epochs_share)
        training = model.training.model_copy(update={"epochs": epochs, "epochs_share": 1.0})
        return model.model_copy(update={"training": training})

    def predictor(self, cohort: str, name: str) -> Predictor:
        """The predictor as this cohort uses it; a patch touches only the fields its kind knows."""
        values = self.predictors[name].model_dump()
        patch = self.cohorts[cohort].predictor
        wanted = {
            "ensemble": {"sizes", "table_size", "draws", "maps"},
            "mc_dropout": {"samples"},
            "single": set[str](),
            "aleatoric": {"rescale"},
            "auxiliary": {"rescale"},
        }
        patch = {key: value for key, value in patch.items() if key in wanted[values["kind"]]}
        return Predictor.model_validate(merged(values, patch))


def measures_of(user: Any) -> set[str]:
    """The measures that a cell, or a part of a claim, names."""
    named = {getattr(user, name, None) for name in ("measure", "x", "y", "beside")}
    return {*named, *getattr(user, "measures", []), *getattr(user, "margins", {})} - {None}


def merged(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """`base` with `patch` laid over it: mappings are merged key by key, everything else is replaced."""
    result = copy.deepcopy(base)
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result
