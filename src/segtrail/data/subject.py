"""What a reader finds: subjects, and what the layout itself shows to be wrong with them."""

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError


@dataclass(frozen=True)
class Subject:
    """One image of one patient (ACDC has two per patient, end-diastole and end-systole).

    The channels of a picture, and those of a 4-D file, all name the same file: `read_volume` picks one.
    """

    id: str  # unique in the data set, of A-Z a-z 0-9 . _ -
    patient: str  # never divided between the parts of a split
    channels: dict[str, Path]  # channel → file, in the data set's order
    label: Path | None  # the reference segmentation
    site: str = ""  # CBICA, TCIA, 2013; phased_array, endorectal; Training, Validation, Test_v2
    group: str = ""  # HGG, LGG; the diagnosis in ACDC
    frame: str = ""  # ED, ES

    @property
    def files(self) -> list[Path]:
        """The images and the label, each once (of a MetaImage the header)."""
        label = [] if self.label is None else [self.label]
        return list(dict.fromkeys([*self.channels.values(), *label]))


@dataclass(frozen=True)
class Listing:
    """What a data root holds, as names and small text files show it; no pixel has been read."""

    subjects: list[Subject]  # complete and labelled, sorted by id
    problems: list[DataError] = field(default_factory=list)  # what the pipeline refuses
    refused: list[Subject] = field(
        default_factory=list
    )  # those of the problems, where it is clear who is meant
    warnings: list[str] = field(default_factory=list)  # odd, and left out or accepted
    labelled: frozenset[str] = frozenset()  # patients with a reference label, refused ones too
