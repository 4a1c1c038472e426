"""Models and predictors: what is trained, and how probabilities come out of it."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from .base import Strict


class Dropout(Strict):
    """Where elements are dropped: `levels` for the architecture unet, `layout` for upsampling_unet.

    `all`: whole channels after each of its 19 convolutions. `center`: after the second convolution of each
    encoder level but the inner-most, the first of each decoder level, and the one before the output, which
    Jungo 2019 does not mention and its code has: nine.
    """

    rate: float = Field(gt=0, lt=1)
    levels: PositiveInt | None = Field(
        default=None, description="unet: how many inner-most encoder levels, and as many decoder levels"
    )
    layout: Literal["all", "center"] | None = Field(default=None, description="upsampling_unet")


class MemberFolds(Strict):
    """Members of different subjects: member m is trained without fold m of the named parts.

    The parts' patients, in the order in which the split drew them (or in that of its list), are cut into k
    folds of neighbours; with `stratify` each stratum by itself, the first folds one larger where k does not
    divide it. Source of the rule: the public code of Jungo 2019.
    """

    k: int = Field(ge=2)
    of: list[Literal["train", "val"]] = Field(default=["train"], min_length=1)
    stratify: Literal["group", "site"] | None = None
    held_out: Literal["unused", "validation"] = Field(
        description="unused: the weights are chosen on the part val; validation: on the fold itself"
    )
    list: Path | None = Field(
        default=None,
        description="JSON as Jungo 2019 publishes it: `train` → k lists of patient or subject ids",
    )

    @model_validator(mode="after")
    def nobody_is_trained_and_chosen_on(self) -> "MemberFolds":
        if self.held_out == "unused" and "val" in self.of:
            raise ValueError("held_out unused: the weights are chosen on val, so that it cannot be one `of`")
        return self


class Auxiliary(Strict):
    """A network that learns where the segmentation of another model is wrong.

    `features`: from the last feature maps of that model, whose weights stay as they are, by its errors on the
    same training images. `segmentation`: from the image and that model's segmentation; trained on those
    segmentations that the members of the model `folds` give of the fold they have not seen. Member m learns
    the errors of member m.

    Source: Jungo 2019, §2.3.
    """

    model: str = Field(description="the segmentation model")
    input: Literal["features", "segmentation"]
    folds: str | None = Field(default=None, description="segmentation only: the cross-validated model")

    @model_validator(mode="after")
    def folds_fit_input(self) -> "Auxiliary":
        if (self.input == "segmentation") != (self.folds is not None):
            raise ValueError("folds belongs to input segmentation, which needs it")
        return self


class Aleatoric(Strict):
    """A second head that says how noisy the logits are: they are drawn from N(x, σ) in the loss.

    `sigma` turns its output into σ ≥ 0: `absolute` |s| (the public code of Jungo 2019 takes s itself, which
    may be negative and which torch since refuses as a deviation; the noise is symmetric, so that |s| draws
    from the same distribution), `exponential` exp(s), or `softplus`.

    Source: Jungo 2019, §2.3, after Kendall and Gal 2017, eq. 12.
    """

    draws: PositiveInt = 10
    sigma: Literal["absolute", "exponential", "softplus"] = "absolute"


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
    epochs_share: float = Field(
        default=1.0, gt=0, le=1, description="of `epochs`, rounded up: what this model trains of them"
    )
    plateau: Plateau | None = Field(default=Plateau(), description="null: the rate stays as it is")
    early_stopping: PositiveInt | None = Field(
        default=50, description="epochs without a better validation Dice; null: all epochs are trained"
    )
    slices: Literal["all", "not_black"] = Field(
        default="all", description="2D: not_black trains on slices with a value above 0 after the recipe"
    )
    selection: Literal["dice", "dice_smooth"] = Field(
        default="dice",
        description="validation Dice that picks the best epoch, per subject: 2I/S, or (2I+1)/(S+1)",
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    dead_class: DeadClass = DeadClass()


class Model(Strict):
    """Architecture + where its dropout sits + loss + training recipe; a member is one training of it.

    `unet`: that of Mehrtash 2020. `upsampling_unet`: that of Jungo 2019. `pointwise`: 1×1 convolutions with
    batch norm and ReLU, one for each of `filters`, and a last one without; an auxiliary of input features.
    """

    title: str
    architecture: Literal["unet", "upsampling_unet", "pointwise"] = "unet"
    dims: Literal[2, 3] = 2
    filters: list[PositiveInt] = Field(
        min_length=1, description="filters of the two convolutions of each level; pointwise: of each layer"
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
    aleatoric: Aleatoric | None = None
    auxiliary: Auxiliary | None = None
    folds: MemberFolds | None = Field(default=None, description="null: every member sees all subjects")
    members: PositiveInt
    training: Training

    def trained_by(self) -> dict[str, Any]:
        """The keys that shape one member, and no others: one more member retrains none of the others, and a
        list of folds in another place none at all (the subjects that it leaves out are hashed themselves)."""
        return self.model_dump(mode="json", exclude={"title": True, "members": True, "folds": {"list"}})

    @model_validator(mode="after")
    def loss_fits_activation(self) -> "Model":
        if self.loss == "cross_entropy" and self.activation != "softmax":
            raise ValueError("loss cross_entropy needs activation softmax")
        return self

    @model_validator(mode="after")
    def parts_fit_architecture(self) -> "Model":
        plain = self.architecture == "unet"
        if self.architecture != "pointwise" and len(self.filters) < 2:
            raise ValueError(f"filters {self.filters}: {self.architecture} has at least two levels")
        if self.dims == 3 and not plain:
            raise ValueError(f"dims 3: {self.architecture} has 2")
        if self.dropout and self.architecture == "pointwise":
            raise ValueError("dropout: pointwise has none")
        if self.dropout and (self.dropout.levels is not None, self.dropout.layout is not None) != (
            plain,
            not plain,
        ):
            raise ValueError(f"dropout: {self.architecture} takes {'levels' if plain else 'layout'} alone")
        if self.dropout and self.dropout.levels and self.dropout.levels > len(self.filters):
            raise ValueError(f"dropout.levels {self.dropout.levels} exceeds the {len(self.filters)} levels")
        if self.aleatoric and (self.architecture != "upsampling_unet" or self.loss != "cross_entropy"):
            raise ValueError("aleatoric needs architecture upsampling_unet and loss cross_entropy")
        reads_features = self.auxiliary is not None and self.auxiliary.input == "features"
        if (self.architecture == "pointwise") != reads_features:
            raise ValueError(
                "architecture pointwise belongs to an auxiliary of input features, and it to that"
            )
        return self

    @model_validator(mode="after")
    def folds_hold_members(self) -> "Model":
        if self.folds and self.members > self.folds.k:
            raise ValueError(
                f"members {self.members} exceeds folds.k {self.folds.k}: member m leaves out fold m"
            )
        return self


class Rescale(Strict):
    """Raw uncertainty to [squeeze, 1 − squeeze], linearly from its smallest and largest value.

    `subject`: those of the subject. `part`: those of all predictions of the part that it is in, as Jungo 2019
    does with σ: of the test set, that is. `validation`: those of the validation part; what lies beyond is
    clipped. A constant uncertainty becomes `squeeze`.

    Source: Jungo 2019, §2.3, and its public code.
    """

    over: Literal["subject", "part", "validation"]
    squeeze: float = Field(default=1e-5, ge=0, lt=0.5)


class Predictor(Strict):
    """`single`: each member alone. `mc_dropout`: each member's mean over T passes with dropout on.
    `ensemble`: means of M members, drawn `draws` times without replacement from all members. `aleatoric`:
    each member's probabilities without noise, and as its uncertainty σ of the predicted class. `auxiliary`:
    the probabilities of the segmentation model, and as their uncertainty the auxiliary network's probability
    of an error. The uncertainty of the others is the normalised entropy of their probabilities.

    Source: Mehrtash 2020, §V.C, eq. 6 (ensembles), §VI.C (MC dropout), §VI.D (draws); Jungo 2019, §2.3.
    """

    title: str
    model: str
    kind: Literal["single", "mc_dropout", "ensemble", "aleatoric", "auxiliary"]
    samples: PositiveInt | None = Field(default=None, description="T, mc_dropout only")
    sizes: list[PositiveInt] = Field(default=[1], description="M, ensemble only, ascending")
    table_size: PositiveInt = Field(default=1, description="the M that the tables report, ensemble only")
    draws: PositiveInt = Field(default=1, description="n random sets for each M, ensemble only")
    maps: list[PositiveInt] = Field(
        default=[], description="M whose first draw's mean probability is kept for figures, ensemble only"
    )
    rescale: Rescale | None = Field(default=None, description="aleatoric and auxiliary only")

    @property
    def posterior(self) -> str:
        """The posterior that this predictor reads: predictors of one model and kind of pass share it."""
        return f"{self.model}_mc" if self.kind == "mc_dropout" else self.model

    @model_validator(mode="after")
    def settings_fit_kind(self) -> "Predictor":
        if (self.kind == "mc_dropout") != (self.samples is not None):
            raise ValueError("samples (T) belongs to mc_dropout, and mc_dropout needs it")
        if (self.kind in ("aleatoric", "auxiliary")) != (self.rescale is not None):
            raise ValueError("rescale belongs to aleatoric and auxiliary, and they need it")
        if self.table_size not in self.sizes:
            raise ValueError(f"table_size {self.table_size} is not one of sizes {self.sizes}")
        return self
