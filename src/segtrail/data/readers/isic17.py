"""ISIC 2017 Part 1, as distributed.

    <root>/ISIC-2017_{Training,Validation,Test_v2}_Data/ISIC_NNNNNNN.jpg
    <root>/ISIC-2017_{Training,Validation,Test_v2}_Part1_GroundTruth/ISIC_NNNNNNN_segmentation.png

The site is the official part. `_superpixels.png` and metadata beside the pictures are not read.
"""

import re
from pathlib import Path

from ...config import Dataset
from .collect import Finds, entries

PATTERN = "<root>/ISIC-2017_<part>_Data/<id>.jpg and ISIC-2017_<part>_Part1_GroundTruth/<id>_segmentation.png"
CHANNELS = ["red", "green", "blue"]
LABELS = {0: "background", 255: "lesion"}
PART = re.compile(r"ISIC-2017_(.+)_Data")


def described(root: Path) -> tuple[list[str], dict[int, str]]:
    return CHANNELS, LABELS


def read(root: Path, dataset: Dataset, finds: Finds) -> None:
    for folder in entries(root):
        part = PART.fullmatch(folder.name)
        if not part or not folder.is_dir():
            continue
        truth = root / f"ISIC-2017_{part[1]}_Part1_GroundTruth"
        for path in entries(folder):
            if path.suffix.lower() in (".jpg", ".jpeg"):
                label = truth / f"{path.stem}_segmentation.png"
                channels = dict.fromkeys(dataset.channels, path)
                finds.add(path.stem, channels, label, folder, site=part[1])
