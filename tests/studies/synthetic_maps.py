"""Prepared subjects and probability maps to go with `synthetic`: where figures find them, without a network.

    write(folder, study, subjects, seed)  arrays/ and maps/ of every cohort, as jobs would have left them
    with_datasets(run)                    the run with the data sets of config/

Blurred references: models trained with Dice loss are sharper, ensembles smoother, the shifted part displaced.
"""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, shift
from synthetic import CONFIG, PARTS

from segtrail import config
from segtrail.data.geometry import Geometry
from segtrail.data.prepared import Prepared, file_name, save

SHAPE = (7, 56, 60)  # Z, Y, X
SHARPNESS = {
    "ce": 2.0,
    "ce_mcdo": 1.6,
    "ce_ensemble": 1.2,
    "dice": 8.0,
    "dice_mcdo": 5.0,
    "dice_ensemble": 2.0,
}


def label_of(cohort: str, rng: np.random.Generator) -> np.ndarray:
    """A tumour (edema around enhancing rim around core), a heart (RV beside a ring around LV), or a gland."""
    z, y, x = np.indices(SHAPE, dtype=float)
    y0, x0 = 27 + rng.uniform(-3, 3), 30 + rng.uniform(-3, 3)
    radius = np.hypot(y - y0, x - x0) / (1 - 0.12 * np.abs(z - SHAPE[0] // 2)) * rng.uniform(0.85, 1.15)
    label = np.zeros(SHAPE, np.uint8)
    if cohort == "brain":
        for value, limit in ((2, 14), (3, 9), (1, 6)):
            label[radius < limit] = value
    elif cohort == "heart":
        label[np.hypot((y - y0) * 0.8, x - x0 + 13) < 9] = 1
        label[radius < 10] = 2
        label[radius < 6] = 3
    else:
        label[radius < 12] = 1
    label[[0, -1]] = 0
    return label


def prepared(study: config.Study, cohort: str, dataset: str, part: str, subject: str, seed: int) -> Prepared:
    rng = np.random.default_rng([seed, *subject.encode(), *cohort.encode()])
    label = label_of(cohort, rng)
    channels = len(study.cohorts[cohort].channels)
    contrast = rng.uniform(0.2, 0.9, (channels, len(study.cohorts[cohort].segments) + 1))
    image = gaussian_filter(contrast[:, label], (0, 0, 0.7, 0.7)) + rng.normal(0, 0.05, (channels, *SHAPE))
    geometry = Geometry.of_scan(SHAPE[::-1], np.diag([2.0, 2.0, 5.0, 1.0]), (2.0, 2.0, 5.0))
    return Prepared(subject, subject, dataset, "", "", "", part, image.astype(np.float32), label, geometry)


def probabilities(label: np.ndarray, classes: int, predictor: str, size: int, part: str) -> np.ndarray:
    """(K, Z, Y, X) float16: a softmax of the blurred reference."""
    moved = shift(label, (0, 2, 3) if part == "shift" else (0, 1, 0), order=0)
    blurred = np.stack([gaussian_filter((moved == k).astype(float), (0.5, 1.5, 1.5)) for k in range(classes)])
    power = SHARPNESS[predictor] * (1 + 2 / size) * (0.6 if part == "shift" else 1.0)
    weights = (blurred + 1e-3) ** power
    return (weights / weights.sum(axis=0)).astype(np.float16)


def scratch(folder: Path) -> Path:
    """Where the large artifacts of the study lie whose results are in `folder`."""
    return folder.parent / "scratch" / folder.name


def write(folder: Path, study: config.Study, subjects: int = 10, seed: int = 0) -> None:
    for name, cohort in study.cohorts.items():
        for part in PARTS:
            rule = (cohort.split.parts or {}).get(part)
            for index in range(subjects if rule else 0):
                dataset, subject = rule.dataset or cohort.datasets[0], f"{part}{index:03d}"
                one = prepared(study, name, dataset, part, subject, seed)
                save(scratch(folder) / name / "arrays" / f"{part}_000" / file_name(dataset, subject), one)
                _write_maps(folder, study, name, one)


def _write_maps(folder: Path, study: config.Study, cohort: str, one: Prepared) -> None:
    by_posterior: dict[str, dict[str, np.ndarray]] = {}
    for predictor in study.predictors:
        chosen = study.predictor(cohort, predictor)
        for size in sorted({*chosen.maps, chosen.table_size}):
            maps = probabilities(
                one.label, len(study.cohorts[cohort].segments) + 1, predictor, size, one.part
            )
            by_posterior.setdefault(chosen.posterior, {})[f"{predictor}__M{size}"] = maps
    for posterior, arrays in by_posterior.items():
        maps_of = scratch(folder) / cohort / "maps" / posterior / f"{one.part}_000"
        path = maps_of / file_name(one.dataset, one.subject)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)


def with_datasets(run: config.Run) -> config.Run:
    """The run with the data sets that config/ describes."""
    found = sorted((CONFIG / "datasets").glob("*.yaml"))
    datasets = {path.stem: config.Dataset.model_validate(config.read_yaml(path)) for path in found}
    return run.model_copy(update={"datasets": datasets})
