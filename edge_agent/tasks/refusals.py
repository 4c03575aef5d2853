"""Why a release is refused, each reason under a name of its own."""

from __future__ import annotations

from enum import StrEnum

from router.core.errors import ReleaseError


class Refusal(StrEnum):
    """The reason, as ``headrace-edge status`` and a report to the fleet begin with it."""

    TAMPERED = "tampered file"
    WRONG_LENGTH = "wrong length"
    OLD = "old metadata"
    EXPIRED = "expired metadata"
    CLOCK = "wrong clock"
    UNKNOWN_KEY = "unknown key"
    TAMPERED_METADATA = "tampered metadata"
    MIXED = "mix-and-match"
    ENDLESS = "endless data"
    SLOW = "slow drip"
    UNSIGNED = "not signed"
    OTHER_TASK = "another task than was signed"
    SPOILT = "spoilt metadata"
    CRASHES = "crash loop"


class RefusedError(ReleaseError):
    """A release that is refused for one of the reasons.

    Attributes:
        refusal: Which.
        mends: Whether it may be well at any moment, so that it is tried again with short pauses.
    """

    def __init__(self, refusal: Refusal, detail: str, *, mends: bool = False) -> None:
        """Say the reason first, then what was found."""
        super().__init__(f"{refusal}: {detail}")
        self.refusal = refusal
        self.mends = mends
