"""The stream of requests, and the pairs that the models learn from.

Rules:
 * The same seed gives the same examples and the same stream.
 * A share of the stream repeats a few dozen favourite requests, by Zipf, as people do; habits change half way.
 * Examples are distinct, and drawn apart from the stream.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from demo.tools.grammar import HOME, Grammar, Slips
from demo.workload import Line, Workload

EXAMPLES = 16_000
FAVOURITES = 80
REPEATED = 0.4


def generate(queries: int, seed: int = 0, examples: int = EXAMPLES) -> Workload:
    """Make a workload.

    Args:
        queries: Length of the stream.
        seed: Of everything random.
        examples: How many pairs the teacher learns from.
    """
    grammar = Grammar.read(HOME)
    return Workload(pairs(grammar, examples, f"{HOME} {seed}"), tuple(_stream(grammar, queries, seed)))


def pairs(grammar: Grammar, count: int, seed: str) -> tuple[Line, ...]:
    """Distinct requests with their calls."""
    draws = random.Random(seed)
    found: dict[str, Line] = {}
    while len(found) < count:
        line = grammar.say(draws)
        found.setdefault(line.text, line)
    return tuple(found.values())


def _stream(grammar: Grammar, queries: int, seed: int) -> list[Line]:
    draws = random.Random(f"stream {seed}")
    plain = Grammar(grammar.requests, grammar.slots, Slips(two=0.02, corrected=0.0))  # habits are said fluently
    favourites = [plain.say(draws) for _ in range(FAVOURITES)]
    stream: list[Line] = []
    for position in range(queries):
        if position == queries // 2:
            favourites = _changed(plain, favourites, draws)
        repeats = draws.random() < REPEATED
        stream.append(draws.choices(favourites, _ZIPF)[0] if repeats else grammar.say(draws))
    return stream


def _changed(grammar: Grammar, favourites: Sequence[Line], draws: random.Random) -> list[Line]:
    """Habits last: every fifth favourite gives way to another one."""
    return [line if position % 5 else grammar.say(draws) for position, line in enumerate(favourites)]


_ZIPF = tuple(1.0 / (position + 1) for position in range(FAVOURITES))
