"""Many lives of one watched release at once, with suspicion or without: the product's recursions, vectorised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from router.core.statistics.e_process import RESTART_ROWS, WORSE, log_gains
from router.core.statistics.suspicion import BOUND, SPAN, STAKE


class Watches:
    """``Watch`` of ``router.core.statistics.e_process``, once a life."""

    def __init__(self, lives: int, promise: float, alpha: float) -> None:
        """No row yet."""
        self._gains = np.array(log_gains(promise))
        self._limit = -math.log(alpha)
        self._bets = np.full((len(WORSE), lives), -np.inf)
        self._rows = 0

    def update(self, lost: np.ndarray) -> np.ndarray:
        """Look at one more row of each life: (lives,) whether its evidence is that of an alarm now."""
        if self._rows % RESTART_ROWS == 0:
            restart = self._rows // RESTART_ROWS + 1
            self._bets = np.logaddexp(self._bets, -math.log(restart * (restart + 1)))
        self._bets = self._bets + np.where(lost, self._gains[:, 1:], self._gains[:, :1])
        mixed = np.logaddexp.reduce(self._bets, axis=0) - math.log(len(WORSE))
        evidence = np.logaddexp(mixed, -math.log(self._rows // RESTART_ROWS + 2))
        self._rows += 1
        return np.asarray(evidence >= self._limit)

    def keep(self, lives: np.ndarray) -> None:
        """Go on with some lives."""
        self._bets = self._bets[:, lives]


class Lights:
    """``Suspicion`` of ``router.core.statistics.suspicion``, once a life.

    Attributes:
        left: (lives,) rows that end the suspicion, 0 without one.
    """

    def __init__(self, lives: int, promise: float) -> None:
        """Nothing is suspected yet."""
        self._factors = np.exp(np.array(log_gains(promise)))
        self._bound = BOUND / promise
        self._span, self._most = math.ceil(SPAN / promise), math.ceil(STAKE / promise)
        self._terms = np.zeros((len(WORSE), lives))
        self._paid = np.full(lives, self._most)
        self.left = np.zeros(lives, int)

    def update(self, lost: np.ndarray) -> None:
        """Look at one more row of each life."""
        was_on = self.left > 0
        self._paid = np.where(was_on, self._paid - 1, np.minimum(self._paid + 1, self._most))
        self._terms = (self._terms + 1.0) * np.where(lost, self._factors[:, 1:], self._factors[:, :1])
        suspected = (self._terms.mean(axis=0) >= self._bound) & (was_on | (self._paid >= self._span))
        self.left = np.where(suspected, self._span, np.maximum(self.left - 1, 0))
        ended = was_on & ((self.left == 0) | (self._paid == 0))
        self.left[ended] = 0
        self._terms[:, ended] = 0.0

    def keep(self, lives: np.ndarray) -> None:
        """Go on with some lives."""
        self._terms, self._paid, self.left = self._terms[:, lives], self._paid[lives], self.left[lives]


@dataclass(frozen=True, slots=True)
class Life:
    """What lives are like.

    Attributes:
        promise: Largest loss allowed.
        alpha: Of the watch.
        rate: Exploration rate at rest.
        is_lit: With suspicion.
        quiet_queries: Before the change.
        quiet_loss: Until then.
        loss: From then on.
        queries: Of a life that is never alarmed.
    """

    promise: float
    alpha: float
    rate: float
    is_lit: bool
    quiet_queries: int
    quiet_loss: float
    loss: float
    queries: int


@dataclass(frozen=True, slots=True)
class Lived:
    """What came of them.

    Attributes:
        delays: (lives,) queries from the change to the alarm; infinite without one, negative before the change.
        explored: Share of the queries before the change that were explored, of lives that were not alarmed by then.
        lights: Times that a suspicion began before the change, on average.
    """

    delays: np.ndarray
    explored: float
    lights: float


def live(lives: int, life: Life, seed: int) -> Lived:
    """Live so many lives, one drawn row of each at a time: between two rows lie as many queries as the rate says."""
    draw = np.random.default_rng(seed)
    watches, lights = Watches(lives, life.promise, life.alpha), Lights(lives, life.promise)
    alarms, explored, lit = np.full(lives, np.inf), np.zeros(lives), np.zeros(lives)
    still, at = np.arange(lives), np.zeros(lives)
    while len(still):
        was_on = (lights.left > 0) & life.is_lit
        at = at + np.where(was_on, 1, draw.geometric(life.rate, len(still)))
        is_quiet = at <= life.quiet_queries
        lost = draw.random(len(still)) < np.where(is_quiet, life.quiet_loss, life.loss)
        rings = watches.update(lost) & (at <= life.queries)
        lights.update(lost)
        explored[still] += is_quiet
        lit[still] += is_quiet & ~was_on & (lights.left > 0) & life.is_lit
        alarms[still[rings]] = at[rings]
        goes_on = ~rings & (at <= life.queries)
        if not goes_on.all():
            still, at = still[goes_on], at[goes_on]
            watches.keep(goes_on)
            lights.keep(goes_on)
    quiet = alarms > life.quiet_queries
    share = float(explored[quiet].mean() / life.quiet_queries) if quiet.any() else math.nan
    return Lived(alarms - life.quiet_queries, share, float(lit[quiet].mean()) if quiet.any() else math.nan)
