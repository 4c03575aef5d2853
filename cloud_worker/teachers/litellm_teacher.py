"""A teacher at a provider of hosted models: Claude, Cohere, OpenAI and others, through litellm (extra ``providers``).

Rules:
 * Its key comes from an environment variable: the one that the configuration names, else the provider's usual one.
 * A provider that says when it wants to be asked again is asked nothing until then.
 * litellm asks once; whoever waits for the answer asks again. Nothing is fetched while it is imported.
 * A redirect is never followed: a key goes to its own host alone.
 * A price that litellm does not know is 0, which is told once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloud_worker.config.teachers import HostedSettings
from cloud_worker.teachers.openai_compatible import key_of, remote_teacher
from cloud_worker.teachers.remote_teacher import WritingTeacher
from router.core.domain.chat import messages_as_dicts, tools_as_dicts
from router.core.domain.generation import DEFAULT_TOKENS, Prompt, Written
from router.core.domain.prompting import as_conversation
from router.core.domain.query import GenerationLimits
from router.core.errors import DeclinedError, HeadraceError, ModelError, StartError, TooLongError, UnavailableError
from router.io.extras import advice
from router.students.writers.chat_completion import UNREADABLE, written_of
from router.students.writers.server_address import bound_client, proxies_told
from router.students.writers.server_calls import ServerCalls
from router.students.writers.server_dialects import Habits
from router.students.writers.server_refusals import passes, refusal
from router.students.writers.server_writer import MOST_ALTERNATIVES, response_format

log = logging.getLogger(__name__)

_SHOWN_CHARACTERS = 300


class HostedWriter:
    """Asks a hosted model."""

    in_process = False
    is_private = False

    def __init__(self, model: str, *, key: str = "", url: str = "", seconds: float = 60.0) -> None:
        """Ask ``model``, by litellm's name of it.

        Args:
            model: Such as ``anthropic/claude-sonnet-4-5``.
            key: Of the provider; empty takes its usual environment variable.
            url: Goes before the provider's own address, where it is not empty.
            seconds: Most for one answer, above 0.

        Raises:
            StartError: litellm is not installed.
            ModelError: It knows no provider for such a name.
        """
        self._litellm, self._failure = _import_litellm()
        self._model = model
        self._key = key
        self._url = url
        self._seconds = seconds
        self._habits = Habits()
        self._calls = ServerCalls(f"hosted model {model!r}", seconds)
        try:
            known = self._litellm.get_supported_openai_params(model=model) or []
            named, provider, *_ = self._litellm.get_llm_provider(model, api_base=url or None)
        except self._litellm.exceptions.BadRequestError as error:
            raise ModelError(f"hosted model {model!r}: {_first_line(error)}") from error
        if not {model, named, f"{provider}/{named}"} & self._litellm.model_cost.keys():
            log.warning(
                "litellm knows no price of hosted model %r: figures and limits in USD count its answers as free", model
            )
        self._gives_probabilities = "logprobs" in known

    def write(self, prompt: Prompt, limits: GenerationLimits = GenerationLimits(), top_k: int = 0) -> Written:
        """Answer one prompt; see ``router.core.domain.generation.Writer``.

        Raises:
            TooLongError: The prompt is longer than the model's window.
            DeclinedError: The provider declines this very prompt.
            ModelError: The provider refuses whatever it is asked, or its reply can't be read.
            UnavailableError: It can't be reached, is busy, or its answer broke off.
        """
        wanted = min(top_k, MOST_ALTERNATIVES) if self._gives_probabilities else 0
        probabilities = {"logprobs": True, "top_logprobs": wanted} if wanted else {}
        with self._calls.one():
            reply, habits = self._asked(self._arguments(prompt, limits), probabilities)
            written = self._read(reply, top_k)
        self._habits = habits
        return written

    def _asked(self, arguments: dict[str, Any], probabilities: dict[str, Any]) -> tuple[Any, Habits]:
        """The reply, and in which form it was asked for."""
        habits = self._habits
        while True:
            try:
                return self._litellm.completion(**habits.spelt(arguments, probabilities)), habits
            except self._failure as error:
                headers = _headers_of(error)
                found = self._calls.refused(self._sorted(error, headers), headers)
                other = habits.without(str(error)) if isinstance(found, ModelError) else None
                if other is None:
                    raise found from error
                habits = other

    def _sorted(self, error: Exception, headers: Mapping[str, str]) -> HeadraceError:
        """The error, sorted by who must act."""
        exceptions = self._litellm.exceptions
        if passes(0, str(error).lower()):  # litellm takes "too many tokens, please wait" for a long question
            return UnavailableError(f"hosted model {self._model!r}: {_first_line(error)}")
        if isinstance(error, exceptions.ContextWindowExceededError):
            return TooLongError(f"is longer than the window of the model {self._model!r}")
        if isinstance(error, exceptions.ContentPolicyViolationError):
            return DeclinedError(f"hosted model {self._model!r} filters a question: {_first_line(error)}")
        status = getattr(error, "status_code", 0)
        if isinstance(error, exceptions.APIConnectionError | exceptions.Timeout):
            return UnavailableError(f"hosted model {self._model!r}: {_first_line(error)}")
        said, where = str(error), self._url or "its provider"
        return refusal(status if isinstance(status, int) else 0, said, where, self._model, headers.get("Location", ""))

    def _arguments(self, prompt: Prompt, limits: GenerationLimits) -> dict[str, Any]:
        given: dict[str, Any] = {
            "model": self._model,
            "messages": messages_as_dicts(as_conversation(prompt).messages),
            "max_tokens": limits.max_tokens or DEFAULT_TOKENS,
            "temperature": limits.temperature or 0.0,
            "stop": list(limits.stop) or None,
            "seed": limits.seed,
            "tools": tools_as_dicts(prompt.tools) or None,
            "response_format": response_format(prompt.response_schema) if prompt.response_schema else None,
            "api_key": self._key or None,
            "api_base": self._url or None,
        }
        asked = {key: value for key, value in given.items() if value is not None}
        if prompt.tools:
            asked["_skip_mcp_handler"] = True  # else litellm 1.106 imports the package mcp, which it does not bring
        return {**asked, "timeout": self._seconds, "num_retries": 0, "max_retries": 0, "drop_params": True}

    def _read(self, reply: Any, top_k: int) -> Written:
        try:
            written = written_of(reply.model_dump(), top_k)
        except UNREADABLE as error:
            problem = f"{type(error).__name__}: {error}"
            raise ModelError(f"the reply of hosted model {self._model!r} can't be read: {problem}") from error
        return _priced(written, getattr(reply, "_hidden_params", {}).get("response_cost"))


def load_hosted_teacher(settings: HostedSettings, cache: Path) -> WritingTeacher:
    """The teacher that ``settings`` describe.

    Args:
        settings: From the configuration.
        cache: Folder that remembers canaries.

    Raises:
        ConfigError: The variable of its key holds none.
        StartError: litellm is not installed.
        ModelError: litellm knows no provider for its name.
        DataError: Names the line of the canaries that can't be used.
    """
    key = key_of(settings.name, settings.api_key_variable)
    writer = HostedWriter(settings.model, key=key, url=settings.url, seconds=settings.seconds)
    return remote_teacher(settings, writer, cache, settings.url, settings.model)


def _import_litellm() -> tuple[Any, type[Exception]]:
    """The library, and the root of what it raises."""
    try:
        import httpx
        import litellm
        from litellm.llms.custom_httpx.http_handler import HTTPHandler
        from openai import OpenAIError
    except ImportError as error:
        raise StartError(f"teachers of kind hosted need {error.name}: {advice('providers')}") from error
    if litellm.client_session is None:
        with proxies_told():
            litellm.client_session = bound_client(httpx.Client(follow_redirects=False))
        _guard(HTTPHandler)
    litellm.telemetry = False
    litellm.suppress_debug_info = True  # it prints advice to stdout otherwise
    return litellm, OpenAIError


def _guard(handler: Any) -> None:
    """Make every client of litellm's own one that follows no redirect, with a key that httpx does not know for one.

    Some providers are asked by a client that can't be handed in (litellm 1.106: Cohere's, of several).
    """
    made = handler.create_client
    if made.__name__ == "guarded":
        return

    def guarded(self: Any) -> Any:
        self.follow_redirects = False
        return bound_client(made(self))

    handler.create_client = guarded


def _headers_of(error: BaseException | None) -> Mapping[str, str]:
    """The headers of a refusal: litellm makes a response of its own, and the provider's is further down."""
    while error is not None:
        found = getattr(getattr(error, "response", None), "headers", None)
        if found:
            return found  # type: ignore[no-any-return] # httpx's
        error = error.__cause__ or error.__context__
    return {}


def _priced(written: Written, usd: Any) -> Written:
    return replace(written, usd=float(usd)) if isinstance(usd, int | float) and usd > 0 else written


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:_SHOWN_CHARACTERS]
