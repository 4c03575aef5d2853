"""What a program says wrongly is refused before anything is sent: a privacy wish is never swallowed."""

import asyncio
import inspect
import socket

import numpy as np
import pytest

from router.client.async_client import AsyncClient
from router.client.blocking_client import Client
from router.core.domain.query import Consent, GenerationLimits, Message, Query, Route, Tool, Wanted
from router.core.errors import BadInputError, ConfigError


class Listener:
    """A port that takes connections and answers nothing: ``touched`` says whether anybody came."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.target = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def touched(self):
        try:
            self._socket.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self):
        self._socket.close()


@pytest.fixture
def listener():
    made = Listener()
    yield made
    made.close()


def call(kind, target, method, *arguments, **options):
    """Call a method of either client, with a deadline that ends a call that should not have been made."""
    if kind is Client:
        with Client(target, insecure=True, deadline=0.5) as client:
            return getattr(client, method)(*arguments, **options)

    async def run():
        async with AsyncClient(target, insecure=True, deadline=0.5) as client:
            return await getattr(client, method)(*arguments, **options)

    return asyncio.run(run())


both = pytest.mark.parametrize("kind", [Client, AsyncClient])


@both
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"routes": Route.LOCAL_ONLY}, r"'routes'; did you mean 'route'\?"),
        ({"Route": Route.LOCAL_ONLY}, r"'Route'; did you mean 'route'\?"),
        ({"local_only": True}, r"'local_only'; say route=Route.LOCAL_ONLY"),
        ({"timeout": 3}, r"'timeout'; it is called deadline here, in seconds"),
        ({"log": False}, r"'log'; say consent=Consent.REFUSED"),
        ({"consents": Consent.REFUSED}, r"did you mean 'consent'\?"),
        ({"query": "x"}, "'query'"),
        ({"id": "x"}, r"'id'; it is called query_id here"),
        ({"user": "anna"}, r"'user'; the options are query_id, deadline, route"),
        ({"messages": ()}, r"'messages'; give a whole Query to answer\(\)"),
        ({"temperature": 0}, r"'temperature'; give a whole Query to answer\(\)"),
    ],
)
def test_an_unknown_option_is_a_type_error_that_names_it(listener, kind, options, says):
    with pytest.raises(TypeError, match=says):
        call(kind, listener.target, "ask", "lights", "home", **options)
    assert not listener.touched()


@both
@pytest.mark.parametrize(
    ("options", "field", "says"),
    [
        ({"route": "LOCAL_ONLY"}, "route", "'auto', 'local_only' or 'cloud_only'"),
        ({"route": "local-only"}, "route", "'auto', 'local_only' or 'cloud_only'"),
        ({"route": ""}, "route", "'auto', 'local_only' or 'cloud_only'"),
        ({"route": None}, "route", "None"),
        ({"route": 2}, "route", "2"),
        ({"route": Consent.REFUSED}, "route", "'refused'"),
        ({"consent": "no"}, "consent", "'as_task', 'granted' or 'refused'"),
        ({"consent": False}, "consent", "False"),
        ({"consent": True}, "consent", "True"),
        ({"deadline": "3"}, "deadline", "'3'"),
        ({"deadline": True}, "deadline", "True"),
        ({"deadline": float("nan")}, "deadline", "nan"),
        ({"deadline": 10**400}, "deadline", "use seconds above 0"),
        ({"deadline": 1.8e9}, "deadline", "a time from now on"),
        ({"top_k": "3"}, "wanted.top_k", "'3'"),
        ({"top_k": True}, "wanted.top_k", "True"),
        ({"top_k": 2.0}, "wanted.top_k", "2.0"),
        ({"rationale": "no"}, "wanted.rationale", "True or False"),
        ({"rationale": 0}, "wanted.rationale", "True or False"),
        ({"tenant": None}, "tenant", "None"),
        ({"subject": 17}, "subject", "17"),
        ({"conversation": b"x"}, "conversation", "b'x'"),
        ({"query_id": 7}, "query_id", "7"),
    ],
)
def test_an_option_of_a_wrong_kind_is_refused_by_name(listener, kind, options, field, says):
    with pytest.raises(BadInputError, match=says) as caught:
        call(kind, listener.target, "ask", "lights", "home", **options)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field} ")
    assert not listener.touched()


@both
@pytest.mark.parametrize(("text", "task", "field"), [(None, "home", "text"), (b"x", "home", "text"), ("x", 5, "task")])
def test_text_and_task_are_strings(listener, kind, text, task, field):
    with pytest.raises(BadInputError) as caught:
        call(kind, listener.target, "ask", text, task)
    assert caught.value.field == field
    assert not listener.touched()


MESSAGE, TOOL = Message("user", "lights"), Tool("on")


@both
@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"messages": ({"role": "user", "content": "x"},)}, "chat.messages[0]", "router.core.domain.query.Message"),
        ({"messages": [MESSAGE, "x"]}, "chat.messages[1]", "router.core.domain.query.Message"),
        ({"messages": "lights"}, "chat.messages", "list or tuple"),
        ({"messages": MESSAGE}, "chat.messages", "list or tuple"),
        ({"messages": (Message("user", None),)}, "chat.messages[0].content", "None"),
        ({"messages": (Message("user", "x", ({"name": "on"},)),)}, "chat.messages[0].tool_calls[0]", "ToolCall"),
        ({"text": "x", "tools": ({"name": "on"},)}, "tools[0]", "router.core.domain.query.Tool"),
        ({"text": "x", "tools": (Tool("on", parameters_schema={}),)}, "tools[0].parameters_schema", "json.dumps"),
        ({"text": "x", "tools": None}, "tools", "None"),
        ({"text": "x", "response_schema": {"type": "object"}}, "response_schema", "json.dumps"),
        ({"text": "x", "limits": {"max_tokens": 5}}, "limits", "router.core.domain.query.GenerationLimits"),
        ({"text": "x", "limits": GenerationLimits(stop="ab")}, "limits.stop", "list or tuple"),
        ({"text": "x", "limits": GenerationLimits(max_tokens="5")}, "limits.max_tokens", "'5'"),
        ({"text": "x", "limits": GenerationLimits(temperature="0")}, "limits.temperature", "'0'"),
        ({"text": "x", "limits": GenerationLimits(seed=1.5)}, "limits.seed", "1.5"),
        ({"text": "x", "wanted": {"top_k": 1}}, "wanted", "router.core.domain.query.Wanted"),
        ({"text": "x", "route": "local"}, "route", "local_only"),
        ({"text": "x", "consent": 0}, "consent", "refused"),
        ({"text": "x", "attempt": {}}, "attempt", "router.core.domain.query.Attempt"),
        ({"text": "x", "id": None}, "query_id", "None"),
    ],
)
def test_a_query_of_wrong_parts_is_refused_by_name(listener, kind, fields, field, says):
    query = Query(**{"id": "", "task": "home", **fields})
    with pytest.raises(BadInputError, match=says) as caught:
        call(kind, listener.target, "answer", query)
    assert caught.value.field == field
    assert not listener.touched()


@both
@pytest.mark.parametrize("query", ["lights", {"text": "lights"}, None])
def test_what_is_no_query_is_refused(listener, kind, query):
    with pytest.raises(BadInputError, match=r"^query .*ask\(text, task\)"):
        call(kind, listener.target, "answer", query)
    assert not listener.touched()


@both
@pytest.mark.parametrize("method", ["ask", "answer", "feedback"])
def test_no_public_call_takes_what_it_does_not_know(listener, kind, method):
    arguments = {"ask": ("x", "home"), "answer": (Query("", "home", "x"),), "feedback": ("q", "home", "right")}
    with pytest.raises(TypeError, match="retries"):
        call(kind, listener.target, method, *arguments[method], retries=3)
    assert not listener.touched()


@both
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"correction": 5}, "correction"),
        ({"comment": None}, "comment"),
        ({"deadline": "3"}, "deadline"),
        ({"deadline": False}, "deadline"),
        ({"query_id": 7}, "query_id"),
        ({"task": None}, "task"),
        ({"verdict": True}, "verdict"),
        ({"verdict": "Wrong"}, "verdict"),
    ],
)
def test_feedback_of_a_wrong_kind_is_refused_by_name(listener, kind, options, field):
    said = {"query_id": "q", "task": "home", "verdict": "wrong"} | options
    with pytest.raises(BadInputError) as caught:
        call(kind, listener.target, "feedback", **said)
    assert caught.value.field == field
    assert not listener.touched()


@both
@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"insecure": "no"}, "insecure"),
        ({"insecure": 1}, "insecure"),
        ({"insecure": None}, "insecure"),
        ({"deadline": "3"}, "deadline"),
        ({"deadline": None}, "deadline"),
        ({"deadline": True}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
        ({"deadline": 10**400}, "deadline"),
        ({"deadline": 1e18}, "deadline"),
        ({"identity": "a\0b"}, "identity"),
        ({"targets": "unix:/run/\0"}, "targets"),
        ({"device": None}, "device"),
        ({"device": b"kitchen"}, "device"),
        ({"tracer": "mine"}, "tracer"),
        ({"targets": None}, "targets"),
        ({"targets": 7600}, "targets"),
        ({"targets": [7600]}, "targets"),
        ({"targets": {"127.0.0.1:1"}}, "targets"),
        ({"targets": {"127.0.0.1:1": 1}}, "targets"),
        ({"targets": b"127.0.0.1:1"}, "targets"),
    ],
)
def test_a_client_made_of_wrong_kinds_names_the_argument(kind, arguments, key):
    with pytest.raises(ConfigError) as caught:
        kind(**{"targets": "127.0.0.1:1", "insecure": True, **arguments})
    assert caught.value.key == key


@both
def test_a_client_takes_no_argument_that_it_does_not_know(kind):
    with pytest.raises(TypeError, match="timeout"):
        kind("127.0.0.1:1", insecure=True, timeout=3)


def test_the_two_clients_take_the_same_arguments():
    for name in ("__init__", "ask", "answer", "feedback"):
        one, other = (inspect.signature(getattr(kind, name)) for kind in (Client, AsyncClient))
        assert one.parameters == other.parameters


async def test_exact_names_of_a_choice_do_as_well_as_its_members(door):
    async with AsyncClient(door.target, insecure=True) as client:
        await client.ask("lights", "home", route="local_only", consent="refused", top_k=np.int64(2))
        await client.answer(Query("", "home", "lights", route="cloud_only", consent="granted"))
    first, second = door.servicer.seen
    assert (first.route, first.consent, first.wanted) == (Route.LOCAL_ONLY, Consent.REFUSED, Wanted(2))
    assert (second.route, second.consent) == (Route.CLOUD_ONLY, Consent.GRANTED)


async def test_lists_do_as_well_as_tuples(door):
    limits = GenerationLimits(stop=["\n"], temperature=0)
    query = Query("", "home", messages=[MESSAGE], tools=[TOOL], limits=limits)
    async with AsyncClient([door.target], insecure=True, deadline=30) as client:
        await client.answer(query, deadline=np.float32(20))
    (seen,) = door.servicer.seen
    assert (seen.messages, seen.tools, seen.limits.stop) == ((MESSAGE,), (TOOL,), ("\n",))
