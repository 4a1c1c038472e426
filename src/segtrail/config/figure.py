"""The figures of a study as data: one model per kind of figure.

Which case is shown is never chosen by hand: a `Pick` is a rule over the measures, and the figure
prints the rule and the case that it found.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from .base import Strict
from .cohort import Part


class Pick(Strict):
    """A rule that picks one case of a cohort.

    Cases are ranked by a measure: its mean over `segments` and over `predictors` (an ensemble at its
    table size, every predictor averaged over its members or draws). Cases for which it is undefined
    are left out; ties are broken by data set and subject id.
    """

    part: Part = "test"
    predictors: list[str] = Field(min_length=1)
    measure: Literal["dice", "seg_entropy"] = "dice"
    segments: list[PositiveInt] | None = Field(default=None, description="class indices; all when left out")
    rank: Literal["lowest", "median", "highest"] = "median"


class Drawn(Strict):
    """What every figure has."""

    title: str = Field(description="what the paper calls it, e.g. Figure 2")
    caption: str

    def cohorts_used(self) -> list[str]:
        return []

    def cohorts_shown(self) -> list[str]:
        """Cohorts whose scans and probability maps it shows; of the others it needs measures alone."""
        return []

    def predictors_used(self) -> list[str]:
        return []


class MapFigure(Drawn):
    """A figure that shows probability maps over the scan."""

    channels: dict[str, str] = Field(
        default={}, description="cohort → channel shown, its first when left out"
    )
    mask_below: float = Field(default=0.001, ge=0, lt=1, description="smaller probabilities are not overlaid")

    def cohorts_shown(self) -> list[str]:
        return self.cohorts_used()


class EnsembleCurves(Drawn):
    """A measure against the number of models in the ensemble: one panel per cohort and region."""

    kind: Literal["ensemble_curves"]
    cohorts: list[str] = Field(min_length=1)
    predictors: list[str] = Field(min_length=1)
    parts: list[Part] = Field(default=["test"], min_length=1)
    measure: str
    label: str = Field(description="the measure as the axis names it, with its unit")
    regions: list[Literal["volume", "box"]] = Field(min_length=1)
    interval: Literal["cases", "draws", "mean"] | None = Field(
        default=None,
        description="95 % band: percentiles over cases of the mean over draws (as in the tables); "
        "percentiles over draws of the mean over cases; or the bootstrap interval of the mean over cases",
    )

    def cohorts_used(self) -> list[str]:
        return self.cohorts

    def predictors_used(self) -> list[str]:
        return self.predictors


class ScatterPanel(Strict):
    cohort: str
    parts: list[Part] = Field(default=["test"], min_length=1)
    mark: Literal["dataset", "segment"] = Field(description="what the colour of a point tells")


class ScatterCase(Strict):
    """A case that is marked in its cohort's panel and shown slice by slice below."""

    label: str
    cohort: str
    segment: PositiveInt
    pick: Pick


class EntropyScatter(MapFigure):
    """Logit Dice against the mean entropy over the predicted segment, with a regression line."""

    kind: Literal["entropy_scatter"]
    predictor: str
    panels: list[ScatterPanel] = Field(min_length=1)
    cases: list[ScatterCase] = Field(default=[])
    slices: PositiveInt = Field(default=3, description="slices shown of each case")

    def cohorts_used(self) -> list[str]:
        return [panel.cohort for panel in self.panels] + self.cohorts_shown()

    def cohorts_shown(self) -> list[str]:
        return [case.cohort for case in self.cases]

    def predictors_used(self) -> list[str]:
        return [self.predictor, *(name for case in self.cases for name in case.pick.predictors)]


class MethodMaps(MapFigure):
    """One case, every predictor: a map per segment, and a reliability diagram of the whole volume."""

    kind: Literal["method_maps"]
    cohort: str
    predictors: list[str] = Field(min_length=1)
    pick: Pick

    def cohorts_used(self) -> list[str]:
        return [self.cohort]

    def predictors_used(self) -> list[str]:
        return [*self.predictors, *self.pick.predictors]


class ShiftExample(Strict):
    label: str
    pick: Pick


class ShiftExamples(MapFigure):
    """Cases in and out of the training distribution: two predictors' maps and a histogram."""

    kind: Literal["shift_examples"]
    cohort: str
    segment: PositiveInt
    uncalibrated: str
    calibrated: str
    examples: list[ShiftExample] = Field(min_length=1)

    def cohorts_used(self) -> list[str]:
        return [self.cohort]

    def predictors_used(self) -> list[str]:
        chosen = [name for example in self.examples for name in example.pick.predictors]
        return [self.uncalibrated, self.calibrated, *chosen]


class SizeExample(Strict):
    cohort: str
    segments: list[PositiveInt] = Field(min_length=1)
    pick: Pick


class SizeMaps(MapFigure):
    """Maps of ensembles of growing size: the sizes are the predictor's `maps` in each cohort."""

    kind: Literal["size_maps"]
    predictor: str
    examples: list[SizeExample] = Field(min_length=1)

    def cohorts_used(self) -> list[str]:
        return [example.cohort for example in self.examples]

    def predictors_used(self) -> list[str]:
        return [self.predictor, *(name for example in self.examples for name in example.pick.predictors)]


class ConfidenceTarget(Strict):
    cohort: str
    segment: PositiveInt
    picks: list[Pick] = Field(min_length=1)


class ConfidenceExamples(MapFigure):
    """Cases of one segment at several levels of confidence: map and histogram of each."""

    kind: Literal["confidence_examples"]
    predictor: str
    targets: list[ConfidenceTarget] = Field(min_length=1)

    def cohorts_used(self) -> list[str]:
        return [target.cohort for target in self.targets]

    def predictors_used(self) -> list[str]:
        chosen = [name for target in self.targets for pick in target.picks for name in pick.predictors]
        return [self.predictor, *chosen]


class Example(Strict):
    """One subject of each cohort that shows one kind of calibration."""

    label: str
    shows: Literal["underconfident", "overconfident", "calibrated"]
    subjects: dict[str, str] = Field(
        default={}, description="cohort → the subject that the paper shows; by rule where it is not there"
    )


class SubjectReliability(Drawn):
    """Reliability of the foreground's probability: a row for each cohort, one column for the whole data set
    and one for each example, a curve for each predictor.

    An example that is not named is found by rule: the subject whose signed calibration error, averaged over
    the predictors, is highest (underconfident), lowest (overconfident) or nearest to 0 (calibrated).
    """

    kind: Literal["subject_reliability"]
    cohorts: list[str] = Field(min_length=1)
    predictors: list[str] = Field(min_length=1)
    part: Part = "test"
    regions: dict[str, Literal["volume", "mask"]] = Field(
        default={}, description="cohort → region; the whole volume when left out"
    )
    examples: list[Example] = Field(default=[])
    min_count: PositiveInt = Field(default=1, description="smaller bins are not drawn")

    def cohorts_used(self) -> list[str]:
        return self.cohorts

    def predictors_used(self) -> list[str]:
        return self.predictors


class ErrorDetectionCurves(Drawn):
    """Precision and recall of finding errors by their uncertainty, along the thresholds: a panel for each
    cohort, a curve for each predictor, a point for each threshold (means over subjects)."""

    kind: Literal["error_detection"]
    cohorts: list[str] = Field(min_length=1)
    predictors: list[str] = Field(min_length=1)
    part: Part = "test"
    x_limits: tuple[float, float] = Field(default=(0.0, 1.0), description="of precision")

    def cohorts_used(self) -> list[str]:
        return self.cohorts

    def predictors_used(self) -> list[str]:
        return self.predictors


Figure = Annotated[
    EnsembleCurves
    | EntropyScatter
    | MethodMaps
    | ShiftExamples
    | SizeMaps
    | ConfidenceExamples
    | SubjectReliability
    | ErrorDetectionCurves,
    Field(discriminator="kind"),
]
