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


class Shuffle(Strict):
    """The named parts are drawn one after the other, each from what the ones before have left; the rest
    trains.

    As scikit-learn's `train_test_split` draws, from the patients sorted by name; with `stratify` in
    proportion to the strata. With seed 100 and stratified by grade it gives the published lists of Jungo
    2019.
    """

    sizes: dict[Part, PositiveInt] = Field(min_length=1, description="in the order of drawing; not train")

    @model_validator(mode="after")
    def rest_trains(self) -> "Shuffle":
        if "train" in self.sizes:
            raise ValueError("sizes.train: what is left trains, its size is not given")
        return self


class Split(Strict):
    """By parts (sites and counts), drawn (shuffle), by k folds, or from a user's list. Patients are never
    divided."""

    seed: int = 0
    stratify: Literal["group", "site"] | None = None
    parts: dict[Part, PartRule] | None = None
    shuffle: Shuffle | None = None
    folds: Folds | None = None
    list: Path | None = Field(default=None, description="JSON: part → list of patient or subject ids")

    @model_validator(mode="after")
    def one_rule(self) -> "Split":
        if sum(rule is not None for rule in (self.parts, self.shuffle, self.folds, self.list)) != 1:
            raise ValueError("give exactly one of parts, shuffle, folds, list")
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


class Mask(Strict):
    """The voxels whose raw value of a channel is above 0, e.g. the head in a scan that is 0 around it.

    Source: the public code of Jungo 2019, which masks by T2.
    """

    channel: str = Field(description="of the data set; it need not be one of the cohort's")


class Cohort(Strict):
    """One task of one study."""

    title: str
    datasets: list[str] = Field(min_length=1)
    where: Where = Where()
    channels: list[str] = Field(min_length=1)
    segments: list[Segment] = Field(min_length=1, description="class 1, 2, …; class 0 is all the rest")
    split: Split
    recipe: list[Step]
    box: Box | None = Field(default=None, description="null: nothing is measured in the region box")
    mask: Mask | None = Field(default=None, description="null: nothing is measured in the region mask")
    measured: list[Part] = Field(
        default=["test", "shift"],
        min_length=1,
        description="parts that predictors are measured on; not train",
    )
    model: dict[str, Any] = Field(default={}, description="a patch on every model of the study")
    models: dict[str, dict[str, Any]] = Field(
        default={}, description="model → a patch on it alone, laid last"
    )
    predictor: dict[str, Any] = Field(default={}, description="a patch on every predictor of the study")
    chunk: PositiveInt = Field(
        default=8, description="test subjects per preprocessing, sampling, measuring job"
    )

    def prepared_by(self) -> dict[str, Any]:
        """The keys that shape the arrays, and no others."""
        return self.model_dump(mode="json", include={"channels", "segments", "recipe", "mask"})

    @property
    def needs_population(self) -> bool:
        """The recipe asks for statistics of the training part."""
        return any(getattr(step, "over", None) == "population" for step in self.recipe)

    @model_validator(mode="after")
    def training_part_is_not_measured(self) -> "Cohort":
        if "train" in self.measured:
            raise ValueError("measured: train, on which members have been trained")
        if "test" not in self.measured:
            raise ValueError(f"measured {self.measured}: test, which tables report, is not among them")
        return self

    @model_validator(mode="after")
    def classes_exist(self) -> "Cohort":
        for step in self.recipe:
            for index in getattr(step, "classes", None) or []:
                if not 0 <= index <= len(self.segments):
                    raise ValueError(
                        f"recipe step {step.step}: class {index} is not in 0…{len(self.segments)}"
                    )
        return self
