"""Every field of the contract has its limit, the page shows it, and what is over it is refused by name, at once."""

import math
import time
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor

from router.core.domain.limits import (
    LIMITS,
    Bytes,
    Characters,
    Free,
    Inner,
    LogProbability,
    Many,
    Real,
    Text,
    Whole,
    in_words,
)
from router.core.errors import BadInputError
from router.transport.feedback_wire import feedback_from_proto
from router.transport.fleet_wire import orders_from_proto, report_from_proto
from router.transport.limit_checks import check_message
from router.transport.wire import answer_from_proto, query_from_proto
from router.v1 import cascade_pb2, enrolment_pb2, fleet_pb2, release_pb2

PAGE = Path(__file__).parents[4] / "docs" / "limits.md"
CONTRACT = (cascade_pb2, enrolment_pb2, fleet_pb2, release_pb2)
OF_KIND = {
    FieldDescriptor.TYPE_STRING: Text,
    FieldDescriptor.TYPE_BYTES: Bytes,
    FieldDescriptor.TYPE_DOUBLE: (Real, LogProbability),
    FieldDescriptor.TYPE_BOOL: Free,
    FieldDescriptor.TYPE_ENUM: Free,
    FieldDescriptor.TYPE_MESSAGE: Inner,
}


def with_inner(descriptor):
    yield descriptor
    for inner in descriptor.nested_types:
        yield from with_inner(inner)


def every_field():
    for module in CONTRACT:
        for descriptor in module.DESCRIPTOR.message_types_by_name.values():
            for message in with_inner(descriptor):
                for field in message.fields:
                    yield f"{message.name}.{field.name}", field


FIELDS = dict(every_field())


def refused(message, read=check_message):
    with pytest.raises(BadInputError) as caught:
        read(message)
    assert len(str(caught.value)) < 200
    return caught.value.field


def test_every_field_of_the_contract_has_a_limit_of_its_kind():
    assert LIMITS.keys() == FIELDS.keys()
    for name, field in FIELDS.items():
        limit = LIMITS[name]
        assert isinstance(limit, Many) == field.is_repeated, name
        each = limit.each if isinstance(limit, Many) else limit
        assert isinstance(each, OF_KIND.get(field.type, Whole)), name


def test_every_whole_number_but_the_seed_fits_a_column_of_64_bits():
    for name, limit in LIMITS.items():
        each = limit.each if isinstance(limit, Many) else limit
        if isinstance(each, Whole) and name != "GenerationLimits.seed":  # which goes to a sampler, and is not kept
            assert each.most < 2**63, name


def test_the_page_shows_the_table():
    rows = [f"| `{name}` | {in_words(limit)} |" for name, limit in LIMITS.items()]
    assert [line for line in PAGE.read_text().splitlines() if line.startswith("| `")] == rows


def message_of(descriptor):
    module = next(m for m in CONTRACT if hasattr(m, descriptor.name))
    return getattr(module, descriptor.name)()


def bad_values(limit):
    match limit:
        case Text(most, characters):
            yield "x" * (most + 1)
            yield "\u00fc" * (most // 2 + 1)
            if characters is not Characters.ANY:
                yield "a\0b"
            if characters is Characters.PLAIN:
                yield from ("a\x1b[31mb", "a\nb", "a\x9bb", "a\u2028b")
        case Bytes(most):
            yield b"x" * (most + 1)
        case Whole(most):
            yield most + 1
        case Real(most, least):
            yield from (math.nan, math.inf, -math.inf, least - 1, math.nextafter(most, math.inf))
        case LogProbability():
            yield from (math.nan, math.inf, 0.1)


def put(message, field, value):
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def fits_the_wire(name, value):
    field = FIELDS[name]
    try:
        put(message_of(field.containing_type), field, value)
    except ValueError:  # a count of 32 bits
        return False
    return True


CASES = [
    (name, value)
    for name, limit in LIMITS.items()
    for value in bad_values(limit.each if isinstance(limit, Many) else limit)
    if "Entry." not in name and fits_the_wire(name, value)
]


@pytest.mark.parametrize(("name", "value"), CASES, ids=lambda value: str(value)[:40].encode("unicode_escape").decode())
def test_a_value_over_its_limit_is_refused_by_name_and_not_repeated(name, value):
    field = FIELDS[name]
    message = message_of(field.containing_type)
    put(message, field, value)
    assert refused(message).startswith(field.name)


@pytest.mark.parametrize("name", [name for name, limit in LIMITS.items() if isinstance(limit, Many)])
def test_too_many_are_refused_before_they_are_looked_at(name):
    field, most = FIELDS[name], LIMITS[name].most
    message = message_of(field.containing_type)
    many = getattr(message, field.name)
    if hasattr(many, "GetEntryClass"):
        for number in range(most + 1):
            many[str(number)] = "x"
    else:
        value = {FieldDescriptor.TYPE_STRING: "x", FieldDescriptor.TYPE_UINT64: 1}.get(field.type)
        many.extend([many.add() for _ in range(1)] * most if value is None else [value] * (most + 1))
    assert refused(message) == field.name


def test_an_entry_of_a_map_is_held_against_its_limits():
    info = fleet_pb2.DeviceInfo(tags={"k": "v" * 257})
    assert refused(fleet_pb2.SyncRequest(info=info)).startswith("info.tags[0]")


@pytest.mark.parametrize(
    ("read", "message", "field"),
    [
        (query_from_proto, cascade_pb2.AnswerRequest(subject="x" * 3_900_000), "subject"),
        (query_from_proto, cascade_pb2.AnswerRequest(attempt=cascade_pb2.Attempt(release=2**63)), "attempt.release"),
        (query_from_proto, cascade_pb2.AnswerRequest(attempt=cascade_pb2.Attempt(place=-1)), "attempt.place"),
        (query_from_proto, cascade_pb2.AnswerRequest(attempt=cascade_pb2.Attempt(asked_at=1e300)), "attempt.asked_at"),
        (answer_from_proto, cascade_pb2.AnswerResponse(usage=cascade_pb2.Usage(usd=math.inf)), "usage.usd"),
        (report_from_proto, fleet_pb2.SyncRequest(outbox_pending=2**64 - 1), "outbox_pending"),
        (report_from_proto, fleet_pb2.SyncRequest(free_disk_bytes=math.nan), "free_disk_bytes"),
        (orders_from_proto, fleet_pb2.SyncResponse(interval_seconds=math.inf), "interval_seconds"),
        (
            feedback_from_proto,
            cascade_pb2.FeedbackRequest(verdict=1, attempt=cascade_pb2.Attempt(release=2**63)),
            "attempt.release",
        ),
    ],
)
def test_everything_that_is_read_from_the_wire_is_held_against_the_table(read, message, field):
    assert refused(message, read) == field


@pytest.mark.parametrize(
    "data",
    [
        b"\x42\x00" * 2_000_000,  # tools
        b"\x3a\x80\x92\xf4\x01" + b"\x0a\x00" * 2_000_000,  # chat.messages
    ],
)
def test_a_message_of_a_million_parts_is_refused_within_a_second(data):
    began = time.process_time()
    refused(cascade_pb2.AnswerRequest.FromString(data), query_from_proto)
    assert time.process_time() - began < 1


def test_the_largest_question_that_is_allowed_is_read_within_a_second():
    call = cascade_pb2.ToolCall(id="i", name="n", arguments="{}")
    turn = cascade_pb2.Message(role="user", content="x" * 500, tool_calls=[call] * 32)
    request = cascade_pb2.AnswerRequest(task="t", chat=cascade_pb2.Messages(messages=[turn] * 512))
    request.tools.extend([cascade_pb2.Tool(name="t", parameters_schema="{}" * 1000)] * 128)
    began = time.process_time()
    query_from_proto(request).digest()
    assert time.process_time() - began < 1


def test_the_parts_of_a_request_together_are_bounded_and_an_attempt_has_room_of_its_own():
    request = cascade_pb2.AnswerRequest(task="t", text="x", attempt=cascade_pb2.Attempt(answer="y" * 200_000))
    request.tools.extend([cascade_pb2.Tool(name="t", parameters_schema="s" * 60_000)] * 17)
    check_message(request)
    request.tools.add(name="t", parameters_schema="s" * 60_000)
    assert refused(request) == "request"
