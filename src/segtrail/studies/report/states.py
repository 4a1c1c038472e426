"""What can be said of a number, a comparison or a claim: by words, by a sign and by colour."""

from collections.abc import Iterable

import pandas as pd

from .. import claims
from ..verdicts import DIRECTION, IMPOSSIBLE, NOT_COMPUTED, OUTSIDE, PHANTOM, TOLERANCE, WITHIN

NO_STUDY = "no study in this run"
# verdict → (class in the style sheet, sign, short)
STATES = {
    WITHIN: ("within", "✓", "within"),
    DIRECTION: ("direction", "≈", "direction"),
    OUTSIDE: ("outside", "✗", "outside"),
    IMPOSSIBLE: ("impossible", "!", "impossible"),
    PHANTOM: ("phantom", "◌", "phantom"),
    NOT_COMPUTED: ("missing", "–", "not computed"),
    NO_STUDY: ("absent", "·", "no study"),
}
MEANINGS = {
    WITHIN: "ours lies inside the printed interval, or where none is printed within the study's tolerance: "
    f"{100 * TOLERANCE:g} % of the value if it sets none",
    DIRECTION: "outside, but better or worse than the row it is compared with, as printed",
    OUTSIDE: "neither",
    IMPOSSIBLE: "the printed number breaks a bound that every such number keeps",
    PHANTOM: "ours comes from synthetic images, and is not to be compared",
    NOT_COMPUTED: "a study of this run, but no value; its trail says why",
    NO_STUDY: "a paper that this run does not compute; its section says why",
}
OTHERS = {
    claims.SUPPORTED: ("within", "✓", ""),
    claims.SUPPORTED_SO_FAR: ("within", "✓", ""),
    claims.AS_CLAIMED: ("within", "✓", ""),
    claims.MIXED: ("direction", "≈", ""),
    claims.EQUAL: ("direction", "=", ""),
    claims.REFUSED: ("outside", "✗", ""),
    claims.OPPOSITE: ("outside", "✗", ""),
    claims.UNDECIDED: ("missing", "?", ""),
    claims.UNTOLD: ("missing", "?", ""),
    claims.NOT_PRINTED: ("missing", "–", ""),  # of a cell, too
}
ALL = STATES | OTHERS


def tally(verdicts: Iterable[str]) -> list[tuple[str, int]]:
    """How often each verdict was given, in the order in which they stand here."""
    found = pd.Series(list(verdicts), dtype=str).value_counts()
    return [(name, int(found[name])) for name in ALL if name in found]
