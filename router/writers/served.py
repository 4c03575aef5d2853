"""Write with a model behind an OpenAI-compatible server: llama.cpp's, Ollama, vLLM, ``transformers serve``.

Rules:
 * Greedy unless a temperature above 0 is asked for.
 * A server that gives no token probabilities gives a text without tokens: nothing is made up, and the query escalates.
 * Connections are kept and shared. Of the environment only proxies are used, as others use them, and never for a server
   on this machine or on a unix socket.
 * What the server says is data: a reply that can't be read is a ``ModelError``, never a crash.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx

from router.chat import call_of, messages_as_dicts, tools_as_dicts
from router.errors import BadInputError, ConfigError, ModelError, UnavailableError
from router.query import Distribution, FinishReason, GenerationLimits, TokenProbability
from router.text_confidence import LEAST_LOG_PROBABILITY
from router.writers.base import DEFAULT_TOKENS, LEAST_TAIL, Prompt, Written
from router.writers.prompting import as_conversation, before_stop

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 60.0
IDLE_SECONDS = 4.0  # below the 5 s after which common servers close a connection that waits
MOST_CONNECTIONS = 16
MOST_ALTERNATIVES = 20  # that the interface allows
UNIX_SCHEME = "unix"
MOST_TOKENS = 2**31 - 1  # that are counted: more is no count
UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError)
_SHOWN_CHARACTERS = 300
_BUSY = {429, 502, 503, 504}
_TOO_LONG = ("context_length", "context length", "context size", "context window", "exceed_context", "too many tokens")
_FINISH = {
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.FILTERED,
}

log = logging.getLogger(__name__)


class ServedWriter:
    """A model at a server. Nothing is sent before the first prompt, so a server may start later than its clients.

    Attributes:
        is_private: The server is on this machine: loopback, or a unix socket.
    """

    in_process = False

    def __init__(
        self,
        url: str,
        model: str,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
        connections: int = MOST_CONNECTIONS,
    ) -> None:
        """Write with ``model`` at ``url``.

        Args:
            url: Up to the version, such as ``http://127.0.0.1:8080/v1``, or ``unix:/run/model.sock``.
            model: As the server calls it.
            headers: Sent with every request, such as an ``Authorization``.
            seconds: Most for one answer, above 0.
            connections: Most prompts under way at once; more wait for their turn.

        Raises:
            ConfigError: No such URL can be asked.
        """
        address, socket = read_url(url)
        self.url, self.model = url, model
        self.is_private = is_private(url)
        self._asks_probabilities = True
        limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE_SECONDS
        )
        self._client = httpx.Client(
            base_url=address,
            headers=dict(headers or {}),
            timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
            **way_to(address, socket, limits),
        )

    def write(self, prompt: Prompt, limits: GenerationLimits = GenerationLimits(), top_k: int = 0) -> Written:
        """Answer one prompt; see ``router.writers.base.Writer``.

        Raises:
            BadInputError: The prompt is longer than the model's window, or a tool's schema is none.
            ModelError: The server refuses, or its reply can't be read.
            UnavailableError: The server can't be reached, or is busy.
        """
        body = self._body(prompt, limits)
        if self._asks_probabilities:
            asked = {**body, "logprobs": True, "top_logprobs": min(max(top_k, 1), MOST_ALTERNATIVES)}
            reply = self._post(asked)
            if not _may_refuse_probabilities(reply):
                return self._read(reply, limits.stop, top_k)
        reply = self._post(body)
        if self._asks_probabilities and reply.status_code == httpx.codes.OK:
            log.warning("%s gives no token probabilities for %s: its answers have no score", self.url, self.model)
            self._asks_probabilities = False
        return self._read(reply, limits.stop, top_k)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _body(self, prompt: Prompt, limits: GenerationLimits) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages_as_dicts(as_conversation(prompt).messages),
            "max_tokens": limits.max_tokens or DEFAULT_TOKENS,
            "temperature": limits.temperature or 0.0,
        }
        if limits.stop:
            body["stop"] = list(limits.stop)
        if limits.seed is not None:
            body["seed"] = limits.seed
        if prompt.tools:
            body["tools"] = tools_as_dicts(prompt.tools)
        if prompt.response_schema:
            body["response_format"] = response_format(prompt.response_schema)
        return body

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        try:
            return self._client.post("chat/completions", json=body)
        except httpx.TimeoutException as error:
            raise UnavailableError(
                f"the server at {self.url} did not answer in time ({type(error).__name__})"
            ) from error
        except httpx.LocalProtocolError as error:  # its words hold the header, and so the key: they go nowhere
            raise ModelError(f"the server at {self.url} can't be asked: {type(error).__name__}") from None
        except httpx.DecodingError as error:
            raise self._unreadable(error) from error
        except httpx.TransportError as error:
            raise UnavailableError(
                f"no server answers at {self.url} ({error}); start it, or correct its URL"
            ) from error

    def _read(self, reply: httpx.Response, stops: tuple[str, ...], top_k: int) -> Written:
        if reply.status_code != httpx.codes.OK:
            raise self._refusal(reply)
        try:
            written = written_of(reply.json(), top_k)
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        cut = before_stop(written.text, stops)  # some servers leave the stop in the text
        return written if cut is None else replace(written, text=cut.strip())

    def _unreadable(self, error: Exception) -> ModelError:
        return ModelError(f"the reply of the server at {self.url} can't be read: {type(error).__name__}: {error}")

    def _refusal(self, reply: httpx.Response) -> BadInputError | ModelError | UnavailableError:
        said = " ".join(reply.text.split())[:_SHOWN_CHARACTERS]
        if reply.status_code in _BUSY:
            return UnavailableError(f"the server at {self.url} is busy ({reply.status_code}): {said}")
        if any(words in said.lower() for words in _TOO_LONG):
            return BadInputError("input", f"is longer than the window of the model {self.model!r}")
        return ModelError(f"the server at {self.url} refuses ({reply.status_code}) for model {self.model!r}: {said}")


def read_url(url: str) -> tuple[str, str | None]:
    """The address to ask, and the path of the unix socket that leads there, if it is one.

    Raises:
        ConfigError: It is neither ``http://``, ``https://`` nor ``unix:/PATH``.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError as error:
        raise ConfigError("servers", "url", f"{url!r} is no URL: {error}") from error
    if parts.scheme == UNIX_SCHEME and parts.path.startswith("/"):
        return "http://localhost/v1", parts.path
    if parts.scheme in {"http", "https"} and parts.hostname:
        return url, None
    raise ConfigError(
        "servers", "url", f"{url!r} can't be asked; write http://127.0.0.1:8080/v1 or unix:/run/model.sock"
    )


def way_to(address: str, socket: str | None, limits: httpx.Limits | None = None) -> dict[str, Any]:
    """How an ``httpx.Client`` reaches a server: straight where it is on this machine, else as the environment says.

    Args:
        address: As ``read_url`` gives it.
        socket: As ``read_url`` gives it.
        limits: Of its connections.
    """
    limits = limits or httpx.Limits()
    if socket is None and not is_private(address):
        return {"limits": limits, "trust_env": True}
    return {"transport": httpx.HTTPTransport(uds=socket, limits=limits), "trust_env": False}


def is_private(url: str) -> bool:
    """Whether what is sent to a URL stays on this machine: a loopback address, ``localhost``, or a unix socket."""
    parts = urlsplit(url)
    if parts.scheme == UNIX_SCHEME or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _may_refuse_probabilities(reply: httpx.Response) -> bool:
    """Whether it names them; an echo of the request does too, so only an answer without them tells."""
    return reply.status_code != httpx.codes.OK and "logprobs" in reply.text


def response_format(schema: str) -> dict[str, Any]:
    """A JSON schema as the interface takes it.

    Raises:
        BadInputError: It is no JSON.
    """
    try:
        parsed = json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise BadInputError("response_schema", "is no JSON") from error
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": parsed}}


def written_of(reply: dict[str, Any], top_k: int) -> Written:
    """A chat completion as a text.

    Raises:
        UNREADABLE: It is none.
    """
    choice, usage = reply["choices"][0], reply.get("usage") or {}
    message = choice["message"]
    text = message.get("content") or ""
    if not isinstance(text, str):
        raise TypeError("content is no text")
    calls = tuple(call_of(call) for call in message.get("tool_calls") or ())
    for part in (text, *(part for call in calls for part in (call.name, call.arguments, call.id))):
        part.encode()  # half a letter can't be sent on
    reason = FinishReason.TOOL_CALLS if calls else _FINISH.get(choice.get("finish_reason"), FinishReason.STOP)
    listed = (choice.get("logprobs") or {}).get("content") or ()
    tokens = tuple(_token(item, top_k) for item in listed)
    read, wrote = (_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
    return Written(text.strip(), tokens, reason, calls, read, wrote or len(tokens))


def _token(item: dict[str, Any], top_k: int) -> TokenProbability:
    top = sorted(
        ((_name(other), _log(other["logprob"])) for other in item.get("top_logprobs") or ()),
        key=lambda pair: -pair[1],
    )[:top_k]
    rest = 1.0 - sum(math.exp(value) for _, value in top)
    tail = max(math.log(rest), LEAST_TAIL) if rest > 0 else LEAST_TAIL
    return TokenProbability(_name(item), _log(item["logprob"]), Distribution(tuple(top), tail if top else None))


def _name(item: dict[str, Any]) -> str:
    """A token's text; where a letter takes several tokens, half of one is a question mark."""
    return str(item["token"]).encode("utf-8", "replace").decode()


def _log(value: Any) -> float:
    """A natural logarithm in [-100, 0]; servers write minus infinity, or -9999, for what can't be."""
    number = float(value)
    if math.isnan(number):
        raise ValueError("a log-probability is no number")
    return max(min(number, 0.0), LEAST_LOG_PROBABILITY)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 < value <= MOST_TOKENS else 0
