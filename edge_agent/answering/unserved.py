"""Queries of a task that has no release on this device: the first is on its way, was refused, or does not fit.

Rules:
 * From the first second on the next tier answers, if the orders say that queries of the task may leave.
 * What may not leave is refused: by its caller's request with FAILED_PRECONDITION, by its task until a release is here.
 * The draw is made as ever where seed and rate are known. What the task says of logging is not known here; the next
   tier, which knows it, says whether an answer was logged.
"""

from __future__ import annotations

import time
from dataclasses import replace

from edge_agent.outbox.store import Outbox
from edge_agent.tasks.hosted_task import HostedTask
from edge_agent.upstream.client import Upstream
from router.core.domain.query import Answer, Attempt, Consent, Query, Reason, Route
from router.core.errors import NotPossibleError, UnavailableError
from router.core.policy.exploration import is_explored

_AGAIN = "ask again in a moment"


def being_set_up(query: Query) -> NotPossibleError:
    """Why a query that may not leave has no answer yet."""
    return NotPossibleError(
        f"task {query.task!r} is being set up on this device, and this query may not leave it; {_AGAIN}"
    )


def check_may_leave(hosted: HostedTask, query: Query) -> None:
    """Check that a query may leave the device while no release of its task is here.

    Raises:
        NotPossibleError: Its caller does not allow it.
        UnavailableError: Its task does not, or its orders don't say that it does.
    """
    if query.route is Route.LOCAL_ONLY:
        raise being_set_up(query)
    order = hosted.order
    if order is None or not order.may_leave:
        why = f" ({hosted.refused[order.release]})" if order and order.release in hosted.refused else ""
        raise UnavailableError(f"task {query.task!r} is being set up{why}; {_AGAIN}")


async def escalate_unserved(
    hosted: HostedTask, query: Query, seed: bytes, upstream: Upstream, outbox: Outbox, seconds: float
) -> Answer:
    """The next tier's answer to a query that may leave.

    Args:
        hosted: Its task, without a release.
        query: Checked, with an id.
        seed: Of the draw; empty while none is known.
        upstream: The next tier.
        outbox: Numbers what this device keeps.
        seconds: Most time to take.

    Raises:
        HeadraceError: What the next tier said, or why there is no answer.
    """
    if query.attempt is not None or query.route is Route.CLOUD_ONLY:
        return await upstream.ask_patiently(query, seconds)
    may_draw = bool(seed) and query.consent is not Consent.REFUSED
    drawn = may_draw and is_explored(seed, query.id, hosted.exploration)
    attempt = Attempt(
        release=0,
        reason=Reason.NO_STUDENT,
        explored=drawn,
        exploration=hosted.exploration,
        asked_at=time.time(),
        sequence_number=outbox.sequence_number(query.task),
    )
    answer = await upstream.ask_patiently(replace(query, attempt=attempt), seconds)
    covered = may_draw and hosted.exploration > 0 and answer.provenance.logged
    provenance = replace(
        answer.provenance, release=0, reason=Reason.NO_STUDENT, covered=covered, explored=drawn and covered
    )
    return replace(answer, provenance=provenance)
