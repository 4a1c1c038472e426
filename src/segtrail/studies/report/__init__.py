"""The report of a run: one HTML page that holds everything it shows and opens without a network."""

from .page import write_report

__all__ = ["write_report"]
