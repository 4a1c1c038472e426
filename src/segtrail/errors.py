"""Errors that a user can act on: what it is about, what was expected, what was found, what to do."""

from pathlib import Path


class SegtrailError(Exception):
    """An error of the user's data or configuration, never a bug; shown without a traceback.

    Every part but `found` may be left out; the message stays within one screen.
    """

    def __init__(
        self,
        found: str,
        *,
        subject: str | None = None,
        file: str | Path | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.found = found
        self.subject = subject
        self.file = str(file) if file is not None else None
        self.expected = expected
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [
            ("subject", self.subject),
            ("file", self.file),
            ("expected", self.expected),
            ("found", self.found),
            ("remedy", self.remedy),
        ]
        return "\n".join(f"{name + ':':<10}{text}" for name, text in parts if text is not None)

    def as_dict(self) -> dict[str, str]:
        """The named parts that are set, for `rejected.csv` and `--json`."""
        names = ("subject", "file", "expected", "found", "remedy")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class DataError(SegtrailError):
    """Something is wrong with a subject or a data set."""


class ConfigError(SegtrailError):
    """Something is wrong with the configuration; `found` names the key and the value."""


class ArtifactError(SegtrailError):
    """An artifact on disk is not what its reader expects (another key, a damaged file)."""
