"""Write with a model behind an OpenAI-compatible server: llama.cpp's, Ollama, vLLM, ``transformers serve``.

Rules:
 * Greedy unless a temperature above 0 is asked for.
 * A server that gives no token probabilities gives a text without tokens: nothing is made up, and the query escalates.
 * Connections are kept and shared (``server_address``). A reply that never ends is given up (``server_replies``), and
   one that comes too slowly, in whatever part of it (``server_calls``).
 * What the server says is data: a reply that can't be read is a ``ModelError``, never a crash.
 * What it refuses is sorted by who must act (``refusals``); what it takes in another form is remembered (``habits``).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from router.core.domain.generation import DEFAULT_TOKENS, Prompt, Written
from router.core.domain.plain_text import SERVED
from router.core.domain.prompting import as_conversation, before_stop
from router.core.domain.query import GenerationLimits
from router.core.errors import BadInputError, ModelError, TooLongError, UnavailableError
from router.students.writers.chat_completion import UNREADABLE, written_of
from router.students.writers.plain_prompt import plain_messages, plain_tools
from router.students.writers.server_address import is_private, open_client, read_url
from router.students.writers.server_calls import ServerCalls
from router.students.writers.server_dialects import Habits
from router.students.writers.server_refusals import error_in, refusal, without_version
from router.students.writers.server_replies import Received, is_no_trust, received

ANSWER_SECONDS = 60.0
IDLE_SECONDS = 4.0  # below the 5 s after which common servers close a connection that waits
MOST_CONNECTIONS = 16
MOST_ALTERNATIVES = 20  # that the interface allows
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
        address, socket = read_url(url)
        self.url, self.model = url, model
        self.is_private = is_private(url)
        self._habits = Habits()
        self._calls = ServerCalls(f"the server at {url}", seconds)
        self._client = open_client(
            address, socket, headers=dict(headers or {}), seconds=seconds, connections=connections, idle=IDLE_SECONDS
        )

    def write(self, prompt: Prompt, limits: GenerationLimits = GenerationLimits(), top_k: int = 0) -> Written:
        """Answer one prompt; see ``router.core.domain.generation.Writer``.

        Raises:
            TooLongError: The prompt is longer than the model's window.
            DeclinedError: The server declines this very prompt.
            BadInputError: A tool's schema is none.
            ModelError: The server refuses whatever it is asked, or its reply can't be read; told in the log once.
            UnavailableError: The server can't be reached, is busy, or its answer broke off.
            BusyError: It asked to be left alone for a while that is not over.
        """
        with self._calls.one():
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

    def _post(self, body: dict[str, Any]) -> Received:
        import httpx

        try:
            with self._client.stream("POST", "chat/completions", json=body) as reply:
                return received(reply)
        except httpx.TimeoutException as error:
            raise UnavailableError(
                f"the server at {self.url} did not answer in time ({type(error).__name__})"
            ) from error
        except httpx.LocalProtocolError as error:  # its words hold the header, and so the key: they go nowhere
            raise ModelError(f"the server at {self.url} can't be asked: {type(error).__name__}") from None
        except (httpx.DecodingError, OverflowError) as error:
            raise self._unreadable(error) from error
        except httpx.TransportError as error:
            if is_no_trust(error):
                raise ModelError(
                    f"the server at {self.url} is not who the URL says, or not trusted: {error}"
                ) from error
            raise UnavailableError(
                f"no server answers at {self.url} ({error}); start it, or correct its URL"
            ) from error

    def _read(self, reply: Received, stops: tuple[str, ...], top_k: int) -> Written:
        if not 200 <= reply.status < 300:
            found = refusal(reply.status, reply.text, self.url, self.model, reply.headers.get("Location", ""))
            raise self._calls.refused(found, reply.headers)
        try:
            content = json.loads(reply.body)
        except UNREADABLE as error:
            raise self._unreadable(error, without_version(self.url)) from error
        error_said = error_in(content, self.url, self.model)
        if error_said is not None:
            raise self._calls.refused(error_said, reply.headers)
        try:
            written = written_of(content, top_k)
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        cut = before_stop(written.text, stops)  # some servers leave the stop in the text
        return written if cut is None else replace(written, text=cut.strip())

    def _unreadable(self, error: Exception, hint: str = "") -> ModelError:
        problem = f"{type(error).__name__}: {error}"
        return ModelError(f"the reply of the server at {self.url} can't be read: {problem}{hint}")


def _is_refused(reply: Received) -> bool:
    """Whether it may be the form of the request: what is too long stays so in every form."""
    if reply.status not in _OF_THE_FORM:
        return False
    return not isinstance(refusal(reply.status, reply.text, "", ""), TooLongError)


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
