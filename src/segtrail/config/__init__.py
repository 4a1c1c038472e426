"""What a run is made from, as checked data. No module here imports torch."""

from .cohort import PART_NAMES, Box, Cohort, Segment, Split, Where
from .dataset import Dataset, Phantom, Typical
from .model import Model, Predictor, Training
from .run import Run, load_run, named_run, read_yaml
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
    "load_run",
    "merged",
    "named_run",
    "read_yaml",
]
