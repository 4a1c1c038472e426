"""The text header of a MetaImage (.mhd, .mha): where its voxels lie and what the grid claims to be."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import DataError

LOCAL = "LOCAL"
HEADER_BYTES = 65536  # headers are a few hundred bytes; in .mha the voxels follow in the same file


def header(path: Path) -> dict[str, str]:
    """The header's `key = value` lines up to ElementDataFile, which ends it.

    Raises DataError if the file cannot be read or is no MetaImage.
    """
    try:
        with path.open("rb") as handle:
            text = handle.read(HEADER_BYTES).decode("latin-1")
    except OSError as error:
        raise DataError(
            error.strerror or str(error), file=path, expected="a readable file", remedy="copy it again"
        ) from error
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not equals:
            break
        values[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return values
    raise DataError(
        "no ElementDataFile line",
        file=path,
        expected="a MetaImage header: lines of 'key = value' that end with ElementDataFile",
        remedy="copy the file again from its source",
    )


def voxel_file(path: Path) -> Path | None:
    """The file beside `path` that holds its voxels; None if they follow the header.

    Raises DataError as `header` does, and for voxels in a list of files, which is not supported.
    """
    name = header(path)["ElementDataFile"]
    if name.upper() == LOCAL:
        return None
    if name == "LIST" or "%" in name:
        raise DataError(
            f"ElementDataFile = {name}",
            file=path,
            expected="the name of one file, or LOCAL",
            remedy="write the image as one .mha file",
        )
    return path.parent / name


def voxel_files(paths: Iterable[Path]) -> list[Path]:
    """The files beside those of `paths` that are MetaImages with their voxels apart."""
    found = [voxel_file(path) for path in paths if path.suffix.lower() in (".mhd", ".mha")]
    return [path for path in found if path is not None]
