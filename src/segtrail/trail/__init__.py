"""One number, one trail: from a cell of a printed table down to the bytes of the scans it was computed from.

All is read from the receipts of a run (`receipts`): the trail says what a number was made from, whatever the
configuration, the code or the scans are now, and it can be told in a clone that has the results alone.
"""

from .chain import Step
from .trails import Trail, Trails
from .words import Listing, Row

__all__ = ["Listing", "Row", "Step", "Trail", "Trails"]
