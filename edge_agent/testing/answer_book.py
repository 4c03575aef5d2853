"""Which queries a simulated cloud answers, and what it has answered, as a gateway would."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace

from edge_agent.testing.tiny_releases import TASK
from router.core.domain.query import Consent, Provenance, Query, Reason, Route, Tier, check_query
from router.core.domain.task import Task
from router.core.errors import (
    BadInputError,
    ConflictingQueryError,
    NotPossibleError,
    no_such_task,
)
from router.core.policy.exploration import is_explored
from router.core.privacy.owner_privacy import stays_at_device
from router.io.redactors import redaction_of
from router.v1 import (
    cascade_pb2,
)

SEED = bytes(range(32))


@dataclass(slots=True)
class AnswerBook:
    """The answers of one simulated cloud.

    Attributes:
        seed: Handed to every device.
        tasks: What is served, by name; at first ``home``.
    """

    seed: bytes = SEED
    tasks: dict[str, Task] = field(default_factory=lambda: {TASK.name: TASK})
    _answered: dict[tuple[str, str], tuple[str, cascade_pb2.AnswerResponse]] = field(default_factory=dict)

    def checked(self, query: Query) -> Query:
        """The query as it is answered, with an id.

        Raises:
            CallerError: It can't be; says what to change.
        """
        task = self.tasks.get(query.task)
        if not query.task:
            raise BadInputError("task", f"is empty; tasks here: {', '.join(sorted(self.tasks))}")
        if task is None:
            raise no_such_task(query.task, self.tasks)
        query = check_query(query, task.max_text_bytes)
        if stays_at_device(task, query):
            raise NotPossibleError("this query may not leave its device, and this is the cloud")
        query = redaction_of(task.privacy.redact).of_query(query)
        return query if query.id else replace(query, id=uuid.uuid4().hex)

    def said_before(self, caller: str, query: Query) -> cascade_pb2.AnswerResponse | None:
        """What this caller was answered under this id.

        Raises:
            ConflictingQueryError: To another question.
        """
        digest_before, response = self._answered.get((caller, query.id), (query.digest(), None))
        if digest_before != query.digest():
            raise ConflictingQueryError(f"query id {query.id!r} came with another question; use a new id")
        return response

    def remember(self, caller: str, query: Query, response: cascade_pb2.AnswerResponse) -> None:
        """Answer this caller the same under this id from now on."""
        self._answered[caller, query.id] = query.digest(), response

    def has_answered(self, caller: str, query_id: str) -> bool:
        """Whether feedback of this caller may be of an answer from here."""
        return (caller, query_id) in self._answered

    def provenance(self, query: Query, *, logged: bool) -> Provenance:
        """Who answers, and why; ``logged`` unless its caller keeps the query to itself."""
        attempt = query.attempt
        return Provenance(
            Tier.CLUSTER,
            "simulated",
            "1",
            reason=attempt.reason if attempt else Reason.DIRECT,
            covered=attempt is not None and not attempt.degraded and query.route is Route.AUTO,
            logged=logged and query.consent is not Consent.REFUSED,
            explored=attempt is not None and attempt.explored and is_explored(self.seed, query.id, attempt.exploration),
            node="gateway-0",
        )
