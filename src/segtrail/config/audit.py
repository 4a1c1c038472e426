"""What a paper's printed columns are and what it says of them, for `segtrail audit`: config/audit/*.yaml."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from ..errors import ConfigError
from .base import Strict, mistakes
from .run import read_yaml

Measure = Literal[
    "nll",
    "brier_sum",
    "brier_mean",
    "ece_conf",
    "ece_fg",
    "dice",
    "iou",
    "hd95",
    "u_e",
    "bnf",
    "expected_entropy",
    "predictive_entropy",
    "correlation",
    "p_value",
    "patients",
    "share",
    "reduction",
    "other",
]
Interval = Literal["case_percentiles", "mean_confidence"]
Pair = tuple[str, str]
Place = tuple[str, str, str]


class Meaning(Strict):
    """What the numbers of a column are; the keys of a row are laid over those of its column."""

    measure: Measure | None = Field(
        default=None, description="as the paper states it; `other`: no rule reads it"
    )
    readings: list[Measure] = Field(
        default=[], description="other measures that it may be, tried where the stated one cannot be right"
    )
    region: str = Field(default="volume", description="only numbers of one region are compared")
    factor: PositiveFloat = Field(default=1.0, description="printed = measured × factor; 100 for per cent")
    decimals: int | None = Field(
        default=None, ge=0, description="to which it was rounded; the printed digits when left out"
    )
    classes: PositiveInt | None = Field(default=None, description="K, with the background")
    n: PositiveInt | None = Field(default=None, description="cases behind the number")
    interval: Interval | None = Field(
        default=None,
        description="what the printed interval is said to be: percentiles 2.5 and 97.5 over cases, or a 95 % "
        "interval of their mean",
    )
    interval_readings: list[Interval] = Field(default=[], description="what else it may be")
    better: Literal["lower", "higher"] | None = Field(
        default=None, description="the direction of ranks and comparisons; the measure's own when left out"
    )
    where: str = Field(default="", description="where the paper defines it")


class PrintedTable(Strict):
    """The rows and columns of one table of the published CSV."""

    rows: dict[str, Meaning] = Field(min_length=1)
    columns: dict[str, Meaning] = Field(min_length=1)

    def meaning(self, row: str, column: str) -> Meaning:
        """Of one cell. KeyError where the table has no such row or column."""
        values = self.columns[column].model_dump(exclude_unset=True)
        return Meaning.model_validate(values | self.rows[row].model_dump(exclude_unset=True))

    @model_validator(mode="after")
    def every_cell_has_a_measure(self) -> "PrintedTable":
        for name, column in self.columns.items():
            for row_name, row in self.rows.items():
                if column.measure is None and row.measure is None:
                    raise ValueError(f"no measure for row {row_name!r}, column {name!r}")
        return self


class Term(Strict):
    """A number: a printed cell, or one of the text, which the CSV does not hold."""

    cell: Place | None = Field(default=None, description="[table, row, column] of the published CSV")
    text: str | None = Field(default=None, description="the number as it stands there, in quotes")
    what: str = Field(default="", description="what the number of the text is")
    where: str = Field(default="", description="section, page or caption; the statement's when left out")
    slack: float | None = Field(
        default=None, ge=0, description="how far it may be off; half of its last digit when left out"
    )

    @model_validator(mode="after")
    def one_number(self) -> "Term":
        if (self.cell is None) == (self.text is None):
            raise ValueError("give either cell or text")
        if self.text is not None:
            try:
                float(self.text)
            except ValueError as error:
                raise ValueError(f"text = {self.text!r} is no number") from error
            if not self.what:
                raise ValueError(f"say `what` the {self.text} of the text is")
        return self


class _Statement(Strict):
    says: str = Field(min_length=1, description="what the paper says or implies")
    where: str = Field(min_length=1, description="section, page or caption")


class Total(_Statement):
    """Counts add up to a count."""

    kind: Literal["total"]
    parts: list[Term] = Field(min_length=1)
    total: Term


class Same(_Statement):
    """One number is printed twice."""

    kind: Literal["same"]
    a: Term
    b: Term


class AtMost(_Statement):
    """The sum of the parts is at most the limit."""

    kind: Literal["at_most"]
    parts: list[Term] = Field(min_length=1)
    limit: Term


class Shared(_Statement):
    """Rows that were made from the same segmentations agree in these columns."""

    kind: Literal["shared"]
    table: str
    rows: list[str] = Field(min_length=2)
    columns: list[str] = Field(min_length=1)


class Rows(_Statement):
    """In each pair the first row is the better (or the stronger: larger without its sign) in each column."""

    kind: Literal["rows"]
    table: str
    pairs: list[Pair] = Field(min_length=1)
    columns: list[str] = Field(min_length=1)
    relation: Literal["better", "stronger"] = "better"


class Columns(_Statement):
    """In each row the first column of each pair is the stronger: larger without its sign."""

    kind: Literal["columns"]
    table: str
    rows: list[str] = Field(min_length=1)
    pairs: list[Pair] = Field(min_length=1)


class Ranks(_Statement):
    """The notes of the CSV hold dense ranks of the rows in each column, as `rank 3`."""

    kind: Literal["ranks"]
    table: str
    columns: list[str] = Field(min_length=1)
    first: str | None = Field(default=None, description="the row said to have the smallest sum of ranks")


class PValues(_Statement):
    """Two-sided p-values of rank correlations, each from a row's ρ and n."""

    kind: Literal["p_values"]
    tables: list[str] = Field(min_length=1)
    pairs: list[Pair] = Field(min_length=1, description="[column of ρ, column of p]")
    n: int = Field(ge=3)


class Shares(_Statement):
    """Percentages of a count that make the whole."""

    kind: Literal["shares"]
    shares: list[Term] = Field(min_length=2)
    of: Term


class DiceIou(_Statement):
    """Dice and intersection over union of the same segmentations, in rows of the same names."""

    kind: Literal["dice_iou"]
    rows: list[str] = Field(min_length=1)
    dice: Pair = Field(description="[table, column]")
    iou: Pair = Field(description="[table, column]")
    averaged: bool = Field(description="means over images; false: of one image, or of all pixels pooled")


class Reduction(_Statement):
    """The share by which a smaller ensemble of the same members cuts a convex measure, in per cent."""

    kind: Literal["reduction"]
    single: Term
    ensemble: Term
    percent: Term


class Ensembles(_Statement):
    """[ensemble, mean of its members alone]: a convex measure is no larger for the ensemble."""

    kind: Literal["ensembles"]
    tables: list[str] = Field(min_length=1)
    pairs: list[Pair] = Field(min_length=1)
    columns: list[str] = Field(min_length=1)


Statement = Annotated[
    Total
    | Same
    | AtMost
    | Shared
    | Rows
    | Columns
    | Ranks
    | PValues
    | Shares
    | DiceIou
    | Reduction
    | Ensembles,
    Field(discriminator="kind"),
]
KINDS: dict[str, type[_Statement]] = {
    get_args(item.model_fields["kind"].annotation)[0]: item for item in get_args(get_args(Statement)[0])
}


class Audit(Strict):
    """One YAML under config/audit."""

    title: str
    tables: dict[str, PrintedTable] = Field(min_length=1)
    statements: list[Statement] = Field(default=[])


def load_audit(path: Path) -> Audit:
    """A rules file; ConfigError names each key that is wrong, its value and what is allowed."""
    values = read_yaml(path)
    try:
        return Audit.model_validate(values)
    except ValidationError as error:
        raise ConfigError(mistakes(error, _keys), file=path) from error


def _keys(location: tuple[Any, ...]) -> list[str]:
    """The keys beside the unknown one at `location`."""
    parents = location[:-1]
    model: type[BaseModel] = Audit
    if parents[:1] == ("statements",):
        model = Term if len(parents) > 3 else KINDS[parents[2]]
    elif parents[:1] == ("tables",):
        model = PrintedTable if len(parents) == 2 else Meaning
    return sorted(model.model_fields)
