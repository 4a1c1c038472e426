"""Invented patients with their images, to be divided by a split."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st

from segtrail.config import Split

# The first stratified split of a process imports scipy.optimize, so there is no deadline.
repeatable = settings(deadline=None, derandomize=True)


@dataclass(frozen=True)
class Image:
    id: str
    patient: str
    site: str = ""
    group: str = ""


def images(count: int, site: str = "", group: str = "", prefix: str = "p", frames: int = 1) -> list[Image]:
    return [
        Image(f"{prefix}{site}{group}{i}_{frame}", f"{prefix}{site}{group}{i}", site, group)
        for i in range(count)
        for frame in range(frames)
    ]


def rule(**values: object) -> Split:
    return Split.model_validate(values)


def patients_in(parts: dict, subjects: dict[str, list[Image]]) -> dict[str, set[tuple[str, str]]]:
    patient = {(d, s.id): (d, s.patient) for d, found in subjects.items() for s in found}
    return {part: {patient[key] for key in keys} for part, keys in parts.items()}


@st.composite
def cohorts(draw: st.DrawFn) -> list[Image]:
    """Patients of up to three sites and two groups, with one or two images each."""
    found = []
    for site in draw(st.lists(st.sampled_from("ABC"), min_size=1, max_size=3, unique=True)):
        for group in draw(st.lists(st.sampled_from(["HGG", "LGG"]), min_size=1, max_size=2, unique=True)):
            count = draw(st.integers(2, 12))
            found += images(count, site, group, frames=draw(st.integers(1, 2)))
    return found
