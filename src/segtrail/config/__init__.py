"""What a run is made from, as checked data. No module here imports torch."""

from .cohort import PART_NAMES, Box, Cohort, Segment, Split, Where
from .dataset import Dataset, Phantom, Typical
from .model import Model, Predictor, Training
from .run import Run, known_datasets, load_run, named_run, named_values, read_yaml, run_name
from .study import Measures, Study, merged

__all__ = [
    "PART_NAMES",
    "Box",
    "Cohort",
    "Dataset",
    "Measures",
    "Model",
    "Phantom",
    "Predictor",
    "Run",
    "Segment",
    "Split",
    "Study",
    "Training",
    "Typical",
    "Where",
    "known_datasets",
    "load_run",
    "merged",
    "named_run",
    "named_values",
    "read_yaml",
    "run_name",
]
