"""How long does one device that sends nothing but losses hold up the certificate of a whole fleet?

Lives of the product's own loop in a fleet of ten: without such a device, with one that asks as much as any other, with
one that asks half, and with one that asks nine of ten queries. It is honest for some hundred queries, and then nothing
that it asks means what it did. Beside each, the same lives where no device is ever put in quarantine. Told: after how
many queries the first release served (medians; a life without one counts as its length), and the share that the honest
devices kept in the second half of the life.

    python -m bench.held_up_certificates --lives 8 --queries 6000 --scores FILE
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import numpy as np

from bench.parts.lived import Lived, live
from bench.parts.recorded_scores import Recorded, data_folder, generated, record
from bench.parts.traffic import DEVICES, Law, Texts, World, commands_of, steadily
from router.core.certification.fleet_watch import FleetWatch

PROMISE = 0.02
LIAR = 0
HONEST_FIRST = 300  # queries
SHARES = {"none": 0.0, "as any other": 1 / DEVICES, "half": 0.5, "nine of ten": 0.9}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each case, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=8, help="of each case")
    parser.add_argument("--queries", type=int, default=6_000, help="of a life")
    parser.add_argument("--generated", action="store_true", help="use generated scores")
    parser.add_argument("--scores", type=Path, help="keep recorded scores in this file", metavar="FILE")
    chosen = parser.parse_args(arguments)
    folder = None if chosen.generated else data_folder()
    recorded = generated() if folder is None else record(folder, chosen.scores)
    cases = []
    for name, share in SHARES.items():
        for quarantine in (True, False):
            if share or quarantine:
                lived = [_live(recorded, share, seed, chosen.queries, quarantine) for seed in range(chosen.lives)]
                cases.append({"asks": name, "quarantine": quarantine} | _told(lived, share))
                print(cases[-1], flush=True)
    print(json.dumps({"question": "held_up_certificates", "lives": chosen.lives, "cases": cases}))


def _live(recorded: Recorded, share: float, seed: int, queries: int, quarantine: bool) -> Lived:
    world = flooded(Texts.of(recorded), queries, np.random.default_rng(seed), share)
    nobody = mock.patch.object(FleetWatch, "who_loses_alone", lambda watch: "")
    with nullcontext() if quarantine else nobody:
        return live(recorded, world, seed, PROMISE)


def flooded(texts: Texts, queries: int, random: np.random.Generator, share: float) -> World:
    """One device asks a share of the queries, and after the first of them nothing means what it did."""
    numbers, chances = commands_of(texts, random)
    asked = random.choice(numbers, queries, p=chances)
    devices = np.where(random.random(queries) < share, LIAR, random.integers(1, DEVICES, queries))
    changed = (devices == LIAR) & (np.arange(queries) >= HONEST_FIRST)
    return World(asked, devices, steadily(queries, random), ((0, Law(numbers, chances)),), changed)


def _told(lived: Sequence[Lived], share: float) -> dict[str, float]:
    queries = len(lived[0].world.texts)
    first = [one.life.releases[0].at_query if one.life.releases else queries for one in lived]
    kept = []
    for one in lived:
        late = [served for served in one.life.served if served.position >= queries // 2]
        honest = [served.local for served in late if one.world.devices[served.position] != LIAR]
        kept.append(float(np.mean(honest)))
    return {
        "share": round(share, 2),
        "first_release_after": float(np.median(first)),
        "lives_without": sum(not one.life.releases for one in lived),
        "honest_set_apart": sum(_honest_set_apart(one) for one in lived),
        "honest_local": round(float(np.mean(kept)), 3),
    }


def _honest_set_apart(lived: Lived) -> int:
    """How often a device that is as it should be was put in quarantine."""
    said = (event.what for event in lived.life.events if "escalates everything" in event.what)
    return sum(what.startswith("device ") and not what.startswith(f"device device-{LIAR + 1} ") for what in said)


if __name__ == "__main__":
    main()
