"""What the resume folder of a finished training keeps: links to weights and history, and what they hash to.

Snakemake deletes the outputs of a job that starts again, also of one that starts only because its arrays were
made anew; a member would then be trained for days, for the bytes that were there. Nothing here needs torch.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..files import atomic, read_json, write_json

DONE, SUMS = "done", "sha256.json"


def keep(folder: Path, files: Iterable[Path], sums: Mapping[str, str]) -> None:
    """Leaves in a resume folder links to `files`, which take no room, and their sha256 by name.

    Raises OSError where the file system has no links; the sums are there all the same.
    """
    if (folder / SUMS).exists() and read_json(folder / SUMS) == sums and _linked(folder, sums):
        return
    # Before the links: killed in between, a member is trained again, and never taken for another.
    write_json(folder / SUMS, sums)
    for file in files:
        link(file, folder / DONE / file.name)


def _linked(folder: Path, names: Iterable[str]) -> bool:
    return all((folder / DONE / name).exists() for name in names)


def link(source: Path, target: Path) -> None:
    """Makes `target` another name of `source`, whole or not at all."""
    with atomic(target) as temporary:
        os.link(source, temporary)
