"""The loop without its watch, to tell what the watch is worth."""

from __future__ import annotations

from collections.abc import Iterable

from bench.parts.lived import FORGETFUL, Habit, LivedReplay, RecordedFitter
from bench.parts.traffic import World
from router.core.certification.device_quarantine import Quarantines
from router.core.certification.live_watch import LiveWatch
from router.core.certification.missing_rows import Spans
from router.core.domain.record import Record

_NONE: Quarantines = {}


class _Unwatched(LiveWatch):
    """A watch that sees nothing."""

    def observe(self, rows: Iterable[Record], blind: Spans = (), quarantines: Quarantines = _NONE) -> bool:
        """Never alarm."""
        del rows, blind, quarantines
        return False


class UnwatchedReplay(LivedReplay):
    """The loop without its watch."""

    def __init__(self, world: World, fitter: RecordedFitter, promise: float, habit: Habit = FORGETFUL) -> None:
        """Start with nothing known, and nothing watched."""
        super().__init__(world, fitter, promise, habit)
        self.loop.watch_over = _Unwatched.over
