"""What figures are drawn from: the rows of measures, probability maps and prepared subjects of one study."""

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ... import config
from ...config.figure import Pick
from ...data.prepared import Prepared, load
from ...errors import ArtifactError
from ..cases import Cases, NotComputedError


def predictor_title(title: str) -> str:
    """`EN L_DSC` with its loss as the paper sets it, for matplotlib's mathtext."""
    return re.sub(r"L_(\w+)", r"$\\mathcal{L}_{\\mathrm{\1}}$", title)


@dataclass(frozen=True)
class Case:
    """One test image and the rule that picked it."""

    cohort: str
    part: str
    dataset: str
    subject: str
    site: str
    rule: str

    @property
    def name(self) -> str:
        site = f", {self.site}" if self.site else ""
        return f"{self.dataset} {self.subject}{site}"


@dataclass(frozen=True)
class Source:
    """The results of one study in one run."""

    study_dir: Path
    run: config.Run
    study_id: str
    chunks: Mapping[str, Sequence[str]] | None = None  # cohort → the chunks of this run; any when left out

    @property
    def scratch(self) -> Path:
        """Where each cohort's arrays and maps lie: `results/<run>/scratch/<study>`."""
        return self.study_dir.parent / "scratch" / self.study_dir.name

    @property
    def study(self) -> config.Study:
        return self.run.studies[self.study_id]

    @cached_property
    def measures(self) -> pd.DataFrame:
        return pd.read_parquet(self.study_dir / "measures.parquet")

    @cached_property
    def cases(self) -> Cases:
        if self.study.measures.errors is None:
            return Cases.of(self.run, self.study_id, self.measures)
        return Cases.of(self.run, self.study_id, self.measures, self.errors, self.reliability)

    @cached_property
    def reliability(self) -> pd.DataFrame:
        return pd.read_parquet(self.study_dir / "reliability.parquet")

    @cached_property
    def errors(self) -> pd.DataFrame:
        return pd.read_parquet(self.study_dir / "errors.parquet")

    def cohort(self, name: str) -> config.Cohort:
        """NotComputedError with the run's reason if the cohort is not part of the run."""
        if name not in self.study.cohorts:
            absent = self.run.absent.get(self.study_id, {})
            raise NotComputedError(absent.get(name, f"the study has no cohort {name}"))
        return self.study.cohorts[name]

    def title(self, cohort: str) -> str:
        """The cohort's title, also when it is not part of the run."""
        return self.study.cohorts[cohort].title if cohort in self.study.cohorts else cohort.capitalize()

    def rows(
        self, cohort: str, parts: Sequence[str], predictor: str, measure: str, region: str, segment: int = 0
    ) -> pd.DataFrame:
        """Every member's or draw's row of one measure, of all sizes; NotComputedError if there are none."""
        self.cohort(cohort)
        table = self.measures
        chosen = table[
            (table["cohort"] == cohort)
            & table["part"].isin(list(parts))
            & (table["predictor"] == predictor)
            & (table["measure"] == measure)
            & (table["region"] == region)
            & (table["segment"] == segment)
        ]
        if chosen.empty:
            raise NotComputedError(
                f"no {measure} of {predictor} on {cohort} {' and '.join(parts)} was measured"
            )
        return chosen

    def pick(self, cohort: str, pick: Pick) -> Case:
        """The case that a rule finds; NotComputedError if there is none."""
        self.cohort(cohort)
        segments = pick.segments or list(self.cases.segments(cohort))
        columns = [
            self.cases.values(cohort, pick.part, name, None, pick.measure, "volume", segment)["value"]
            for name in pick.predictors
            for segment in segments
        ]
        ranked = pd.concat(columns, axis=1).mean(axis=1, skipna=False).dropna()
        ranked = ranked.sort_index().sort_values(kind="stable")
        if ranked.empty:
            raise NotComputedError(f"{pick.measure} is undefined for every {pick.part} case of {cohort}")
        position = {"lowest": 0, "median": (len(ranked) - 1) // 2, "highest": len(ranked) - 1}[pick.rank]
        rule = self._rule(cohort, pick, segments, len(ranked))
        return self.case(cohort, pick.part, ranked.index[position], rule)

    def case(self, cohort: str, part: str, of: tuple[str, str], rule: str) -> Case:
        """A case by its data set and subject, and why it is shown."""
        dataset, subject = of
        here = self.measures
        here = here[(here["cohort"] == cohort) & (here["dataset"] == dataset) & (here["subject"] == subject)]
        return Case(cohort, part, dataset, subject, here["site"].iloc[0], rule)

    def _rule(self, cohort: str, pick: Pick, segments: Sequence[int], n: int) -> str:
        """The rule in words, for the line below the figure."""
        measure = {"dice": "Dice", "seg_entropy": "segment entropy"}[pick.measure]
        names = self.study.cohorts[cohort].segments
        mean = "mean " if len(segments) * len(pick.predictors) > 1 else ""
        by = (
            predictor_title(self.study.predictors[pick.predictors[0]].title)
            if len(pick.predictors) == 1
            else f"{len(pick.predictors)} predictors"
        )
        of = names[segments[0] - 1].name if len(segments) == 1 else f"{len(segments)} segments"
        part = {"test": "test", "shift": "shifted"}.get(pick.part, pick.part)
        return f"{pick.rank} {mean}{measure} of {by}, {of}, among {n} {part} cases"

    def value(
        self, case: Case, predictor: str, size: int, measure: str, *, region: str = "volume", segment: int = 0
    ) -> float:
        """The value of the first member or draw, the one that maps show; NaN where it is undefined."""
        rows = self.rows(case.cohort, [case.part], predictor, measure, region, segment)
        first = (rows["size"] == size) & (rows["draw"] == 0)
        rows = rows[first & (rows["dataset"] == case.dataset) & (rows["subject"] == case.subject)]
        if rows.empty:
            raise NotComputedError(f"no {measure} of {predictor} at M={size} for {case.subject} was measured")
        return float(rows["value"].iloc[0])

    def bins(self, case: Case, predictor: str, size: int) -> pd.DataFrame:
        """The bins of the largest probability in the whole volume of one case, first member or draw."""
        table = self.reliability
        chosen = table[
            (table["cohort"] == case.cohort)
            & (table["part"] == case.part)
            & (table["dataset"] == case.dataset)
            & (table["subject"] == case.subject)
            & (table["predictor"] == predictor)
            & (table["size"] == size)
            & (table["draw"] == 0)
            & (table["region"] == "volume")
            & (table["of"] == "confidence")
        ]
        if chosen.empty:
            raise NotComputedError(f"no reliability counts of {predictor} at M={size}")
        return chosen.sort_values("bin")

    def prepared(self, case: Case) -> Prepared:
        return load(self._file(self.scratch / case.cohort / "arrays", case))

    def probabilities(self, case: Case, predictor: str, size: int) -> NDArray[np.float32]:
        """The mean probability (K, Z, Y, X) of the first member or draw; NotComputedError if not kept."""
        chosen = self.study.predictor(case.cohort, predictor)
        kept = sorted({*chosen.maps, chosen.table_size})
        if size not in kept:
            raise NotComputedError(f"the map of M={size} is not kept for {predictor}, only M={kept}")
        path = self._file(self.scratch / case.cohort / "maps" / chosen.posterior, case)
        try:
            with np.load(path, allow_pickle=False) as archive:
                return archive[f"{predictor}__M{size}"].astype(np.float32)
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
            raise ArtifactError(
                f"{type(error).__name__}: {error}",
                file=path,
                expected=f"an .npz with an array {predictor}__M{size}",
                remedy="delete the file and run again",
            ) from error

    def _file(self, folder: Path, case: Case) -> Path:
        """The case's file in one of the folder's chunks; other chunks may be left from an earlier run."""
        found = sorted(folder.glob(f"*/{case.dataset}__{case.subject}.npz"))
        if self.chunks is not None:
            found = [path for path in found if path.parent.name in self.chunks[case.cohort]]
        if len(found) != 1:
            raise ArtifactError(
                f"{len(found)} files {case.dataset}__{case.subject}.npz in {folder}",
                subject=case.subject,
                expected="exactly one",
                remedy="run the workflow again; a file left from an earlier run may be deleted",
            )
        return found[0]
