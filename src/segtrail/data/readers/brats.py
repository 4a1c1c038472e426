"""BraTS 2017 and 2018, training set, as distributed.

    <root>/{HGG,LGG}/<subject>/<subject>_{t1,t1ce,t2,flair,seg}.nii.gz

The grade's folder may be left out (group ""), and BraTS 2013 subjects in the same layout are read too. The
site is the institution in the name: Brats17_CBICA_AAB_1, Brats17_TCIA_105_1, Brats18_TCIA01_390_1 (TCIA's
number is that of a sub-collection), Brats17_2013_10_1, brats_2013_pat0001_1.
"""

import re
from pathlib import Path

from ...config import Dataset
from .collect import Finds, entries, nifti

PATTERN = "<root>/[HGG|LGG/]<subject>/<subject>_{t1,t1ce,t2,flair,seg}.nii.gz"
CHANNELS = ["t1", "t1ce", "t2", "flair"]
LABELS = {0: "background", 1: "necrotic and non-enhancing tumour", 2: "edema", 4: "enhancing tumour"}
GROUPS = ("HGG", "LGG")
NAME = re.compile(r"brats(?:\d\d)?_([A-Za-z]+|2013)\d*_.+", re.IGNORECASE)


def described(root: Path) -> tuple[list[str], dict[int, str]]:
    return CHANNELS, LABELS


def read(root: Path, dataset: Dataset, finds: Finds) -> None:
    for folder in entries(root):
        if folder.is_dir() and folder.name in GROUPS:
            for inner in entries(folder):
                _subject(inner, folder.name, dataset, finds)
        else:
            _subject(folder, "", dataset, finds)


def _subject(folder: Path, group: str, dataset: Dataset, finds: Finds) -> None:
    name = folder.name
    if not folder.is_dir() or not any(file.name.startswith(f"{name}_") for file in entries(folder)):
        return
    site = NAME.fullmatch(name)
    channels = {channel: nifti(folder, f"{name}_{channel}") for channel in dataset.channels}
    label = nifti(folder, f"{name}_seg")
    finds.add(name, channels, label, folder.parent, site=site[1] if site else "", group=group)
