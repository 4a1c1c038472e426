"""A user's own data: images and labels matched by name.

    <root>/images/<subject>_<channel>.nii.gz   one file for each channel, or
    <root>/images/<subject>.nii.gz             the only channel, or a picture (channels red, green, blue)
    <root>/labels/<subject>.nii.gz             or <subject>_seg, <subject>_label
    <root>/dataset.yaml                        channels: [t1, t2]    labels: {0: background, 1: tumour}
    <root>/subjects.csv                        optional: subject, and any of patient, site, group, frame

Formats: .nii.gz, .nii, .mha, .mhd, .png, .jpg, .bmp. Where a YAML under config/datasets describes the data
set, `dataset.yaml` is not needed. Several images of one patient need `subjects.csv`: each image is
a patient without it.
"""

from collections import defaultdict
from pathlib import Path

from pydantic import Field

from ...config import Dataset, read_yaml
from ...config.base import Strict
from ...errors import ConfigError, DataError
from .collect import VOLUMES, Finds, entries, read_table, stem, validated

PATTERN = "<root>/{dataset.yaml, images/<subject>_<channel>.nii.gz, labels/<subject>.nii.gz}"
PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
SUFFIXES = (*VOLUMES, *PICTURES)
LABEL_ENDINGS = ("", "_seg", "_label")


class Description(Strict):
    """dataset.yaml."""

    title: str = ""
    channels: list[str] = Field(min_length=1)
    labels: dict[int, str] = Field(min_length=1)


def described(root: Path) -> tuple[list[str], dict[int, str]]:
    path = root / "dataset.yaml"
    if not path.is_file():
        raise DataError(
            "no dataset.yaml",
            file=path,
            expected="a YAML file with `channels: [t1, t2]` and `labels: {0: background, 1: tumour}`",
            remedy="write it, or describe the data set in a YAML under config/datasets and give its name",
        )
    try:
        about = validated(Description, read_yaml(path), path)
    except ConfigError as error:
        raise DataError(**error.as_dict()) from error
    return about.channels, about.labels


def read(root: Path, dataset: Dataset, finds: Finds) -> None:
    images: dict[str, dict[str | None, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in entries(root / "images"):
        name = stem(path, SUFFIXES)
        if name is not None:
            subject, channel = _parts(name, dataset.channels)
            images[subject][channel].append(path)
    labels = defaultdict(list)
    for path in entries(root / "labels"):
        name = stem(path, SUFFIXES)
        if name is not None:
            labels[name].append(path)
    about = _table(root / "subjects.csv", finds, set(images))
    used, unnamed = set(), 0
    for subject, files in images.items():
        mine = [path for ending in LABEL_ENDINGS for path in labels.get(subject + ending, [])]
        used.update(mine)
        for double in [paths for paths in [*files.values(), mine] if len(paths) > 1]:
            finds.problems.append(_double(subject, double))
        there = _channels(files, dataset.channels)
        unnamed += None in files and files[None][0] not in there.values()
        row = about.get(subject, {})
        finds.add(
            subject,
            {channel: there.get(channel, _wanted(root, subject, channel)) for channel in dataset.channels},
            mine[0] if mine else root / "labels" / f"{subject}.nii.gz",
            root / "images",
            patient=row.get("patient"),
            site=row.get("site", ""),
            group=row.get("group", ""),
            frame=row.get("frame", ""),
        )
    orphans = sum(path not in used for paths in labels.values() for path in paths)
    if orphans:
        finds.warnings.append(f"labels: {orphans} without an image of the same name, left aside")
    if unnamed:
        finds.warnings.append(f"images: {unnamed} whose name ends in no channel, left aside")


def _channels(files: dict[str | None, list[Path]], wanted: list[str]) -> dict[str, Path]:
    """channel → its file. A file named after no channel holds the only one, or all colours of a picture."""
    if set(files) == {None} and (len(wanted) == 1 or stem(files[None][0], PICTURES) is not None):
        return dict.fromkeys(wanted, files[None][0])
    return {channel: paths[0] for channel, paths in files.items() if channel is not None}


def _parts(name: str, channels: list[str]) -> tuple[str, str | None]:
    """`<subject>_<channel>` → both; a name that ends in no channel is the subject's."""
    for channel in sorted(channels, key=len, reverse=True):
        if name.endswith(f"_{channel}") and len(name) > len(channel) + 1:
            return name.removesuffix(f"_{channel}"), channel
    return name, None


def _wanted(root: Path, subject: str, channel: str) -> Path:
    return root / "images" / f"{subject}_{channel}.nii.gz"


def _double(subject: str, paths: list[Path]) -> DataError:
    return DataError(
        f"{len(paths)} files for one place: {', '.join(path.name for path in paths)}",
        subject=subject,
        file=paths[0],
        expected="one file for each channel and one label; one subject for each id",
        remedy="remove or rename all but one",
    )


def _table(path: Path, finds: Finds, known: set[str]) -> dict[str, dict[str, str]]:
    """subject → what subjects.csv says about it."""
    if not path.is_file():
        return {}
    rows = {row["subject"]: {k: v for k, v in row.items() if v} for row in read_table(path, ["subject"])}
    unknown = sorted(set(rows) - known)
    if unknown:
        finds.warnings.append(f"subjects.csv: {len(unknown)} without an image ({', '.join(unknown[:3])} …)")
    return rows
