"""A study: one paper as data."""

import copy
import re
from collections.abc import Collection
from typing import Any

from pydantic import Field, PositiveInt, model_validator

from .base import Strict
from .cohort import Cohort
from .model import Model, Predictor
from .results import Claim, Figure, Table


class Measures(Strict):
    """Choices that the measures leave open."""

    ece_bins: PositiveInt = Field(description="equal bins of confidence; Mehrtash 2020 does not say how many")
    nll_clip: float = Field(
        default=1e-7, gt=0, lt=0.1, description="smallest probability inside the logarithm"
    )
    reliability_min_count: int = Field(default=1000, ge=0, description="smaller bins are not drawn")
    dice_clip: float = Field(default=1e-3, gt=0, lt=0.5, description="logit Dice is taken of [clip, 1−clip]")
    bootstrap: PositiveInt = Field(default=10_000, description="resamples")
    alpha: float = Field(
        default=0.01, gt=0, lt=1, description="level of significance after Holm's correction"
    )

    def measured_by(self) -> dict[str, Any]:
        """The keys that shape rows of measures; the others are used on the rows."""
        return self.model_dump(mode="json", include={"ece_bins", "nll_clip"})


class Study(Strict):
    """One YAML under config/studies, after the run's scale and overrides have been merged in."""

    title: str
    citation: str
    cohorts: dict[str, Cohort]
    models: dict[str, Model]
    predictors: dict[str, Predictor]
    measures: Measures
    tables: list[Table] = Field(default=[])
    claims: list[Claim] = Field(default=[])
    figures: dict[str, Figure] = Field(default={})

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
        for cohort in self.cohorts:
            for name in self.models:
                self.model(cohort, name)
            passes: dict[str, int | None] = {}
            for name, predictor in self.predictors.items():
                chosen = self.predictor(cohort, name)
                if passes.setdefault(chosen.posterior, chosen.samples) != chosen.samples:
                    raise ValueError(
                        f"predictors.{name}: samples {chosen.samples}, but another predictor of the model "
                        f"{chosen.model} has {passes[chosen.posterior]}; they would share one posterior"
                    )
                members = self.model(cohort, predictor.model).members
                if chosen.kind == "ensemble" and max([*chosen.sizes, *chosen.maps]) > members:
                    raise ValueError(
                        f"predictors.{name}: sizes {chosen.sizes} and maps {chosen.maps} need more members, "
                        f"cohort {cohort} trains {members}"
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
        return Model.model_validate(merged(self.models[name].model_dump(), self.cohorts[cohort].model))

    def predictor(self, cohort: str, name: str) -> Predictor:
        """The predictor as this cohort uses it; a patch touches only the fields its kind knows."""
        values = self.predictors[name].model_dump()
        patch = self.cohorts[cohort].predictor
        wanted = {
            "ensemble": {"sizes", "table_size", "draws", "maps"},
            "mc_dropout": {"samples"},
            "single": set[str](),
        }
        patch = {key: value for key, value in patch.items() if key in wanted[values["kind"]]}
        return Predictor.model_validate(merged(values, patch))


def merged(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """`base` with `patch` laid over it: mappings are merged key by key, everything else is replaced."""
    result = copy.deepcopy(base)
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result
