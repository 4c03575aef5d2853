"""From a query to what a model reads, and from what it writes to its answer.

Rules:
 * A query is data: braces in it are never read as fields, and no part of it is a template.
 * A template without its field is refused where it is written, not where it is used.
 * A template of its own frames the text, or the transcript of a chat. Only the bare template leaves a chat a chat.
 * Students read in use what they read in training: one function for both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from router.core.domain.chat import transcript
from router.core.domain.generation import Prompt
from router.core.domain.query import GenerationLimits, Message, Query
from router.core.errors import ConfigError

FIELD = "{text}"


@dataclass(frozen=True, slots=True)
class Template:
    """A text with one ``{text}`` where the query goes.

    Attributes:
        wording: The whole template.
    """

    wording: str = FIELD

    def __post_init__(self) -> None:
        """Refuse a wording in which the query does not stand exactly once."""
        if self.wording.count(FIELD) != 1:
            problem = f"{self.wording!r} needs the field {FIELD} exactly once, where the query goes"
            raise ConfigError("template", "", problem)

    @property
    def is_bare(self) -> bool:
        """Nothing stands around the query."""
        return self.wording == FIELD

    @property
    def frame(self) -> tuple[str, str]:
        """What stands before the query, and what after it."""
        before, after = self.wording.split(FIELD)
        return before, after

    def fill(self, text: str) -> str:
        """The template around ``text``."""
        before, after = self.frame
        return before + text + after

    def strip(self, text: str) -> str | None:
        """The query that ``fill`` was given to get ``text``, or ``None`` if it does not look like that."""
        before, after = self.frame
        fits = text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after)
        return text[len(before) : len(text) - len(after)] if fits else None


def prompt_of(query: Query, template: Template) -> Prompt:
    """What a model reads of a query.

    Args:
        query: A text, or a chat.
        template: Around it.
    """
    text = template.fill(query.text or transcript(query.messages))
    messages = query.messages if template.is_bare else ()
    return Prompt(text, messages, query.tools, query.response_schema, template.frame)


def as_conversation(prompt: Prompt) -> Prompt:
    """The prompt as a chat: a text alone is one turn of its user."""
    return replace(prompt, messages=prompt.messages or (Message("user", prompt.text),))


def limits_of(asked: GenerationLimits, defaults: GenerationLimits) -> GenerationLimits:
    """The limits that a query names, and the defaults where it names none."""
    return GenerationLimits(
        max_tokens=asked.max_tokens or defaults.max_tokens,
        temperature=defaults.temperature if asked.temperature is None else asked.temperature,
        stop=asked.stop or defaults.stop,
        seed=defaults.seed if asked.seed is None else asked.seed,
    )


def before_stop(text: str, stops: tuple[str, ...]) -> str | None:
    """What stands before the first of ``stops``; ``None`` where none of them stands in the text."""
    positions = [position for position in (text.find(stop) for stop in stops) if position >= 0]
    return text[: min(positions)] if positions else None


def split_answer(text: str, phrase: str) -> tuple[str, str]:
    """What stands before the last ``phrase`` and what after it; nothing, and the whole text, where it is missing.

    Args:
        text: What was written.
        phrase: Words that announce the answer, in any case; not empty.
    """
    *_, last = (None, *re.finditer(re.escape(phrase), text, re.IGNORECASE))
    before, answer = ("", text) if last is None else (text[: last.start()], text[last.end() :])
    return before.strip(), answer.strip().rstrip(".").strip()
