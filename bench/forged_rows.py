"""What do forged rows of one device do to the watch: how many alarm a fleet, and do right ones hide a loss?

Before: the watch by traffic alone, ``e_process.Watch``. After: the fleet's watch, which no device alone decides.
Honest devices ask in turn; one more says what it likes.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator

from router.core.certification.fleet_watch import FleetWatch
from router.core.statistics.e_process import Watch, WatchState

PROMISE, ALPHA = 0.02, 0.05
LIAR = "liar"

Rows = Iterator[tuple[str, bool]]


def alarms(rows: Rows, devices: int) -> tuple[bool, bool]:
    """Whether a stream of rows alarms before and after: device and lost, each."""
    before, after = Watch(WatchState(PROMISE, ALPHA)), FleetWatch(PROMISE, ALPHA)
    for number in range(devices):
        after.meet(f"device-{number}", 0.0)
    for at, (device, lost) in enumerate(rows):
        before.update(lost)
        after.meet(device, float(at))
        after.update(device, lost)
    return before.freeze().alarmed, after.freeze().alarmed


def lives(count: int, devices: int, rows: int, loss: float, first: int, beside: int, lies: bool) -> dict[str, int]:
    """How many of ``count`` lives are alarmed.

    Args:
        count: Of lives.
        devices: Honest ones.
        rows: Honest ones in a life.
        loss: Of the honest rows, in [0, 1].
        first: Forged rows before any honest one.
        beside: Forged rows after each honest one.
        lies: The forged rows are lost; else they are right.
    """

    def life(seed: int) -> Rows:
        generator = random.Random(seed)
        yield from [(LIAR, lies)] * first
        for row in range(rows):
            yield f"device-{row % devices}", generator.random() < loss
            yield from [(LIAR, lies)] * beside

    found = [alarms(life(seed), devices) for seed in range(count)]
    return {"before": sum(one for one, _ in found), "after": sum(one for _, one in found)}


def main() -> None:
    """Print each case, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=8)
    parser.add_argument("--rows", type=int, default=1500)
    options = parser.parse_args()
    cases = []
    for devices in (1, 4, 20):
        for first in (0, 3, 30):
            said = lives(options.lives, devices, options.rows // 3, 0.005, first, 0, lies=True)
            cases.append({"devices": devices, "forged_lost_rows_first": first, "loss": 0.005, "alarmed": said})
        for beside in (0, 5):
            said = lives(options.lives, devices, options.rows, 0.10, 0, beside, lies=False)
            cases.append({"devices": devices, "forged_right_rows_beside": beside, "loss": 0.10, "alarmed": said})
    for case in cases:
        print(case)
    print(json.dumps({"question": "forged_rows", "lives": options.lives, "cases": cases}))


if __name__ == "__main__":
    main()
