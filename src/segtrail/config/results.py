"""Tables of a study as data, and the measures that tables and claims speak of."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt, TypeAdapter, model_validator

from .base import Strict
from .cohort import Part

# From ece_fg on: measures of errors (key measures.errors). u_e and the five after it are taken at the
# threshold of the best mean on the part itself, those with _val at that of the best on the validation part.
Measure = Literal[
    "nll",
    "brier_sum",
    "brier_mean",
    "ece_conf",
    "dice",
    "hd95",
    "seg_entropy",
    "ece_fg",
    "signed_ce",
    "mean_uncertainty",
    "precision",
    "recall",
    "u_e",
    "bnf",
    "error_precision",
    "error_recall",
    "removal_gain",
    "addition",
    "u_e_val",
    "bnf_val",
    "error_precision_val",
    "error_recall_val",
]
Region = Literal["volume", "box", "mask"]
OF_ERRORS = frozenset(get_args(Measure)[get_args(Measure).index("ece_fg") :])

# These have a value for each segment, in the whole volume; the others one for all classes, in each region.
PER_SEGMENT = frozenset({"dice", "hd95", "seg_entropy"})
IN_BOX = frozenset({"nll", "brier_sum", "brier_mean", "ece_conf"})
IN_MASK = frozenset({"ece_fg", "signed_ce", "mean_uncertainty"})


class Group(Strict):
    """A cloud of points: each subject's segments, pooled."""

    cohort: str
    parts: list[Part] = Field(default=["test"])
    segments: list[PositiveInt] = Field(min_length=1)


class Tolerance(Strict):
    """How far from a number that is printed without an interval counts as within it."""

    absolute: PositiveFloat | None = Field(default=None, description="in the printed unit")
    relative: PositiveFloat | None = Field(default=None, description="share of the printed value")

    @model_validator(mode="after")
    def one_of_both(self) -> "Tolerance":
        if (self.absolute is None) == (self.relative is None):
            raise ValueError("give exactly one of absolute, relative")
        return self


class _Cell(Strict):
    """What every cell of a printed table has."""

    unit: str = ""
    tolerance: Tolerance | None = Field(default=None, description="15 % of the printed value when left out")
    digits: int | None = Field(
        default=None, ge=0, description="after the point, to which ranks and tables without print are rounded"
    )
    against: str | None = Field(default=None, description="the row it is compared with when values differ")
    at_fault: list[str] = Field(
        default=[],
        description="columns of this row that are taken to be misprinted where an audit rule finds them in "
        "conflict with other cells; without it every cell of the conflict counts as impossible",
    )

    def cohorts_used(self) -> list[str]:
        return []

    def predictors_used(self) -> list[str]:
        return []


class MeanCell(_Cell):
    """The mean over cases of each case's mean over members or draws.

    Source: Mehrtash 2020, §VI.D.
    """

    statistic: Literal["mean"]
    cohort: str
    dataset: str | None = Field(default=None, description="only its subjects; all of the part when left out")
    part: Part = "test"
    predictor: str
    size: PositiveInt | None = Field(default=None, description="M; the predictor's table_size when left out")
    printed_size: PositiveInt | None = Field(default=None, description="the M that the paper gives")
    measure: Measure
    region: Region = "volume"
    segment: int = Field(default=0, ge=0, description="class index; 0 for measures of all classes")
    factor: PositiveFloat = Field(default=1.0, description="printed = measured × factor; 100 for per cent")
    beside: Measure | None = Field(default=None, description="another definition, reported beside it")

    @model_validator(mode="after")
    def measure_fits_place(self) -> "MeanCell":
        check_place(self.measure, self.region, self.segment)
        return self

    def cohorts_used(self) -> list[str]:
        return [self.cohort]

    def predictors_used(self) -> list[str]:
        return [self.predictor]


class PatientsCell(_Cell):
    """How many patients a part of the split has.

    Source: Mehrtash 2020, §IV, table I.
    """

    statistic: Literal["patients"]
    cohort: str
    dataset: str | None = None
    part: Part = "test"

    def cohorts_used(self) -> list[str]:
        return [self.cohort]


class ReductionCell(_Cell):
    """100·(1 − m₂/m₁) of the means over cases at two sizes of an ensemble.

    Source: Mehrtash 2020, §VII.
    """

    statistic: Literal["reduction_percent"]
    cohort: str
    part: Part = "test"
    predictor: str
    sizes: tuple[PositiveInt, PositiveInt]
    measure: Measure
    region: Region = "volume"
    segment: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def measure_fits_place(self) -> "ReductionCell":
        check_place(self.measure, self.region, self.segment)
        return self

    def cohorts_used(self) -> list[str]:
        return [self.cohort]

    def predictors_used(self) -> list[str]:
        return [self.predictor]


class CorrelationCell(_Cell):
    """The smallest or largest −r over groups, r being Pearson's between logit Dice and `seg_entropy`.

    The papers print the magnitude of this negative correlation; a positive r would show as negative here.

    Source: Mehrtash 2020, §VII, figure 3.
    """

    statistic: Literal["correlation_min", "correlation_max"]
    predictor: str
    size: PositiveInt | None = None
    printed_size: PositiveInt | None = None
    groups: list[Group] = Field(min_length=1)

    def cohorts_used(self) -> list[str]:
        return [group.cohort for group in self.groups]

    def predictors_used(self) -> list[str]:
        return [self.predictor]


class PooledCell(_Cell):
    """The expected calibration error of the foreground's probability over all voxels of all subjects: their
    bins are added up before the error is taken (`ece_fg_ds`); mean over members or draws.

    Source: Jungo 2019, supplement (data-set ECE).
    """

    statistic: Literal["pooled"]
    cohort: str
    part: Part = "test"
    predictor: str
    size: PositiveInt | None = None
    measure: Literal["ece_fg", "signed_ce"]
    region: Literal["volume", "mask"] = "volume"
    factor: PositiveFloat = 1.0

    def cohorts_used(self) -> list[str]:
        return [self.cohort]

    def predictors_used(self) -> list[str]:
        return [self.predictor]


class ShareCell(_Cell):
    """Per cent of subjects whose confidence is too low (`underconfident`) or too high (`overconfident`).

    A subject's signed calibration error, averaged over the predictors, lies above τ or below −τ; τ is the
    given percentile over the predictors of the signed calibration error of all subjects' pooled bins.

    Source: Jungo 2019, §3, by the rule of its public code (miscalibration_percentage).
    """

    statistic: Literal["underconfident", "overconfident"]
    cohort: str
    part: Part = "test"
    predictors: list[str] = Field(min_length=1)
    percentile: float = Field(default=90.0, ge=0, le=100)
    region: Literal["volume", "mask"] = "volume"

    def cohorts_used(self) -> list[str]:
        return [self.cohort]

    def predictors_used(self) -> list[str]:
        return self.predictors


Cell = Annotated[
    MeanCell | PatientsCell | ReductionCell | CorrelationCell | PooledCell | ShareCell,
    Field(discriminator="statistic"),
]
_CELL: TypeAdapter[Cell] = TypeAdapter(Cell)


class Table(Strict):
    """A printed table: a cell's recipe is its column's fields with its row's laid over them."""

    name: str = Field(description="as the published CSV calls it")
    slug: str = Field(pattern=r"^[A-Za-z0-9_]+$", description="file name")
    title: str
    printed: bool = Field(default=True, description="false: the paper prints no number of it that is known")
    ranked: bool = Field(
        default=False,
        description="rows are ranked in each column, as printed in the notes of the published CSV",
    )
    notes: list[str] = Field(default=[])
    rows: dict[str, dict[str, Any]]
    columns: dict[str, dict[str, Any]]

    def cell(self, row: str, column: str) -> Cell:
        """The recipe of one cell; KeyError where the table has no such row or column."""
        return _CELL.validate_python({"statistic": "mean"} | self.columns[column] | self.rows[row])

    @model_validator(mode="after")
    def every_cell_is_one(self) -> "Table":
        for name, row in self.rows.items():
            if row.get("against") is not None and row["against"] not in self.rows:
                raise ValueError(f"{self.name}: row {name!r} is against {row['against']!r}, which is no row")
            if unknown := set(row.get("at_fault", [])) - set(self.columns):
                raise ValueError(f"{self.name}: row {name!r} has no column {sorted(unknown)}")
            for column in self.columns:
                cell = self.cell(name, column)
                if self.ranked and not isinstance(cell, MeanCell | PooledCell):
                    raise ValueError(f"{self.name} is ranked: {column!r} is {cell.statistic}, of no measure")
        return self

    def cells(self) -> list[Cell]:
        return [self.cell(row, column) for row in self.rows for column in self.columns]


def check_place(measure: str, region: str, segment: int) -> None:
    """Raises ValueError for a measure of segments without a segment, or in a box, and the reverse."""
    if (measure in PER_SEGMENT) != (segment > 0):
        raise ValueError(
            f"segment {segment}: {measure} is of {'one segment' if not segment else 'all classes'}"
        )
    for name, measured in (("box", IN_BOX), ("mask", IN_MASK)):
        if region == name and measure not in measured:
            raise ValueError(
                f"{measure} is not measured in the {name}; there are: {', '.join(sorted(measured))}"
            )
