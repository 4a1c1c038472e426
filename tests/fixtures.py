"""Where the real scans lie that some tests use, and small layouts written by hand for the others."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from segtrail.config import Dataset

ROOT = Path(__file__).parents[1]
SHAPE = (12, 10, 4)
AFFINE = np.diag([-1.5, -1.5, 6.0, 1.0])


def real(name: str) -> Path:
    """The folder of real scans called `name`; skips the test where it is absent."""
    folder = Path(os.environ.get("SEGTRAIL_FIXTURES", ROOT.parent / "shared" / "data")) / name
    if not folder.is_dir():
        pytest.skip(f"no real scans of {name} (SEGTRAIL_FIXTURES or ../shared/data)")
    return folder


def dataset(layout: str, channels: list[str], labels: list[int]) -> Dataset:
    about = {"title": "test", "layout": layout, "source": "", "terms": ""}
    names = {value: "background" if value == 0 else f"class {value}" for value in labels}
    return Dataset.model_validate({**about, "channels": channels, "labels": names})


def scan(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(50, 2000, SHAPE).astype(np.int16)


def mask(*values: int) -> np.ndarray:
    """A label in which each of `values` has a row of voxels of its own."""
    array = np.zeros(SHAPE, np.uint8)
    for index, value in enumerate(values, start=1):
        array[index, 2:8, 1:3] = value
    return array


def put(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Writes an array by a library that is not the reader's own where there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(array, affine), path)
    elif path.suffix in (".mhd", ".mha"):
        image = SimpleITK.GetImageFromArray(array.T)
        image.SetSpacing(np.linalg.norm(affine[:3, :3], axis=0).tolist())
        SimpleITK.WriteImage(image, str(path))
    else:
        Image.fromarray(np.ascontiguousarray(array)).save(path)
    return path


def brats(root: Path, name: str = "Brats17_CBICA_AAB_1", channels: str = "t1 t1ce t2 flair") -> Path:
    for index, channel in enumerate(channels.split()):
        put(root / name / f"{name}_{channel}.nii.gz", scan(index))
    put(root / name / f"{name}_seg.nii.gz", mask(1, 2, 4))
    return root / name


def acdc(root: Path, number: int = 1) -> Path:
    folder = root / f"patient{number:03d}"
    for frame in (1, 12):
        put(folder / f"{folder.name}_frame{frame:02d}.nii.gz", scan(frame))
        put(folder / f"{folder.name}_frame{frame:02d}_gt.nii.gz", mask(1, 2, 3))
    (folder / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n")
    return folder


def prostatex(root: Path, number: int = 4) -> Path:
    folder = root / f"ProstateX-{number:04d}"
    put(folder / "t2.nii.gz", scan(number))
    put(folder / "t2_seg.nii.gz", mask(1))
    return folder


def promise12(folder: Path, number: int = 3) -> Path:
    put(folder / f"Case{number:02d}.mhd", scan(number))
    put(folder / f"Case{number:02d}_segmentation.mhd", mask(1))
    return folder


def msd(root: Path, *ids: str, modality: tuple[str, ...] = ("MRI",)) -> Path:
    pairs = []
    for index, name in enumerate(ids):
        image = np.stack([scan(10 * index + c) for c in range(len(modality))], axis=-1)
        put(root / "imagesTr" / f"{name}.nii.gz", image[..., 0] if len(modality) == 1 else image)
        put(root / "labelsTr" / f"{name}.nii.gz", mask(1, 2))
        pairs.append({"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"})
    description = {
        "name": "Test",
        "modality": dict(enumerate(modality)),
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "numTraining": len(pairs),
        "training": pairs,
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def isic17(root: Path, id_: str = "ISIC_0000001", part: str = "Training") -> Path:
    colours = np.random.default_rng(1).integers(0, 255, (10, 12, 3)).astype(np.uint8)
    put(root / f"ISIC-2017_{part}_Data" / f"{id_}.jpg", colours)
    put(root / f"ISIC-2017_{part}_Data" / f"{id_}_superpixels.png", colours)
    truth = root / f"ISIC-2017_{part}_Part1_GroundTruth" / f"{id_}_segmentation.png"
    put(truth, (255 * (mask(1)[:, :, 1].T)).astype(np.uint8))
    return root


def folder(root: Path, *ids: str) -> Path:
    for index, name in enumerate(ids):
        put(root / "images" / f"{name}_t1.nii.gz", scan(index))
        put(root / "images" / f"{name}_t2.mha", scan(index + 50))
        put(root / "labels" / f"{name}.nii.gz", mask(1))
    (root / "dataset.yaml").write_text("channels: [t1, t2]\nlabels: {0: background, 1: tumour}\n")
    return root
