"""Which subjects a phantom has and in which files, from the configuration alone; imports nothing heavy."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...config import Dataset, Phantom
from ...errors import ConfigError


@dataclass(frozen=True)
class PlannedSubject:
    """A subject as its reader will list it once written; paths are relative to the data set's root."""

    id: str
    patient: str
    channels: dict[str, str]
    label: str
    site: str = ""
    group: str = ""
    frame: str = ""

    @property
    def files(self) -> list[str]:
        """Every file of the subject, each once: the images, the label, the voxels of MetaImage headers."""
        named = list(dict.fromkeys([*self.channels.values(), self.label]))
        return named + [file.removesuffix(".mhd") + ".raw" for file in named if file.endswith(".mhd")]


# Which sites a layout can express; '' is the layout without sites.
SITES = {
    "brats": ("CBICA", "TCIA", "2013"),
    "acdc": ("",),
    "prostatex": ("",),
    "promise12": ("", "phased_array", "endorectal"),
    "msd": ("",),
    "isic17": ("Training", "Validation", "Test_v2"),
    "folder": ("",),
}
# BraTS' own share of high-grade gliomas: CBICA 88 of 88, TCIA 102 of 167, 2013 20 of 30.
HIGH_GRADE = {"CBICA": (1, 1), "TCIA": (102, 167), "2013": (20, 30)}
ACDC_GROUPS = ("NOR", "DCM", "HCM", "MINF", "RV")


def plan(dataset_name: str, dataset: Dataset, phantom: Phantom) -> list[PlannedSubject]:
    """The phantom's subjects sorted by id, exactly as `list_subjects` finds them once it is written.

    Raises ConfigError for a site that the layout cannot express.
    """
    for site in phantom.sites:
        if site not in SITES[dataset.layout]:
            raise ConfigError(
                f"datasets/{dataset_name}.yaml: phantom site {site!r}",
                expected=f"one of {list(SITES[dataset.layout])} for layout {dataset.layout}",
            )
    subjects = _LAYOUTS[dataset.layout](dataset_name, dataset, phantom)
    return sorted(subjects, key=lambda subject: subject.id)


def _numbered(phantom: Phantom, site: str) -> range:
    return range(1, phantom.sites[site] + 1)


def _brats(name: str, dataset: Dataset, phantom: Phantom) -> Iterator[PlannedSubject]:
    prefix = "Brats18" if name == "brats18" else "Brats17"
    for site in phantom.sites:
        high, of = HIGH_GRADE[site]
        for index in _numbered(phantom, site):
            # A subject's group depends on its own number only, never on how many there are.
            is_high = math.ceil(index * high / of) > math.ceil((index - 1) * high / of)
            group = "HGG" if is_high else "LGG"
            id_ = f"{prefix}_{_brats_site(site, index, prefix)}_1"
            folder = f"{group}/{id_}/{id_}"
            channels = {channel: f"{folder}_{channel}.nii.gz" for channel in dataset.channels}
            yield PlannedSubject(id_, id_, channels, f"{folder}_seg.nii.gz", site, group)


def _brats_site(site: str, index: int, prefix: str) -> str:
    """The institution and number as the names of the subjects have them: CBICA_AAB, TCIA_105, 2013_10."""
    if site == "CBICA":
        return "CBICA_A" + chr(65 + (index - 1) // 26) + chr(65 + (index - 1) % 26)
    if site == "TCIA":
        return f"TCIA{index % 13 + 1:02d}_{index + 100}" if prefix == "Brats18" else f"TCIA_{index + 100}"
    return f"2013_{index}"


def _acdc(name: str, dataset: Dataset, phantom: Phantom) -> Iterator[PlannedSubject]:
    for index in _numbered(phantom, ""):
        patient = f"patient{index:03d}"
        group = ACDC_GROUPS[(index - 1) % len(ACDC_GROUPS)]
        for frame, number in acdc_frames(index).items():
            stem = f"training/{patient}/{patient}_frame{number:02d}"
            channels = {dataset.channels[0]: f"{stem}.nii.gz"}
            yield PlannedSubject(
                f"{patient}_{frame}", patient, channels, f"{stem}_gt.nii.gz", group=group, frame=frame
            )


def acdc_frames(index: int) -> dict[str, int]:
    """Number of the end-diastolic and end-systolic frame of patient `index`."""
    return {"ED": 1, "ES": 8 + index * 3 % 7}


def _prostatex(name: str, dataset: Dataset, phantom: Phantom) -> Iterator[PlannedSubject]:
    for index in _numbered(phantom, ""):
        id_ = f"ProstateX-{index - 1:04d}"
        yield PlannedSubject(id_, id_, {dataset.channels[0]: f"{id_}/t2.nii.gz"}, f"{id_}/t2_seg.nii.gz")


def _promise12(name: str, dataset: Dataset, phantom: Phantom) -> Iterator[PlannedSubject]:
    sites = [site for site in phantom.sites for _ in _numbered(phantom, site)]
    for index, site in enumerate(sites):
        id_ = f"Case{index:02d}"
        channels = {dataset.channels[0]: f"{id_}.mhd"}
        yield PlannedSubject(id_, id_, channels, f"{id_}_segmentation.mhd", site)


def _msd(name: str, dataset: Dataset, phantom: Phantom) -> Iterator[PlannedSubject]:
    for index in _numbered(phantom, ""):
        id_ = f"{name}_{index:03d}"
        image = f"imagesTr/{id_}.nii.gz"
        yield PlannedSubject(id_, id_, dict.fromkeys(dataset.channels, image), f"labelsTr/{id_}.nii.gz")


def _isic17(name: str, dataset: Dataset, phantom: Phantom) -> Iterator[PlannedSubject]:
    for site in phantom.sites:
        first = 5000 * SITES["isic17"].index(site)
        for index in _numbered(phantom, site):
            id_ = f"ISIC_{first + index - 1:07d}"
            image = f"ISIC-2017_{site}_Data/{id_}.jpg"
            label = f"ISIC-2017_{site}_Part1_GroundTruth/{id_}_segmentation.png"
            yield PlannedSubject(id_, id_, dict.fromkeys(dataset.channels, image), label, site)


def _folder(name: str, dataset: Dataset, phantom: Phantom) -> Iterator[PlannedSubject]:
    for index in _numbered(phantom, ""):
        id_ = f"{name}_{index:03d}"
        channels = {channel: f"images/{id_}_{channel}.nii.gz" for channel in dataset.channels}
        yield PlannedSubject(id_, id_, channels, f"labels/{id_}.nii.gz")


_LAYOUTS: dict[str, Callable[[str, Dataset, Phantom], Iterator[PlannedSubject]]] = {
    "brats": _brats,
    "acdc": _acdc,
    "prostatex": _prostatex,
    "promise12": _promise12,
    "msd": _msd,
    "isic17": _isic17,
    "folder": _folder,
}
