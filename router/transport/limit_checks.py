"""Hold a message of the contract against ``limits.py``, before anything is made of it.

Rules:
 * Counts are looked at before what they count, so that a message of a million parts costs no more than a small one.
 * What is refused is named as the contract spells it, with its path; its content is never repeated.
 * A NaN or an infinite number is in no range.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from router.core.domain.limits import (
    LIMITS,
    MAX_ALTERNATIVES,
    MAX_REQUEST_BYTES,
    Bytes,
    Characters,
    Free,
    Inner,
    Limit,
    LogProbability,
    Many,
    Real,
    Single,
    Text,
    Whole,
)
from router.core.errors import BadInputError
from router.v1 import cascade_pb2

Check = Callable[[str, Any, Any], None]  # a field's name, its value and its limit

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_message(message: Message | None, prefix: str = "") -> None:
    """Check every field that is set, inner messages too.

    Args:
        message: As it came over the wire; ``None`` stands where gRPC could not read what came.
        prefix: What stands before the names of its fields.

    Raises:
        BadInputError: The first field that is over its limit, and the limit.
    """
    if message is None:
        raise BadInputError("message", "is not what the contract has here")
    for descriptor, value in message.ListFields():
        name, limit, check = _rule_of(descriptor)
        field = prefix + name
        if check is not None:
            check(field, value, limit)
            continue
        assert isinstance(limit, Many)
        if len(value) > limit.most:
            raise BadInputError(field, f"holds {len(value)}; {limit.most} are allowed")
        for position, each in enumerate(_parts(descriptor, value)):
            _CHECKS[type(limit.each)](f"{field}[{position}]", each, limit.each)
    if isinstance(message, cascade_pb2.AnswerRequest):
        _check_request(message)
    elif isinstance(message, cascade_pb2.AnswerResponse):
        _check_alternatives(message)


def _parts(descriptor: FieldDescriptor, value: Any) -> Any:
    """The elements of a repeated field; of a map its entries, as messages."""
    entry = descriptor.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return value
    return [value.GetEntryClass()(key=key, value=inner) for key, inner in value.items()]


@cache
def _rule_of(descriptor: FieldDescriptor) -> tuple[str, Limit, Check | None]:
    """A field's name, its limit, and what checks it; ``None`` where it has parts that are checked one by one."""
    message = descriptor.containing_type
    assert message is not None
    limit = LIMITS[f"{message.name}.{descriptor.name}"]
    return descriptor.name, limit, None if isinstance(limit, Many) else _CHECKS[type(limit)]


def _check_inner(field: str, message: Message, limit: Inner) -> None:
    if limit.most is not None and message.ByteSize() > limit.most:
        raise BadInputError(field, f"has {message.ByteSize()} bytes; {limit.most} are allowed")
    check_message(message, f"{field}.")


def _check_whole(field: str, value: int, limit: Whole) -> None:
    if not limit.least <= value <= limit.most:
        raise BadInputError(field, f"is {value}; use {limit.least} to {limit.most}")


def _check_real(field: str, value: float, limit: Real) -> None:
    if not limit.least <= value <= limit.most:  # which no NaN is
        raise BadInputError(field, f"is {value:g}; use a number from {limit.least:g} to {limit.most:g}")


def _check_log(field: str, value: float, limit: LogProbability) -> None:
    if not value <= 0:
        raise BadInputError(field, f"is {value:g}; a log-probability is at most 0")


def _check_bytes(field: str, data: bytes, limit: Bytes) -> None:
    if len(data) > limit.most:
        raise BadInputError(field, f"has {len(data)} bytes; {limit.most} are allowed")


def _check_free(field: str, value: Any, limit: Free) -> None:
    """Nothing can be wrong with it."""


def _check_text(field: str, text: str, limit: Text) -> None:
    size = len(text) if text.isascii() else len(text.encode())
    if size > limit.most:
        raise BadInputError(field, f"has {size} bytes; {limit.most} are allowed")
    if limit.characters is Characters.NO_NUL and "\0" in text:
        raise BadInputError(field, "holds a NUL character; leave it out")
    if limit.characters is Characters.PLAIN and not text.isprintable() and _CONTROL.search(text) is not None:
        raise BadInputError(field, "holds a control character; leave it out")


_CHECKS: Mapping[type[Single], Check] = {
    Text: _check_text,
    Inner: _check_inner,
    Whole: _check_whole,
    Real: _check_real,
    LogProbability: _check_log,
    Bytes: _check_bytes,
    Free: _check_free,
}


def _check_request(request: cascade_pb2.AnswerRequest) -> None:
    attempt = request.attempt.ByteSize() if request.HasField("attempt") else 0
    size = request.ByteSize() - attempt
    if size > MAX_REQUEST_BYTES:
        raise BadInputError("request", f"has {size} bytes, the attempt left out; {MAX_REQUEST_BYTES} are allowed")


def _check_alternatives(response: cascade_pb2.AnswerResponse) -> None:
    count = sum(len(token.alternatives) for token in response.tokens)
    if count > MAX_ALTERNATIVES:
        raise BadInputError("tokens", f"hold {count} alternatives together; {MAX_ALTERNATIVES} are allowed")
