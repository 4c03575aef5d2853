"""What a server takes of a request: interfaces that call themselves alike differ in a few words.

Rules:
 * What a server refuses by name is asked for once in the other way. What worked is remembered by who asks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

TOKENS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Habits:
    """How a server and model are asked.

    Attributes:
        probabilities: Token probabilities are asked for.
        tokens: What the longest answer is called.
        temperature: The temperature is named.
    """

    probabilities: bool = True
    tokens: str = TOKENS[0]
    temperature: bool = True

    def spelt(self, body: dict[str, Any], probabilities: dict[str, Any]) -> dict[str, Any]:
        """A request as the server takes it.

        Args:
            body: With ``max_tokens`` and ``temperature``.
            probabilities: What asks for token probabilities.
        """
        found = dict(body)
        found[self.tokens] = found.pop(TOKENS[0])
        if not self.temperature:
            del found["temperature"]
        return found | probabilities if self.probabilities else found

    def without(self, said: str) -> Habits | None:
        """Another way to ask a server that refuses a request with some words; ``None`` where they name nothing."""
        if self.probabilities and "logprobs" in said:
            return replace(self, probabilities=False)
        if self.tokens == TOKENS[0] and any(name in said for name in TOKENS):
            return replace(self, tokens=TOKENS[1])
        if self.temperature and "temperature" in said:
            return replace(self, temperature=False)
        return None
