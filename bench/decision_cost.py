"""What do one draw, one score, one decision, one certificate update and one watch update cost?

Beside them: a student's answer, 150 microseconds in onnxruntime for the smallest student we ship.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable

import numpy as np

from router.calibration import fit_calibration
from router.confidence import score
from router.deferral import Policy, decide
from router.exploration import SEED_BYTES, is_explored
from router.watch import Watch, WatchState, log_evidence

STUDENT_MICROSECONDS = 150.0
LABELS = 150


def microseconds(act: Callable[[], object], times: int) -> float:
    """The least mean time of one call, of five runs."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(times):
            act()
        best = min(best, (time.perf_counter() - began) / times)
    return best * 1e6


def main() -> None:
    """Print each cost, then one JSON object."""
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(400, LABELS))
    calibration = fit_calibration(logits, draw.random(400), draw.random(400) < 0.9, np.ones(400))
    one = logits[0]
    seed, policy = os.urandom(SEED_BYTES), Policy(0.8)
    rows, watch = itertools.count(1), Watch(WatchState(0.02, 0.05))

    def certify() -> float:
        return log_evidence(0.02, next(rows), 0)

    costs = {
        "draw": microseconds(lambda: is_explored(seed, "0123456789abcdef", 0.05), 20_000),
        "score": microseconds(lambda: score(calibration, one, 0.7), 5_000),
        "decide": microseconds(lambda: decide(policy, 0.7), 20_000),
        "certificate_update": microseconds(certify, 10_000),
        "watch_update": microseconds(lambda: watch.update(lost=False), 10_000),
    }
    for name, cost in costs.items():
        print(f"{name:20} {cost:8.2f} µs")
    rounded = {name: round(cost, 2) for name, cost in costs.items()}
    print(json.dumps({"question": "decision_cost", "microseconds": rounded, "student": STUDENT_MICROSECONDS}))


if __name__ == "__main__":
    main()
