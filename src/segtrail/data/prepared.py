"""A subject ready for training, sampling and measuring, and its file.

Only numpy is imported here: training and sampling jobs load these files and nothing else of the data layer.
"""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArtifactError
from ..files import atomic, read_json
from .geometry import Floats, Geometry

NAMES = ("subject", "patient", "dataset", "site", "group", "frame", "part")


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image after its cohort's recipe; arrays are slices first."""

    subject: str
    patient: str
    dataset: str
    site: str
    group: str
    frame: str
    part: str
    image: np.ndarray  # (C, Z, Y, X) float32
    label: np.ndarray  # (Z, Y, X) uint8, class indices 0…K−1
    geometry: Geometry
    mask: np.ndarray | None = None  # (Z, Y, X) bool, where the cohort has a mask

    @property
    def spacing_zyx(self) -> Floats:
        """Voxel spacing (z, y, x) in mm."""
        x, y, z = self.geometry.spacing
        return z, y, x


def file_name(dataset: str, subject: str) -> str:
    return f"{dataset}__{subject}.npz"


def save(path: str | Path, prepared: Prepared) -> None:
    """Writes one subject as an uncompressed .npz; the same subject gives the same bytes."""
    about: dict[str, Any] = {name: getattr(prepared, name) for name in NAMES}
    about["geometry"] = prepared.geometry.as_dict()
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        # np.savez would stamp the time of writing; ZipInfo's own date is 1 January 1980.
        archive.writestr(zipfile.ZipInfo("about.json"), json.dumps(about, sort_keys=True))
        arrays = {"image": prepared.image, "label": prepared.label, "mask": prepared.mask}
        for name, array in arrays.items():
            if array is None:
                continue
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as handle:
                np.lib.format.write_array(handle, np.ascontiguousarray(array), allow_pickle=False)


def load(path: str | Path) -> Prepared:
    """Reads what `save` wrote; raises ArtifactError if the file is damaged or something else."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(archive["about.json"])
            names = {name: about[name] for name in NAMES}
            geometry = Geometry.from_dict(about["geometry"])
            mask = archive.get("mask")
            return Prepared(
                **names, image=archive["image"], label=archive["label"], geometry=geometry, mask=mask
            )
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, EOFError) as error:
        raise ArtifactError(
            f"{type(error).__name__}: {error}",
            file=path,
            expected="a prepared subject (.npz)",
            remedy="delete the file and run again; it is made anew from the scan",
        ) from error


def iter_folder(folder: str | Path) -> Iterator[Prepared]:
    """The subjects of a folder that `prepare_many` wrote, as `load_folder`, read one by one."""
    for entry in read_json(Path(folder) / "manifest.json")["subjects"]:
        if not entry["excluded"]:
            yield load(Path(folder) / entry["file"])


def load_folder(folder: str | Path) -> list[Prepared]:
    """All subjects of `iter_folder`, in memory."""
    return list(iter_folder(folder))
