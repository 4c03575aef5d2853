import math

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.limits import MAX_COUNT, MAX_RELEASE
from router.core.domain.query import (
    MAX_TOKENS,
    MAX_TOP_K,
    Answer,
    Attempt,
    Consent,
    Distribution,
    FinishReason,
    GenerationLimits,
    Message,
    Provenance,
    Query,
    Reason,
    Route,
    Tier,
    TokenProbability,
    Tool,
    ToolCall,
    Usage,
    Wanted,
)
from router.core.domain.task import Mode
from router.core.errors import BadInputError
from router.core.release.orders import Order, Orders
from router.core.release.reports import DeviceReport, TaskReport
from router.transport.fleet_wire import orders_from_proto, orders_to_proto, report_from_proto, report_to_proto
from router.transport.wire import answer_from_proto, answer_to_proto, query_from_proto, query_to_proto
from router.v1 import cascade_pb2, fleet_pb2

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12)
SAID = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)  # by a model
NUMBER = st.integers(0, MAX_RELEASE)
COUNT = st.integers(0, MAX_COUNT)
SMALL = st.integers(0, 2**32 - 1)
SHARE = st.floats(0, 1)
AMOUNT = st.floats(0, 1e6)
LOG = st.floats(max_value=0, allow_nan=False)
FLAG = st.booleans()


def some(element):
    return st.lists(element, max_size=3).map(tuple)


def maybe(element):
    return st.none() | element


CALLS = some(st.builds(ToolCall, SAID, SAID, SAID))
DISTRIBUTION = st.builds(Distribution, some(st.tuples(SAID, LOG)), maybe(LOG))
ATTEMPT = st.builds(
    Attempt,
    release=NUMBER,
    answer=maybe(SAID),
    score=maybe(SHARE),
    reason=st.sampled_from(Reason),
    explored=FLAG,
    exploration=SHARE,
    kept=FLAG,
    degraded=FLAG,
    committed_prefix=SAID,
    threshold=maybe(AMOUNT),
    threshold_version=NUMBER,
    asked_at=AMOUNT,
    tool_calls=CALLS,
)
QUERY = st.builds(
    Query,
    id=TEXT,
    task=TEXT,
    tenant=TEXT,
    subject=TEXT,
    conversation=TEXT,
    tools=some(st.builds(Tool, TEXT, TEXT, TEXT)),
    response_schema=TEXT,
    limits=st.builds(
        GenerationLimits,
        st.integers(0, MAX_TOKENS),
        maybe(st.floats(0, 10)),
        some(TEXT),
        maybe(st.integers(0, 2**64 - 1)),
    ),
    route=st.sampled_from(Route),
    consent=st.sampled_from(Consent),
    wanted=st.builds(Wanted, st.integers(0, MAX_TOP_K), FLAG),
    attempt=maybe(ATTEMPT),
) | st.builds(Query, id=TEXT, task=TEXT, messages=some(st.builds(Message, TEXT, TEXT, CALLS, TEXT)))
ASKED = QUERY | st.builds(Query, id=TEXT, task=TEXT, text=TEXT)
PROVENANCE = st.builds(
    Provenance,
    tier=st.sampled_from(Tier),
    model=TEXT,
    model_version=TEXT,
    release=NUMBER,
    reason=st.sampled_from(Reason),
    degraded=FLAG,
    covered=FLAG,
    logged=FLAG,
    explored=FLAG,
    node=TEXT,
)
ANSWER = st.builds(
    Answer,
    query_id=TEXT,
    text=SAID,
    provenance=PROVENANCE,
    finish_reason=st.sampled_from(FinishReason),
    tool_calls=CALLS,
    confidence=maybe(SHARE),
    distribution=DISTRIBUTION,
    tokens=some(st.builds(TokenProbability, SAID, LOG, DISTRIBUTION)),
    rationale=SAID,
    usage=st.builds(Usage, SMALL, SMALL, some(st.tuples(TEXT, AMOUNT)), AMOUNT, AMOUNT),
)
TASK_REPORT = st.builds(
    TaskReport,
    task=TEXT,
    active_release=NUMBER,
    staged_release=NUMBER,
    answered=COUNT,
    kept=COUNT,
    escalated=COUNT,
    explored=COUNT,
    degraded=COUNT,
    failed=COUNT,
    covered=COUNT,
    healthy_answers=COUNT,
    explored_kept=COUNT,
    explored_disagreed=COUNT,
    p50_milliseconds=AMOUNT,
    p95_milliseconds=AMOUNT,
    exploration=SHARE,
    threshold_version=NUMBER,
    refused=some(st.tuples(NUMBER, TEXT)),
)
REPORT = st.builds(
    DeviceReport,
    device=TEXT,
    agent_version=TEXT,
    platform=TEXT,
    processor=TEXT,
    memory_bytes=COUNT,
    formats=some(TEXT),
    tasks=some(TASK_REPORT),
    outbox_pending=COUNT,
    outbox_dropped=COUNT,
    outbox_dropped_because=some(st.tuples(TEXT, COUNT)),
    free_disk_bytes=AMOUNT,
    state=TEXT,
)
ORDER = st.builds(
    Order,
    task=TEXT,
    release=NUMBER,
    manifest_sha256=st.binary(min_size=32, max_size=32).map(bytes.hex) | st.just(""),
    exploration=SHARE,
    mode=st.sampled_from(Mode),
    watch=TEXT,
    threshold=maybe(AMOUNT),
    threshold_version=NUMBER,
)
ORDERS = st.builds(Orders, some(ORDER), AMOUNT, st.binary(min_size=32, max_size=32) | st.just(b""), TEXT)


def over_the_wire(message):
    return type(message).FromString(message.SerializeToString())


@given(ASKED)
def test_a_query_survives_the_way_there_and_back(query):
    assert query_from_proto(over_the_wire(query_to_proto(query))) == query


@given(ANSWER)
def test_an_answer_survives_the_way_there_and_back(answer):
    assert answer_from_proto(over_the_wire(answer_to_proto(answer))) == answer


@given(REPORT)
def test_a_report_survives_the_way_there_and_back(report):
    assert report_from_proto(over_the_wire(report_to_proto(report))) == report


@given(ORDERS)
def test_orders_survive_the_way_there_and_back(orders):
    assert orders_from_proto(over_the_wire(orders_to_proto(orders))) == orders


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_read_or_refused_by_name(data):
    pairs = (
        (cascade_pb2.AnswerRequest, query_from_proto),
        (cascade_pb2.AnswerResponse, answer_from_proto),
        (fleet_pb2.SyncRequest, report_from_proto),
        (fleet_pb2.SyncResponse, orders_from_proto),
    )
    for message, read in pairs:
        try:
            parsed = message.FromString(data)
        except DecodeError:  # gRPC itself turns it into a status
            continue
        try:
            read(parsed)
        except BadInputError as error:
            assert error.field


def test_every_word_of_ours_has_a_number_in_the_contract():
    for members, numbers, prefix in (
        (Route, cascade_pb2.Route, "ROUTE_"),
        (Tier, cascade_pb2.Tier, "TIER_"),
        (Reason, cascade_pb2.Reason, "REASON_"),
        (FinishReason, cascade_pb2.FinishReason, "FINISH_REASON_"),
        (Mode, fleet_pb2.Mode, "MODE_"),
    ):
        assert {name.removeprefix(prefix) for name in numbers.DESCRIPTOR.values_by_name} - {"UNSPECIFIED"} == {
            m.name for m in members
        }


def test_a_number_unknown_here_reads_as_the_default():
    request = cascade_pb2.AnswerRequest(query_id="q", task="t", text="x")
    request.attempt.reason = 99
    query = query_from_proto(over_the_wire(request))
    assert query.route is Route.AUTO
    assert query.consent is Consent.AS_TASK
    assert query.attempt.reason is Reason.NO_STUDENT
    response = cascade_pb2.AnswerResponse(finish_reason=99, provenance=cascade_pb2.Provenance(tier=99, reason=99))
    answer = answer_from_proto(over_the_wire(response))
    assert answer.finish_reason is FinishReason.STOP
    assert answer.provenance.tier is Tier.CLUSTER
    assert answer.provenance.reason is Reason.DIRECT
    orders = fleet_pb2.SyncResponse(tasks=[fleet_pb2.TaskOrder(mode=99)])
    assert orders_from_proto(over_the_wire(orders)).tasks[0].mode is Mode.SERVE


@pytest.mark.parametrize("field", ["route", "consent"])
@pytest.mark.parametrize("number", [99, -1, 2**31 - 1])
def test_a_wish_unknown_here_is_refused_by_the_name_of_its_field(field, number):
    request = cascade_pb2.AnswerRequest(query_id="q", task="t", text="x", **{field: number})
    with pytest.raises(BadInputError, match=str(number)) as refused:
        query_from_proto(over_the_wire(request))
    assert refused.value.field == field


def test_an_empty_request_is_a_query_without_anything():
    assert query_from_proto(cascade_pb2.AnswerRequest()) == Query(id="", task="")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempt.score", math.nan),
        ("attempt.score", 1.5),
        ("attempt.exploration", -0.1),
        ("attempt.threshold", math.inf),
        ("attempt.asked_at", math.nan),
        ("limits.temperature", math.nan),
    ],
)
def test_a_number_of_a_query_out_of_its_range_is_named(field, value):
    request = cascade_pb2.AnswerRequest(task="t", text="x")
    holder, name = field.split(".")
    setattr(getattr(request, holder), name, value)
    with pytest.raises(BadInputError) as caught:
        query_from_proto(request)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("response", "field"),
    [
        (cascade_pb2.AnswerResponse(confidence=2), "confidence"),
        (cascade_pb2.AnswerResponse(usage=cascade_pb2.Usage(usd=-1)), "usage.usd"),
        (
            cascade_pb2.AnswerResponse(tokens=[cascade_pb2.TokenProbability(log_probability=1)]),
            "tokens[0].log_probability",
        ),
        (
            cascade_pb2.AnswerResponse(distribution=cascade_pb2.Distribution(tail_log_probability=math.nan)),
            "distribution.tail_log_probability",
        ),
    ],
)
def test_a_number_of_an_answer_out_of_its_range_is_named(response, field):
    with pytest.raises(BadInputError) as caught:
        answer_from_proto(response)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("response", "field"),
    [
        (fleet_pb2.SyncResponse(seed=b"short"), "seed"),
        (fleet_pb2.SyncResponse(interval_seconds=math.nan), "interval_seconds"),
        (fleet_pb2.SyncResponse(tasks=[fleet_pb2.TaskOrder(manifest_sha256=b"x")]), "tasks[0].manifest_sha256"),
        (fleet_pb2.SyncResponse(tasks=[fleet_pb2.TaskOrder(exploration=2)]), "tasks[0].exploration"),
    ],
)
def test_an_order_out_of_its_range_is_named(response, field):
    with pytest.raises(BadInputError) as caught:
        orders_from_proto(response)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (Query(id="q", task="t", text="\ud800"), "text"),
        (Query(id="\ud800", task="t", text="x"), "query_id"),
        (Query(id="q", task="t", text="x", wanted=Wanted(top_k=-1)), "wanted.top_k"),
        (Query(id="q", task="t", text="x", limits=GenerationLimits(seed=-1)), "limits.seed"),
        (Query(id="q", task="t", text="x", limits=GenerationLimits(stop=("\ud800",))), "limits.stop"),
    ],
)
def test_what_the_wire_cannot_carry_is_named_before_it_is_sent(query, field):
    with pytest.raises(BadInputError) as caught:
        query_to_proto(query)
    assert caught.value.field == field
