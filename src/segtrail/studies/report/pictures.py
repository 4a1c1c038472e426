"""Figures inside the page."""

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image

from ...errors import ArtifactError

# Larger SVGs (pictures of scans at many voxels) are shown as their PNG twin, without loss, so that the page
# stays small.
LARGEST_SVG = 130_000  # bytes
CSS_PIXELS = 992 / 1432  # a figure of both columns of a journal page fills the text


def picture(stem: Path) -> dict[str, Any]:
    """A figure as a data URI and its width and height on the page in CSS pixels. ArtifactError where one of
    its two files is missing or damaged."""
    vector, raster = stem.with_suffix(".svg"), stem.with_suffix(".png")
    for path in (vector, raster):
        if not path.is_file():
            raise ArtifactError("no such file", file=path, expected="a figure drawn by its rule")
    try:
        with Image.open(raster) as image:
            width, height = (round(pixels * CSS_PIXELS) for pixels in image.size)
            large = vector.stat().st_size > LARGEST_SVG
            kind, content = ("webp", _packed(image)) if large else ("svg+xml", vector.read_bytes())
    except OSError as error:
        raise ArtifactError(
            f"not a picture: {error}", file=raster, remedy="delete it and run again: its rule draws it anew"
        ) from error
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return {"source": source, "width": width, "height": height}


def _packed(image: Image.Image) -> bytes:
    """The same pixels in about half the bytes of a PNG."""
    out = io.BytesIO()
    image.convert("RGB").save(out, "WEBP", lossless=True, method=4)
    return out.getvalue()
