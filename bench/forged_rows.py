"""What do forged rows of one device do to the watch: how many alarm a fleet, and do right ones hide a loss?

Before: the watch by traffic alone, ``e_process.Watch``. After: the fleet's watch, which no device alone decides, and
which goes on without a device that it accuses. Honest devices ask in turn; one more says what it likes, or does lose.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator

from router.core.certification.device_quarantine import Accusation
from router.core.certification.fleet_watch import FleetWatch
from router.core.statistics.e_process import Watch, WatchState

PROMISE, ALPHA = 0.02, 0.05
LIAR = "liar"

Rows = Iterator[tuple[str, bool]]


def alarms(rows: Rows, devices: int) -> tuple[bool, bool, list[str]]:
    """Whether a stream of rows, device and lost each, alarms before and after, and who is accused."""
    before, told, accused = Watch(WatchState(PROMISE, ALPHA)), list[tuple[str, bool]](), list[str]()
    after = _Fleet(devices, accused)
    for device, lost in rows:
        before.update(lost)
        told.append((device, lost))
        after.tell(len(told), device, lost)
        while after.accusation.accused:
            accused.append(after.accusation.accused)
            after = _Fleet(devices, accused)
            for at, (one, was_lost) in enumerate(told, 1):
                after.tell(at, one, was_lost)
    return before.freeze().alarmed, after.watch.freeze().alarmed, accused


class _Fleet:
    """The watch and the accusation over a fleet, as if who was accused had never been there."""

    def __init__(self, devices: int, accused: list[str]) -> None:
        self.watch, self.accusation = FleetWatch(PROMISE, ALPHA), Accusation(PROMISE, ALPHA)
        self._accused = frozenset(accused)
        for number in range(devices):
            self._meet(f"device-{number}", 0.0)

    def _meet(self, device: str, at: float) -> None:
        if device not in self._accused:
            self.watch.meet(device, at)
            self.accusation.meet(device, at)

    def tell(self, at: int, device: str, lost: bool) -> None:
        self._meet(device, float(at))
        if device not in self._accused:
            self.watch.update(device, lost)
            self.accusation.update(device, at, lost)


def lives(
    count: int, devices: int, rows: int, loss: float, first: int, beside: int, lies: bool, beside_every: int = 0
) -> dict[str, int]:
    """In how many of ``count`` lives there was an alarm, or somebody was accused.

    Args:
        count: Of lives.
        devices: Honest ones.
        rows: Honest ones in a life.
        loss: Of the honest rows, in [0, 1].
        first: Forged rows before any honest one.
        beside: Forged rows after each honest one.
        lies: The forged rows are lost; else they are right.
        beside_every: One more forged row after so many honest ones; 0 for none.
    """

    def life(seed: int) -> Rows:
        generator = random.Random(seed)
        yield from [(LIAR, lies)] * first
        for row in range(rows):
            yield f"device-{row % devices}", generator.random() < loss
            yield from [(LIAR, lies)] * (beside + (bool(beside_every) and row % beside_every == 0))

    found = [alarms(life(seed), devices) for seed in range(count)]
    return {
        "before": sum(one for one, _, _ in found),
        "after": sum(one for _, one, _ in found),
        "accused it": sum(LIAR in accused for _, _, accused in found),
        "accused an honest one": sum(accused != [LIAR] * len(accused) for _, _, accused in found),
    }


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
    for devices in (2, 9):  # one more really loses, and asks as often as any other
        said = lives(options.lives, devices, options.rows, 0.003, 0, 0, lies=True, beside_every=devices)
        cases.append({"devices": devices + 1, "one_loses_all": True, "loss": 0.003, "alarmed": said})
    for case in cases:
        print(case)
    print(json.dumps({"question": "forged_rows", "lives": options.lives, "cases": cases}))


if __name__ == "__main__":
    main()
