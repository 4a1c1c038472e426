"""Jungo 2019's results, invented: the tables that jobs would have written, without a scan or a network.

As `synthetic` does for Mehrtash 2020, with the same functions; `run` is `synthetic.run` with this study.

    study(patch)                     the Jungo 2019 study of config/, shrunk to three networks in the ensemble
    measures(study, count, seed)     the rows of measures.parquet
    reliability(study, count, seed), errors(study, count, seed), members(study, seed), subjects(study, count)
    write(folder, study, count, seed)     all five as parquet in `folder`, a run's results/<run>/<study>/

Every row follows from one set of voxel counts for each subject and method, so the tables agree with each
other. Each subject has a bias that all methods share (it makes it under- or overconfident) and that averages
out over the subjects; the aleatoric uncertainty is below every threshold nearly everywhere; dropout at the
centre costs Dice and calibration; auxiliary networks take over the baseline's segmentation.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import synthetic

from segtrail import config
from segtrail.measures import errors as measured

NAME = "jungo2019"
SMALL: dict[str, Any] = {
    "models": {"ensemble": {"members": 3, "folds": {"k": 3}}},
    "predictors": {"ensemble": {"sizes": [3], "table_size": 3}},
    "measures": {"bootstrap": 400},
}
# Method → (wrong voxels in 1000 foreground ones, how much its probability is off, share of the wrong and of
# the right voxels near a boundary whose uncertainty is high).
METHODS = {
    "baseline": (130, 0.02, 0.60, 0.22),
    "center": (150, 0.06, 0.55, 0.22),
    "baseline_mc": (128, 0.018, 0.61, 0.22),
    "center_mc": (145, 0.045, 0.58, 0.22),
    "ensemble": (118, 0.015, 0.63, 0.22),
    "aux_feat": (130, 0.022, 0.59, 0.21),
    "aux_segm": (130, 0.022, 0.57, 0.21),
    "aleatoric": (132, 0.03, 0.03, 0.02),
}
PARTS = ("val", "test")
# Background voxels for each foreground one, inside the region and in the whole volume.
BACKGROUND = {"brats": (15, 90), "isic": (4, 4)}


def study(patch: dict[str, Any] | None = None) -> config.Study:
    values = config.read_yaml(synthetic.CONFIG / "studies" / f"{NAME}.yaml")
    values.pop("scales", None)
    return config.Study.model_validate(config.merged(config.merged(values, SMALL), patch or {}))


def run(study: config.Study, **options: Any) -> config.Run:
    return synthetic.run(study, name=NAME, **options)


def subjects(study: config.Study, count: int = 10) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cohort": cohort,
            "dataset": study.cohorts[cohort].datasets[0],
            "part": part,
            "patient": name,
            "subject": name,
            "site": "",
            "group": "",
            "frame": "",
            "excluded": "",
        }
        for cohort in study.cohorts
        for part in ("train", *PARTS)
        for name in _names(part, count if part == "test" else max(2, count // 2))
    )


def members(study: config.Study, seed: int = 0) -> pd.DataFrame:
    return synthetic.members(study, seed)


def measures(study: config.Study, count: int = 10, seed: int = 0) -> pd.DataFrame:
    rows = []
    for place, found in _subjects(study, count, seed):
        tp, fp, fn = found["tp"], found["fp"], found["fn"]
        values = [
            ("dice", "volume", 1, 2 * tp / (2 * tp + fp + fn)),
            ("precision", "volume", 0, tp / (tp + fp)),
            ("recall", "volume", 0, tp / (tp + fn)),
            ("mean_uncertainty", "volume", 0, found["uncertainty"]),
        ]
        for region, (n, p, positive) in found["bins"].items():
            values.append(("ece_fg", region, 0, measured.ece_fg(n, p, positive)))
            values.append(("signed_ce", region, 0, measured.signed_ce(n, p, positive)))
        if "mask" in found["bins"]:
            values.append(("mean_uncertainty", "mask", 0, 4 * found["uncertainty"]))
        predictor = study.predictors[place["predictor"]]
        rows += [
            {
                **place,
                "site": "",
                "model": predictor.model,
                "samples": predictor.samples or 0,
                "segment": segment,
                "region": region,
                "measure": measure,
                "value": float(value),
                "n": 10_000,
            }
            for measure, region, segment, value in values
        ]
    return pd.DataFrame(rows)


def reliability(study: config.Study, count: int = 10, seed: int = 0) -> pd.DataFrame:
    rows = []
    for place, found in _subjects(study, count, seed):
        for region, (n, p, positive) in found["bins"].items():
            for of in ("confidence", "foreground"):
                rows += [
                    {
                        **place,
                        "region": region,
                        "of": of,
                        "bin": number,
                        "count": int(n[number]),
                        "confidence": float(p[number]),
                        "correct": int(positive[number]),
                    }
                    for number in np.flatnonzero(n)
                ]
    return pd.DataFrame(rows)


def errors(study: config.Study, count: int = 10, seed: int = 0) -> pd.DataFrame:
    assert study.measures.errors is not None
    rows = []
    for place, found in _subjects(study, count, seed):
        all_voxels = {name: found[name] for name in ("tp", "fp", "tn", "fn")}
        wrong, right = METHODS[place["predictor"]][2:4]
        for threshold in study.measures.errors.thresholds:
            left = 1.6 * (1 - threshold) ** 1.5
            # The higher the threshold, the more of what is uncertain is wrong.
            sure = right * left * (0.12 + 0.5 * left)
            shares = {"tp": sure, "fp": wrong * left, "fn": wrong * left}
            # The background is certain but for a seam that is twice as thick as the foreground's own.
            seam = 2 * sure * found["tp"] / found["tn"]
            uncertain = {
                f"{name}u": int(min(1.0, shares.get(name, seam)) * voxels)
                for name, voxels in all_voxels.items()
            }
            rows.append({**place, "threshold": threshold, **all_voxels, **uncertain})
    return pd.DataFrame(rows)


def write(folder: Path, study: config.Study, count: int = 10, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (
        ("measures", measures(study, count, seed)),
        ("reliability", reliability(study, count, seed)),
        ("errors", errors(study, count, seed)),
        ("members", members(study, seed)),
        ("subjects", subjects(study, count)),
    ):
        table.to_parquet(folder / f"{name}.parquet", index=False)


def _names(part: str, count: int) -> list[str]:
    return [f"{part}{index:03d}" for index in range(count)]


def _subjects(study: config.Study, count: int, seed: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(place, counts) of every prediction of every subject."""
    found = []
    for cohort_number, (cohort, chosen) in enumerate(study.cohorts.items()):
        for part_number, part in enumerate(PARTS):
            names = _names(part, count if part == "test" else max(2, count // 2))
            rng = np.random.default_rng([seed, cohort_number, part_number])
            hard = rng.lognormal(0, 0.5, len(names))  # how much is wrong, for all methods
            bias = rng.permutation(np.linspace(-0.15, 0.15, len(names)))
            size = rng.integers(2_000, 8_000, len(names))
            tilt = rng.uniform(0.2, 0.8, len(names))  # share of the wrong voxels that are false positives
            for predictor in study.predictors:
                segmenter = "baseline" if predictor.startswith("aux") else predictor
                own = np.random.default_rng([seed, cohort_number, part_number, *segmenter.encode()])
                noise = own.normal(1, 0.03, len(names))
                for index, name in enumerate(names):
                    wrong = int(METHODS[segmenter][0] / 1000 * size[index] * hard[index] * noise[index])
                    place = {
                        "study": NAME,
                        "cohort": cohort,
                        "dataset": chosen.datasets[0],
                        "part": part,
                        "subject": name,
                        "predictor": predictor,
                        "size": study.predictor(cohort, predictor).table_size,
                        "draw": 0,
                    }
                    found.append(
                        (place, _counts(cohort, predictor, size[index], wrong, bias[index], tilt[index]))
                    )
    return found


def _counts(cohort: str, predictor: str, size: int, wrong: int, bias: float, tilt: float) -> dict[str, Any]:
    """Voxels of one subject; ten bins of the foreground's probability, the first and the last the fullest."""
    size, wrong = int(size), min(wrong, int(size))
    fp = int(tilt * wrong)
    fn = wrong - fp
    bins = {}
    inside, whole = BACKGROUND[cohort]
    middle = (np.arange(10) + 0.5) / 10
    for region, background in (("volume", whole), ("mask", inside)):
        if region == "mask" and cohort == "isic":
            continue
        n = np.full(10, wrong // 4 + 1)
        n[0], n[-1] = background * size, size
        share = np.clip(middle + bias * np.sin(np.pi * middle) * 2 - METHODS[predictor][1], 0, 1)
        share[0], share[-1] = 0.01 * wrong / size, 1 - 0.1 * wrong / size
        p = middle.copy()
        p[0], p[-1] = 0.004 + METHODS[predictor][1] / 10, 0.985
        bins[region] = (n, n * p, np.round(n * share).astype(int))
    return {
        "tp": size - fn,
        "fp": fp,
        "fn": fn,
        "tn": whole * size,
        "uncertainty": METHODS[predictor][2] * (wrong + 0.3 * size) / (whole * size),
        "bins": bins,
    }
