"""Is this query explored? A keyed hash, so that the cloud and any replay can check the draw.

Rules:
 * The draw depends on the device's seed and the query id alone: nothing is known of the query before it.
 * A query drawn at one rate is drawn at every higher rate.
 * Only the first tier draws; the cloud, which knows the seed and what rates it ordered, recomputes the draw.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass

SEED_BYTES = 32
_ROUNDING = 1e-9


def draw(seed: bytes, query_id: str) -> float:
    """The query's draw, uniform in [0, 1).

    Args:
        seed: The device's secret, 32 bytes.
        query_id: The query's id.
    """
    digest = hmac.digest(seed, query_id.encode(), "sha256")
    return int.from_bytes(digest[:8], "big") / 2**64


def is_explored(seed: bytes, query_id: str, rate: float) -> bool:
    """Whether the query is drawn for the reference at this rate, in [0, 1]."""
    return rate > 0 and draw(seed, query_id) < rate


@dataclass(frozen=True, slots=True)
class Ordered:
    """An exploration rate that a device was ordered: ``rate`` in [0, 1], since a Unix time in seconds."""

    since: float
    rate: float


def rate_in_force(ordered: Sequence[Ordered], claimed: float, at: float, skew: float) -> float:
    """The rate at which a device drew, by its orders.

    Around a change either of two orders may have been in force. There a claim tells which; a claim of none of them
    gets the lowest: what was drawn at a higher rate, and is drawn at this one too, is a fair sample of it.

    Args:
        ordered: What the device was told, oldest first, at least one.
        claimed: What it says, in [0, 1].
        at: Unix time in seconds of the draw, by the device's clock.
        skew: Seconds by which an order may have come later, or a clock be wrong.
    """
    ends = [*(order.since for order in ordered[1:]), math.inf]
    rates = [
        order.rate for order, end in zip(ordered, ends, strict=True) if order.since - skew <= at and at < end + skew
    ] or [ordered[0].rate]
    return next((rate for rate in rates if abs(rate - claimed) < _ROUNDING), min(rates))
