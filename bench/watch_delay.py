"""How soon does the live watch find a break, and how often does it cry wolf?

Quiet is exactly the promise, the hardest quiet there is. Change is to 1.5, 2 and 3 times the promise, after 0 and after
5,000 quiet rows. Beside each mean delay: what the product prints, and what no watch with this bound can beat.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np

from router.core.statistics.detection_delay import detection_delay
from router.core.statistics.e_process import RESTART_ROWS, WORSE, Watch, WatchState, log_gains

PROMISE, ALPHA = 0.02, 0.05


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


def main() -> None:
    """Print each case, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=20_000)
    options = parser.parse_args()
    check_recursion()
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
    print(json.dumps({"question": "watch_delay", "false_alarms": share, "bound": ALPHA, "cases": cases}))


if __name__ == "__main__":
    main()
