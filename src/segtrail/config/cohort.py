"""A cohort: data sets, label scheme, split and preprocessing recipe."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from .base import Strict
from .recipe import Step

# train and val choose the weights; test is the paper's test set; shift is another domain, test only.
PART_NAMES = ("train", "val", "test", "shift")
Part = Literal["train", "val", "test", "shift"]


class Where(Strict):
    """Which subjects: each named property must have one of the given values."""

    site: list[str] | None = None
    group: list[str] | None = None
    frame: list[str] | None = None


class PartRule(Strict):
    """How many patients of which data set and sites go into one part."""

    size: PositiveInt | Literal["all"] = Field(description="patients, or 'all' that are still unassigned")
    dataset: str | None = Field(default=None, description="needed only where the cohort has several")
    site: list[str] | None = Field(default=None, description="only patients of these sites; all if left out")


class Folds(Strict):
    """k folds: fold `test` is the test part, fold `val` the validation part, the others train."""

    k: int = Field(ge=2)
    test: int = Field(ge=0)
    val: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def folds_exist(self) -> "Folds":
        if self.test >= self.k or (self.val is not None and self.val >= self.k):
            raise ValueError(f"test {self.test} and val {self.val} must be below k {self.k}")
        if self.val == self.test:
            raise ValueError(f"val and test are both fold {self.test}")
        return self


class Split(Strict):
    """By parts (sites and counts), by k folds, or from a user's list. Patients are never divided."""

    seed: int = 0
    stratify: Literal["group", "site"] | None = None
    parts: dict[Part, PartRule] | None = None
    folds: Folds | None = None
    list: Path | None = Field(default=None, description="JSON: part → list of patient or subject ids")

    @model_validator(mode="after")
    def one_rule(self) -> "Split":
        if sum(rule is not None for rule in (self.parts, self.folds, self.list)) != 1:
            raise ValueError("give exactly one of parts, folds, list")
        return self


class Segment(Strict):
    """One foreground class of the cohort."""

    name: str
    numeral: str = Field(description="the paper's short name, e.g. I")
    labels: list[int] = Field(min_length=1, description="label values in the files that form this class")


class Box(Strict):
    """The reference's foreground box, widened (Mehrtash 2020 §VI.D)."""

    in_plane_mm: float = Field(ge=0)
    slices: int = Field(ge=0)


class Cohort(Strict):
    """One task of one study."""

    title: str
    datasets: list[str] = Field(min_length=1)
    where: Where = Where()
    channels: list[str] = Field(min_length=1)
    segments: list[Segment] = Field(min_length=1, description="class 1, 2, …; class 0 is all the rest")
    split: Split
    recipe: list[Step]
    box: Box
    model: dict[str, Any] = Field(default={}, description="a patch on every model of the study")
    predictor: dict[str, Any] = Field(default={}, description="a patch on every predictor of the study")
    chunk: PositiveInt = Field(
        default=8, description="test subjects per preprocessing, sampling, measuring job"
    )

    def prepared_by(self) -> dict[str, Any]:
        """The keys that shape the arrays, and no others."""
        return self.model_dump(mode="json", include={"channels", "segments", "recipe"})

    @property
    def needs_population(self) -> bool:
        """The recipe asks for statistics of the training part."""
        return any(getattr(step, "over", None) == "population" for step in self.recipe)

    @model_validator(mode="after")
    def classes_exist(self) -> "Cohort":
        for step in self.recipe:
            for index in getattr(step, "classes", None) or []:
                if not 0 <= index <= len(self.segments):
                    raise ValueError(
                        f"recipe step {step.step}: class {index} is not in 0…{len(self.segments)}"
                    )
        return self
