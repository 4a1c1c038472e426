"""Claims of a study as data: a paper's sentences, and the comparisons that support or refuse them.

Comparisons are made on the test part, unless they name another. Where a kind takes `regions` by cohort, a
measure that is not taken in regions, and a cohort that is not named, use the whole volume.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from .base import Strict
from .cohort import Part
from .results import Group, Measure, Region, Tolerance, check_place

Regions = dict[str, Region]
VOLUME: list[Region] = ["volume"]
# The share of a region that is background belongs to no predictor: it is there to compare measures with.
Quantity = Measure | Literal["background"]


class Chosen(Strict):
    """A predictor, by name alone or with the size of its ensemble."""

    predictor: str
    size: PositiveInt | None = Field(default=None, description="M; the predictor's table_size when left out")

    @model_validator(mode="before")
    @classmethod
    def name_alone(cls, value: Any) -> Any:
        return {"predictor": value} if isinstance(value, str) else value


class Sample(Chosen):
    """One predictor on one part of one cohort."""

    cohort: str
    part: Part = "test"


def _several(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Several = Annotated[list[Chosen], BeforeValidator(_several), Field(min_length=1)]


class _Pairs(Strict):
    """What comparisons of predictors on the same cases have."""

    cohorts: list[str] = Field(min_length=1)
    a: Several
    b: Several
    regions: list[Region] | Regions = Field(
        default=VOLUME, description="each of a list, or cohort → region; not for measures of segments"
    )

    def cohorts_used(self) -> list[str]:
        return self.cohorts

    def predictors_used(self) -> list[str]:
        return [chosen.predictor for chosen in (*self.a, *self.b)]


class Paired(_Pairs):
    """Each of `a` is better than each of `b` on the same cases: by cohort, measure, region and segment."""

    kind: Literal["paired"]
    measures: list[Measure] = Field(min_length=1)


class Alike(_Pairs):
    """Each of `a` differs from each of `b` on the same cases by less than a margin.

    Tested as equivalence: that the difference is at least as large as the margin is what has to be refuted.
    """

    kind: Literal["alike"]
    margins: dict[Measure, Tolerance] = Field(
        min_length=1, description="measure → margin, absolute in the measure's unit or a share of b's mean"
    )
    either_way: bool = Field(default=True, description="false: `a` may be better by any amount")


class Unpaired(Strict):
    """`a` is better than `b`: other cases, compared by each case's mean over its segments."""

    kind: Literal["unpaired"]
    a: Sample
    b: Sample
    measures: list[Measure] = Field(min_length=1)
    regions: list[Region] = Field(default=["volume"], description="not for measures of segments")

    def cohorts_used(self) -> list[str]:
        return [self.a.cohort, self.b.cohort]

    def predictors_used(self) -> list[str]:
        return [self.a.predictor, self.b.predictor]


class _OfPredictors(Strict):
    """What comparisons within cohorts have."""

    cohorts: list[str] = Field(min_length=1)
    predictors: list[str] = Field(min_length=1)

    def cohorts_used(self) -> list[str]:
        return self.cohorts

    def predictors_used(self) -> list[str]:
        return self.predictors


class BetweenRegions(_OfPredictors):
    """Each predictor's measure is better in region `a` than in region `b` of the same cases."""

    kind: Literal["regions"]
    measure: Measure
    a: Region
    b: Region


class BetweenCohorts(Strict):
    """Each predictor is better on cohort `a` than on cohort `b`; of `background`: `a` has more."""

    kind: Literal["cohorts"]
    a: str
    b: str
    predictors: list[str] = Field(min_length=1)
    measures: list[Quantity] = Field(min_length=1)
    regions: Regions = Field(default={}, description="cohort → region; the whole volume when left out")

    def cohorts_used(self) -> list[str]:
        return [self.a, self.b]

    def predictors_used(self) -> list[str]:
        return self.predictors


class Differing(_OfPredictors):
    """The predictors' levels differ: the largest mean over cases less the smallest (Friedman's test)."""

    kind: Literal["differ"]
    predictors: list[str] = Field(min_length=3)
    measures: list[Measure] = Field(min_length=1)
    regions: Regions = Field(default={}, description="cohort → region; the whole volume when left out")


class Level(_OfPredictors):
    """A measure's mean over predictors and cases is at most `at_most`."""

    kind: Literal["level"]
    measure: Measure
    at_most: float
    regions: Regions = Field(default={}, description="cohort → region; the whole volume when left out")


class Correlated(Chosen):
    """Logit Dice falls as `seg_entropy` rises, with |r| of at least `at_least`, in each group."""

    kind: Literal["correlation"]
    groups: list[Group] = Field(min_length=1)
    at_least: float = Field(default=0.0, ge=0, le=1)

    def cohorts_used(self) -> list[str]:
        return [group.cohort for group in self.groups]

    def predictors_used(self) -> list[str]:
        return [self.predictor]


class Associated(_OfPredictors):
    """Over the cases of a cohort `y` rises or falls with `x` (Spearman's correlation), for each predictor."""

    kind: Literal["association"]
    x: Quantity
    y: Quantity
    direction: Literal["rises", "falls"]
    at_most: float | None = Field(
        default=None, gt=0, lt=1, description="the correlation in this direction is no stronger than this"
    )
    averaged: bool = Field(default=False, description="x and y are each case's means over the predictors")
    minus: str | None = Field(default=None, description="x and y are differences from this predictor's")
    regions: Regions = Field(default={}, description="cohort → region; the whole volume when left out")

    def predictors_used(self) -> list[str]:
        return [*self.predictors, *([self.minus] if self.minus else [])]


class Agreeing(_OfPredictors):
    """Over cases, each predictor's values rise with the mean of the others', with Spearman's correlation of
    at least `at_least`."""

    kind: Literal["agreement"]
    predictors: list[str] = Field(min_length=2)
    measure: Measure
    at_least: float = Field(gt=0, lt=1)
    regions: Regions = Field(default={}, description="cohort → region; the whole volume when left out")


class BetweenPredictors(_OfPredictors):
    """Predictors with a higher mean `x` have a higher or lower mean `y`: Spearman's correlation over the
    predictors, its uncertainty by resampling cases."""

    kind: Literal["between_predictors"]
    predictors: list[str] = Field(min_length=3)
    x: Measure
    y: Measure
    direction: Literal["rises", "falls"]
    regions: Regions = Field(default={}, description="cohort → region; the whole volume when left out")


class Pooled(_OfPredictors):
    """The ECE of all cases' bins together (`ece_fg` of the data set) is smaller than the mean of the cases'
    own, by at least so many per cent of it."""

    kind: Literal["pooled"]
    percent: PositiveFloat = Field(lt=100)
    regions: Regions = Field(default={}, description="cohort → region; the whole volume when left out")


class Miscalibrated(_OfPredictors):
    """At least so many per cent of the cases are under- or overconfident; see config.results.ShareCell."""

    kind: Literal["miscalibrated"]
    percent: PositiveFloat = Field(lt=100)
    percentile: float = Field(default=90.0, ge=0, le=100)
    regions: Regions = Field(default={}, description="cohort → region; the whole volume when left out")


class _Ranked(Strict):
    """What comparisons of rank sums have: a table whose columns are means over cases of one part."""

    table: str = Field(description="the name of a table of the study")
    columns: list[str] | None = Field(default=None, description="of that table; all when left out")

    def cohorts_used(self) -> list[str]:
        return []

    def predictors_used(self) -> list[str]:
        return []


class RankSums(_Ranked):
    """Each row of `first` has a smaller sum of ranks than every row that is not named; of `last` a larger."""

    kind: Literal["rank_sums"]
    first: list[str] = Field(default=[])
    last: list[str] = Field(default=[])

    @model_validator(mode="after")
    def one_of_both(self) -> "RankSums":
        if bool(self.first) == bool(self.last):
            raise ValueError("give exactly one of first, last")
        return self


class NoBest(_Ranked):
    """No row is first in all columns."""

    kind: Literal["no_best"]


class Reduced(Strict):
    """Going from the first size to the second cuts a measure by about `percent` (to within 15 % of it)."""

    kind: Literal["reduction"]
    predictor: str
    sizes: tuple[PositiveInt, PositiveInt]
    measure: Measure
    region: Region = "volume"
    percent: dict[str, PositiveFloat] = Field(description="cohort → the printed reduction")

    @model_validator(mode="after")
    def measure_of_all_classes(self) -> "Reduced":
        check_place(self.measure, self.region, 0)
        return self

    def cohorts_used(self) -> list[str]:
        return list(self.percent)

    def predictors_used(self) -> list[str]:
        return [self.predictor]


class Failures(Chosen):
    """Segments with Dice of at most `dice` have a higher `seg_entropy` than the others of their kind."""

    kind: Literal["failures"]
    cohorts: list[str] = Field(min_length=1)
    dice: float = Field(gt=0, lt=1)

    def cohorts_used(self) -> list[str]:
        return self.cohorts

    def predictors_used(self) -> list[str]:
        return [self.predictor]


Comparison = Annotated[
    Paired
    | Alike
    | Unpaired
    | BetweenRegions
    | BetweenCohorts
    | Differing
    | Level
    | Correlated
    | Associated
    | Agreeing
    | BetweenPredictors
    | Pooled
    | Miscalibrated
    | RankSums
    | NoBest
    | Reduced
    | Failures,
    Field(discriminator="kind"),
]


class Claim(Strict):
    """A sentence of the paper that measures can support or refuse."""

    id: str = Field(pattern=r"^[a-z0-9_]+$")
    text: str = Field(description="the paper's sentence, or what it says")
    where: str = Field(description="section or figure of the paper")
    note: str = Field(default="", description="how it was made testable, where that is a choice")
    parts: list[Comparison] = Field(min_length=1)
