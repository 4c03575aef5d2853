"""A query's ranges, its digest, and that values never change."""

from __future__ import annotations

import hashlib
import json
from dataclasses import FrozenInstanceError, asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.query import (
    MAX_QUERY_ID_BYTES,
    MAX_TOKENS,
    MAX_TOP_K,
    Attempt,
    Consent,
    GenerationLimits,
    Message,
    Query,
    Reason,
    Route,
    Tool,
    ToolCall,
    Wanted,
    check_query,
)
from router.core.errors import BadInputError

QUERY = Query(id="q1", task="commands", text="lights on")


def refused(query: Query, **limits: int) -> str:
    with pytest.raises(BadInputError) as caught:
        check_query(query, **limits)
    return caught.value.field


def test_a_query_in_range_passes_as_it_is():
    assert check_query(QUERY) is QUERY
    chat = Query(id="", task="chat", messages=(Message("user", "hello"),))
    assert check_query(chat) is chat


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "x" * (MAX_QUERY_ID_BYTES + 1)}, "query_id"),
        ({"id": "ü" * MAX_QUERY_ID_BYTES}, "query_id"),
        ({"task": ""}, "task"),
        ({"text": ""}, "input"),
        ({"text": " \n\t "}, "input"),
        ({"messages": (Message("user", "hello"),)}, "input"),
        ({"text": "", "messages": (Message("oracle", "hello"),)}, "chat.messages[0].role"),
        ({"limits": GenerationLimits(max_tokens=-1)}, "limits.max_tokens"),
        ({"limits": GenerationLimits(temperature=float("nan"))}, "limits.temperature"),
        ({"limits": GenerationLimits(temperature=11)}, "limits.temperature"),
        ({"limits": GenerationLimits(stop=("",))}, "limits.stop"),
        ({"limits": GenerationLimits(stop=("x",) * 17)}, "limits.stop"),
        ({"limits": GenerationLimits(stop=("ü" * 129,))}, "limits.stop"),
        ({"limits": GenerationLimits(seed=-1)}, "limits.seed"),
        ({"limits": GenerationLimits(seed=2**64)}, "limits.seed"),
        ({"limits": GenerationLimits(max_tokens=MAX_TOKENS + 1)}, "limits.max_tokens"),
        ({"wanted": Wanted(top_k=MAX_TOP_K + 1)}, "wanted.top_k"),
        ({"wanted": Wanted(top_k=2**32 - 1)}, "wanted.top_k"),
        ({"wanted": Wanted(top_k=-1)}, "wanted.top_k"),
    ],
)
def test_a_field_out_of_range_is_named(change, field):
    assert refused(replace(QUERY, **change)) == field


def test_the_most_that_may_be_asked_for_passes():
    check_query(replace(QUERY, limits=GenerationLimits(max_tokens=MAX_TOKENS), wanted=Wanted(top_k=MAX_TOP_K)))


def test_text_is_limited_in_bytes_not_letters():
    query = replace(QUERY, text="ü" * 6)
    check_query(query, max_text_bytes=12)
    assert refused(query, max_text_bytes=11) == "input"


def test_all_messages_count_in_the_limit():
    chat = Query(id="", task="chat", messages=(Message("user", "12345"), Message("assistant", "67890")))
    check_query(chat, max_text_bytes=10)
    assert refused(chat, max_text_bytes=9) == "input"


@given(query_id=st.text(max_size=64), attempt=st.booleans())
def test_the_digest_is_of_the_question_alone(query_id, attempt):
    tried = Attempt(release=3, answer="light_on", reason=Reason.UNCONFIDENT) if attempt else None
    assert replace(QUERY, id=query_id, attempt=tried).digest() == QUERY.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"text": "lights off"},
        {"task": "other"},
        {"tenant": "t"},
        {"route": Route.LOCAL_ONLY},
        {"consent": Consent.REFUSED},
        {"limits": GenerationLimits(max_tokens=1)},
    ],
)
def test_another_question_has_another_digest(change):
    assert replace(QUERY, **change).digest() != QUERY.digest()


def test_a_digest_is_of_every_field_but_the_attempt_and_the_id():
    calls = (ToolCall("f", "{}", "1"),)
    full = replace(QUERY, messages=(Message("user", "a", calls),), tools=(Tool("f", "d"),), wanted=Wanted(3))
    for query in (QUERY, full):
        asked = asdict(replace(query, id="", attempt=None))
        whole = json.dumps(asked, sort_keys=True, default=str).encode()
        assert query.digest() == hashlib.sha256(whole).hexdigest()


def test_a_digest_is_the_same_in_every_process():
    assert QUERY.digest() == "2f1c01f156149f5a7df3039d02092705ddc3363fadd48f26e281939413a85a1a"


def test_a_query_can_not_be_changed():
    with pytest.raises(FrozenInstanceError):
        QUERY.text = "other"
