"""What the readers share: they say what they found and looked for; here it is decided what is wrong.

Only names and small text files are read, since this runs at each start of the workflow.
"""

import csv
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ...errors import DataError
from .. import metaimage
from ..subject import Listing, Subject

VOLUMES = (".nii.gz", ".nii", ".mha", ".mhd")
IDENTIFIER = re.compile(r"[A-Za-z0-9._-]+")
M = TypeVar("M", bound=BaseModel)


@dataclass
class Finds:
    """Collects what one reader finds under `root`."""

    root: Path
    channels: Sequence[str]  # that the data set must have
    # Each subject with the folder that holds it and others like it: where one has a label, all should.
    found: list[tuple[Subject, Path]] = field(default_factory=list)
    problems: list[DataError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._real_root = self.root.resolve()
        self._folders: dict[Path, bool] = {}  # folder → whether it lies outside the root

    def add(
        self,
        id_: str,
        looked_for: dict[str, Path],
        label: Path,
        shelf: Path,
        *,
        patient: str | None = None,
        site: str = "",
        group: str = "",
        frame: str = "",
    ) -> None:
        """A subject and where its channels and its label should be; which of them are there is seen here."""
        there = {channel: path for channel, path in looked_for.items() if path.is_file()}
        found = Subject(
            id_,
            patient or id_,
            there,
            label if label.is_file() else None,
            site=site,
            group=group,
            frame=frame,
        )
        missing = [channel for channel in self.channels if channel not in there]
        self.found.append((found, shelf))
        if missing:
            names = sorted({looked_for[c].name for c in missing if c in looked_for})
            self.problems.append(
                DataError(
                    f"channels: {', '.join(there) or 'none'}; missing: {', '.join(missing)}",
                    subject=id_,
                    file=self._folder(looked_for, label),
                    expected=f"channels {', '.join(self.channels)}"
                    + (f"; looked for {', '.join(names)}" if names else ""),
                    remedy="add the missing files, or name only the channels you have in the data set's YAML",
                )
            )

    def _folder(self, looked_for: dict[str, Path], label: Path) -> Path:
        return next(iter(looked_for.values()), label).parent

    def listing(self) -> Listing:
        """The subjects that are complete, labelled and the only ones of their id, and all that is wrong."""
        bad = {problem.subject for problem in self.problems}
        bad |= self._bad_names() | self._doubles()
        labelled = frozenset(subject.patient for subject, _ in self.found if subject.label)
        usable = self._labelled([(subject, shelf) for subject, shelf in self.found if subject.id not in bad])
        subjects = sorted(filter(self._reachable, usable), key=lambda subject: subject.id)
        return Listing(subjects, self.problems, self.refused(), self.warnings, labelled)

    def refused(self) -> list[Subject]:
        """The subjects with a problem, each once: a split counts them before they are left out."""
        bad = {problem.subject for problem in self.problems}
        by_id = {s.id: s for s, _ in self.found if s.id in bad and IDENTIFIER.fullmatch(s.id)}
        return [by_id[name] for name in sorted(by_id)]

    def _bad_names(self) -> set[str]:
        names = {subject.id for subject, _ in self.found if not IDENTIFIER.fullmatch(subject.id)}
        for name in sorted(names):
            self.problems.append(
                DataError(
                    f"the name {name!r}",
                    subject=name,
                    file=next((file for s, _ in self.found if s.id == name for file in s.files), self.root),
                    expected="letters, digits, dot, underscore and hyphen only",
                    remedy="rename the subject's files",
                )
            )
        return names

    def _doubles(self) -> set[str]:
        """Ids that several subjects have: which of them is meant cannot be known, so none is taken."""
        by_id = defaultdict(list)
        for subject, _ in self.found:
            by_id[subject.id].append(subject)
        for name, subjects in by_id.items():
            if len(subjects) > 1:
                files = [self.relative(subject.files[0]) for subject in subjects if subject.files]
                self.problems.append(
                    DataError(
                        f"{len(subjects)} subjects with this id: {', '.join(files)}",
                        subject=name,
                        file=self.root / files[0] if files else self.root,
                        expected="one subject for each id",
                        remedy="remove or rename all but one",
                    )
                )
        return {name for name, subjects in by_id.items() if len(subjects) > 1}

    def _labelled(self, found: list[tuple[Subject, Path]]) -> list[Subject]:
        """A shelf without any label is left aside as unlabelled data; a gap on a labelled shelf is wrong."""
        shelves = {shelf for subject, shelf in self.found if subject.label}
        aside: dict[Path, int] = defaultdict(int)
        for subject, shelf in found:
            if subject.label is None and shelf not in shelves:
                aside[shelf] += 1
            elif subject.label is None:
                self.problems.append(
                    DataError(
                        "no reference label",
                        subject=subject.id,
                        file=subject.files[0],
                        expected="a label, as the other subjects beside it have",
                        remedy="add the label, or take the subject out of the folder",
                    )
                )
        for shelf, count in aside.items():
            self.warnings.append(f"{self.relative(shelf)}: {count} without any reference label, left aside")
        return [subject for subject, _ in found if subject.label]

    def _reachable(self, subject: Subject) -> bool:
        """Whether the files, and those with the voxels of MetaImages, are there and below the root."""
        try:
            for path in [*subject.files, *metaimage.voxel_files(subject.files)]:
                # Only a link or a path with '..' can lead out; to resolve every path would cost a second.
                if self._linked(path) and not path.resolve().is_relative_to(self._real_root):
                    raise DataError(
                        f"a path that leads to {path.resolve()}",
                        file=path,
                        expected=f"a file below the data root {self.root}",
                        remedy="copy the file into the data root, or give the folder above as the root",
                    )
                if not path.is_file():
                    raise DataError(
                        "the file is missing",
                        file=path,
                        expected="the voxels of a MetaImage, whose header names this file",
                        remedy="copy it from the source of the header",
                    )
        except DataError as error:
            self.problems.append(of_subject(error, subject.id))
            return False
        return True

    def _linked(self, path: Path) -> bool:
        return ".." in path.parts or path.is_symlink() or self._linked_folder(path.parent)

    def _linked_folder(self, folder: Path) -> bool:
        if folder not in self._folders:
            self._folders[folder] = not folder.resolve().is_relative_to(self._real_root)
        return self._folders[folder]

    def relative(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without hidden files; raises DataError if it cannot be read."""
    try:
        with os.scandir(folder) as scan:
            return sorted(folder / entry.name for entry in scan if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(
            error.strerror or str(error),
            file=folder,
            expected="a folder that can be read",
            remedy="correct the path, or the folder's permissions",
        ) from error


def stem(path: Path, suffixes: Iterable[str] = VOLUMES) -> str | None:
    """The name without its suffix, if that is one of `suffixes`."""
    name = path.name.lower()
    suffix = next((s for s in suffixes if name.endswith(s)), None)
    return path.name[: -len(suffix)] if suffix else None


def nifti(folder: Path, name: str) -> Path:
    """`<name>.nii.gz`, or `<name>.nii` where only that is there."""
    plain = folder / f"{name}.nii"
    return (
        plain if plain.is_file() and not (folder / f"{name}.nii.gz").is_file() else folder / f"{name}.nii.gz"
    )


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """A small CSV with a header; raises DataError if one of `columns` is missing."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            str(error), file=path, expected="a CSV file in UTF-8", remedy="save it again"
        ) from error
    missing = [name for name in columns if name not in (reader.fieldnames or [])]
    if missing:
        raise DataError(
            f"columns {', '.join(reader.fieldnames or [])}",
            file=path,
            expected=f"the columns {', '.join(columns)}",
            remedy="correct its first line",
        )
    return [{key: (value or "").strip() for key, value in row.items() if key} for row in rows]


def of_subject(error: DataError, subject: str) -> DataError:
    """The same error, which now says which subject it is about."""
    return DataError(**{**error.as_dict(), "subject": subject})


def validated(model: type[M], values: object, path: Path) -> M:
    """`values` as `model`; raises DataError that names each key that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, p['loc'])) or 'top level'}: {p['msg']}" for p in error.errors()[:5]]
        raise DataError(
            "; ".join(wrong),
            file=path,
            expected=f"the keys {', '.join(model.model_fields)}",
            remedy="correct these keys",
        ) from error
