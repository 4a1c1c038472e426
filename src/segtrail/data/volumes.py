"""Reading scans and pictures into arrays (X, Y, Z), and writing NIfTI.

Every format is brought to nibabel's convention: the affine takes voxel indices to mm in RAS+.
"""

import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from PIL import Image

from ..errors import DataError
from ..files import atomic
from . import metaimage
from .readers.msd import channel_index

AGAIN = "copy the file again from its source"
SAVE = "save colours as RGB and masks as grey levels, and name the channels accordingly"
CONVERT = "convert the file again, to one 3-D array of numbers for each channel"
PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
METAIMAGES = (".mhd", ".mha")
COLOURS = ("red", "green", "blue")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Two grids are one if no corner of the volume lies further apart than this part of a voxel.
GRID_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Volume:
    """One channel or label map in its own grid."""

    array: np.ndarray  # (X, Y, Z), the file's own type, or float64 where the header scales the values
    affine: np.ndarray  # (4, 4) float64, voxel index → mm in RAS+
    spacing: tuple[float, float, float]  # (x, y, z) in mm


def read_volume(path: Path, channel: str | None = None) -> Volume:
    """Reads one channel of a .nii, .nii.gz, .mhd, .mha, .png, .jpg or .bmp file.

    `channel` picks a plane of a picture (red, green, blue, gray) or of a 4-D NIfTI whose planes a
    `dataset.json` names (Decathlon); elsewhere it is not looked at, and None reads a label map. Pictures have
    shape (X, Y, 1) and a spacing of 1. Raises DataError if the file is missing, damaged or no such image.
    """
    return read_channels(path, [channel])[0]


def read_channels(path: Path, channels: Sequence[str | None]) -> list[Volume]:
    """Several channels of one file, read once; see `read_volume`."""
    return decode(path, read_bytes(path), channels)


def read_bytes(path: Path) -> bytes:
    """A file's bytes; raises DataError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            error.strerror or str(error), file=path, expected="a readable file", remedy=AGAIN
        ) from error


def decode(path: Path, content: bytes, channels: Sequence[str | None]) -> list[Volume]:
    """The channels of a file whose bytes are at hand already; see `read_volume`."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _nifti(path, content, channels)
    if name.endswith(METAIMAGES):
        return [_metaimage(path)] * len(channels)
    if name.endswith(PICTURES):
        return _picture(path, content, channels)
    raise DataError(
        "a file of unknown format",
        file=path,
        expected=".nii, .nii.gz, .mhd, .mha, .png, .jpg or .bmp",
        remedy=CONVERT,
    )


def apart(volume: Volume, other: Volume) -> float:
    """How far the corners of two grids of one shape lie apart at most, in mm; inf if the shapes differ."""
    if volume.array.shape != other.array.shape:
        return float("inf")
    x, y, z = volume.array.shape
    corners = np.array([[i, j, k, 1] for i in (0, x) for j in (0, y) for k in (0, z)])
    return float(np.linalg.norm((corners @ (volume.affine - other.affine).T)[:, :3], axis=1).max())


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Writes `array` (X, Y, Z) or (X, Y, Z, C) as .nii or .nii.gz, whole or not at all.

    The same array gives the same bytes (the gzip header has no name and no time). bool becomes uint8.
    """
    image = nib.Nifti1Image(array.astype(np.uint8) if array.dtype == bool else array, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        # Level 1: three times as fast as 6, and on noisy scans a few per cent larger.
        content = gzip.compress(content, compresslevel=1, mtime=0)
    with atomic(path) as temporary:
        temporary.write_bytes(content)


# --- NIfTI ---------------------------------------------------------------------------------------


def _nifti(path: Path, content: bytes, channels: Sequence[str | None]) -> list[Volume]:
    if path.name.lower().endswith(".gz"):
        content = _decompressed(path, content)
    two = content[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # sizeof_hdr 540: NIfTI-2
    kind = nib.Nifti2Image if two else nib.Nifti1Image
    size = kind.header_class.sizeof_hdr
    try:
        # Unchecked: nibabel's own check would turn a spacing of 0 into 1.
        header = kind.header_class(content[:size], check=False)
        shape, zooms = header.get_data_shape(), header["pixdim"][1:4]
    except (WrapStructError, HeaderDataError, ValueError) as error:
        raise _damaged(path, f"no NIfTI header ({error})") from error
    _check_spacing(path, zooms)
    shape = tuple(int(n) for n in shape)
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise DataError(
            f"an array of shape {shape}", file=path, expected="three axes, or a 4-D image", remedy=CONVERT
        )
    try:
        image = kind.from_bytes(content)
        array = np.asanyarray(image.dataobj)
    except (ValueError, OSError, EOFError, ImageFileError, WrapStructError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"values of type {array.dtype}", file=path, expected="one real number per voxel", remedy=CONVERT
        )
    affine = np.asarray(image.affine, np.float64)
    spacing = _check_affine(path, affine)
    return [Volume(plane, affine, spacing) for plane in _planes(path, array, channels)]


def _decompressed(path: Path, content: bytes) -> bytes:
    """The whole stream, so that one cut short is noticed even where only its checksum is missing."""
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, f"{len(content)} bytes that end early or are damaged ({error})") from error


def _planes(path: Path, array: np.ndarray, channels: Sequence[str | None]) -> list[np.ndarray]:
    if array.ndim == 3:
        return [array] * len(channels)
    if array.shape[3] == 1:
        return [array[..., 0]] * len(channels)
    planes = []
    for channel in channels:
        if channel is None:
            raise DataError(
                f"a label map of shape {array.shape}", file=path, expected="three axes", remedy=CONVERT
            )
        planes.append(array[..., channel_index(path, channel, array.shape[3])])
    return planes


# --- MetaImage -----------------------------------------------------------------------------------


def _metaimage(path: Path) -> Volume:
    import SimpleITK  # 0.2 s, and only this format needs it

    header = metaimage.header(path)
    if header.get("NDims") != "3":
        raise DataError(f"NDims = {header.get('NDims')}", file=path, expected="three axes", remedy=CONVERT)
    try:
        _check_spacing(path, np.array([float(v) for v in header.get("ElementSpacing", "1 1 1").split()]))
    except ValueError as error:
        raise _damaged(path, f"ElementSpacing = {header['ElementSpacing']}") from error
    _check_voxels(path, header)
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise _damaged(path, str(error).strip().splitlines()[-1]) from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise DataError(
            "several values per voxel", file=path, expected="one real number per voxel", remedy=CONVERT
        )
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    affine = LPS_TO_RAS @ affine
    return Volume(SimpleITK.GetArrayFromImage(image).T, affine, _check_affine(path, affine))


ELEMENT_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}


def _check_voxels(path: Path, header: dict[str, str]) -> None:
    """Refuses a voxel file that is missing or short: ITK fills up a short one with zeros."""
    voxels = metaimage.voxel_file(path)
    if voxels is None:
        return
    if not voxels.is_file():
        raise DataError(
            "the file is missing", file=voxels, expected=f"the voxels of {path.name}", remedy=AGAIN
        )
    kind = header.get("ElementType", "").removeprefix("MET_")
    bytes_each = ELEMENT_BYTES.get(kind.removeprefix("U"))
    if header.get("CompressedData", "False").lower() == "true" or bytes_each is None:
        return  # ITK itself notices a damaged compressed stream and an unknown type
    wanted = int(np.prod([int(n) for n in header.get("DimSize", "").split()])) * bytes_each
    if voxels.stat().st_size < wanted:
        raise DataError(
            f"{voxels.stat().st_size} bytes",
            file=voxels,
            expected=f"{wanted} bytes for a {header.get('DimSize')} {header.get('ElementType')} array",
            remedy=AGAIN,
        )


# --- pictures ------------------------------------------------------------------------------------


def _picture(path: Path, content: bytes, channels: Sequence[str | None]) -> list[Volume]:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            # 1-bit masks are 0/255 like 8-bit ones; the colours of a palette mean nothing in a mask.
            values = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
            mode = picture.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(path, str(error)) from error
    # A picture's y runs down, as it does in ITK's reading of one.
    return [
        Volume(_plane(path, values, mode, c).T[:, :, None], LPS_TO_RAS, (1.0, 1.0, 1.0)) for c in channels
    ]


def _plane(path: Path, values: np.ndarray, mode: str, channel: str | None) -> np.ndarray:
    """(Y, X) values of one channel; None and gray read a picture that has one."""
    if channel in COLOURS and mode in ("RGB", "RGBA"):
        return values[:, :, COLOURS.index(channel)]
    if channel in (None, "gray") and values.ndim == 2:
        return values
    expected = "a picture with one channel" if channel in (None, "gray") else "an RGB picture"
    if channel is not None and channel not in (*COLOURS, "gray"):
        expected = "one of the channels red, green, blue, gray"
    raise DataError(
        f"a {mode} picture, asked for {channel or 'a label map'}", file=path, expected=expected, remedy=SAVE
    )


# --- what every format is checked for ------------------------------------------------------------


def _check_spacing(path: Path, zooms: np.ndarray) -> None:
    if not (np.isfinite(zooms).all() and (zooms > 0).all()):
        raise DataError(
            f"a spacing of {' × '.join(f'{z:g}' for z in zooms)} mm",
            file=path,
            expected="a spacing above 0 mm on each axis",
            remedy="correct the spacing in the file's header",
        )


def _check_affine(path: Path, affine: np.ndarray) -> tuple[float, float, float]:
    """The spacing that the affine implies; it must be invertible."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    _check_spacing(path, np.array([x, y, z]))
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6 * x * y * z:
        raise DataError(
            "an affine that cannot be inverted",
            file=path,
            expected="three axes in three directions",
            remedy="correct the orientation in the file's header",
        )
    return float(x), float(y), float(z)


def _damaged(path: Path, found: str) -> DataError:
    return DataError(found, file=path, expected=f"a whole {''.join(path.suffixes[-2:])} file", remedy=AGAIN)
