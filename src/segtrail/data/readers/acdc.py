"""ACDC, as distributed.

    <root>/[training/]patientNNN/{Info.cfg, patientNNN_frameFF.nii.gz, patientNNN_frameFF_gt.nii.gz}

Info.cfg gives the numbers of the end-diastolic and end-systolic frame (ED, ES) and mostly the diagnosis
(Group): two subjects for each patient, patientNNN_ED and patientNNN_ES. Beside `training`, a folder `testing`
is left aside: the papers use the 100 patients of the training set. The 4-D film is not read.
"""

import re
from pathlib import Path

from ...config import Dataset
from ...errors import DataError
from .collect import Finds, entries, nifti

PATTERN = "<root>/[training/]patientNNN/{Info.cfg, patientNNN_frameFF.nii.gz, patientNNN_frameFF_gt.nii.gz}"
CHANNELS = ["cine"]
LABELS = {0: "background", 1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
FRAMES = ("ED", "ES")


def described(root: Path) -> tuple[list[str], dict[int, str]]:
    return CHANNELS, LABELS


def read(root: Path, dataset: Dataset, finds: Finds) -> None:
    training = root / "training"
    if training.is_dir() and (root / "testing").is_dir():
        finds.warnings.append("testing: left aside, only training is read")
    for folder in entries(training if training.is_dir() else root):
        if folder.is_dir() and re.fullmatch(r"patient\d+", folder.name):
            try:
                _patient(folder, dataset, finds)
            except DataError as error:
                finds.problems.append(error)


def _patient(folder: Path, dataset: Dataset, finds: Finds) -> None:
    info = _info(folder)
    for frame in FRAMES:
        stem = f"{folder.name}_frame{_frame_number(folder, info, frame):02d}"
        finds.add(
            f"{folder.name}_{frame}",
            {dataset.channels[0]: nifti(folder, stem)},
            nifti(folder, f"{stem}_gt"),
            folder.parent,
            patient=folder.name,
            group=info.get("Group", ""),
            frame=frame,
        )


def _info(folder: Path) -> dict[str, str]:
    """Info.cfg: lines of `key: value`."""
    path = folder / "Info.cfg"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            str(error) if isinstance(error, UnicodeDecodeError) else (error.strerror or str(error)),
            subject=folder.name,
            file=path,
            expected="a text file with the lines 'ED: <frame>' and 'ES: <frame>'",
            remedy="copy it from the distribution",
        ) from error
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _frame_number(folder: Path, info: dict[str, str], frame: str) -> int:
    value = info.get(frame, "")
    if not value.isdecimal():
        raise DataError(
            f"{frame}: {value}" if frame in info else f"no line '{frame}:'",
            subject=folder.name,
            file=folder / "Info.cfg",
            expected=f"a line '{frame}: <frame number>'",
            remedy="copy it from the distribution",
        )
    return int(value)
