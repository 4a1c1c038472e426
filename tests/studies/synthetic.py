"""A study's results, invented: the tables that jobs would have written, without a scan or a network.

    study(patch)                     the Mehrtash 2020 study of config/, shrunk to a few members and draws
    run(study, phantom, absent)      a config.Run around it
    measures(study, count, seed)     the rows of measures.parquet
    reliability(study, count, seed), members(study, seed), subjects(study, count)
    errors()                         without a row: the study counts none
    write(folder, study, count, seed)     all five as parquet in `folder`, a run's results/<run>/<study>/

`count` is the number of test subjects of each cohort (and of each shift part). Ensembles are better than
single models, Dice loss segments better and is calibrated worse, segments with low Dice have high entropy,
the shifted part is worse: as the paper says, with noise.
"""

from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from segtrail import config

CONFIG = Path(__file__).parents[2] / "config"
NAME = "mehrtash2020"
SMALL: dict[str, Any] = {
    "cohorts": {
        "brain": {"predictor": {"draws": 3}},
        "prostate3d": {
            "model": {"members": 5},
            "predictor": {"sizes": [1, 2, 5], "table_size": 5, "draws": 3, "maps": []},
        },
    },
    "models": {
        "ce": {"members": 6},
        "dice": {"members": 6},
        "ce_dropout": {"members": 3},
        "dice_dropout": {"members": 3},
    },
    "predictors": {
        name: {"sizes": [1, 2, 5], "table_size": 5, "draws": 3, "maps": [2, 5]}
        for name in ("ce_ensemble", "dice_ensemble")
    },
    "measures": {"bootstrap": 500},
}
# (skill in segmentation, miscalibration) of each predictor; an ensemble's gain grows with log M.
SKILL = {
    "ce": (0.9, 0.40),
    "ce_mcdo": (0.8, 0.40),
    "ce_ensemble": (0.9, 0.40),
    "dice": (1.4, 0.70),
    "dice_mcdo": (1.3, 0.60),
    "dice_ensemble": (1.4, 0.70),
}
PARTS = ("test", "shift")
COUNTS = ("tp", "fp", "tn", "fn", "tpu", "fpu", "tnu", "fnu")
ERRORS = (
    dict.fromkeys(("study", "cohort", "dataset", "part", "subject", "predictor"), "str")
    | dict.fromkeys(("size", "draw"), "int64")
    | {"threshold": "float64"}
    | dict.fromkeys(COUNTS, "int64")
)


def study(patch: dict[str, Any] | None = None) -> config.Study:
    values = config.read_yaml(CONFIG / "studies" / f"{NAME}.yaml")
    values.pop("scales", None)
    return config.Study.model_validate(config.merged(config.merged(values, SMALL), patch or {}))


def run(
    study: config.Study,
    *,
    phantom: bool = False,
    absent: dict[str, str] | None = None,
    seed: int = 1,
    name: str = NAME,
    sensitivity: str | None = None,
) -> config.Run:
    return config.Run(
        name="synthetic",
        scale="smoke",
        sensitivity=sensitivity,
        seed=seed,
        on_bad_subject="stop",
        device="auto",
        members_per_job=1,
        phantom=phantom,
        drawn=phantom,
        roots={},
        datasets={},
        studies={name: study},
        absent={name: absent or {}},
    )


def subjects(study: config.Study, count: int = 10) -> pd.DataFrame:
    rows = []
    for cohort_name, cohort in study.cohorts.items():
        for part, rule in (cohort.split.parts or {}).items():
            total = count if part in PARTS else max(2, count // 2)
            for index in range(total):
                name = f"{part}{index:03d}"
                rows.append(
                    {
                        "cohort": cohort_name,
                        "dataset": rule.dataset or cohort.datasets[0],
                        "part": part,
                        "patient": name,
                        "subject": name,
                        "site": (rule.site or [""])[0],
                        "group": (cohort.where.group or [""])[0],
                        "frame": (cohort.where.frame or [""])[0],
                        "excluded": "",
                    }
                )
    return pd.DataFrame(rows)


def members(study: config.Study, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for cohort in study.cohorts:
        for name in study.models:
            model = study.model(cohort, name)
            for member in range(model.members):
                epochs = int(rng.integers(20, 60))
                rows.append(
                    {
                        "cohort": cohort,
                        "model": name,
                        "member": member,
                        "epochs": epochs,
                        "best_epoch": epochs - int(rng.integers(1, 10)),
                        "val_dice": float(rng.uniform(0.6, 0.8)),
                        "dead_classes": "1,2" if name == "dice" and member == 1 else "",
                        "restarts": 0,
                        "parameters": 490_000,
                    }
                )
    return pd.DataFrame(rows)


def draws(study: config.Study, cohort: str, name: str) -> list[tuple[int, int]]:
    """(size, draw) of every prediction that the predictor makes of one subject."""
    predictor = study.predictor(cohort, name)
    total = study.model(cohort, predictor.model).members
    if predictor.kind != "ensemble":
        return [(1, member) for member in range(total)]
    return [
        (size, draw) for size in predictor.sizes for draw in range(min(predictor.draws, comb(total, size)))
    ]


def measures(study: config.Study, count: int = 10, seed: int = 0) -> pd.DataFrame:
    frames = []
    for cohort_name, cohort in study.cohorts.items():
        for part in PARTS:
            rule = (cohort.split.parts or {}).get(part)
            if rule is None:
                continue
            dataset = rule.dataset or cohort.datasets[0]
            for predictor in study.predictors:
                rng = np.random.default_rng([seed, len(frames)])
                block = _block(study, cohort_name, part, predictor, count, rng)
                frames.append(
                    block.assign(
                        study=NAME,
                        cohort=cohort_name,
                        dataset=dataset,
                        part=part,
                        site=(rule.site or [""])[0],
                        model=study.predictors[predictor].model,
                        predictor=predictor,
                        samples=study.predictor(cohort_name, predictor).samples or 0,
                    )
                )
    columns = ["study", "cohort", "dataset", "part", "subject", "site", "model", "predictor", "size", "draw"]
    return pd.concat(frames, ignore_index=True)[
        [*columns, "samples", "segment", "region", "measure", "value", "n"]
    ]


def _block(
    study: config.Study, cohort: str, part: str, predictor: str, count: int, rng: np.random.Generator
) -> pd.DataFrame:
    """One predictor on one part: every subject, prediction, segment, region and measure."""
    segments = len(study.cohorts[cohort].segments)
    pairs = np.array(draws(study, cohort, predictor))
    skill, miscalibration = SKILL[predictor]
    gain = np.log2(pairs[:, 0]) * 0.25
    # One difficulty for each subject and segment, the same for every predictor.
    fixed = np.random.default_rng(len(cohort) + 17 * len(part))
    ease = fixed.normal(0, 0.8, (count, 1, segments)) - (1.5 if part == "shift" else 0.0)
    noise = rng.normal(0, 0.25, (count, len(pairs), segments))
    logit = skill + gain[None, :, None] + ease + noise
    dice = 1 / (1 + np.exp(-logit))
    entropy = np.clip(0.35 - 0.12 * (logit + rng.normal(0, 0.4, logit.shape)), 0.005, np.log(2))
    hd95 = 25 * np.exp(-0.7 * logit)
    error = (1 - dice).mean(axis=2)
    calibration = error * (0.1 + miscalibration / (1 + gain))
    found: list[tuple[str, str, np.ndarray]] = []
    for region, scale in (("volume", 0.15), ("box", 1.0)):
        brier = scale * (0.4 * error + 0.2 * calibration)
        found += [
            ("ece_conf", region, scale * 0.5 * calibration),
            ("brier_sum", region, brier),
            ("brier_mean", region, brier / (segments + 1)),
            ("nll", region, 1.3 * brier + scale * calibration),
        ]
    shape = error.shape
    subject, pair = np.meshgrid(np.arange(count), np.arange(len(pairs)), indexing="ij")
    base = {
        "subject": np.char.add(part, np.char.zfill(subject.ravel().astype(str), 3)),
        "size": pairs[pair.ravel(), 0],
        "draw": pairs[pair.ravel(), 1],
    }
    # As the jobs do: surface distances only of the ensembles that the tables report.
    chosen = study.predictor(cohort, predictor)
    table = pd.Series(base["size"] == chosen.table_size)
    frames = [
        pd.DataFrame(
            {**base, "segment": 0, "region": region, "measure": measure, "value": values.ravel(), "n": 10_000}
        )
        for measure, region, values in found
    ]
    for index in range(segments):
        for measure, values in (("dice", dice), ("hd95", hd95), ("seg_entropy", entropy)):
            wanted = table if measure == "hd95" else slice(None)
            frames.append(
                pd.DataFrame(
                    {
                        **base,
                        "segment": index + 1,
                        "region": "volume",
                        "measure": measure,
                        "value": values[:, :, index].reshape(shape).ravel(),
                        "n": 1_000,
                    }
                )[wanted]
            )
    return pd.concat(frames, ignore_index=True)


def reliability(study: config.Study, count: int = 10, seed: int = 0) -> pd.DataFrame:
    bins = study.measures.ece_bins
    frames = []
    for cohort_name, cohort in study.cohorts.items():
        for part in PARTS:
            rule = (cohort.split.parts or {}).get(part)
            if rule is None:
                continue
            for predictor in study.predictors:
                rng = np.random.default_rng([seed, 1, len(frames)])
                pairs = np.array(draws(study, cohort_name, predictor))
                shape = (count, len(pairs), 2, bins)
                subject, pair, region, bin_ = (axis.ravel() for axis in np.indices(shape))
                confidence = (bin_ + 0.5) / bins
                voxels = rng.integers(0, 4000, len(bin_))
                gap = SKILL[predictor][1] * 0.3 / (1 + np.log2(pairs[pair, 0]))
                accuracy = np.clip(confidence * (1 - gap), 0, 1)
                frames.append(
                    pd.DataFrame(
                        {
                            "study": NAME,
                            "cohort": cohort_name,
                            "dataset": rule.dataset or cohort.datasets[0],
                            "part": part,
                            "subject": np.char.add(part, np.char.zfill(subject.astype(str), 3)),
                            "predictor": predictor,
                            "size": pairs[pair, 0],
                            "draw": pairs[pair, 1],
                            "region": np.array(["volume", "box"])[region],
                            "of": "confidence",
                            "bin": bin_,
                            "count": voxels,
                            "confidence": voxels * confidence,
                            "correct": np.round(voxels * accuracy).astype(np.int64),
                        }
                    )
                )
    result = pd.concat(frames, ignore_index=True)
    return result[result["count"] > 0].reset_index(drop=True)


def errors() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in ERRORS.items()})


def write(folder: Path, study: config.Study, count: int = 10, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    errors().to_parquet(folder / "errors.parquet", index=False)
    measures(study, count, seed).to_parquet(folder / "measures.parquet", index=False)
    reliability(study, count, seed).to_parquet(folder / "reliability.parquet", index=False)
    members(study, seed).to_parquet(folder / "members.parquet", index=False)
    subjects(study, count).to_parquet(folder / "subjects.parquet", index=False)
