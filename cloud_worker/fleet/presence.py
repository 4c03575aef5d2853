"""Is a device there? By when it reported last, beside how often it should.

Rules:
 * A device that has missed three reports is ``silent``, and after thirty, or a quarter of an hour, ``lost``.
 * Only while something runs can devices report: of what was silent before the last start nothing worse is said than
   ``silent`` until it has had the time to report.
 * What a device says of itself counts while it is there.
"""

from __future__ import annotations

from dataclasses import dataclass

SILENT, LOST = "silent", "lost"
SILENT_REPORTS, LOST_REPORTS = 3, 30
LEAST_LOST_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Presence:
    """How long a device may be silent.

    Attributes:
        silent_after: Seconds since its last report, > 0.
        lost_after: The same.
    """

    silent_after: float
    lost_after: float

    @classmethod
    def of(cls, sync_seconds: float, jitter: float) -> Presence:
        """The presence of devices that report every ``sync_seconds``, spread by a share of ``jitter``."""
        longest = sync_seconds * (1.0 + jitter)
        return cls(SILENT_REPORTS * longest, max(LOST_REPORTS * longest, LEAST_LOST_SECONDS))

    def state(self, said: str, last_seen: float, now: float, up_since: float | None = None) -> str:
        """What is told of a device.

        Args:
            said: What it said of itself last.
            last_seen: Unix time in seconds of its last report.
            now: The same of now.
            up_since: The same of the start of what runs, ``None`` where nothing does.
        """
        away = now - last_seen
        if away <= self.silent_after:
            return said
        heard = now - max(last_seen, up_since or 0.0)
        return LOST if away > self.lost_after and heard > self.silent_after else SILENT
