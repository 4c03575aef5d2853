"""What one device did with one task since it started.

Rules:
 * Counters grow from the start and never shrink; healthy answers and latencies are those of the release that serves.
 * A query counts once, at the moment its answer or its error is there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, fields

from router.core.domain.query import Answer, Tier

LAST_ANSWERS = 500  # that the latencies are taken over


@dataclass(slots=True)
class Counters:
    """The figures of one task; see ``router.core.release.reports.TaskReport``."""

    answered: int = 0
    kept: int = 0
    escalated: int = 0
    explored: int = 0
    degraded: int = 0
    failed: int = 0
    covered: int = 0
    healthy_answers: int = 0
    explored_kept: int = 0
    explored_disagreed: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LAST_ANSWERS))

    def count_answer(self, answer: Answer, milliseconds: float) -> None:
        """One query was answered, ``milliseconds`` after it came."""
        provenance = answer.provenance
        self.answered += 1
        self.explored += provenance.explored
        self.covered += provenance.covered
        if provenance.degraded:
            self.degraded += 1
        elif provenance.tier is Tier.DEVICE:
            self.kept += 1
        else:
            self.escalated += 1
        self.latencies.append(milliseconds)

    def count_taught(self, agreed: bool) -> None:
        """The reference answered an explored query that had been kept."""
        self.explored_kept += 1
        self.explored_disagreed += not agreed

    def plus(self, other: Counters) -> Counters:
        """The sums of these figures and those of another process, together."""
        latencies = deque((*self.latencies, *other.latencies))
        counts = {
            each.name: getattr(self, each.name) + getattr(other, each.name)
            for each in fields(self)
            if each.name != "latencies"
        }
        return Counters(**counts, latencies=latencies)

    def begin_release(self) -> None:
        """Another release serves from now on: what is told of the one that serves begins anew."""
        self.healthy_answers = 0
        self.latencies.clear()

    def percentile(self, share: float) -> float:
        """The latency in milliseconds that ``share`` of the last answers did not exceed; 0 without answers."""
        if not self.latencies:
            return 0.0
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
