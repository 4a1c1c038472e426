"""The smallest and largest raw uncertainty of many subjects, by which it is rescaled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ArtifactError
from ..files import read_json


def uncertainty_range(posteriors: Sequence[str | Path]) -> dict[str, Any]:
    """`min`, `max` and the number of `subjects` of all posteriors in some folders, over all members.

    Read from their descriptions. Raises ArtifactError where there is no posterior at all, one twice, or one
    without an uncertainty of its own.

    Source: the public code of Jungo 2019, which rescales σ over all test predictions.
    """
    ranges: dict[str, list[list[float]]] = {}
    for file in sorted(file for folder in posteriors for file in Path(folder).glob("*.json")):
        about = read_json(file)
        if about.get("uncertainty_range") is None:
            raise ArtifactError(
                "no uncertainty of its own",
                subject=about.get("subject"),
                file=file,
                expected="a posterior of a predictor of kind aleatoric or auxiliary",
            )
        if file.name in ranges:
            raise ArtifactError("a second posterior", subject=about.get("subject"), file=file, expected="one")
        ranges[file.name] = about["uncertainty_range"]
    if not ranges:
        raise ArtifactError(
            f"no posterior in {', '.join(map(str, posteriors)) or 'no folder'}",
            expected="at least one subject that is not excluded",
        )
    lows, highs = zip(*(one for members in ranges.values() for one in members), strict=True)
    return {"min": min(lows), "max": max(highs), "subjects": len(ranges)}
