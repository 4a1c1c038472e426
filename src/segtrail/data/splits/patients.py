"""The patients of a cohort, each with all images: what a split ranks, deals and never divides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...errors import ConfigError
from ...seeds import seed_of

Key = tuple[str, str]  # data set, subject id
Parts = dict[str, list[Key]]


class SubjectLike(Protocol):
    """A subject, or one that a phantom will draw."""

    @property
    def id(self) -> str: ...
    @property
    def patient(self) -> str: ...
    @property
    def site(self) -> str: ...
    @property
    def group(self) -> str: ...


@dataclass(frozen=True)
class Patient:
    """All images of one patient; several sites or groups only where the images differ in them."""

    dataset: str
    id: str
    sites: tuple[str, ...]
    groups: tuple[str, ...]
    subjects: tuple[str, ...]

    def stratum(self, by: str | None) -> str:
        return "+".join({"group": self.groups, "site": self.sites, None: ()}[by])


def patients_of(by_dataset: Mapping[str, Sequence[SubjectLike]]) -> list[Patient]:
    images: dict[Key, list[SubjectLike]] = {}
    for dataset, subjects in by_dataset.items():
        for subject in subjects:
            images.setdefault((dataset, subject.patient), []).append(subject)
    return [
        Patient(
            dataset,
            patient,
            sites=tuple(sorted({subject.site for subject in found})),
            groups=tuple(sorted({subject.group for subject in found})),
            subjects=tuple(sorted(subject.id for subject in found)),
        )
        for (dataset, patient), found in sorted(images.items())
    ]


def ranked(patients: Iterable[Patient], seed: int) -> list[Patient]:
    return sorted(patients, key=lambda p: (seed_of("split", seed, p.dataset, p.id), p.dataset, p.id))


def subjects_of(parts: Mapping[str, Iterable[Patient]]) -> Parts:
    return {part: [(p.dataset, s) for p in patients for s in p.subjects] for part, patients in parts.items()}


def check_leaks(
    parts: Mapping[str, Iterable[Key]],
    by_dataset: Mapping[str, Sequence[SubjectLike]],
    file: Path | None = None,
) -> None:
    """Raises ConfigError if a patient is in two parts, or a subject is listed twice or unknown.

    `file`: the list that the parts are from, to be named.
    """
    patient_of = {(d, s.id): (d, s.patient) for d, subjects in by_dataset.items() for s in subjects}
    part_of: dict[Key, str] = {}
    seen: set[Key] = set()
    for part, keys in parts.items():
        for key in keys:
            if key not in patient_of:
                raise ConfigError(
                    f"split: {part} lists {'/'.join(key)}, which is not in the data set", file=file
                )
            if key in seen:
                raise ConfigError(f"split: {'/'.join(key)} is listed twice", file=file)
            seen.add(key)
            first = part_of.setdefault(patient_of[key], part)
            if first != part:
                raise ConfigError(
                    f"split: patient {'/'.join(patient_of[key])} is in {first} and in {part}",
                    file=file,
                    expected="every image of a patient in one part",
                )
