"""What a run is made from, as checked data. No module here imports torch."""

from .cohort import PART_NAMES, Box, Cohort, Segment, Split, Where
from .dataset import Dataset, Phantom
from .model import Model, Predictor, Training
from .run import Run, load_run, read_yaml
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
    "Where",
    "load_run",
    "merged",
    "read_yaml",
]
