"""Feedback, domain <-> protobuf, both ways."""

from __future__ import annotations

from router.core.domain.feedback import Feedback, Opinion
from router.core.domain.query import Query
from router.core.errors import BadInputError
from router.transport.limit_checks import check_message
from router.transport.wire import query_from_proto, query_to_proto
from router.v1 import cascade_pb2

_WIRE = cascade_pb2.FeedbackRequest
_OPINIONS = {Opinion.RIGHT: _WIRE.VERDICT_RIGHT, Opinion.WRONG: _WIRE.VERDICT_WRONG}


def feedback_to_proto(feedback: Feedback) -> cascade_pb2.FeedbackRequest:
    """The request that gives ``feedback``.

    Raises:
        BadInputError: A text that the wire can't carry.
    """
    request = _WIRE(verdict=_OPINIONS[feedback.opinion])
    for field in ("query_id", "task", "correction", "comment"):
        try:
            setattr(request, field, getattr(feedback, field))
        except (ValueError, TypeError) as error:
            raise BadInputError(field, f"can't be sent: {error}") from error
    if feedback.attempt is not None:
        request.attempt.CopyFrom(query_to_proto(Query("", "", attempt=feedback.attempt)).attempt)
    return request


def feedback_from_proto(request: cascade_pb2.FeedbackRequest) -> Feedback:
    """The feedback that ``request`` gives.

    Raises:
        BadInputError: It says neither right nor wrong, or a field is over its limit.
    """
    check_message(request)
    opinions = {number: opinion for opinion, number in _OPINIONS.items()}
    if request.verdict not in opinions:
        raise BadInputError("verdict", "is neither RIGHT nor WRONG; say which")
    attempt = None
    if request.HasField("attempt"):
        attempt = query_from_proto(cascade_pb2.AnswerRequest(attempt=request.attempt)).attempt
    return Feedback(
        query_id=request.query_id,
        task=request.task,
        opinion=opinions[request.verdict],
        correction=request.correction,
        comment=request.comment,
        attempt=attempt,
    )
