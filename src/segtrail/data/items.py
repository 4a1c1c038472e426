"""A subject's place in a cohort."""

from dataclasses import dataclass

from .subject import Subject


@dataclass(frozen=True)
class Item:
    dataset: str
    subject: Subject
    part: str
