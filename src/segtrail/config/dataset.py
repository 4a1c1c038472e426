"""A data set: how it is laid out on disk and what its channels and labels mean."""

from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from .base import Strict

Layout = Literal["brats", "acdc", "prostatex", "promise12", "msd", "isic17", "folder"]


class Phantom(Strict):
    """What to draw where no data root is set: how many subjects of each site, and how large."""

    anatomy: Literal["brain", "heart", "prostate", "skin"]
    sites: dict[str, int] = Field(description="site → number of subjects; '' where the layout has no site")
    size: Literal["small", "full"] = "small"


class Typical(Strict):
    """The size of a usual scan: what a run will cost is told from it before any scan is read."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(description="voxels (x, y, z)")
    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(description="mm (x, y, z)")
    source: str = Field(description="where these numbers are from")


class Dataset(Strict):
    """One YAML under config/datasets."""

    title: str
    layout: Layout
    source: str = Field(description="where the collection can be had")
    terms: str = Field(description="under which terms it is distributed")
    channels: list[str] = Field(min_length=1)
    labels: dict[int, str] = Field(description="label value in the files → its name; 0 is background")
    phantoms: dict[str, Phantom] = Field(default={}, description="scale → phantom")
    typical: Typical | None = Field(
        default=None, description="used until the scans themselves have been read"
    )

    def inspected_by(self) -> dict[str, Any]:
        """The keys that decide what is looked for in the files, and no others."""
        return self.model_dump(mode="json", include={"layout", "channels", "labels"})
