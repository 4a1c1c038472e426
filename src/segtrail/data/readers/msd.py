"""Any task of the Medical Segmentation Decathlon, as distributed.

    <root>/{dataset.json, imagesTr/<subject>.nii.gz, labelsTr/<subject>.nii.gz}

`dataset.json` lists the images with their labels (`training`), and names the planes of 4-D images
(`modality`); a plane is a channel, found by its name in any case of letters. Images in imagesTr that it does
not list are left aside with a warning; imagesTs has no labels and is not read. Without a `dataset.json`
images and labels are matched by their file names; then only the data set's YAML can say what the channels and
labels are, and 4-D images cannot be read.
"""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from ...config import Dataset
from ...errors import DataError
from .collect import Finds, entries, stem, validated

PATTERN = "<root>/{dataset.json, imagesTr/<subject>.nii.gz, labelsTr/<subject>.nii.gz}"


class Pair(BaseModel):
    image: str
    label: str


class Description(BaseModel):
    """The keys of dataset.json that are read; it may have others."""

    modality: dict[int, str]
    labels: dict[int, str]
    training: Annotated[list[Pair], Field(min_length=1)]


def described(root: Path) -> tuple[list[str], dict[int, str]]:
    """Without a dataset.json the meaning of the labels is unknown: an empty scheme, which allows any."""
    about = _description(root)
    if about is None:
        return ["image"], {}
    return [name for _, name in sorted(about.modality.items())], about.labels


def read(root: Path, dataset: Dataset, finds: Finds) -> None:
    about = _description(root)
    images = (
        [path for path in entries(root / "imagesTr") if stem(path)] if (root / "imagesTr").is_dir() else []
    )
    if about is None:
        if images:
            finds.warnings.append(
                "no dataset.json: images and labels matched by name"
                + ("" if dataset.labels else "; what the labels mean is not known, so none is refused")
            )
        pairs = [(path, root / "labelsTr" / path.name) for path in images]
    else:
        _check_channels(root, about, dataset)
        pairs = [(root / pair.image, root / pair.label) for pair in about.training]
        unlisted = len(set(images) - {image for image, _ in pairs})
        if unlisted:
            finds.warnings.append(f"imagesTr: {unlisted} images that dataset.json does not list, left aside")
    for image, label in pairs:
        channels = dict.fromkeys(dataset.channels, image)
        finds.add(stem(image) or image.name, channels, label, root / "imagesTr")


def channel_index(image: Path, channel: str, count: int) -> int:
    """The plane of a 4-D image with `count` planes that holds `channel`, from dataset.json above it.

    Raises DataError if dataset.json is missing or names no such plane.
    """
    about = _description(image.parent.parent)
    names = {} if about is None else about.modality
    for index, name in names.items():
        if name.casefold() == channel.casefold() and index < count:
            return index
    raise DataError(
        f"an image of {count} planes, named {', '.join(names.values()) or 'nowhere'}",
        file=image,
        expected=f"a plane named {channel} in {image.parent.parent / 'dataset.json'}",
        remedy="correct `modality` in dataset.json, or write one file for each channel",
    )


def _check_channels(root: Path, about: Description, dataset: Dataset) -> None:
    """One plane may have any name; several are told apart by theirs."""
    names = {name.casefold() for name in about.modality.values()}
    missing = [channel for channel in dataset.channels if channel.casefold() not in names]
    if missing and (len(names) > 1 or len(dataset.channels) > 1):
        raise DataError(
            f"modality: {', '.join(about.modality.values())}; missing: {', '.join(missing)}",
            file=root / "dataset.json",
            expected=f"the data set's channels {', '.join(dataset.channels)}",
            remedy="name the channels in the data set's YAML as dataset.json does",
        )


def _description(root: Path) -> Description | None:
    path = root / "dataset.json"
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            str(error),
            file=path,
            expected="JSON as the Decathlon has it",
            remedy="copy it again from its source",
        ) from error
    return validated(Description, values, path)
