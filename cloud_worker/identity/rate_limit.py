"""How often a door may be knocked at, from one address and in all.

Nothing here reads a clock: time is an argument, in seconds, and never runs backwards.

Rules:
 * A minute's calls may come at once; then they come back evenly (a token bucket).
 * Addresses are remembered in bounded number: the one heard longest ago is forgotten first, and begins afresh.
"""

from __future__ import annotations

from collections import OrderedDict

_MINUTE = 60.0
_MOST_ADDRESSES = 10_000


class _Bucket:
    def __init__(self, per_minute: int, now: float) -> None:
        self._most = float(per_minute)
        self._left, self._at = self._most, now

    def wait(self, now: float) -> float:
        """Seconds until a call may come; 0 now."""
        self._left = min(self._most, self._left + (now - self._at) * self._most / _MINUTE)
        self._at = now
        return 0.0 if self._left >= 1.0 else (1.0 - self._left) * _MINUTE / self._most

    def take(self) -> None:
        self._left -= 1.0


class RateLimit:
    """The limit of calls a second at one door."""

    def __init__(self, per_address: int, together: int, now: float = 0.0) -> None:
        """Allow so many calls a minute from one address, and from all ``together``."""
        self._per_address = per_address
        self._all = _Bucket(together, now)
        self._addresses: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Count a call; seconds until it may come again where it may not now, else 0."""
        bucket = self._addresses.setdefault(address, _Bucket(self._per_address, now))
        self._addresses.move_to_end(address)
        if len(self._addresses) > _MOST_ADDRESSES:
            self._addresses.popitem(last=False)
        wait = max(bucket.wait(now), self._all.wait(now))
        if not wait:
            bucket.take()
            self._all.take()
        return wait
