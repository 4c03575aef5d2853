"""What a device remembers of the reference's answers, and how it says that it gave one again.

Rules:
 * What is held, and when it may stand, is the rule of ``router.core.monitoring.remembered_answers``.
 * The draw comes first. What is drawn is asked of the reference as ever; what the memory said of it is a kept answer,
   counts in the loss, and says that it was remembered.
 * It lies in no file.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from router.core.domain.query import Answer, Query, Reason, Tier, Usage
from router.core.monitoring.remembered_answers import USUAL, MemoryBounds, RememberedAnswers, may_stand_in
from router.core.policy.deferral import Decision
from router.core.release.manifest import Manifest


class AnswerMemory:
    """The memory of answers of one device. Belongs to one event loop."""

    def __init__(self, node: str, bounds: MemoryBounds = USUAL, clock: Callable[[], float] = time.monotonic) -> None:
        """Hold nothing yet.

        Args:
            node: Opaque name of this device.
            bounds: How much is held.
            clock: Tells seconds, never backwards.
        """
        self._node, self._clock = node, clock
        self.held = RememberedAnswers(bounds)

    def recall(self, query: Query, manifest: Manifest, exploration: float, decision: Decision) -> Answer | None:
        """The reference's answer of before, as this device's; ``None`` where there is none that may stand.

        Args:
            query: As it would be escalated.
            manifest: Of the release in place.
            exploration: Rate in force, in [0, 1].
            decision: What would become of it else.
        """
        if not may_stand_in(decision):
            return None
        known = self.held.recall(query, manifest.task, exploration, self._clock())
        if known is None:
            return None
        provenance = replace(
            known.provenance,
            tier=Tier.DEVICE,
            release=manifest.number,
            reason=Reason.REMEMBERED,
            logged=False,
            node=self._node,
        )
        return replace(known, query_id=query.id, provenance=provenance, usage=Usage())

    def learn(self, query: Query, manifest: Manifest, answer: Answer) -> None:
        """Hear what the next tier answered; where the text is known, see whether it says the same again."""
        self.held.learn(query, manifest.task, answer, self._clock())

    def erase(self, subject: str) -> int:
        """Forget what was answered to a subject, by its digest in hex, or everything; how many answers that were."""
        return self.held.erase(subject)
