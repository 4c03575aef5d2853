"""What a world is: the queries that are asked in it, and the law that they follow.

A world is made by a pure function of the texts that there are, the number of queries and a random generator. To add
one, write such a function and put it into ``bench.parts.worlds.WORLDS``, or name it to ``bench/lives.py`` as
``--world package.module:function``:

    def evenly(texts: Texts, queries: int, random: np.random.Generator) -> World:
        \"\"\"Every text as likely as any other.\"\"\"
        everything = np.arange(texts.count)
        asked = random.choice(everything, queries)
        law = Law(everything, np.full(texts.count, 1 / texts.count))
        return World(asked, anyone(queries, random), steadily(queries, random), ((0, law),))

Rules:
 * Everything follows from the generator. What the loop does with a query changes no later one.
 * A law says what a query is, at one moment, over all traffic: how often each text, in which meaning. By it releases
   are judged, never by rows that were asked. Repeats in a row change how queries hang together, not how frequent they
   are.
 * A stationary world has one law. Where the mix swings and comes back, as with the time of day, the law is its mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bench.parts.recorded_scores import Recorded
from router.core.arrays import Array, Bools

Ints = np.ndarray[tuple[int], np.dtype[np.int_]]

DEVICES, KINDS = 10, 50
GAP_SECONDS = 5.0  # mean time between two queries of the fleet
COMMANDS, ZIPF_OFFSET = 4_000, 19.0


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts that there are, by their numbers, and what a world may know of them.

    Attributes:
        hard: (texts,) whether most heads that learned from most rows answer it wrongly.
        kinds: (texts,) in [0, KINDS): texts of a kind are about as hard for a head, those of kind 0 the hardest.
    """

    hard: Bools
    kinds: Ints

    @classmethod
    def of(cls, recorded: Recorded) -> Texts:
        """As the recorded heads find them; kinds overlap in how hard they are."""
        best = recorded.logits[-1].astype(np.float64)
        margins = best[..., 0] - best[..., 1:].max(axis=-1)
        mean = margins.mean(axis=0)
        blurred = mean + np.random.default_rng(0).normal(scale=mean.std(), size=mean.shape)
        ranks = np.argsort(np.argsort(blurred))
        return cls((margins <= 0).mean(axis=0) > 0.5, ranks * KINDS // len(ranks))

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.hard)


@dataclass(frozen=True, slots=True)
class Law:
    """How often each text is asked, in which meaning.

    Attributes:
        texts: (cases,) their numbers.
        chances: (cases,) of each case; they sum to 1.
        changed: (cases,) whether it means something that no head has learned; empty for never.
        are_new: (cases,) whether the text was never asked before, so that nothing that was memorised helps, or one for
            all cases.
    """

    texts: Ints
    chances: Array
    changed: Bools = field(default_factory=lambda: np.empty(0, np.bool_))
    are_new: Bools | bool = False

    def __post_init__(self) -> None:
        """Fill in what is left out."""
        if not len(self.changed):
            object.__setattr__(self, "changed", np.zeros(len(self.texts), np.bool_))

    @property
    def new(self) -> Bools:
        """(cases,) whether the text was never asked before."""
        return np.broadcast_to(np.asarray(self.are_new, np.bool_), len(self.texts))


@dataclass(frozen=True, slots=True)
class World:
    """What is asked, and by which laws.

    Attributes:
        texts: (queries,) number of the text that is asked.
        devices: (queries,) number of the device that asks, from 0.
        asked_at: (queries,) Unix time in seconds, increasing.
        laws: Each with the first query that follows it, from 0 on.
        changed: (queries,) whether the text means something that no head has learned; empty for never.
        memorises: The student answers rightly what it was taught, word by word.
    """

    texts: Ints
    devices: Ints
    asked_at: Array
    laws: tuple[tuple[int, Law], ...]
    changed: Bools = field(default_factory=lambda: np.empty(0, np.bool_))
    memorises: bool = False

    def __post_init__(self) -> None:
        """Fill in what is left out."""
        if not len(self.changed):
            object.__setattr__(self, "changed", np.zeros(len(self.texts), np.bool_))

    @property
    def is_stationary(self) -> bool:
        """Whether one law holds for the whole life."""
        return len(self.laws) == 1

    @property
    def change_at(self) -> int:
        """The first query after the first change; 0 in a stationary world."""
        return 0 if self.is_stationary else self.laws[1][0]

    def law_at(self, query: int) -> Law:
        """The law that holds when so many queries have been asked."""
        return [law for start, law in self.laws if start <= query][-1]

    def spans(self) -> list[tuple[Law, int, int]]:
        """Each law, with its first query and the one after its last."""
        ends = [*(start for start, _ in self.laws[1:]), len(self.texts)]
        return [(law, start, end) for (start, law), end in zip(self.laws, ends, strict=True)]


Maker = Callable[[Texts, int, np.random.Generator], World]


def anyone(queries: int, random: np.random.Generator) -> Ints:
    """A device for each query, all as likely."""
    return random.integers(DEVICES, size=queries)


def steadily(queries: int, random: np.random.Generator, gap_seconds: float = GAP_SECONDS) -> Array:
    """Times of queries that come independently of each other."""
    return np.cumsum(random.exponential(gap_seconds, queries))


def zipf(commands: int, exponent: float = 1.0, offset: float = 0.0) -> Array:
    """Chances of commands by their rank from 1 on: ``1 / (rank + offset) ** exponent``, scaled to sum to 1."""
    weights = 1.0 / (np.arange(1, commands + 1) + offset) ** exponent
    return np.asarray(weights / weights.sum())


def commands_of(
    texts: Texts,
    random: np.random.Generator,
    commands: int = COMMANDS,
    exponent: float = 1.0,
    offset: float = ZIPF_OFFSET,
) -> tuple[Ints, Array]:
    """Numbers of the texts that are asked at all, and the chance of each."""
    commands = min(commands, texts.count)
    return random.permutation(texts.count)[:commands], zipf(commands, exponent, offset)


def in_a_row(values: Ints, lengths: Ints, queries: int) -> Ints:
    """Each value as often in a row as its length says, cut after so many queries."""
    return np.repeat(values, lengths)[:queries]
