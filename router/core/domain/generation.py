"""What a model that writes is given, and what it gives back: prompt, limits, text, token probabilities.

Rules:
 * A prompt always has its flat text; the conversation stands beside it for those who have a form for conversations.
 * A text without token probabilities says so by holding none; nothing makes them up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from router.core.domain.query import FinishReason, GenerationLimits, Message, TokenProbability, Tool, ToolCall

DEFAULT_TOKENS = 64  # most new ones, where nobody says
LEAST_TAIL = -80.0  # log-probability of a tail that float32 can't tell from nothing


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model reads.

    Attributes:
        text: All of it as one text.
        messages: The conversation, where it is one and no template stands around it.
        tools: What the answer may call.
        response_schema: JSON schema that the answer should follow, or empty.
        frame: What of ``text`` stands before and after the query: the operator's words, not the caller's.
    """

    text: str
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    response_schema: str = ""
    frame: tuple[str, str] = field(default=("", ""), compare=False)


@dataclass(frozen=True, slots=True)
class Written:
    """One text that a model wrote.

    Attributes:
        text: Without the tokens that end it.
        tokens: Every token written, the end included; empty where the model gives no probabilities.
        finish_reason: Why it ended.
        tool_calls: The calls that it asks for, where the model says them apart from the text.
        tokens_in: Tokens read.
        tokens_out: Tokens written, also where no probabilities came with them.
        rationale: What it wrote before its answer, where its answer stands after certain words.
        usd: Price, where the model is sold by the token.
    """

    text: str
    tokens: tuple[TokenProbability, ...] = ()
    finish_reason: FinishReason = FinishReason.STOP
    tool_calls: tuple[ToolCall, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    rationale: str = ""
    usd: float = 0.0


class Writer(Protocol):
    """A model that writes, opened and ready. Threads may share one."""

    @property
    def in_process(self) -> bool:
        """Whether it computes here, rather than waiting for a server."""

    @property
    def is_private(self) -> bool:
        """What it reads stays on this machine."""

    def write(self, prompt: Prompt, limits: GenerationLimits, top_k: int = 0) -> Written:
        """Answer one prompt; greedily, unless the limits name a temperature above 0.

        Args:
            prompt: What it reads.
            limits: Bounds of the answer; 0 tokens takes the writer's own default.
            top_k: How many alternatives to report for each token.

        Raises:
            BadInputError: The prompt is longer than the model's window.
            ModelError: The model failed.
            UnavailableError: The model's server can't be reached now.
        """
