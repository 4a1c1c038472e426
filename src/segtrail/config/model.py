"""Models and predictors: what is trained, and how probabilities come out of it."""

from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from .base import Strict


class Dropout(Strict):
    rate: float = Field(gt=0, lt=1)
    levels: PositiveInt = Field(description="how many inner-most encoder levels, and as many decoder levels")


class Plateau(Strict):
    """Learning rate × factor when mean validation Dice has not risen by `threshold` in `patience` epochs."""

    factor: float = Field(default=0.5, gt=0, lt=1)
    patience: PositiveInt = 10
    threshold: float = Field(default=0.001, ge=0)


class DeadClass(Strict):
    """A class whose validation Dice stays below `dice` at the best epoch was never learnt.

    `keep`: the member stays and is counted in the tables; `restart`: it is trained again from another
    initialisation, at most `restarts` times, then kept and counted.
    """

    dice: float = Field(default=0.05, ge=0, le=1)
    action: Literal["keep", "restart"] = "keep"
    restarts: int = Field(default=0, ge=0)


class Training(Strict):
    epochs: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    plateau: Plateau = Plateau()
    early_stopping: PositiveInt = Field(default=50, description="epochs without a better validation Dice")
    precision: Literal["float32", "bfloat16"] = "float32"
    dead_class: DeadClass = DeadClass()


class Model(Strict):
    """Architecture + where its dropout sits + loss + training recipe; a member is one training of it."""

    title: str
    architecture: Literal["unet"] = "unet"
    dims: Literal[2, 3] = 2
    filters: list[PositiveInt] = Field(
        min_length=2, description="filters of the two convolutions of each level"
    )
    dropout: Dropout | None = None
    loss: Literal["cross_entropy", "dice"]
    class_weights: Literal["inverse_frequency", "uniform"] = "uniform"
    segment_weights: dict[int, PositiveFloat] = Field(
        default={}, description="class index → factor on its weight in the Dice loss, 1 where left out"
    )
    activation: Literal["softmax", "sigmoid"]
    background: Literal["product", "remainder", "untrained"] = Field(
        default="product",
        description="sigmoid models: p(background) = Π(1−p_k) then renormalised over classes; "
        "max(0, 1−Σp_k) then renormalised; or an own untrained sigmoid channel, not renormalised",
    )
    members: PositiveInt
    training: Training

    def trained_by(self) -> dict[str, Any]:
        """The keys that shape one member, and no others: one more member retrains none of the others."""
        return self.model_dump(mode="json", exclude={"title", "members"})

    @model_validator(mode="after")
    def loss_fits_activation(self) -> "Model":
        if self.loss == "cross_entropy" and self.activation != "softmax":
            raise ValueError("loss cross_entropy needs activation softmax")
        if self.dropout and self.dropout.levels > len(self.filters):
            raise ValueError(f"dropout.levels {self.dropout.levels} exceeds the {len(self.filters)} levels")
        return self


class Predictor(Strict):
    """`single`: each member alone. `mc_dropout`: each member's mean over T passes with dropout on.
    `ensemble`: means of M members, drawn `draws` times without replacement from all members.

    Source: Mehrtash 2020, §V.C, eq. 6 (ensembles), §VI.C (MC dropout), §VI.D (draws).
    """

    title: str
    model: str
    kind: Literal["single", "mc_dropout", "ensemble"]
    samples: PositiveInt | None = Field(default=None, description="T, mc_dropout only")
    sizes: list[PositiveInt] = Field(default=[1], description="M, ensemble only, ascending")
    table_size: PositiveInt = Field(default=1, description="the M that the tables report, ensemble only")
    draws: PositiveInt = Field(default=1, description="n random sets for each M, ensemble only")
    maps: list[PositiveInt] = Field(
        default=[], description="M whose first draw's mean probability is kept for figures, ensemble only"
    )

    @property
    def posterior(self) -> str:
        """The posterior that this predictor reads: predictors of one model and kind of pass share it."""
        return f"{self.model}_mc" if self.kind == "mc_dropout" else self.model

    @model_validator(mode="after")
    def settings_fit_kind(self) -> "Predictor":
        if (self.kind == "mc_dropout") != (self.samples is not None):
            raise ValueError("samples (T) belongs to mc_dropout, and mc_dropout needs it")
        if self.table_size not in self.sizes:
            raise ValueError(f"table_size {self.table_size} is not one of sizes {self.sizes}")
        return self
