"""Over whole lives of refreshes, in many worlds: how often does a certified release break its promise, and does it pay?

Each life is a replay by the product's own loop (``router.backtest.replay``: draws, decisions, lessons, calibration,
plans, trials, watch, the pace of refreshes), with no student at first. Scores are recorded ones: heads fitted on
parts of CLINC150 answer texts that they have not seen; without the data (``HEADRACE_DATA``) they are generated.

The worlds (``bench/parts/worlds.py``, ``moving_worlds.py``) are independent queries and what real traffic does instead:
repeats, a repertoire that moves on, a device with meanings of its own, retries, hours of the day, sessions, load,
change, topics in waves, a vocabulary that grows, devices that come and go. A
release is judged by its true loss under the world's own law, which is known here. ``broken`` is the share of lives
in which any certified release's true loss exceeded the promise, with its 95 % interval; ``net_saving`` the share of
all queries that never asked the cloud, ``least_saving`` that of the worst tenth of any life after its first release;
``time_above`` the share of queries since the first change (in a stationary world: of all) while a release above its
allowance served. With ``--memory`` devices remember the reference's answers: ``from_memory`` is what that saves, and
``memory_broke`` the share of lives in which student and memories together truly lost more than the promise, looked
at with every release and every 2,000 queries; where queries change, that counts the time until the watch ends it.

``bench/parts/traffic.py`` tells how to add a world; ``--world package.module:function`` names one from elsewhere.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.parts.life_figures import LifeFigures, figures_of, told
from bench.parts.lived import FORGETFUL, Habit, live
from bench.parts.moving_worlds import MOVING_WORLDS
from bench.parts.recorded_scores import data_folder, generated, record
from bench.parts.traffic import Maker
from bench.parts.worker import begin, known
from bench.parts.worlds import WORLDS

ALL = {**WORLDS, **MOVING_WORLDS}


@dataclass(frozen=True, slots=True)
class Job:
    """One life to live.

    Attributes:
        world: Its name.
        seed: Of its world and its draws.
        promise: Largest loss allowed.
        queries: How many are asked.
        habit: How its devices live.
    """

    world: str
    seed: int
    promise: float
    queries: int
    habit: Habit = FORGETFUL


def maker_of(name: str) -> Maker:
    """The world of a name, or of ``package.module:function``."""
    module, _, function = name.partition(":")
    made: Maker = getattr(importlib.import_module(module), function) if function else ALL[name]
    return made


def run(job: Job) -> tuple[bool, LifeFigures, float]:
    """Whether the world is stationary, the figures of one life in it, and its processor time in seconds."""
    recorded, texts = known()
    start = time.process_time()
    world = maker_of(job.world)(texts, job.queries, np.random.default_rng(job.seed))
    figures = figures_of(live(recorded, world, job.seed, job.promise, habit=job.habit), job.promise)
    return world.is_stationary, figures, time.process_time() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each world, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=300, help="of each world")
    parser.add_argument("--queries", type=int, default=12_000, help="of a life")
    parser.add_argument("--first-seed", type=int, default=0, help="of the lives; the others follow")
    parser.add_argument("--memory", type=int, default=0, help="answers that a device remembers")
    parser.add_argument("--cold", type=float, default=1.0, help="share explored without a student")
    parser.add_argument("--min-rows", type=int, default=FORGETFUL.min_rows, help="of the first refresh")
    parser.add_argument("--early-rows", type=int, default=FORGETFUL.early_rows, help="of an early refresh, at least")
    parser.add_argument("--promise", type=float, default=0.02, help="largest loss, in (0, 1)")
    parser.add_argument("--world", nargs="+", default=[*ALL], help="one or more; all of them without it")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--generated", action="store_true", help="use generated scores")
    parser.add_argument("--scores", type=Path, help="keep the recorded scores in this file, or take them from it")
    options = parser.parse_args(arguments)
    folder = None if options.generated else data_folder()
    recorded = generated() if folder is None else record(folder, options.scores)
    rows = []
    habit = Habit(options.memory, options.cold, options.min_rows, options.early_rows)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, spawn, begin, (recorded,)) as pool:
        for name in options.world:
            seeds = range(options.first_seed, options.first_seed + options.lives)
            jobs = [Job(name, seed, options.promise, options.queries, habit) for seed in seeds]
            found = list(pool.map(run, jobs))
            row = told(name, found[0][0], [figures for _, figures, _ in found])
            rows.append(row | {"seconds": round(float(np.mean([seconds for _, _, seconds in found])), 2)})
            print(rows[-1], flush=True)
    said = {"question": "lives", "queries": options.queries, "promise": options.promise}
    print(json.dumps({"worlds": rows, **said, "scores": "generated" if folder is None else "recorded"}))


if __name__ == "__main__":
    main()
