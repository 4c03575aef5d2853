"""What a writer gives back."""

from __future__ import annotations

from dataclasses import dataclass

from router.query import FinishReason, TokenProbability, ToolCall


@dataclass(frozen=True, slots=True)
class Written:
    """One text that a model wrote.

    Attributes:
        text: Without the tokens that end it.
        tokens: Every token written, the end included; empty where the model gives no probabilities.
        finish_reason: Why it ended.
        tool_calls: The calls that it asks for, where the model says them apart from the text.
        tokens_in: Tokens read.
    """

    text: str
    tokens: tuple[TokenProbability, ...] = ()
    finish_reason: FinishReason = FinishReason.STOP
    tool_calls: tuple[ToolCall, ...] = ()
    tokens_in: int = 0
