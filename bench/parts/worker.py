"""What each process of a bench of lives holds: the scores that it lives by, and what worlds may know of the texts."""

from __future__ import annotations

from bench.parts.recorded_scores import Recorded
from bench.parts.traffic import Texts
from router.backtest.run import one_thread

_known: list[tuple[Recorded, Texts]] = []


def begin(recorded: Recorded) -> None:
    """Let this process live by these scores, on one thread."""
    _known.append((recorded, Texts.of(recorded)))
    one_thread()


def known() -> tuple[Recorded, Texts]:
    """The scores of this process, and its texts."""
    return _known[-1]
