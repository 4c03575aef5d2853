"""Home and car commands as people say them: paraphrased, mistyped, repeated, and sometimes out of scope.

Rules:
 * The same seed gives the same examples and the same stream.
 * Intents of ``later`` are in the examples from the start, and in the stream from its middle on.
 * A share of the stream repeats a few dozen favourite commands, by Zipf, as people do.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OUT_OF_SCOPE = "out_of_scope"

_BEFORE = ("please ", "hey ", "could you ", "can you ", "uh ", "ok now ", "would you ", "um ", "quickly ", "")
_AFTER = (" please", " now", " thanks", " right away", " for me", " if you can", "")
_FAVOURITES = 60
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
    draws = random.Random(f"stream {seed}")
    middle = queries // 2
    early = _Half(commands, tuple(commands.intents), draws)
    late = _Half(commands, (*commands.intents, *commands.later), draws, early.favourites)
    stream = [early.draw() for _ in range(middle)] + [late.draw() for _ in range(queries - middle)]
    return Workload(tuple(examples), tuple(stream))


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


class _Half:
    """A part of the stream in which the same intents are asked."""

    def __init__(
        self, commands: _Commands, labels: tuple[str, ...], draws: random.Random, known: Sequence[Line] = ()
    ) -> None:
        self._commands = commands
        self._draws = draws
        self._labels = labels
        self._weights = [1.0 + 3.0 / (1 + place % 12) for place in range(len(labels))]
        # Habits last: every fifth favourite gives way to another one.
        self.favourites = [line if place % 5 else self._fresh() for place, line in enumerate(known)]
        self.favourites += [self._fresh() for _ in range(_FAVOURITES - len(known))]
        self._zipf = [1.0 / (place + 1) for place in range(_FAVOURITES)]

    def draw(self) -> Line:
        if self._draws.random() < _REPEATED:
            return self._draws.choices(self.favourites, self._zipf)[0]
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
    place = draws.randrange(1, max(2, len(text) - 1))
    kind = draws.choice(("drop", "swap", "double"))
    if kind == "drop":
        return text[:place] + text[place + 1 :]
    if kind == "swap":
        return text[: place - 1] + text[place : place + 1] + text[place - 1 : place] + text[place + 1 :]
    return text[:place] + text[place - 1 : place] + text[place:]
