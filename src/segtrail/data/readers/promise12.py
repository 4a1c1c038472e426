"""PROMISE12, as distributed (MetaImage), in whatever folders below the root.

    <root>/**/CaseNN.mhd (+ .raw), CaseNN_segmentation.mhd (+ .raw)

Which coil a case was scanned with is not distributed, so the site is "". A file `coils.csv` in the root
(columns Case and coil: phased_array or endorectal) tells it where somebody knows; phantoms have one.
"""

import os
import re
from pathlib import Path

from ...config import Dataset
from .collect import Finds, entries, read_table

PATTERN = "<root>/**/CaseNN.mhd (+ .raw) and CaseNN_segmentation.mhd (+ .raw)"
CHANNELS = ["t2"]
LABELS = {0: "background", 1: "prostate"}
CASE = re.compile(r"Case\d+", re.IGNORECASE)


def described(root: Path) -> tuple[list[str], dict[int, str]]:
    return CHANNELS, LABELS


def read(root: Path, dataset: Dataset, finds: Finds) -> None:
    coils = _coils(root / "coils.csv")
    for folder, folders, _ in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in entries(Path(folder)):
            if path.suffix.lower() in (".mhd", ".mha") and CASE.fullmatch(path.stem):
                label = path.with_name(f"{path.stem}_segmentation{path.suffix}")
                site = coils.get(path.stem, "")
                finds.add(path.stem, {dataset.channels[0]: path}, label, path.parent, site=site)


def _coils(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return {row["Case"]: row["coil"] for row in read_table(path, ["Case", "coil"])}
