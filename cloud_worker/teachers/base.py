"""What a teacher is asked, and what it says.

Rules:
 * A teacher answers questions in their order, each with exactly one reply.
 * Its version changes with everything that could change an answer, and is never reused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from router.core.domain.query import (
    Distribution,
    FinishReason,
    GenerationLimits,
    Message,
    TokenProbability,
    Tool,
    ToolCall,
    Wanted,
)

Progress = Callable[[str, float], None]  # what is done now, and how far it is, from 0 to 1


@dataclass(frozen=True, slots=True)
class Question:
    """One question for a teacher.

    Attributes:
        text: What is asked; of a chat, its transcript.
        messages: The conversation, where it is one.
        tools: What the answer may call.
        response_schema: JSON schema that the answer should follow, or empty.
        limits: Of the answer, the task's where the caller named none.
        wanted: How many alternatives to each token or label, and whether a reason too.
        instruction: Template of the task around the text, within the teacher's own; empty for none. It is part of the
            version of what is answered.
        reason_apart: The reason is the caller's request, not the task's: the answer stays what it would be without.
        milliseconds: Time that the caller still waits.
        trace: The trace that it belongs to, as W3C ``traceparent`` and its kin.
    """

    text: str
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    response_schema: str = ""
    limits: GenerationLimits = GenerationLimits()
    wanted: Wanted = Wanted()
    instruction: str = ""
    reason_apart: bool = False
    milliseconds: float = 30_000.0
    trace: tuple[tuple[str, str], ...] = ()

    def within(self, milliseconds: float) -> Question:
        """The same question, for which its caller still waits so long."""
        return Question(
            self.text,
            self.messages,
            self.tools,
            self.response_schema,
            self.limits,
            self.wanted,
            self.instruction,
            self.reason_apart,
            milliseconds,
            self.trace,
        )


@dataclass(frozen=True, slots=True)
class TeacherAnswer:
    """What a teacher says.

    Attributes:
        text: The answer.
        version: Of the teacher that said it.
        distribution: The likeliest labels.
        milliseconds: Time that it took.
        tokens_in: Tokens read.
        tokens_out: Tokens written.
        usd: Price.
        tokens: What the text was made of, with the alternatives that were asked for.
        rationale: Why, where it was asked for and could be read.
        tool_calls: The calls that it asks for.
        finish_reason: Why it ended.
        problem: What is wrong with it as a lesson, empty where nothing is; the caller gets it all the same.
    """

    text: str
    version: str
    distribution: Distribution = field(default_factory=Distribution)
    milliseconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    tokens: tuple[TokenProbability, ...] = ()
    rationale: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = FinishReason.STOP
    problem: str = ""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """A teacher can't answer this question, now or later.

    Attributes:
        problem: Why, a public message; it reads after the field's name where there is one.
        field: The field of the request that is at fault, as the contract spells it, or empty.
    """

    problem: str
    field: str = ""


@dataclass(frozen=True, slots=True)
class NotNow:
    """A teacher can't be asked now; the same question may be answered later.

    Attributes:
        problem: Why, for the operator.
        retry_after: Time in seconds for which it asked to be left alone; ``None`` where it named none.
    """

    problem: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class OutOfOrder(NotNow):
    """A teacher answers nothing until its operator changes something: asking again at once is in vain."""


Reply = TeacherAnswer | NoAnswer


class Teacher(Protocol):
    """A larger model, ready to answer."""

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""

    @property
    def version(self) -> str:
        """Never reused."""

    @property
    def threads(self) -> int:
        """How many threads may ask it at once; above 1 it waits for others, and is asked one question at a time."""

    def answer(self, questions: Sequence[Question]) -> Iterator[Reply | NotNow]:
        """One reply a question, in their order."""
