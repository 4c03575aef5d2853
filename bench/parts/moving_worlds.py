"""Worlds in which topics, words and devices come and go, as fleets see them beside what ``bench.parts.worlds`` has.

The same rules: everything follows from the generator, and a release is judged by the law of its moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from bench.parts.traffic import (
    DEVICES,
    KINDS,
    Ints,
    Law,
    Maker,
    Texts,
    World,
    anyone,
    commands_of,
    in_a_row,
    steadily,
    zipf,
)

Random = np.random.Generator

MEMBERS = 80  # texts of a topic
TOPIC_SHARE = 0.8  # of the queries are of the topic of the moment
LAW_EVERY = 250  # queries between two laws of a vocabulary that grows
OWN_COMMANDS = 40  # of a device
HARD_KINDS = 0.3  # the share of the kinds, from the hardest on, that a device which joins asks


def topics(texts: Texts, queries: int, random: Random, length: float, share: float = TOPIC_SHARE) -> World:
    """The whole fleet asks of one kind of texts for so many queries on the mean, then of another."""
    often = random.permutation(zipf(KINDS))
    members = [random.permutation(np.flatnonzero(texts.kinds == kind))[:MEMBERS] for kind in range(KINDS)]
    waves = random.geometric(1 / length, queries)
    topic = in_a_row(random.choice(KINDS, queries, p=often), waves, queries)
    kinds = np.where(random.random(queries) < share, topic, random.choice(KINDS, queries, p=often))
    asked = np.array([members[kind][random.integers(len(members[kind]))] for kind in kinds])
    chances = np.concatenate([np.full(len(one), often[kind] / len(one)) for kind, one in enumerate(members)])
    law = Law(np.concatenate(members), chances)
    return World(asked, anyone(queries, random), steadily(queries, random), ((0, law),))


def growing(texts: Texts, queries: int, random: Random, discount: float, strength: float) -> World:
    """A vocabulary that grows, of a student that memorises: what was asked more often is likelier to come again.

    Each query is a new text with the chance ``(strength + discount * texts) / (strength + queries)`` of those so far,
    else an old one (Pitman and Yor, 1997, "The two-parameter Poisson-Dirichlet distribution"). The law is that of the
    next query.
    """
    order, counts, asked, laws = random.permutation(texts.count), np.zeros(texts.count), [], []
    known = 0
    for position in range(queries):
        fresh = (strength + discount * known) / (strength + position)
        often = np.maximum(counts[:known] - discount, 0.0) / (strength + position)
        if position % LAW_EVERY == 0:
            left = texts.count - known
            chances = np.concatenate([often, np.full(left, fresh / left)])
            laws.append((position, Law(order, chances, are_new=np.repeat([False, True], [known, left]))))
        if random.random() < fresh:
            text, known = known, known + 1
        else:
            text = int(random.choice(known, p=often / often.sum()))
        counts[text] += 1
        asked.append(order[text])
    return World(np.array(asked), anyone(queries, random), steadily(queries, random), tuple(laws), memorises=True)


def turnover(texts: Texts, queries: int, random: Random, life: int) -> World:
    """Devices come and go: each has few commands of its own, and another takes its place after so many queries of all.

    Its student memorises; what the devices to come will ask is new to it.
    """
    asked, devices = np.empty(queries, np.int_), np.empty(queries, np.int_)
    places, chances, known = random.integers(DEVICES, size=queries), zipf(OWN_COMMANDS), 0
    for place in range(DEVICES):
        mine = np.flatnonzero(places == place)
        lives = random.geometric(DEVICES / life, len(mine) + 1)
        number = in_a_row(np.arange(len(lives)), lives, len(mine))
        own = np.array([random.choice(texts.count, OWN_COMMANDS, replace=False) for _ in range(number[-1] + 1)])
        asked[mine] = own[number, random.choice(OWN_COMMANDS, len(mine), p=chances)]
        devices[mine] = known + number
        known += number[-1] + 1
    law = Law(np.arange(texts.count), np.full(texts.count, 1 / texts.count), are_new=True)
    return World(asked, devices, steadily(queries, random), ((0, law),), memorises=True)


def joins(texts: Texts, queries: int, random: Random) -> World:
    """Half way a device joins that asks half of all queries, of the hardest kinds."""
    numbers, chances = commands_of(texts, random)
    hard = chances * (texts.kinds[numbers] < HARD_KINDS * KINDS)
    hard /= hard.sum()
    theirs = (np.arange(queries) >= queries // 2) & (random.random(queries) < 0.5)
    asked = random.choice(numbers, queries, p=chances)
    asked[theirs] = random.choice(numbers, int(theirs.sum()), p=hard)
    devices: Ints = np.where(theirs, DEVICES, anyone(queries, random))
    laws = ((0, Law(numbers, chances)), (queries // 2, Law(numbers, (chances + hard) / 2)))
    return World(asked, devices, steadily(queries, random), laws)


MOVING_WORLDS: Mapping[str, Maker] = {
    "topics-30": partial(topics, length=30.0),
    "topics-100": partial(topics, length=100.0),
    "topics-300": partial(topics, length=300.0, share=0.5),
    "growing-fast": partial(growing, discount=0.8, strength=20.0),
    "growing-slowly": partial(growing, discount=0.2, strength=100.0),
    "turnover-600": partial(turnover, life=600),
    "turnover-3000": partial(turnover, life=3_000),
    "joins": joins,
}
