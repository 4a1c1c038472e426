"""Writes drawn subjects as their collections are distributed: folders, names, formats and side files."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from ...config import Dataset, Phantom
from ...config.run import PHANTOM_MARKER
from ...errors import ConfigError, DataError
from ...files import atomic_folder, write_json, write_text
from ...seeds import seed_of
from ..volumes import write_nifti
from . import brain, heart, prostate, skin
from .planning import PlannedSubject, plan
from .shapes import Drawing

ANATOMIES: dict[str, Any] = {"brain": brain, "heart": heart, "prostate": prostate, "skin": skin}
# Other names under which data sets know a channel.
ALIASES = {"t1w": "t1", "t1gd": "t1ce", "t2w": "t2", "mri": "t2"}
CLASSES = {"brain": 3, "heart": 3, "prostate": 2, "skin": 1}
DRAWN_IN = {
    "brats": ("brain",),
    "acdc": ("heart",),
    "prostatex": ("prostate",),
    "promise12": ("prostate",),
    "msd": ("brain", "heart", "prostate"),
    "isic17": ("skin",),
    "folder": ("brain", "heart", "prostate"),
}
MARKER = PHANTOM_MARKER  # says that a folder is a phantom and may be replaced by another


def write_dataset(
    root: Path, dataset_name: str, dataset: Dataset, phantom: Phantom, seed: int, jobs: int
) -> None:
    """See `phantoms.write`."""
    subjects = plan(dataset_name, dataset, phantom)
    _check(dataset_name, dataset, phantom)
    if root.exists() and not (root / MARKER).exists() and any(path.is_file() for path in root.rglob("*")):
        raise DataError(
            "a folder with files that no phantom wrote",
            file=root,
            expected="an empty folder, or an earlier phantom",
            remedy="choose another folder, or remove this one",
        )
    with atomic_folder(root) as part:
        write_one = partial(_write_subject, part, dataset_name, dataset, phantom, seed)
        if jobs > 1:
            with ProcessPoolExecutor(jobs) as pool:
                list(pool.map(write_one, subjects))
        else:
            for subject in subjects:
                write_one(subject)
        if dataset.layout in _SIDE_FILES:
            _SIDE_FILES[dataset.layout](part, dataset_name, dataset, subjects)
        about = {"dataset": dataset_name, "anatomy": phantom.anatomy, "size": phantom.size, "seed": seed}
        write_json(part / MARKER, {"phantom": True, **about})


def _check(name: str, dataset: Dataset, phantom: Phantom) -> None:
    """The anatomy must suit the layout and be able to fill the data set's channels and labels."""
    if phantom.anatomy not in DRAWN_IN[dataset.layout]:
        raise ConfigError(
            f"datasets/{name}.yaml: anatomy {phantom.anatomy!r} for layout {dataset.layout}",
            expected=f"one of {list(DRAWN_IN[dataset.layout])}",
        )
    for channel in dataset.channels:
        if _channel(channel, phantom.anatomy) is None:
            raise ConfigError(
                f"datasets/{name}.yaml: a {phantom.anatomy} phantom has no channel {channel!r}",
                expected=f"some of {list(ANATOMIES[phantom.anatomy].CHANNELS)}",
            )
    values = _foreground(dataset)
    if not 0 < len(values) <= CLASSES[phantom.anatomy]:
        raise ConfigError(
            f"datasets/{name}.yaml: {len(values)} foreground labels",
            expected=f"1 to {CLASSES[phantom.anatomy]} for a {phantom.anatomy} phantom",
        )


def _channel(name: str, anatomy: str) -> str | None:
    """The anatomy's channel for a data set's channel; an anatomy with one channel takes any name."""
    known = ANATOMIES[anatomy].CHANNELS
    if len(known) == 1:
        return str(known[0])
    name = name.casefold()
    name = ALIASES.get(name, name)
    return name if name in known else None


def _foreground(dataset: Dataset) -> list[int]:
    return sorted(value for value in dataset.labels if value != 0)


def _label(drawing: Drawing, dataset: Dataset) -> NDArray[np.uint8]:
    """Class indices → the data set's label values in ascending order; surplus classes join the last."""
    values = _foreground(dataset)
    codes = [0, *values, *[values[-1]] * max(CLASSES.values())]
    return np.array(codes, np.uint8)[drawing.classes]


def _write_subject(
    root: Path, name: str, dataset: Dataset, phantom: Phantom, seed: int, subject: PlannedSubject
) -> None:
    # The frames of a patient share the anatomy; each has its own scan.
    anatomy = np.random.default_rng(seed_of(seed, name, "anatomy", subject.patient))
    scan = np.random.default_rng(seed_of(seed, name, "scan", subject.id))
    drawing = ANATOMIES[phantom.anatomy].draw(subject, phantom.size == "full", anatomy, scan)
    wanted = {channel: _channel(channel, phantom.anatomy) for channel in dataset.channels}
    images = {channel: drawing.channels[known] for channel, known in wanted.items() if known}
    label = _label(drawing, dataset)
    for file in subject.files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
    if dataset.layout == "isic17":
        _write_picture(root, subject, images, label)
    elif dataset.layout == "promise12":
        tilt = float(np.round(scan.uniform(0, 0.3), 4))
        for file, array in (
            (next(iter(subject.channels.values())), next(iter(images.values()))),
            (subject.label, label),
        ):
            _write_metaimage(root / file, array, drawing.spacing, tilt)
    else:
        affine = _affine(dataset.layout, label.shape, drawing.spacing, scan)
        if dataset.layout == "msd" and len(images) > 1:
            write_nifti(
                root / next(iter(subject.channels.values())), np.stack([*images.values()], -1), affine
            )
        else:
            for channel, array in images.items():
                write_nifti(root / subject.channels[channel], array, affine)
        write_nifti(root / subject.label, label, affine)


def _affine(
    layout: str, shape: tuple[int, ...], spacing: tuple[float, float, float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Voxel → RAS+ mm. Arrays run to the patient's left, back and head (ACDC: along the heart's axis)."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    if layout == "brats":
        affine[1, 3] = (shape[1] - 1) * spacing[1]
    if layout == "prostatex":
        affine[:3, :3] = _tilted(float(np.round(rng.uniform(0, 0.2), 4))) @ affine[:3, :3]
        affine[:3, 3] = np.round(rng.uniform(-90, 90, 3), 3)
    return affine


def _tilted(angle: float) -> NDArray[np.float64]:
    """A rotation about the patient's left-right axis, as prostate slices are tilted."""
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def _write_metaimage(
    path: Path, array: NDArray[Any], spacing: tuple[float, float, float], tilt: float
) -> None:
    """A MetaImage header and its raw file beside it (MetaIO: world axes run to left, back and head)."""
    kind = {"int16": "MET_SHORT", "uint8": "MET_UCHAR"}[array.dtype.name]
    # MetaIO writes the image axes' directions one after the other: the rotation's columns.
    direction = _tilted(tilt).T.ravel()
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": " ".join(f"{value:.12g}" for value in direction),
        "Offset": " ".join(f"{-(n - 1) * s / 2:.12g}" for n, s in zip(array.shape, spacing, strict=True)),
        "CenterOfRotation": "0 0 0",
        "AnatomicalOrientation": "RAI",
        "ElementSpacing": " ".join(f"{value:.12g}" for value in spacing),
        "DimSize": " ".join(str(n) for n in array.shape),
        "ElementType": kind,
        "ElementDataFile": f"{path.stem}.raw",
    }
    path.with_suffix(".raw").write_bytes(array.astype(array.dtype.newbyteorder("<")).tobytes(order="F"))
    write_text(path, "".join(f"{key} = {value}\n" for key, value in header.items()))


def _write_picture(
    root: Path, subject: PlannedSubject, images: dict[str, NDArray[Any]], label: NDArray[Any]
) -> None:
    colours = np.stack([images[name][:, :, 0].T for name in ("red", "green", "blue")], axis=-1)
    Image.fromarray(colours).save(root / subject.channels["red"], quality=92)
    Image.fromarray(np.ascontiguousarray(label[:, :, 0].T)).save(root / subject.label)


def _acdc_info(root: Path, name: str, dataset: Dataset, subjects: list[PlannedSubject]) -> None:
    """Info.cfg of each patient: the numbers of its two frames, and its group."""
    for patient in sorted({subject.patient for subject in subjects}):
        frames = {subject.frame: subject for subject in subjects if subject.patient == patient}
        numbers = {frame: int(subject.label.split("_frame")[1][:2]) for frame, subject in frames.items()}
        lines = {"ED": numbers["ED"], "ES": numbers["ES"], "Group": frames["ED"].group, "NbFrame": 30}
        folder = (root / frames["ED"].label).parent
        write_text(folder / "Info.cfg", "".join(f"{key}: {value}\n" for key, value in lines.items()))


def _msd_json(root: Path, name: str, dataset: Dataset, subjects: list[PlannedSubject]) -> None:
    training = [
        {"image": f"./{next(iter(subject.channels.values()))}", "label": f"./{subject.label}"}
        for subject in subjects
    ]
    values = {
        "name": name,
        "description": f"Phantom of {dataset.title}",
        "tensorImageSize": "4D" if len(dataset.channels) > 1 else "3D",
        "modality": {str(index): channel for index, channel in enumerate(dataset.channels)},
        "labels": {str(value): text for value, text in dataset.labels.items()},
        "numTraining": len(training),
        "numTest": 0,
        "training": training,
        "test": [],
    }
    write_json(root / "dataset.json", values)


def _promise12_coils(root: Path, name: str, dataset: Dataset, subjects: list[PlannedSubject]) -> None:
    """coils.csv: which coil each case was scanned with; the real collection does not say."""
    lines = [f"{subject.id},{subject.site}" for subject in subjects if subject.site]
    if lines:
        write_text(root / "coils.csv", "\n".join(["Case,coil", *lines, ""]))


def _folder_yaml(root: Path, name: str, dataset: Dataset, subjects: list[PlannedSubject]) -> None:
    values = {"title": dataset.title, "channels": list(dataset.channels), "labels": dict(dataset.labels)}
    write_text(root / "dataset.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


_SIDE_FILES: dict[str, Callable[[Path, str, Dataset, list[PlannedSubject]], None]] = {
    "acdc": _acdc_info,
    "msd": _msd_json,
    "promise12": _promise12_coils,
    "folder": _folder_yaml,
}
