"""Per-case values: each subject's mean over the members or draws of a predictor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import Run, Study
from ..measures.statistics import logit_dice
from .pooled import Bins, Pool
from .thresholds import Thresholds, is_at_threshold

PLACE = ["cohort", "part", "predictor", "size", "measure", "region", "segment"]
SUBJECT = ["dataset", "subject"]


class NotComputedError(LookupError):
    """A value that this run does not have; the text is the reason that the tables show."""


@dataclass(frozen=True)
class Cases:
    """The cases of one run of one study, grouped once; see `values`."""

    run: Run
    study: Study
    absent: dict[str, str]
    groups: dict[tuple[Any, ...], pd.DataFrame]
    thresholds: Thresholds | None = None
    bins: Bins | None = None

    @classmethod
    def of(
        cls,
        run: Run,
        study_id: str,
        measures: pd.DataFrame,
        errors: pd.DataFrame | None = None,
        reliability: pd.DataFrame | None = None,
    ) -> "Cases":
        """Groups `measures` (columns of measures.parquet); the order of its rows does not matter. `errors` is
        needed for the measures at a threshold (u_e and its kin), `reliability` for pooled ones."""
        keys = [*PLACE, *SUBJECT]
        table = measures[[*keys, "draw", "value"]].astype(
            {name: "category" for name in keys if name not in ("size", "segment")}
        )
        # A mean's last bits depend on the order of summation.
        table = table.sort_values([*keys, "draw"], kind="stable")
        grouped = table.groupby(keys, observed=True, sort=True)["value"]
        means = grouped.agg(value="mean", defined="count", predictions="size").reset_index(PLACE)
        columns = ["value", "defined", "predictions"]
        groups = dict(iter(means.groupby(PLACE, observed=True, sort=False)[columns]))
        study, absent = run.studies[study_id], run.absent.get(study_id, {})
        thresholds, bins = None, None if reliability is None else Bins.of(reliability)
        if errors is not None and study.measures.errors is not None:
            thresholds = Thresholds.of(errors, study.measures.errors)
        return cls(run, study, absent, groups, thresholds, bins)

    def require(self, cohort: str) -> None:
        """Raises NotComputedError with the run's reason where a cohort is left out."""
        if cohort not in self.study.cohorts:
            raise NotComputedError(self.absent.get(cohort, f"the study has no cohort {cohort}"))

    def size(self, cohort: str, predictor: str, size: int | None) -> int:
        """The size of an ensemble: `size` where the run has it, its table_size where None is asked for."""
        self.require(cohort)
        chosen = self.study.predictor(cohort, predictor)
        if size is None:
            return chosen.table_size
        if size not in chosen.sizes:
            sizes = ", ".join(str(number) for number in chosen.sizes)
            raise NotComputedError(
                f"size {size} of {predictor} is not among this run's sizes in {cohort} ({sizes})"
            )
        return size

    def values(
        self,
        cohort: str,
        part: str,
        predictor: str,
        size: int | None,
        measure: str,
        region: str,
        segment: int,
        dataset: str | None = None,
    ) -> pd.DataFrame:
        """One row per case, by (dataset, subject): `value` (NaN where undefined in every prediction), the
        mean of its `defined` ones out of all its `predictions`. NotComputedError where there is none."""
        key = (cohort, part, predictor, self.size(cohort, predictor, size), measure, region, segment)
        found = self._at_threshold(*key[:5]) if is_at_threshold(measure) else self.groups.get(key)
        if found is not None and dataset is not None:
            found = found[found.index.get_level_values("dataset") == dataset]
        if found is None or found.empty:
            where = f"segment {segment}, {region}" if segment else region
            raise NotComputedError(
                f"no {measure} of {predictor} with size {key[3]} on {cohort} {part} ({where}) was measured"
                + self._why(cohort, part, region)
            )
        return found

    def _why(self, cohort: str, part: str, region: str) -> str:
        """The keys of the configuration, if any, by which nothing is measured in a region of a part."""
        chosen = self.study.cohorts[cohort]
        found = [f"cohorts.{cohort}.measured has no {part}"] if part not in chosen.measured else []
        if region != "volume" and getattr(chosen, region) is None:
            found.append(f"cohorts.{cohort}.{region} is null")
        return f": {', '.join(found)}" if found else ""

    def threshold(
        self, cohort: str, part: str, predictor: str, size: int | None, measure: str
    ) -> tuple[float, str]:
        """The threshold at which u_e or one of its kin is told, and the part whose mean has picked it.
        NotComputedError where no errors of either part were counted."""
        if self.thresholds is None:
            raise ValueError(f"{measure}: Cases.of was given no errors")
        place = (cohort, part, predictor, self.size(cohort, predictor, size))
        picking = self.thresholds.part(part, measure)
        for needed in dict.fromkeys((part, picking)):
            if not self.thresholds.has((cohort, needed, *place[2:])):
                raise NotComputedError(
                    f"no errors of {predictor} with size {place[3]} on {cohort} {needed} were counted"
                    + self._why(cohort, needed, "volume")
                )
        return self.thresholds.picked(place, measure), picking

    def _at_threshold(self, cohort: str, part: str, predictor: str, size: int, measure: str) -> pd.DataFrame:
        self.threshold(cohort, part, predictor, size, measure)  # there is one
        assert self.thresholds is not None
        return self.thresholds.values((cohort, part, predictor, size), measure)

    def pool(self, cohort: str, part: str, predictor: str, size: int | None, region: str) -> Pool:
        """The bins of the foreground's probability of all subjects of a part. NotComputedError where there
        are none."""
        if self.bins is None or self.study.measures.errors is None:
            raise ValueError("pooled bins: Cases.of was given no reliability, or the study counts none")
        place = (cohort, part, predictor, self.size(cohort, predictor, size), region)
        if place not in self.bins.groups:
            raise NotComputedError(
                f"no bins of {predictor} with size {place[3]} on {cohort} {part} ({region}) were counted"
                + self._why(cohort, part, region)
            )
        return self.bins.pool(place, self.study.measures.errors.bins)

    def segments(self, cohort: str) -> range:
        """Class indices of a cohort's foreground segments."""
        self.require(cohort)
        return range(1, len(self.study.cohorts[cohort].segments) + 1)

    def clouds(
        self, cohort: str, parts: Sequence[str], predictor: str, size: int | None, segments: Sequence[int]
    ) -> pd.DataFrame:
        """Points of the segment-level uncertainty plots (Mehrtash 2020 §VI.E, figure 3): columns part,
        dataset, subject, segment, dice, logit_dice, seg_entropy; without points of an undefined value."""
        frames = []
        for part in parts:
            for segment in segments:
                place = (cohort, part, predictor, size)
                both = pd.concat(
                    [
                        self.values(*place, name, "volume", segment)["value"].rename(name)
                        for name in ("dice", "seg_entropy")
                    ],
                    axis=1,
                )
                frames.append(both.reset_index().assign(part=part, segment=segment))
        points = pd.concat(frames, ignore_index=True).dropna(subset=["dice", "seg_entropy"])
        points["logit_dice"] = logit_dice(points["dice"].to_numpy(), self.study.measures.dice_clip)
        return points[["part", "dataset", "subject", "segment", "dice", "logit_dice", "seg_entropy"]]


def defined(cases: pd.DataFrame) -> NDArray[np.float64]:
    """The values of the cases where the measure is defined, in order of (dataset, subject)."""
    return cases["value"].dropna().to_numpy(dtype=np.float64)


def paired_sizes(
    cases: Cases,
    cohort: str,
    part: str,
    predictor: str,
    sizes: tuple[int, int],
    measure: str,
    region: str,
    segment: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same cases at the smaller and the larger size; NotComputedError where none is defined in both."""
    found = [cases.values(cohort, part, predictor, size, measure, region, segment)["value"] for size in sizes]
    both = pd.concat(found, axis=1, join="inner").dropna().to_numpy(float)
    if not len(both):
        raise NotComputedError(f"{measure} is defined in no case at both sizes")
    return both[:, 0], both[:, 1]


def reduction(before: NDArray[np.float64], after: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """100·(1 − mean after / mean before), in per cent."""
    return np.asarray(100 * (1 - after.mean(axis=axis) / before.mean(axis=axis)))


def reduction_interval(
    before: NDArray[np.float64], after: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % percentile bootstrap over cases of `reduction`; NaN with fewer than two cases.

    Source: Mehrtash 2020, §VI.E, with n = 100 resamples.
    """
    if len(before) < 2:
        return float("nan"), float("nan")
    from scipy import stats  # a second that most jobs can spare

    found = stats.bootstrap(
        (before, after),
        reduction,
        n_resamples=resamples,
        paired=True,
        batch=1000,
        method="percentile",
        rng=rng,
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
