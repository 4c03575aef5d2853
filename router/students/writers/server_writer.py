"""Write with a model behind an OpenAI-compatible server: llama.cpp's, Ollama, vLLM, ``transformers serve``.

Rules:
 * Greedy unless a temperature above 0 is asked for.
 * A server that gives no token probabilities gives a text without tokens: nothing is made up, and the query escalates.
 * Connections are kept and shared. Of the environment only proxies are used, as others use them, and never for a server
   on this machine or on a unix socket.
 * What the server says is data: a reply that can't be read is a ``ModelError``, never a crash.
 * What it refuses is sorted by who must act (``refusals``); what it takes in another form is remembered (``habits``).
"""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from router.core.domain.generation import DEFAULT_TOKENS, Prompt, Written
from router.core.domain.plain_text import SERVED
from router.core.domain.prompting import as_conversation, before_stop
from router.core.domain.query import GenerationLimits
from router.core.errors import BadInputError, ConfigError, ModelError, TooLongError, UnavailableError
from router.students.writers.chat_completion import UNREADABLE, written_of
from router.students.writers.plain_prompt import plain_messages, plain_tools
from router.students.writers.server_dialects import Habits
from router.students.writers.server_refusals import error_in, refusal, without_version
from router.students.writers.told_once import Once

if TYPE_CHECKING:  # loaded with the first writer: most commands make none
    import httpx

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 60.0
IDLE_SECONDS = 4.0  # below the 5 s after which common servers close a connection that waits
MOST_CONNECTIONS = 16
MOST_ALTERNATIVES = 20  # that the interface allows
UNIX_SCHEME = "unix"
_OF_THE_FORM = {400, 403, 404, 415, 422, 500, 501}  # statuses of a server that may take a request in another form
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
        import httpx

        address, socket = read_url(url)
        self.url, self.model = url, model
        self.is_private = is_private(url)
        self._habits = Habits()
        self._once = Once()
        limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE_SECONDS
        )
        self._client = httpx.Client(
            base_url=address,
            headers=dict(headers or {}),
            timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
            **way_to(address, socket, limits),
            follow_redirects=False,
        )

    def write(self, prompt: Prompt, limits: GenerationLimits = GenerationLimits(), top_k: int = 0) -> Written:
        """Answer one prompt; see ``router.core.domain.generation.Writer``.

        Raises:
            TooLongError: The prompt is longer than the model's window.
            DeclinedError: The server declines this very prompt.
            BadInputError: A tool's schema is none.
            ModelError: The server refuses whatever it is asked, or its reply can't be read; told in the log once.
            UnavailableError: The server can't be reached, is busy, or its answer broke off.
        """
        with self._once.logging_once():
            return self._written(self._body(prompt, limits), limits.stop, top_k)

    def _written(self, body: dict[str, Any], stops: tuple[str, ...], top_k: int) -> Written:
        probabilities = {"logprobs": True, "top_logprobs": min(max(top_k, 1), MOST_ALTERNATIVES)}
        habits = self._habits
        reply = self._post(habits.spelt(body, probabilities))
        while _is_refused(reply) and (other := habits.without(reply.text)) is not None:
            habits = other
            reply = self._post(habits.spelt(body, probabilities))
        written = self._read(reply, stops, top_k)
        if habits != self._habits:  # an echo of the request names all of it: only an answer tells what was in the way
            log.warning("%s takes requests for %s in another form: %s", self.url, self.model, habits)
            if self._habits.probabilities and not habits.probabilities:
                log.warning("%s gives no token probabilities for %s: its answers have no score", self.url, self.model)
            self._habits = habits
        return written

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _body(self, prompt: Prompt, limits: GenerationLimits) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": plain_messages(as_conversation(prompt), SERVED),
            "max_tokens": limits.max_tokens or DEFAULT_TOKENS,
            "temperature": limits.temperature or 0.0,
        }
        if limits.stop:
            body["stop"] = list(limits.stop)
        if limits.seed is not None:
            body["seed"] = limits.seed
        if prompt.tools:
            body["tools"] = plain_tools(prompt, SERVED)
        if prompt.response_schema:
            body["response_format"] = response_format(prompt.response_schema)
        return body

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        import httpx

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
        if not reply.is_success:
            raise refusal(reply.status_code, reply.text, self.url, self.model, reply.headers.get("Location", ""))
        try:
            content = reply.json()
        except UNREADABLE as error:
            raise self._unreadable(error, without_version(self.url)) from error
        error_said = error_in(content, self.url, self.model)
        if error_said is not None:
            raise error_said
        try:
            written = written_of(content, top_k)
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        cut = before_stop(written.text, stops)  # some servers leave the stop in the text
        return written if cut is None else replace(written, text=cut.strip())

    def _unreadable(self, error: Exception, hint: str = "") -> ModelError:
        problem = f"{type(error).__name__}: {error}"
        return ModelError(f"the reply of the server at {self.url} can't be read: {problem}{hint}")


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
    import httpx

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


def _is_refused(reply: httpx.Response) -> bool:
    """Whether it may be the form of the request: what is too long stays so in every form."""
    if reply.status_code not in _OF_THE_FORM:
        return False
    return not isinstance(refusal(reply.status_code, reply.text, "", ""), TooLongError)


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
