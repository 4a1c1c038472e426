"""Phantoms: invented data sets in the layouts as distributed, so that every run can be made without scans."""

from pathlib import Path

from ...config import Dataset, Phantom
from .planning import PlannedSubject, plan

__all__ = ["PlannedSubject", "plan", "write"]


def write(
    root: Path, dataset_name: str, dataset: Dataset, phantom: Phantom, seed: int, jobs: int = 1
) -> None:
    """Draws the phantom's subjects into `root`, whole or not at all, in `jobs` processes.

    A subject's bytes depend on `seed`, the data set's name, its description and the subject's id, not on
    `jobs` or on the other subjects. An earlier phantom in `root` is replaced. Raises ConfigError where the
    anatomy cannot fill the data set's channels or labels, DataError where `root` holds anything else.
    """
    from .layouts import write_dataset  # scipy and nibabel: not on the Snakefile's every start

    write_dataset(Path(root), dataset_name, dataset, phantom, seed, jobs)
