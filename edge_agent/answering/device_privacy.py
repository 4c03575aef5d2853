"""What this device hides: by the tasks that it serves, and by what its owner sets.

Rules:
 * A text is redacted before anything of it is kept, shown to a student or sent. Where a redactor is missing or fails,
   the query is refused.
 * A task whose release is not here sends nothing that it might have to hide: see ``TaskOrder.may_leave``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from router.core.domain.feedback import Feedback
from router.core.domain.query import Query
from router.core.domain.task import Task
from router.core.privacy.owner_privacy import OwnerPrivacy
from router.core.privacy.redaction import Redaction
from router.io.redactors import redaction_of

LONG = 8 * 1024  # characters: milliseconds, in which nobody else should have to wait


class DevicePrivacy:
    """The privacy rules of one agent."""

    def __init__(self, owner: OwnerPrivacy, redact: Sequence[str]) -> None:
        """Hide what the owner sets, and ``redact`` by the redactors of these names, beside those of each task."""
        self._owner = owner
        self._redact = tuple(redact)

    def restricted(self, query: Query) -> Query:
        """The query as the owner lets it be asked."""
        return self._owner.applied(query)

    async def redacted(self, query: Query, task: Task | None) -> Query:
        """The query as it may be kept and sent.

        Args:
            query: Checked.
            task: As the release in place has it; ``None`` before the first.

        Raises:
            HeadraceError: A redactor is missing, or fails.
        """
        redaction = self._redaction(task)
        if not redaction:
            return query
        if len(query.text) + sum(len(message.content) for message in query.messages) <= LONG:
            return redaction.of_query(query)
        return await asyncio.to_thread(redaction.of_query, query)

    def of_feedback(self, feedback: Feedback, task: Task | None) -> Feedback:
        """Feedback as it may be sent; ``HeadraceError`` where a redactor is missing, or fails."""
        return self._redaction(task).of_feedback(feedback)

    def _redaction(self, task: Task | None) -> Redaction:
        return redaction_of((*self._redact, *(task.privacy.redact if task is not None else ())))
