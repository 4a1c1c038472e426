"""Preprocessing recipes: what is done to a subject between the scan and the network, in order.

Spacings and shapes are in (x, y, z), as the papers write them; null keeps an axis as it is.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from .base import Strict

Spacing = tuple[PositiveFloat | None, PositiveFloat | None, PositiveFloat | None]
Shape = tuple[PositiveInt | None, PositiveInt | None, PositiveInt | None]


class ResampleToSpacing(Strict):
    """To a voxel spacing in mm: linear for images, nearest for labels."""

    step: Literal["resample_to_spacing"]
    spacing: Spacing


class ResampleToShape(Strict):
    """To a number of voxels: linear for images, nearest for labels."""

    step: Literal["resample_to_shape"]
    shape: Shape


class CentreCropOrPad(Strict):
    """To a shape about the volume's centre; pads with the image's minimum and with label 0."""

    step: Literal["centre_crop_or_pad"]
    shape: Shape


class CropToLabel(Strict):
    """To the bounding box of the given class indices (all foreground when left out), with a margin in mm."""

    step: Literal["crop_to_label"]
    classes: list[int] | None = None
    margin_mm: float = Field(default=0.0, ge=0)


class Window(Strict):
    """Clips intensities to [low, high], e.g. Hounsfield units."""

    step: Literal["window"]
    low: float
    high: float

    @model_validator(mode="after")
    def low_is_below_high(self) -> "Window":
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


class FillOutside(Strict):
    """Sets voxels outside the given class indices (all foreground when left out) to a value."""

    step: Literal["fill_outside"]
    value: float
    classes: list[int] | None = None


class ResizePicture(Strict):
    """A picture to a number of pixels, as Pillow does it: bilinear over all that a new pixel covers, nearest
    for the label. With `jpeg_quality` the result is encoded as JPEG and decoded again, as if saved between.

    Source: the public code of Jungo 2019, which saves the resized pictures (Pillow's default quality, 75).
    """

    step: Literal["resize_picture"]
    shape: tuple[PositiveInt, PositiveInt] = Field(description="(x, y)")
    jpeg_quality: int | None = Field(default=None, ge=1, le=95)


class MinMax(Strict):
    """To [0, 1] per volume, by each channel or by all channels together, after an optional clip at two
    percentiles."""

    step: Literal["min_max"]
    over: Literal["channel", "image"] = "channel"
    lower_percentile: float = Field(default=0.0, ge=0, le=100)
    upper_percentile: float = Field(default=100.0, ge=0, le=100)

    @model_validator(mode="after")
    def lower_is_below_upper(self) -> "MinMax":
        if self.lower_percentile >= self.upper_percentile:
            raise ValueError(f"lower {self.lower_percentile} must be below upper {self.upper_percentile}")
        return self


class ZScore(Strict):
    """To mean 0 and deviation 1 per channel, with the statistics of …

    `volume`: every voxel; `nonzero`: voxels whose raw value is not 0 (a brain mask);
    `population`: every voxel of the cohort's training part.
    """

    step: Literal["z_score"]
    over: Literal["volume", "nonzero", "population"] = "volume"


Step = Annotated[
    ResampleToSpacing
    | ResampleToShape
    | ResizePicture
    | CentreCropOrPad
    | CropToLabel
    | Window
    | FillOutside
    | MinMax
    | ZScore,
    Field(discriminator="step"),
]
