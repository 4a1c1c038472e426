"""PROSTATEx T2-weighted MRI with gland labels, in a layout of ours.

    <root>/ProstateX-NNNN/{t2.nii.gz, t2_seg.nii.gz}

The collection is distributed as DICOM series and the labels (Meyer et al. 2018) apart from them, so everyone
converts the two. Any image format is read (.nii.gz, .nii, .mha, .mhd). The label's name ends in `seg` or
`segmentation`; the image is called `t2`, or it is the only other image in the folder.
"""

import re
from pathlib import Path

from ...config import Dataset
from ...errors import DataError
from .collect import Finds, entries, stem

PATTERN = "<root>/ProstateX-NNNN/{t2.nii.gz, t2_seg.nii.gz} (also .nii, .mha, .mhd)"
CHANNELS = ["t2"]
LABELS = {0: "background", 1: "prostate"}
LABEL = re.compile(r"(.*[_-])?seg(mentation)?", re.IGNORECASE)


def described(root: Path) -> tuple[list[str], dict[int, str]]:
    return CHANNELS, LABELS


def read(root: Path, dataset: Dataset, finds: Finds) -> None:
    for folder in entries(root):
        if folder.is_dir() and re.fullmatch(r"ProstateX-?\d+", folder.name, re.IGNORECASE):
            try:
                _subject(folder, dataset, finds)
            except DataError as error:
                finds.problems.append(error)


def _subject(folder: Path, dataset: Dataset, finds: Finds) -> None:
    stems = {path: name for path in entries(folder) if (name := stem(path)) is not None}
    labels = [path for path, name in stems.items() if LABEL.fullmatch(name)]
    images = [path for path in stems if path not in labels]
    named = [path for path in images if stems[path].lower() == "t2"]
    image = _only(folder, named or images, "image")
    label = _only(folder, labels, "label")
    channels = {dataset.channels[0]: image or folder / "t2.nii.gz"}
    finds.add(folder.name, channels, label or folder / "t2_seg.nii.gz", folder.parent)


def _only(folder: Path, paths: list[Path], what: str) -> Path | None:
    if len(paths) > 1:
        raise DataError(
            f"{len(paths)} files that could be the {what}: {', '.join(path.name for path in paths)}",
            subject=folder.name,
            file=folder,
            expected=f"one {what}",
            remedy="call the image t2.nii.gz and the label t2_seg.nii.gz, or take the others away",
        )
    return paths[0] if paths else None
