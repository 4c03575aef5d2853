"""Over whole lives of refreshes: how often does any certified release break its promise?

Each life runs the loop's own trial, plan and watch: 10 devices that draw with their seeds, commands repeated by Zipf,
no student at first, refreshes as rows come, exploration that rises while a challenger waits, a threshold that is
loosened as rows come. Scores are recorded ones: heads fitted on parts of CLINC150 answer texts that they have not seen;
without the data (``HEADRACE_DATA``) they are generated. A release is judged by its true loss, which is known here.
Beside ours: the threshold by point estimate, and by one Clopper-Pearson bound at 95 %.
In the drifting variant a fifteenth of the traffic changes its meaning half way: the share of the queries after that
which a release above its allowance served, with the watch and without.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.parts.recorded_scores import SEEDS, SIZES, Recorded, data_folder, record
from router.distillation import SET_ASIDE_SHARE, unit_interval
from router.exploration import SEED_BYTES, draw
from router.guarantee import NEVER, Situation, cautious_loss, plan, propose, prospect, waiting_rate
from router.trial import Look, Next, Trial
from router.watch import Watch, WatchState, attempt_alpha

Array = NDArray[np.float64]

QUERIES, COMMANDS, TEXTS, DEVICES, STEP = 12_000, 4_000, 15_000, 10, 200
FLOOR, WAITING, MIN_ROWS, GROWTH, ASSURANCE, PATIENCE = 0.05, 0.5, 500, 1.5, 0.95, 2.5
DRIFT_SHARE = 1 / 15


@dataclass
class World:
    """What is asked, by whom, and how hard it is. Row = query, in order."""

    command: NDArray[np.int_]
    frequency: Array
    text: NDArray[np.int_]
    difficulty: Array
    luck: Array
    drawn: Array
    aside: NDArray[np.bool_]
    changed: NDArray[np.bool_]


@dataclass
class Release:
    """One student at one threshold, over all commands."""

    score: Array
    right: NDArray[np.bool_]
    threshold: float = NEVER
    trial: Trial | None = None

    def lost(self, world: World, *, drifted: bool) -> NDArray[np.bool_]:
        """Which commands it keeps and gets wrong."""
        wrong = ~self.right | (world.changed if drifted else False)
        return (self.score >= self.threshold) & wrong

    def loss(self, world: World, *, drifted: bool) -> float:
        """Its true loss."""
        return float(world.frequency[self.lost(world, drifted=drifted)].sum())


def world_of(life: int, draws: tuple[Array, NDArray[np.bool_]]) -> World:
    """One life's traffic."""
    random = np.random.default_rng(life)
    frequency = 1.0 / (np.arange(COMMANDS) + 20.0)
    frequency /= frequency.sum()
    order = random.permutation(QUERIES)
    command = random.choice(COMMANDS, QUERIES, p=frequency)
    changed = np.zeros(COMMANDS, dtype=bool)
    shuffled = random.permutation(COMMANDS)
    changed[shuffled[np.cumsum(frequency[shuffled]) <= DRIFT_SHARE]] = True
    return World(
        command,
        np.asarray(frequency, np.float64),
        random.permutation(TEXTS)[:COMMANDS],
        random.normal(size=COMMANDS),
        random.random(COMMANDS),
        draws[0][order],
        draws[1][order],
        changed,
    )


def draws_of_fleet() -> tuple[Array, NDArray[np.bool_]]:
    """The real draws and set-aside hashes of ten devices' queries; lives shuffle them."""
    seeds = [bytes([device]) * SEED_BYTES for device in range(DEVICES)]
    ids = [f"query-{number}" for number in range(QUERIES)]
    drawn = [draw(seeds[number % DEVICES], name) for number, name in enumerate(ids)]
    aside = [
        unit_interval("set-aside", f"d{number % DEVICES}", name) < SET_ASIDE_SHARE for number, name in enumerate(ids)
    ]
    return np.array(drawn), np.array(aside)


Fit = Callable[[World, NDArray[np.int_], np.random.Generator], Release]


def generated(world: World, taught: NDArray[np.int_], random: np.random.Generator) -> Release:
    """A student that has learned from some rows: the more rows, and the more of the same command, the better."""
    seen = np.bincount(world.command[taught], minlength=COMMANDS)
    skill = 0.9 * math.log(len(taught) / 150) + 0.8 * np.log1p(seen) - 1.6 * world.difficulty
    skill = skill + 0.3 * random.normal(size=COMMANDS)
    chance = 1 / (1 + np.exp(-2 * skill))
    score = 1 / (1 + np.exp(-(2 * skill + 0.8 * random.normal(size=COMMANDS))))
    return Release(score, world.luck < chance)


def recorded(found: Recorded) -> Fit:
    """The recorded head of at most so many rows; commands are texts that it has not seen."""

    def fit(world: World, taught: NDArray[np.int_], random: np.random.Generator) -> Release:
        size = max(0, int(np.searchsorted(SIZES, len(taught), side="right")) - 1)
        seed = int(random.integers(SEEDS))
        return Release(found.score[size, seed, world.text], found.right[size, seed, world.text])

    return fit


class Life:
    """One life under one rule: ``certified``, ``point`` or ``clopper-pearson``."""

    def __init__(
        self, world: World, fit: Fit, promise: float, rule: str, *, drifts: bool = False, watched: bool = True
    ) -> None:
        self.world, self.fit, self.promise, self.rule = world, fit, promise, rule
        self.drifts, self.watched = drifts, watched
        self.random = np.random.default_rng(1)
        self.champion: Release | None = None
        self.challenger: Release | None = None
        self.watch = Watch(WatchState(promise, 1 - ASSURANCE))
        self.explored = np.zeros(QUERIES, dtype=bool)
        self.kept = np.zeros(QUERIES, dtype=bool)
        self.there = np.zeros(QUERIES, dtype=bool)  # asked for certain, and not set aside
        self.spent = np.zeros(QUERIES, dtype=bool)
        self.rate = np.ones(QUERIES)
        self.attempt = self.rows_at_refresh = 0
        self.broken = self.above = 0
        self.local = 0.0

    def run(self) -> Life:
        """Live."""
        for start in range(0, QUERIES, STEP):
            rows = np.arange(start, start + STEP)
            drifted = self.drifts and start >= QUERIES // 2
            self._serve(rows, drifted=drifted)
            if self.challenger is not None:
                self._try(rows[self.explored[rows] | self.there[rows]], start + STEP, drifted=drifted)
            if self.challenger is None or self.challenger is self.champion:
                self._refresh(start + STEP, drifted=drifted)
        self.local = float(self.kept.mean())
        return self

    def _serve(self, rows: NDArray[np.int_], *, drifted: bool) -> None:
        champion, asked = self.champion, self.world.command[rows]
        if champion is not None:
            self.rate[rows] = self.challenger.trial.rate if self.challenger and self.challenger.trial else FLOOR
            self.kept[rows] = champion.score[asked] >= champion.threshold
            self.above += STEP * (drifted and champion.loss(self.world, drifted=True) > self.promise)
            self.there[rows] = ~self.kept[rows] & ~self.world.aside[rows]
        self.explored[rows] = self.world.drawn[rows] < self.rate[rows]
        if champion is not None and self.watched:
            for lost in champion.lost(self.world, drifted=drifted)[asked[self.explored[rows]]].tolist():
                self.watch.update(lost)
            if self.watch.freeze().alarmed:
                self.champion, self.rows_at_refresh = None, 0
                self.challenger = None if self.challenger and self.challenger.threshold < NEVER else self.challenger

    def _refresh(self, now: int, *, drifted: bool) -> None:
        held = self.world.aside & self.explored & ~self.spent
        taught = np.flatnonzero((self.explored | ~self.kept)[:now] & ~held[:now])
        if len(taught) < max(MIN_ROWS, GROWTH * self.rows_at_refresh):
            return
        self.rows_at_refresh = len(taught)
        self.challenger = None
        out_of_fold = self.fit(self.world, taught[self.random.random(len(taught)) < 0.8], self.random)
        release = self.fit(self.world, taught, self.random)
        asked = self.world.command[taught]
        wrong = ~out_of_fold.right[asked] | (self.world.changed[asked] & (drifted and taught >= QUERIES // 2))
        weights = 1 / np.where(self.kept[taught], self.rate[taught], 1.0)
        self._propose(release, (out_of_fold.score[asked], ~wrong, weights), held, now)
        if self.challenger is not None:
            waiting = np.flatnonzero(held[:now])
            self._try(waiting[waiting >= QUERIES // 2] if drifted else waiting, now, drifted=drifted)

    def _propose(
        self, release: Release, data: tuple[Array, NDArray[np.bool_], Array], held: NDArray[np.bool_], now: int
    ) -> None:
        if self.rule == "certified":
            share = float(self.kept[max(0, now - 1000) : now].mean()) if self.champion else 0.0
            rate = waiting_rate(WAITING, FLOOR, share) if self.champion else 1.0
            alpha = attempt_alpha(ASSURANCE, self.attempt + 1)
            floor = FLOOR if self.champion else 1.0
            points = prospect(*data, self.promise)
            found = plan(points, self.promise, Situation(alpha, int(held[:now].sum()), now, rate, floor, share))
            if found.is_worth_proving:
                self.attempt += 1
                patience = PATIENCE * found.expected_rows + 100
                release.trial = Trial(self.attempt, self.promise, alpha, rate, 0, patience, points)
                self.challenger = release
            return
        aim = 1.0 if self.rule == "point" else clopper_pearson_aim(len(data[0]), self.promise)
        release.threshold = propose(*data, self.promise, aim).threshold
        self._promote(release, drifted=False)

    def _try(self, rows: NDArray[np.int_], now: int, *, drifted: bool) -> None:
        release = self.challenger
        assert release is not None
        trial = release.trial
        assert trial is not None
        wrong = ~release.right | (self.world.changed if drifted else False)
        for row in rows.tolist():
            asked = self.world.command[row]
            serves = 0 if self.champion is None or self.champion is release else 1
            weight = trial.rate if self.there[row] else 1.0
            score, kept = float(release.score[asked]), bool(self.kept[row])
            trial.looks.append(Look(score, bool(wrong[asked]), serves, kept, weight=weight))
            self.spent[row] = True
        while (step := trial.next(0 if self.champion is None else 1, self._situation(trial, now))) is Next.PROMOTE:
            trial.serving = release.threshold = trial.certified()
            self._promote(release, drifted=drifted)
        if step is Next.END:
            self.challenger = None

    def _situation(self, trial: Trial, now: int) -> Situation:
        share = float(self.kept[max(0, now - 1000) : now].mean()) if self.champion else 0.0
        share = trial.kept(trial.serving) if trial.has_served else share
        return Situation(trial.alpha, trial.weight, now, trial.rate, FLOOR if self.champion else trial.rate, share)

    def _promote(self, release: Release, *, drifted: bool) -> None:
        self.champion = release
        self.watch = Watch(WatchState(self.promise, 1 - ASSURANCE))
        self.broken += release.loss(self.world, drifted=drifted) > self.promise


def clopper_pearson_aim(rows: int, promise: float) -> float:
    """The largest share of the promise whose upper 95 % bound on so many rows keeps it."""
    shares = np.linspace(0, 1, 101)
    fits = [share for share in shares if cautious_loss(float(share) * promise, rows, 0.95) <= promise]
    return float(max(fits, default=0.0)) or 1e-9


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share."""
    share, z = hits / count, 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return round(max(0.0, middle - half), 4), round(middle + half, 4)


def main() -> None:
    """Print each rule and promise, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=300)
    parser.add_argument("--generated", action="store_true", help="use generated scores")
    parser.add_argument("--scores", type=Path, help="keep the recorded scores in this file, or take them from it")
    options = parser.parse_args()
    lives, folder = options.lives, data_folder()
    fit = generated if options.generated or folder is None else recorded(record(folder, options.scores))
    draws = draws_of_fleet()
    rows = []
    for promise in (0.01, 0.02, 0.05):
        for rule in ("certified", "point", "clopper-pearson"):
            found = [Life(world_of(life, draws), fit, promise, rule, watched=False).run() for life in range(lives)]
            broken = sum(life.broken > 0 for life in found)
            row = {
                "promise": promise,
                "rule": rule,
                "broken_lives": round(broken / lives, 4),
                "interval": wilson(broken, lives),
                "local_share": round(float(np.mean([life.local for life in found])), 4),
            }
            rows.append(row)
            print(row, flush=True)
    drift = []
    for watched in (True, False):
        found = [
            Life(world_of(life, draws), fit, 0.02, "certified", drifts=True, watched=watched).run()
            for life in range(max(1, lives // 3))
        ]
        above = float(np.mean([life.above for life in found])) / (QUERIES / 2)
        drift.append({"watched": watched, "share_of_time_above_allowance": round(above, 4)})
        print(drift[-1], flush=True)
    told = {"question": "lives", "lives": lives, "scores": "generated" if fit is generated else "recorded"}
    print(json.dumps({**told, "assurance": ASSURANCE, "rows": rows, "drift": drift}))


if __name__ == "__main__":
    main()
