"""How soon does the live watch find a break, and how often does it cry wolf?

Quiet is exactly the promise, the hardest quiet there is. Change is to 1.5, 2 and 3 times the promise, after 0 and after
5,000 quiet rows. Beside each mean delay: what the product prints, and what no watch with this bound can beat.

Then in queries: how many are asked from a change to the alarm, after 50,000 at half of the promise, and what was
explored in all until then; with the suspicion of ``router.core.statistics.suspicion`` and without, at several rates
at rest.
Beside them what a suspicion costs a release that loses 0.6 times the promise (the worst that a certificate bets on) and
exactly the promise, and how often that one is alarmed.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np

from bench.parts.lit_lives import Life, Lights, live
from router.core.statistics.detection_delay import detection_delay
from router.core.statistics.e_process import RESTART_ROWS, WORSE, Watch, WatchState, log_gains
from router.core.statistics.suspicion import Suspicion

PROMISE, ALPHA = 0.02, 0.05
QUIET_QUERIES, QUERIES = 50_000, 300_000
RATIOS = (1.5, 2.0, 3.0)
RATES = ((0.05, False), (0.0375, True), (0.01, False), (0.0075, True), (0.006, True), (0.004, True))


def alarm_rows(lost: np.ndarray) -> np.ndarray:
    """The row of each life's alarm, 0 for none: the watch's own recursion, over all lives at once: (lives, rows)."""
    gains = log_gains(PROMISE)
    bets = np.full((len(WORSE), len(lost)), -np.inf)
    alarms = np.zeros(len(lost), dtype=int)
    for row in range(lost.shape[1]):
        if row % RESTART_ROWS == 0:
            restart = row // RESTART_ROWS + 1
            bets = np.logaddexp(bets, -math.log(restart * (restart + 1)))
        bets += np.array([np.where(lost[:, row], worse, kept) for kept, worse in gains])
        mixed = np.logaddexp.reduce(bets, axis=0) - math.log(len(WORSE))
        evidence = np.logaddexp(mixed, -math.log(row // RESTART_ROWS + 2))
        alarms[(alarms == 0) & (evidence >= -math.log(ALPHA))] = row + 1
    return alarms


def check_recursion() -> None:
    """The vectorised recursion rings where the product's own class does."""
    lost = np.random.default_rng(1).random((5, 1500)) < 2.5 * PROMISE
    for life, alarm in enumerate(alarm_rows(lost)):
        watch = Watch(WatchState(PROMISE, ALPHA))
        for row in lost[life].tolist():
            watch.update(row)
        assert watch.freeze().alarm_row == alarm


def check_lights() -> None:
    """The vectorised suspicion is on where the product's own class says so."""
    lost = np.random.default_rng(2).random((5, 3000)) < np.where(np.arange(3000) % 1000 < 500, 0.01, 0.04)
    lights, ours = Lights(5, PROMISE), [Suspicion(PROMISE) for _ in range(5)]
    for row in lost.T:
        lights.update(row)
        for light, was_lost in zip(ours, row.tolist(), strict=True):
            light.update(was_lost)
        assert lights.left.tolist() == [light.rows_left for light in ours]


def in_queries(lives: int, rate: float, is_lit: bool, queries: int) -> dict[str, object]:
    """What one rate at rest gives, with suspicion or without."""
    quiet, half = min(QUIET_QUERIES, queries // 2), PROMISE / 2.0
    median, p90 = {}, {}
    for ratio in RATIOS:
        lived = live(lives, Life(PROMISE, ALPHA, rate, is_lit, quiet, half, ratio * PROMISE, queries), 1)
        found = lived.delays[lived.delays > 0]
        median[f"{ratio:g}"], p90[f"{ratio:g}"] = (
            _queries(np.quantile(found, share, method="inverted_cdf")) for share in (0.5, 0.9)
        )
    worst, edge = (
        live(lives, Life(PROMISE, ALPHA, rate, is_lit, span, share * PROMISE, PROMISE, span), 2)
        for share, span in ((0.6, quiet), (1.0, queries))
    )
    return {
        "rate": rate,
        "light": is_lit,
        "explored": round(lived.explored, 5),
        "lights": round(lived.lights, 2),
        "median_queries": median,
        "p90_queries": p90,
        "explored_at_0.6": round(worst.explored, 5),
        "explored_at_the_promise": round(edge.explored, 5),
        "false_alarms": round(float((edge.delays <= 0).mean()), 4),
    }


def _queries(delay: float) -> int | None:
    return round(delay) if math.isfinite(delay) else None


def main() -> None:
    """Print each case, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=QUERIES)
    options = parser.parse_args()
    check_recursion()
    check_lights()
    draw = np.random.default_rng(0)
    uniform = draw.random((options.lives, options.rows), dtype=np.float32)
    quiet_alarms = alarm_rows(uniform < PROMISE)
    share = float((quiet_alarms > 0).mean())
    error = math.sqrt(ALPHA * (1 - ALPHA) / options.lives)
    print(f"false alarms over {options.rows:,} quiet rows: {share:.3f} (at most {ALPHA} + {2 * error:.3f} by chance)")
    cases = []
    for quiet in (0, 5000):
        for ratio in (1.5, 2.0, 3.0):
            level = np.where(np.arange(options.rows) < quiet, PROMISE, ratio * PROMISE)
            alarms = alarm_rows(uniform < level)
            found = alarms[alarms > quiet] - quiet
            said = detection_delay(PROMISE, ALPHA, 0.05, ratio, quiet)
            case = {
                "ratio": ratio,
                "quiet_rows": quiet,
                "mean_rows": round(float(found.mean()), 1),
                "p90_rows": round(float(np.quantile(found, 0.9)), 1),
                "missed": round(float((alarms == 0).mean()), 4),
                "printed_rows": said.rows,
                "least_rows": said.least_rows,
            }
            cases.append(case)
            print(case)
    rules = []
    for rate, is_lit in RATES:
        rules.append(in_queries(options.lives, rate, is_lit, options.queries))
        print(rules[-1])
    told = {"question": "watch_delay", "false_alarms": share, "bound": ALPHA, "cases": cases, "in_queries": rules}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
