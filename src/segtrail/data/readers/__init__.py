"""Readers: each knows how one collection lies on disk, and lists its subjects without reading a pixel."""

from pathlib import Path
from typing import Protocol

from ...config import Dataset
from ...errors import DataError
from ..subject import Listing
from . import acdc, brats, folder, isic17, msd, promise12, prostatex
from .collect import Finds, entries


class Reader(Protocol):
    """What each module here offers."""

    PATTERN: str  # the layout in one line

    def read(self, root: Path, dataset: Dataset, finds: Finds) -> None:
        """Adds every subject under `root` to `finds`."""

    def described(self, root: Path) -> tuple[list[str], dict[int, str]]:
        """Channels and labels as distributed, for a bare layout without a YAML under config/datasets."""


READERS: dict[str, Reader] = {
    "brats": brats,
    "acdc": acdc,
    "prostatex": prostatex,
    "promise12": promise12,
    "msd": msd,
    "isic17": isic17,
    "folder": folder,
}


def list_subjects(root: Path, dataset: Dataset) -> Listing:
    """The subjects of a data set under `root`, and what the layout shows to be wrong with them.

    Only names and small text files are read. A subject is listed if it has every channel of the data set and
    a reference label, if no other has its id, and if its files lie below `root`; otherwise it is among the
    problems. Raises DataError if the folder cannot be read or holds no subject of this layout.
    """
    root = Path(root)
    entries(root)
    finds = Finds(root, dataset.channels)
    READERS[dataset.layout].read(root, dataset, finds)
    if not finds.found and not finds.problems:
        raise DataError(
            f"no subject in the layout {dataset.layout}",
            file=root,
            expected=READERS[dataset.layout].PATTERN,
            remedy="give the folder that holds this layout, or name the layout that this folder has",
        )
    return finds.listing()


def default_dataset(layout: str, root: Path) -> Dataset:
    """A bare layout as a data set: the channels and labels as distributed.

    Those of `msd` come from `dataset.json` and those of `folder` from `dataset.yaml` in the root. Raises
    DataError if that file is unusable.
    """
    entries(Path(root))
    channels, labels = READERS[layout].described(Path(root))
    about = {"title": "as distributed", "layout": layout, "source": "", "terms": ""}
    return Dataset.model_validate({**about, "channels": channels, "labels": labels})
