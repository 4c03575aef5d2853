"""A grammar of spoken requests: phrases, what stands in their slots, and the call that each means.

Rules:
 * A request and its call are made together, so that the call is what was meant and never a guess.
 * Calls are compact JSON, arguments by name; the same draws give the same request.
 * Slips of the tongue fall between the slots, and change what is said, not what is meant.
"""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.tools.speech import BUILT_IN
from demo.workload import Line

HOME, ELSEWHERE = "home.toml", "elsewhere.toml"

_SLOT = re.compile(r"\{(?:(\w+):)?(\w+)\}")
_BEFORE = ("please", "hey", "could you", "can you", "uh", "ok", "would you", "um", "quickly")
_AFTER = ("please", "now", "thanks", "right away", "for me", "if you can")
_WITHIN = ("uh", "um", "well", "you know")
_JOINTS = ("and", "and then", "and also", "then")
_CORRECTIONS = ("no", "sorry", "i mean", "no wait", "or rather")
_SMALL_WORDS = ("the", "a", "an", "my", "to")


@dataclass(frozen=True, slots=True)
class Slips:
    """How often people talk in a less orderly way, each a share of the requests.

    Attributes:
        two: Two requests in one.
        corrected: A slot is said wrongly first.
        within: A filler word in the middle.
        repeated: A word twice.
        dropped: A small word left out.
    """

    two: float = 0.04
    corrected: float = 0.02
    within: float = 0.08
    repeated: float = 0.03
    dropped: float = 0.06


@dataclass(frozen=True, slots=True)
class Request:
    """One kind of request: a tool, how it is asked for, and what is meant without being said."""

    name: str
    phrases: tuple[str, ...]
    weight: float = 1.0
    fixed: dict[str, Any] = field(default_factory=dict)
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """What one request means."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grammar:
    """Requests, and what stands in their slots."""

    requests: tuple[Request, ...]
    slots: dict[str, tuple[str, ...]]
    slips: Slips = Slips()

    @classmethod
    def read(cls, name: str, slips: Slips | None = None) -> Grammar:
        """The grammar in the file ``name`` beside this one: ``HOME`` or ``ELSEWHERE``."""
        folder = Path(__file__).parent
        requests = tomllib.loads((folder / name).read_text(encoding="utf-8"))["requests"]
        slots = tomllib.loads((folder / "slots.toml").read_text(encoding="utf-8"))
        kinds = tuple(Request(**{**request, "phrases": tuple(request["phrases"])}) for request in requests)
        return cls(kinds, {slot: tuple(entries) for slot, entries in slots.items()}, slips or Slips())

    @property
    def tools(self) -> tuple[str, ...]:
        """Names of the tools, sorted."""
        return tuple(sorted({request.name for request in self.requests}))

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of all arguments, sorted."""
        said = {
            argument or slot
            for request in self.requests
            if not request.ignored
            for phrase in request.phrases
            for argument, slot in _SLOT.findall(phrase)
        }
        return tuple(sorted(said | {name for request in self.requests for name in request.fixed}))

    def say(self, draws: random.Random) -> Line:
        """One utterance, and the calls that it means."""
        words, call = self._one(draws)
        calls = [call]
        if draws.random() < self.slips.two:
            more, second = self._one(draws)
            words = [*words, draws.choice(_JOINTS), *more]
            calls.append(second)
        return Line(" ".join(_around(words, draws)), written(calls))

    def _one(self, draws: random.Random) -> tuple[list[str], Call]:
        weights = [request.weight for request in self.requests]
        request = draws.choices(self.requests, weights)[0]
        phrase = draws.choice(request.phrases)
        wrong = draws.randrange(1 + phrase.count("{")) if draws.random() < self.slips.corrected else -1
        words: list[str] = []
        arguments = dict(request.fixed)
        for position, piece in enumerate(re.split(r"(\{[\w:]+\})", phrase)):
            slot = _SLOT.fullmatch(piece)
            if slot is None:
                words += self._slipped(piece.split(), draws)
                continue
            spoken, value = self._fill(slot[2], draws)
            if position // 2 == wrong and not request.ignored:
                words += [self._fill(slot[2], draws)[0], draws.choice(_CORRECTIONS)]
            words.append(spoken)
            if not request.ignored:
                arguments[slot[1] or slot[2]] = value
        return words, Call(request.name, arguments)

    def _fill(self, slot: str, draws: random.Random) -> tuple[str, Any]:
        """What is said in a slot, and what it means."""
        if slot in BUILT_IN:
            return BUILT_IN[slot](draws)
        spoken, _, value = draws.choice(self.slots[slot]).partition(" = ")
        inner = [self._fill(name, draws) for _, name in _SLOT.findall(spoken)]
        said, meant = iter(inner), iter(inner)
        return (
            _SLOT.sub(lambda _: next(said)[0], spoken),
            _SLOT.sub(lambda _: str(next(meant)[1]), value or spoken),
        )

    def _slipped(self, words: Sequence[str], draws: random.Random) -> list[str]:
        found = list(words)
        if found and draws.random() < self.slips.within / 2:
            found.insert(draws.randrange(len(found) + 1), draws.choice(_WITHIN))
        if found and draws.random() < self.slips.repeated / 2:
            position = draws.randrange(len(found))
            found.insert(position, found[position])
        if draws.random() < self.slips.dropped:
            small = [position for position, word in enumerate(found) if word in _SMALL_WORDS]
            if small and len(found) > 1:
                del found[draws.choice(small)]
        return found


def written(calls: Sequence[Call]) -> str:
    """Calls as compact JSON, arguments by name."""
    listed = [{"name": call.name, "arguments": dict(sorted(call.arguments.items()))} for call in calls]
    return json.dumps(listed, separators=(",", ":"), ensure_ascii=False)


def _around(words: Sequence[str], draws: random.Random) -> list[str]:
    before = [draws.choice(_BEFORE)] if draws.random() < 0.35 else []
    after = [draws.choice(_AFTER)] if draws.random() < 0.25 else []
    return [*before, *words, *after]
