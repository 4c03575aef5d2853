"""Worlds to live in: how real traffic departs from independent queries of one population, one departure each.

``bench.parts.traffic`` tells what a world is and how to add one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from bench.parts.traffic import (
    COMMANDS,
    DEVICES,
    GAP_SECONDS,
    KINDS,
    ZIPF_OFFSET,
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
from router.core.arrays import Array, Bools

Random = np.random.Generator

FEW, FEW_EXPONENT = 100, 1.2
TAIL, LONGEST = 1.2, 300  # of the lengths of heavy bursts: the exponent of Pareto's law, and where it is cut
ASKED_AGAIN = 3  # most times, by who was answered wrongly
TIMES_ASKED, LIFE = 8, 320  # of a text of a repertoire that moves on: so often, within so many queries of it
OWN_SHARE = 0.08  # of the loud device's traffic means something of its own
CHANGED_SHARE = 1 / 15  # of the traffic changes its meaning
DRIFT_STEPS = 40
DAY_SECONDS, DAY_PARTS, DAY_GAP_SECONDS, SWING = 86_400.0, 48, 40.0, 0.9
SESSION_LENGTH = 8.0
LOAD_LENGTH, LOAD_GAP_SECONDS = 30.0, 0.2
OUTSIDE_EVERY, OUTSIDE_LENGTH = 1_000, 250  # queries from one burst's start to the next, and of each burst
OUTSIDE_SHARE, OUTSIDE_KINDS = 0.3, 5  # of a burst's queries, by texts of the hardest kinds


def independent(
    texts: Texts, queries: int, random: Random, commands: int = COMMANDS, exponent: float = 1.0, offset: float = 0.0
) -> World:
    """Commands by Zipf, each query drawn for itself."""
    numbers, chances = commands_of(texts, random, commands, exponent, offset)
    asked = random.choice(numbers, queries, p=chances)
    return World(asked, anyone(queries, random), steadily(queries, random), ((0, Law(numbers, chances)),))


def bursts(texts: Texts, queries: int, random: Random, mean: float) -> World:
    """Each command is asked several times in a row by one device; how often is geometric with this mean."""
    return _in_bursts(texts, queries, random, random.geometric(1 / mean, queries))


def constant_bursts(texts: Texts, queries: int, random: Random, length: int = 8) -> World:
    """Each command is asked so many times in a row by one device."""
    return _in_bursts(texts, queries, random, np.full(queries, length))


def heavy_bursts(texts: Texts, queries: int, random: Random) -> World:
    """Each command several times in a row by one device: mostly once or twice, now and then some hundred times."""
    return _in_bursts(texts, queries, random, np.minimum((random.pareto(TAIL, queries) + 1).astype(np.int_), LONGEST))


def retries(texts: Texts, queries: int, random: Random) -> World:
    """What heads answer wrongly is asked again, up to three times: the longer a burst, the likelier its loss.

    How often a text is asked again depends on the text alone, also where the cloud answers: else the law would depend
    on the release that serves.
    """
    numbers, chances = commands_of(texts, random)
    first = random.choice(numbers, queries, p=chances)
    lengths = 1 + np.where(texts.hard[first], random.integers(1, ASKED_AGAIN + 1, queries), 0)
    often = chances * (1 + texts.hard[numbers] * (1 + ASKED_AGAIN) / 2)
    return _runs(queries, random, first, lengths, Law(numbers, often / often.sum()))


def interleaved(texts: Texts, queries: int, random: Random, mean: float = 5.0) -> World:
    """Each device asks its command several times, with the others' queries in between."""
    numbers, chances = commands_of(texts, random)
    devices, asked = anyone(queries, random), np.empty(queries, np.int_)
    for device in range(DEVICES):
        mine = np.flatnonzero(devices == device)
        first = random.choice(numbers, len(mine), p=chances)
        asked[mine] = in_a_row(first, random.geometric(1 / mean, len(mine)), len(mine))
    return World(asked, devices, steadily(queries, random), ((0, Law(numbers, chances)),))


def repertoire(
    texts: Texts, queries: int, random: Random, times: int = TIMES_ASKED, life: int = LIFE, share: float = 1.0
) -> World:
    """Each text is asked so many times within its life and never again, of a student that memorises.

    In the long run all of this is new to a student: its loss is that on texts which it was not taught.

    Args:
        texts: That there are.
        queries: Of the world.
        random: Draws it.
        times: That each text is asked, on average.
        life: Queries from a text's first to its last.
        share: Of the queries, in (0, 1]; the others are commands that stay.
    """
    moves = random.random(queries) < share
    live = round(life * share / times)
    position = np.cumsum(moves) // times + random.integers(live, size=queries)
    order = random.permutation(texts.count)
    stay, come = order[:FEW], order[FEW:]
    if position.max() >= len(come):
        raise ValueError(f"{queries} queries need {FEW + position.max() + 1} texts, and there are {texts.count}")
    chances = zipf(FEW, FEW_EXPONENT)
    law = Law(
        np.concatenate([come, stay]),
        np.concatenate([np.full(len(come), share / len(come)), (1.0 - share) * chances]),
        are_new=np.repeat([True, False], [len(come), len(stay)]),
    )
    asked = np.where(moves, come[position], random.choice(stay, queries, p=chances))
    devices, times_asked = anyone(queries, random), steadily(queries, random)
    return World(asked, devices, times_asked, ((0, law),), memorises=True)


def own_meaning(texts: Texts, queries: int, random: Random) -> World:
    """One device of ten asks half of the queries, and 8 % of what it asks means something of its own."""
    numbers, chances = commands_of(texts, random)
    own = _some(chances, OWN_SHARE, random)
    asked = random.choice(len(numbers), queries, p=chances)
    devices = np.where(random.random(queries) < 0.5, 0, random.integers(1, DEVICES, queries))
    law = Law(
        np.concatenate([numbers, numbers]),
        np.concatenate([chances * np.where(own, 0.5, 1.0), chances * np.where(own, 0.5, 0.0)]),
        np.repeat([False, True], len(numbers)),
    )
    changed = own[asked] & (devices == 0)
    return World(numbers[asked], devices, steadily(queries, random), ((0, law),), changed)


def fickle(texts: Texts, queries: int, random: Random, share: float, mean: float = 1.0) -> World:
    """A reference that says otherwise now and then, at random, of few commands that are asked often."""
    numbers, chances = commands_of(texts, random, FEW, FEW_EXPONENT, 0.0)
    lengths = random.geometric(1 / mean, queries)
    law = Law(
        np.concatenate([numbers, numbers]),
        np.concatenate([chances * (1 - share), chances * share]),
        np.repeat([False, True], len(numbers)),
    )
    asked = _runs(queries, random, random.choice(numbers, queries, p=chances), lengths, law)
    return replace(asked, changed=random.random(queries) < share)


def habits(texts: Texts, queries: int, random: Random) -> World:
    """What is asked swings with the time of day: each kind has its hour, the hardest at midnight."""
    numbers, chances = commands_of(texts, random)
    times = steadily(queries, random, DAY_GAP_SECONDS)
    hours = (np.arange(DAY_PARTS) + 0.5) / DAY_PARTS
    swing = 1 + SWING * np.cos(2 * np.pi * (hours[:, None] - texts.kinds[numbers][None, :] / KINDS))
    by_part = chances * swing
    by_part /= by_part.sum(axis=1, keepdims=True)
    part = (times % DAY_SECONDS / DAY_SECONDS * DAY_PARTS).astype(np.int_)
    asked = np.empty(queries, np.int_)
    for one in np.unique(part):
        now = part == one
        asked[now] = random.choice(numbers, int(now.sum()), p=by_part[one])
    return World(asked, anyone(queries, random), times, ((0, Law(numbers, by_part.mean(axis=0))),))


def sessions(texts: Texts, queries: int, random: Random) -> World:
    """A device asks several different texts of one kind after each other, then another device of another kind."""
    often = random.permutation(zipf(KINDS))
    members = [random.permutation(np.flatnonzero(texts.kinds == kind))[: COMMANDS // KINDS] for kind in range(KINDS)]
    lengths = np.minimum(random.geometric(1 / SESSION_LENGTH, queries), min(len(one) for one in members))
    runs = int(np.searchsorted(np.cumsum(lengths), queries)) + 1
    kinds = random.choice(KINDS, runs, p=often)
    asked = [random.permutation(members[kind])[:length] for kind, length in zip(kinds, lengths[:runs], strict=True)]
    devices = in_a_row(anyone(runs, random), lengths[:runs], queries)
    chances = np.concatenate([np.full(len(one), often[kind] / len(one)) for kind, one in enumerate(members)])
    law = Law(np.concatenate(members), chances)
    return World(np.concatenate(asked)[:queries], devices, steadily(queries, random), ((0, law),))


def load(texts: Texts, queries: int, random: Random) -> World:
    """Uneven devices, each with its own mix of kinds; every now and then one asks thirty times within seconds."""
    numbers, chances = commands_of(texts, random)
    loudness = zipf(DEVICES)
    mixes = chances * random.lognormal(size=(DEVICES, KINDS))[:, texts.kinds[numbers]]
    mixes /= mixes.sum(axis=1, keepdims=True)
    bursting = random.random(queries) < 1 / LOAD_LENGTH
    lengths = np.where(bursting, random.geometric(1 / LOAD_LENGTH, queries), 1)
    devices = in_a_row(random.choice(DEVICES, queries, p=loudness), lengths, queries)
    is_first = np.zeros(queries, np.bool_)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    is_first[starts[starts < queries]] = True
    gaps = random.exponential(np.where(is_first, 2 * GAP_SECONDS, LOAD_GAP_SECONDS))
    asked = np.empty(queries, np.int_)
    for device in range(DEVICES):
        mine = devices == device
        asked[mine] = random.choice(numbers, int(mine.sum()), p=mixes[device])
    return World(asked, devices, np.cumsum(gaps), ((0, Law(numbers, loudness @ mixes)),))


def slow_drift(texts: Texts, queries: int, random: Random) -> World:
    """Over the second half a fifteenth of the traffic changes its meaning, one command after the other."""
    steps = np.arange(1, DRIFT_STEPS + 1)
    moments = queries // 2 + (steps - 1) * (queries - queries // 2) // DRIFT_STEPS
    return _changing(texts, queries, random, [*zip(moments.tolist(), (steps / DRIFT_STEPS).tolist(), strict=True)])


def change(texts: Texts, queries: int, random: Random) -> World:
    """Half way a fifteenth of the traffic changes its meaning, for good: no former release is right again."""
    return _changing(texts, queries, random, [(queries // 2, 1.0)])


def change_back(texts: Texts, queries: int, random: Random) -> World:
    """Half way a fifteenth of the traffic changes its meaning, and at three quarters it means what it meant."""
    return _changing(texts, queries, random, [(queries // 2, 1.0), (queries * 3 // 4, 0.0)])


def outside(texts: Texts, queries: int, random: Random) -> World:
    """From a third on, bursts in which three of ten queries ask what no head has learned, by hard texts."""
    numbers, chances = commands_of(texts, random)
    strange = np.flatnonzero(texts.kinds < OUTSIDE_KINDS)
    usual = Law(numbers, chances)
    burst = Law(
        np.concatenate([numbers, strange]),
        np.concatenate([chances * (1 - OUTSIDE_SHARE), np.full(len(strange), OUTSIDE_SHARE / len(strange))]),
        np.repeat([False, True], [len(numbers), len(strange)]),
    )
    starts = range(queries // 3, queries, OUTSIDE_EVERY)
    laws = [(at, law) for start in starts for at, law in ((start, burst), (start + OUTSIDE_LENGTH, usual))]
    since = np.arange(queries) - queries // 3
    in_burst = (since >= 0) & (since % OUTSIDE_EVERY < OUTSIDE_LENGTH)
    changed = in_burst & (random.random(queries) < OUTSIDE_SHARE)
    asked = np.where(changed, random.choice(strange, queries), random.choice(numbers, queries, p=chances))
    spans = ((0, usual), *(one for one in laws if one[0] < queries))
    return World(asked, anyone(queries, random), steadily(queries, random), spans, changed)


def _changing(texts: Texts, queries: int, random: Random, moments: list[tuple[int, float]]) -> World:
    """From each moment on, so large a part of the changing commands means something else."""
    numbers, chances = commands_of(texts, random)
    turning = _some(chances, CHANGED_SHARE, random)
    rank = np.full(len(numbers), np.inf)  # in which order they turn, in (0, 1]
    rank[turning] = (random.permutation(int(turning.sum())) + 1) / turning.sum()
    parts = [(0, 0.0), *moments]
    asked = random.choice(len(numbers), queries, p=chances)
    part = np.zeros(queries)
    for start, share in parts:
        part[start:] = share
    laws = tuple((start, Law(numbers, chances, rank <= share)) for start, share in parts)
    changed = rank[asked] <= part
    return World(numbers[asked], anyone(queries, random), steadily(queries, random), laws, changed)


def _some(chances: Array, share: float, random: Random) -> Bools:
    """(commands,) some, drawn, that make up so large a share of the traffic."""
    order = random.permutation(len(chances))
    some = np.zeros(len(chances), np.bool_)
    some[order[np.cumsum(chances[order]) <= share]] = True
    return some


def _in_bursts(texts: Texts, queries: int, random: Random, lengths: Ints) -> World:
    numbers, chances = commands_of(texts, random)
    return _runs(queries, random, random.choice(numbers, queries, p=chances), lengths, Law(numbers, chances))


def _runs(queries: int, random: Random, first: Ints, lengths: Ints, law: Law) -> World:
    """Runs of one text by one device each."""
    devices = in_a_row(anyone(queries, random), lengths, queries)
    return World(in_a_row(first, lengths, queries), devices, steadily(queries, random), ((0, law),))


WORLDS: Mapping[str, Maker] = {
    "independent": partial(independent, offset=ZIPF_OFFSET),
    "zipf-20": partial(independent, commands=20, exponent=1.2),
    "zipf-100": partial(independent, commands=100, exponent=1.2),
    "bursts-2": partial(bursts, mean=2.0),
    "bursts-5": partial(bursts, mean=5.0),
    "bursts-20": partial(bursts, mean=20.0),
    "constant-bursts": constant_bursts,
    "heavy-bursts": heavy_bursts,
    "interleaved": interleaved,
    "repertoire": repertoire,
    "repertoire-20-in-800": partial(repertoire, times=20, life=800),
    "repertoire-8-in-1500": partial(repertoire, times=8, life=1_500),
    "repertoire-8-in-4000": partial(repertoire, times=8, life=4_000),
    "repertoire-60-in-6000": partial(repertoire, times=60, life=6_000),
    "repertoire-of-half": partial(repertoire, life=1_500, share=0.5),
    "repertoire-of-three-quarters": partial(repertoire, life=1_500, share=0.75),
    "repertoire-of-a-quarter": partial(repertoire, life=1_500, share=0.25),
    "repertoire-of-a-tenth": partial(repertoire, life=1_500, share=0.1),
    "own-meaning": own_meaning,
    "fickle-0.5": partial(fickle, share=0.005),
    "fickle-1": partial(fickle, share=0.01),
    "fickle-2": partial(fickle, share=0.02),
    "fickle-bursts": partial(fickle, share=0.008, mean=5.0),
    "retries": retries,
    "habits": habits,
    "sessions": sessions,
    "load": load,
    "slow-drift": slow_drift,
    "change": change,
    "change-back": change_back,
    "outside": outside,
}
