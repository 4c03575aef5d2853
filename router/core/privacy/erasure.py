"""Whom an erasure concerns: a device or a subject, known to who carries it out by the digest of its name alone.

Rules:
 * A name that has been erased stands nowhere any more; its digest does, so that who was away hears of it later.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

MOST_NUMBERS = 10_000  # that a device tells of one erasure
MOST_AT_ONCE = 64  # erasures that a device hears with one report


def digest_of(name: str) -> str:
    """SHA-256 of a name, in hex."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Erasure:
    """What a device is to erase.

    Attributes:
        number: Names it.
        subject: Digest of the subject's name, in hex; empty for all that this device holds.
    """

    number: int
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Erased:
    """What a device has erased.

    Attributes:
        number: Of the erasure.
        rows: How many queries waited in its outbox.
        numbers: Task and number of those of them that were numbered, at most ``MOST_NUMBERS``.
    """

    number: int
    rows: int
    numbers: tuple[tuple[str, int], ...] = ()
