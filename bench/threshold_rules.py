"""Three ways to choose a threshold, over whole lives of refreshes: how often does any release break its promise?

Lives as in ``bench/lives.py``, in its independent world. Beside ours, at the same refreshes on the same rows: the
threshold by point estimate, and by one Clopper-Pearson bound at 95 %. When a fifteenth of the traffic changes its
meaning half way, which no student learns: the share of the queries after that which a release above its
allowance served, with the watch and without.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.parts.life_figures import time_above
from bench.parts.lived import (
    ASSURANCE,
    Lived,
    LivedReplay,
    Serving,
    live,
    loss_of,
    share_kept,
    spans,
)
from bench.parts.recorded_scores import data_folder, generated, record
from bench.parts.traffic import World
from bench.parts.unwatched import UnwatchedReplay
from bench.parts.worker import begin, known
from bench.parts.worlds import WORLDS
from router.core.certification.refresh_schedule import Pace
from router.core.statistics.intervals import share_interval
from router.core.statistics.threshold_planning import cautious_loss, propose

PROMISES = (0.01, 0.02, 0.05)
DRIFT_PROMISE = 0.02
POINT, CLOPPER_PEARSON = "point", "clopper-pearson"
PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Job:
    """One life to live.

    Attributes:
        seed: Of its world and its draws.
        promise: Largest loss allowed.
        queries: How many are asked.
        world: Its name.
        kind: With the watch, or without it.
    """

    seed: int
    promise: float
    queries: int
    world: str = "independent"
    kind: type[LivedReplay] = LivedReplay


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a life.

    Attributes:
        broken: Of each rule, whether any of its releases lost more than the promise.
        local: Of each rule, the share of queries answered on the device.
        releases: How many were certified.
        alarms: Of the watch.
        above: Share of the queries after the change that a release above its allowance served.
    """

    broken: dict[str, bool]
    local: dict[str, float]
    releases: int
    alarms: int
    above: float


def outcome_of(lived: Lived, promise: float) -> Outcome:
    """Judge a life by the true losses of what served in it."""
    rules = {"certified": lived.stood} | {
        POINT: unproven(lived, promise, lambda rows: 1.0),
        CLOPPER_PEARSON: unproven(lived, promise, lambda rows: clopper_pearson_aim(rows, promise)),
    }
    local = {rule: _local(lived.world, stood) for rule, stood in rules.items() if rule != "certified"}
    return Outcome(
        broken={rule: _is_broken(lived.world, stood, promise) for rule, stood in rules.items()},
        local={"certified": float(np.mean([row.local for row in lived.life.served])), **local},
        releases=len(lived.life.releases),
        alarms=lived.life.alarms,
        above=time_above(lived.world, lived.stood, promise),
    )


def unproven(lived: Lived, promise: float, aim: Callable[[int], float]) -> tuple[Serving, ...]:
    """What would have stood, had each refresh promoted the threshold that fits ``aim(rows)`` times the promise."""
    pace, taught, stood = Pace(), 0, []
    for seen in lived.refreshes:
        rows = len(seen.agrees)
        if pace.is_due(rows, taught):
            taught = rows
            found = propose(seen.calibrated.scores, seen.agrees, seen.weights, promise, aim(rows))
            stood.append(Serving(seen.queries, seen.student, found.threshold))
    return tuple(stood)


def clopper_pearson_aim(rows: int, promise: float) -> float:
    """The largest share of the promise whose upper 95 % bound on so many rows keeps it."""
    shares = np.linspace(0, 1, 101)
    fits = [share for share in shares if cautious_loss(float(share) * promise, rows, 0.95) <= promise]
    return float(max(fits, default=0.0)) or 1e-9


def _is_broken(world: World, stood: Sequence[Serving], promise: float) -> bool:
    """Whether any release lost more than the promise under the law it was released under."""
    return any(loss_of(one, world.law_at(one.queries)) > promise for one in stood if not one.goes_on)


def _local(world: World, stood: Sequence[Serving]) -> float:
    """Share of the queries that stay on the device, by the first law."""
    law, queries = world.laws[0][1], len(world.texts)
    return sum(share_kept(one, law) * (end - start) for one, start, end in spans(stood, queries)) / queries


def run(job: Job) -> Outcome:
    """One life, by the scores of this process."""
    recorded, texts = known()
    world = WORLDS[job.world](texts, job.queries, np.random.default_rng(job.seed))
    return outcome_of(live(recorded, world, job.seed, job.promise, job.kind), job.promise)


def told(promise: float, found: Sequence[Outcome]) -> Iterator[dict[str, object]]:
    """One row a rule."""
    for rule in ("certified", POINT, CLOPPER_PEARSON):
        share = share_interval(sum(one.broken[rule] for one in found), len(found))
        row: dict[str, object] = {
            "promise": promise,
            "rule": rule,
            "broken_lives": round(share.share, 4),
            "interval": (round(share.low, 4), round(share.high, 4)),
            "local_share": round(float(np.mean([one.local[rule] for one in found])), 4),
        }
        if rule == "certified":
            row["releases_a_life"] = round(float(np.mean([one.releases for one in found])), 2)
            row["alarmed_lives"] = round(float(np.mean([one.alarms > 0 for one in found])), 4)
        yield row


def main() -> None:
    """Print each promise and rule, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=300)
    parser.add_argument("--queries", type=int, default=12_000, help="of a life")
    parser.add_argument("--generated", action="store_true", help="use generated scores")
    parser.add_argument("--scores", type=Path, help="keep the recorded scores in this file, or take them from it")
    options = parser.parse_args()
    lives, queries, folder = options.lives, options.queries, data_folder()
    is_recorded = folder is not None and not options.generated
    recorded = record(folder, options.scores) if folder is not None and is_recorded else generated()
    rows, drift = [], []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, spawn, begin, (recorded,)) as pool:
        for promise in PROMISES:
            jobs = [Job(seed, promise, queries) for seed in range(lives)]
            for row in told(promise, list(pool.map(run, jobs))):
                rows.append(row)
                print(row, flush=True)
        for kind in (LivedReplay, UnwatchedReplay):
            jobs = [Job(seed, DRIFT_PROMISE, queries, "change", kind) for seed in range(max(1, lives // 3))]
            found = list(pool.map(run, jobs))
            drift.append(
                {
                    "watched": kind is LivedReplay,
                    "share_of_time_above_allowance": round(float(np.mean([one.above for one in found])), 4),
                    "alarmed_lives": round(float(np.mean([one.alarms > 0 for one in found])), 4),
                }
            )
            print(drift[-1], flush=True)
    said = {
        "question": "threshold_rules",
        "lives": lives,
        "queries": queries,
        "scores": "recorded" if is_recorded else "generated",
    }
    print(json.dumps({**said, "assurance": ASSURANCE, "rows": rows, "drift": drift}))


if __name__ == "__main__":
    main()
