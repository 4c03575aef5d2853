"""Home and car commands as people say them: paraphrased, mistyped, repeated, and sometimes out of scope.

Rules:
 * The same seed gives the same examples and the same stream.
 * Intents of ``later`` are in the examples from the start, and arrive in the stream one by one from its third on.
 * A share of the stream repeats a few dozen favourite commands, by Zipf, as people do. Habits last: a new intent takes
   the place of one of the lesser ones.
"""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

OUT_OF_SCOPE = "out_of_scope"

_BEFORE = ("please ", "hey ", "could you ", "can you ", "uh ", "ok now ", "would you ", "um ", "quickly ", "")
_AFTER = (" please", " now", " thanks", " right away", " for me", " if you can", "")
_FAVOURITES = 60
_LASTING, _APART = 10, 9  # favourites that nothing replaces, and how far apart those are that give way
_NEW_WEIGHT = 1.8  # the mean of the others
_REPEATED = 0.35
_OUT_OF_SCOPE_SHARE = 0.05
_TYPO_SHARE = 0.08


@dataclass(frozen=True, slots=True)
class Line:
    """One utterance and its intent."""

    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Workload:
    """Examples fit the teacher; the stream is what the fleet is asked."""

    examples: tuple[Line, ...]
    stream: tuple[Line, ...]


def generate(queries: int, seed: int = 0, examples_per_intent: int = 40) -> Workload:
    """Make a workload.

    Args:
        queries: Length of the stream.
        seed: Of everything random.
        examples_per_intent: How many examples fit the teacher, a label.
    """
    commands = _Commands.read()
    examples = _examples(commands, random.Random(f"examples {seed}"), examples_per_intent)
    people = _People(commands, random.Random(f"stream {seed}"))
    stream = []
    for position in range(queries):
        people.learn(_arrived(position, queries, len(commands.later)))
        stream.append(people.draw())
    return Workload(tuple(examples), tuple(stream))


def _arrived(position: int, queries: int, intents: int) -> int:
    """How many of the later ``intents`` people know at a position of the stream."""
    since = position - queries // 3
    return 0 if since < 0 else min(intents, 1 + since // max(1, queries // 50))


def later_intents() -> frozenset[str]:
    """The intents that a stream asks for only from somewhere on."""
    return frozenset(_Commands.read().later)


@dataclass(frozen=True, slots=True)
class _Commands:
    slots: dict[str, list[str]]
    intents: dict[str, list[str]]
    later: dict[str, list[str]]
    phrases: list[str]

    @classmethod
    def read(cls) -> _Commands:
        content = tomllib.loads((Path(__file__).parent / "commands.toml").read_text(encoding="utf-8"))
        return cls(content["slots"], content["intents"], content["later"], content["out_of_scope"]["phrases"])

    def say(self, label: str, draws: random.Random) -> Line:
        if label == OUT_OF_SCOPE:
            return Line(draws.choice(self.phrases), label)
        template = draws.choice(self.intents.get(label) or self.later[label])
        return Line(re.sub(r"\{(\w+)\}", lambda slot: draws.choice(self.slots[slot.group(1)]), template), label)


class _People:
    """Who asks: what they know to ask, how often, and their habits."""

    def __init__(self, commands: _Commands, draws: random.Random) -> None:
        self._commands = commands
        self._draws = draws
        self._learned = 0
        self._labels = list(commands.intents)
        self._weights = [1.0 + 3.0 / (1 + position % 12) for position in range(len(self._labels))]
        self._favourites = [self._fresh() for _ in range(_FAVOURITES)]
        self._zipf = [1.0 / (position + 1) for position in range(_FAVOURITES)]

    def learn(self, count: int) -> None:
        """Know the first ``count`` of the later intents, which are asked about as often as others."""
        for position, label in enumerate(tuple(self._commands.later)[self._learned : count], self._learned):
            self._labels.append(label)
            self._weights.append(_NEW_WEIGHT)
            self._favourites[_LASTING + _APART * position] = _spoken(
                self._commands.say(label, self._draws), self._draws
            )
        self._learned = max(self._learned, count)

    def draw(self) -> Line:
        if self._draws.random() < _REPEATED:
            return self._draws.choices(self._favourites, self._zipf)[0]
        return self._fresh()

    def _fresh(self) -> Line:
        out = self._draws.random() < _OUT_OF_SCOPE_SHARE
        label = OUT_OF_SCOPE if out else self._draws.choices(self._labels, self._weights)[0]
        return _spoken(self._commands.say(label, self._draws), self._draws)


def _examples(commands: _Commands, draws: random.Random, count: int) -> list[Line]:
    labels = (*commands.intents, *commands.later, OUT_OF_SCOPE)
    lines = [_polite(commands.say(label, draws), draws) for label in labels for _ in range(count)]
    lines += [Line(phrase, OUT_OF_SCOPE) for phrase in commands.phrases]
    draws.shuffle(lines)
    return lines


def _spoken(line: Line, draws: random.Random) -> Line:
    text = _polite(line, draws).text
    if draws.random() < _TYPO_SHARE:
        text = _mistyped(text, draws)
    return Line(text, line.label)


def _polite(line: Line, draws: random.Random) -> Line:
    before = draws.choice(_BEFORE) if draws.random() < 0.4 else ""
    after = draws.choice(_AFTER) if draws.random() < 0.3 else ""
    return Line(f"{before}{line.text}{after}", line.label)


def _mistyped(text: str, draws: random.Random) -> str:
    position = draws.randrange(1, max(2, len(text) - 1))
    kind = draws.choice(("drop", "swap", "double"))
    if kind == "drop":
        return text[:position] + text[position + 1 :]
    if kind == "swap":
        return (
            text[: position - 1] + text[position : position + 1] + text[position - 1 : position] + text[position + 1 :]
        )
    return text[:position] + text[position - 1 : position] + text[position:]
