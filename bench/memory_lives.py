"""Does the memory of answers keep the promise by itself, whatever the reference and the traffic are like?

Lives of one device without a student, its memory the product's own (``RememberedAnswers``), each with a world and
draws of its own. Worlds: ``repertoire`` (300 texts, few of them often, a fifth that nobody asked before), the same
in ``bursts``, ``zipf`` (100 texts), and ``moving`` (40 texts at a time, each asked some eight times, never again).
References say otherwise at random in a share of their answers (``fickle``), always anew on a share of the texts
alone (``some texts``), or turn once, half way, on a fifteenth of the texts (``turns``).

Broken is a life in which, at any look after every 250 queries, what the memory gives truly loses more than the
promise: the chance of each text that it would answer, by the law of the moment, times the chance that the reference
says otherwise now. ``while_above`` is the share of looks above it, ``given`` of queries answered from memory and
not drawn.

    python -m bench.memory_lives --lives 300 --first-seed 7000

Ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from router.core.domain.query import Answer, Provenance, Query, Tier
from router.core.domain.task import Objective, Task
from router.core.monitoring.remembered_answers import RememberedAnswers
from router.core.statistics.intervals import share_interval

PROMISE, LOOK_EVERY = 0.02, 250
KNOWN, NOVEL, BURSTS, LONGEST = 300, 0.2, 0.1, 10
LIVE, TIMES = 40, 8
TURNING = 1 / 15
SOURCE = Provenance(Tier.CLUSTER, "big", "1", logged=True)

Random = np.random.Generator
Law = Callable[[int], dict[int, float]]  # queries so far -> the chance of each text that may have been asked before


@dataclass(frozen=True, slots=True)
class World:
    """What is asked, text by number, and by which law."""

    texts: list[int]
    law: Law


def _zipf(texts: int, exponent: float = 1.0) -> np.ndarray[Any, np.dtype[np.float64]]:
    weights = 1 / np.arange(1, texts + 1) ** exponent
    return np.asarray(weights / weights.sum())


def repertoire(queries: int, random: Random) -> World:
    """Few texts often, and new ones."""
    chances = _zipf(KNOWN)
    places = random.choice(KNOWN, queries, p=chances)
    is_new = random.random(queries) < NOVEL
    texts = [KNOWN + place if new else int(text) for place, (text, new) in enumerate(zip(places, is_new, strict=True))]
    law = {text: (1 - NOVEL) * float(chance) for text, chance in enumerate(chances)}
    return World(texts, lambda asked: law)


def bursts(queries: int, random: Random) -> World:
    """The same, a tenth asked up to ten times in a row."""
    world, texts = repertoire(queries, random), list[int]()
    for text in world.texts:
        texts += [text] * (int(random.integers(2, LONGEST + 1)) if random.random() < BURSTS else 1)
    return World(texts[:queries], world.law)


def zipf(queries: int, random: Random) -> World:
    """A hundred texts."""
    chances = _zipf(100, 1.2)
    law = {text: float(chance) for text, chance in enumerate(chances)}
    return World(random.choice(100, queries, p=chances).tolist(), lambda asked: law)


def moving(queries: int, random: Random) -> World:
    """Each text for a while, then never again."""
    texts = (np.arange(queries) // TIMES + random.integers(LIVE, size=queries)).tolist()
    return World(texts, lambda asked: dict.fromkeys(range(asked // TIMES, asked // TIMES + LIVE), 1 / LIVE))


WORLDS = {"repertoire": repertoire, "bursts": bursts, "zipf": zipf, "moving": moving}


@dataclass(frozen=True, slots=True)
class Reference:
    """Says 0 to each text, or otherwise with a chance that the text and the moment give."""

    fickle: float = 0.0
    some: float = 0.0
    turns: bool = False

    def doubtful(self, text: int) -> bool:
        """Whether it says anything of this text, as often one as the other."""
        return (text * 2654435761) % 2**32 < self.some * 2**32

    def otherwise(self, text: int, moment: float) -> float:
        """Chance of another answer, ``moment`` in [0, 1) of the life."""
        if self.doubtful(text):
            return 0.5
        turned = self.turns and moment >= 0.5 and (text * 40503 + 7) % 2**16 < TURNING * 2**16
        return 1.0 - self.fickle if turned else self.fickle


REFERENCES = {
    "steady": Reference(),
    "fickle 0.5 %": Reference(0.005),
    "fickle 1 %": Reference(0.01),
    "fickle 2 %": Reference(0.02),
    "fickle 5 %": Reference(0.05),
    "some texts, 2 %": Reference(some=0.02),
    "some texts, 10 %": Reference(some=0.1),
    "turns": Reference(turns=True),
}


def live(world: World, reference: Reference, exploration: float, random: Random) -> tuple[list[float], float]:
    """True loss at each look, and the share of the queries that the memory answered and were not drawn."""
    task = Task("home", "big", objective=Objective(PROMISE))
    memory, given, losses = RememberedAnswers(), 0, list[float]()
    count = len(world.texts)
    for place, text in enumerate(world.texts):
        query, drawn = Query("q", "home", str(text)), random.random() < exploration
        known = memory.recall(query, task, exploration, float(place))
        given += known is not None and not drawn
        if known is None or drawn:
            said = "1" if random.random() < reference.otherwise(text, place / count) else "0"
            memory.learn(query, task, Answer("q", said, SOURCE), float(place))
        if place % LOOK_EVERY == LOOK_EVERY - 1:
            losses.append(_loss(world.law(place + 1), memory, task, reference, exploration, place + 1, count))
    return losses, given / count


def _loss(
    law: dict[int, float],
    memory: RememberedAnswers,
    task: Task,
    reference: Reference,
    exploration: float,
    asked: int,
    count: int,
) -> float:
    lost = 0.0
    for text, chance in law.items():
        known = memory.recall(Query("q", "home", str(text)), task, exploration, float(asked))
        if known is not None:
            otherwise = reference.otherwise(text, asked / count)
            lost += chance * (otherwise if known.text == "0" else 1 - otherwise)
    return lost


def main() -> None:
    """Print each world and reference, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=100)
    parser.add_argument("--queries", type=int, default=4000)
    parser.add_argument("--first-seed", type=int, default=7000)
    parser.add_argument("--exploration", type=float, default=0.05)
    parser.add_argument("--world", nargs="+", choices=sorted(WORLDS), default=[*WORLDS])
    parser.add_argument("--reference", nargs="+", choices=sorted(REFERENCES), default=[*REFERENCES])
    options = parser.parse_args()
    rows = []
    for world in options.world:
        for reference in options.reference:
            lived = []
            for seed in range(options.first_seed, options.first_seed + options.lives):
                random = np.random.default_rng(seed)
                made = WORLDS[world](options.queries, random)
                lived.append(live(made, REFERENCES[reference], options.exploration, random))
            above = [[loss > PROMISE for loss in losses] for losses, _ in lived]
            broken = share_interval(sum(map(any, above)), len(above))
            rows.append(
                {
                    "world": world,
                    "reference": reference,
                    "broken": round(broken.share, 4),
                    "high": round(broken.high, 4),
                    "while_above": round(fmean(fmean(one) for one in above), 4),
                    "given": round(fmean(given for _, given in lived), 4),
                }
            )
            print(rows[-1], flush=True)
    told = {"lives": options.lives, "queries": options.queries, "promise": PROMISE, "exploration": options.exploration}
    print(json.dumps({"question": "memory_lives", **told, "rows": rows}))


if __name__ == "__main__":
    main()
