"""A subject ready for training, sampling and measuring, and its file.

Only numpy is imported here: training and sampling jobs load these files and nothing else of the data layer.
"""

import json
import zipfile
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
        for name, array in (("image", prepared.image), ("label", prepared.label)):
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as handle:
                np.lib.format.write_array(handle, np.ascontiguousarray(array), allow_pickle=False)


def load(path: str | Path) -> Prepared:
    """Reads what `save` wrote; raises ArtifactError if the file is damaged or something else."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(archive["about.json"])
            names = {name: about[name] for name in NAMES}
            geometry = Geometry.from_dict(about["geometry"])
            return Prepared(**names, image=archive["image"], label=archive["label"], geometry=geometry)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, EOFError) as error:
        raise ArtifactError(
            f"{type(error).__name__}: {error}",
            file=path,
            expected="a prepared subject (.npz)",
            remedy="delete the file and run again; it is made anew from the scan",
        ) from error


def load_folder(folder: str | Path) -> list[Prepared]:
    """The subjects of a folder that `prepare_many` wrote, without the excluded ones, sorted."""
    manifest = read_json(Path(folder) / "manifest.json")
    return [load(Path(folder) / entry["file"]) for entry in manifest["subjects"] if not entry["excluded"]]
