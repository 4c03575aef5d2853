"""Is this query explored? A keyed hash, so that the cloud and any replay can check the draw.

Rules:
 * The draw depends on the device's seed and the query id alone: nothing is known of the query before it.
 * A query drawn at one rate is drawn at every higher rate.
 * Only the first tier draws; the cloud, which knows the seed, recomputes the draw.
"""

from __future__ import annotations

import hashlib
import hmac

SEED_BYTES = 32


def draw(seed: bytes, query_id: str) -> float:
    """The query's place in [0, 1).

    Args:
        seed: The device's secret, 32 bytes.
        query_id: The query's id.
    """
    digest = hmac.new(seed, query_id.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def is_explored(seed: bytes, query_id: str, rate: float) -> bool:
    """Whether the query is drawn for the reference at this rate, in [0, 1]."""
    return draw(seed, query_id) < rate
