"""Seeds by name. Apart from `files`: what is here shapes numbers, and so is in the hash of the code."""

from .files import sha256_of


def seed_of(*parts: str | int) -> int:
    """A seed in 0…2⁶³−1 that depends on what is seeded, never on when (DESIGN §4.6)."""
    return int(sha256_of([str(part) for part in parts])[:16], 16) >> 1
