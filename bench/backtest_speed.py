"""Does a backtest of 15,000 queries under three promises take a minute, and what takes it?

CPU seconds of the whole process, imports included, on one thread, with the light student; wall seconds stand beside
them, and mean little on a busy machine. The parts: fits (of which the kernel: its factor, and the factor's inverse),
texts read by students, and all else: the loop, its trials and watch. Without a log it replays CLINC150's stream from
HEADRACE_DATA, or texts made up where that is absent.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from bench.parts.recorded_scores import data_folder
from router.backtest.logs.reader import Asked, Columns, Log, read_log
from router.backtest.run import Plan, run
from router.backtest.students import ngram_student
from router.backtest.students.ngram_student import HashedFitter, HashedReader

ROWS = 15_000
INTENTS, WORDS = 150, 6  # made up: how many meanings, and words that speak for each
GOAL_SECONDS = 60.0

spent: dict[str, float] = defaultdict(float)


def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its CPU seconds put down to a part."""

    @wraps(function)
    def measured(*given: Any) -> Any:
        began = time.process_time()
        try:
            return function(*given)
        finally:
            spent[part] += time.process_time() - began

    return measured


def made_up(rows: int, seed: int = 0) -> Log:
    """Utterances of fillers and words that several meanings share."""
    draws = random.Random(seed)
    words = [f"w{number}" for number in range(INTENTS * 3)]
    meanings = {f"intent-{number}": draws.sample(words, WORDS) for number in range(INTENTS)}
    fillers = [f"f{number}" for number in range(60)]
    asked = []
    for _ in range(rows):
        answer = draws.choice(sorted(meanings))
        parts = [*draws.sample(meanings[answer], 3), *draws.choices(fillers, k=6)]
        draws.shuffle(parts)
        asked.append(Asked(" ".join(parts), answer))
    return Log(Path("made-up"), Columns("text", "answer"), tuple(asked))


def log_of(path: Path | None, rows: int) -> Log:
    """The log that is asked for, or the best that is there."""
    folder = data_folder()
    if path is None and folder is not None:
        path = folder / "stream.jsonl"
    return made_up(rows) if path is None else read_log(path, Columns(), rows)


def main() -> None:
    """Print the parts, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, nargs="?", help="any log that a backtest reads")
    parser.add_argument("--rows", type=int, default=ROWS, help="most queries")
    parser.add_argument("--promises", default="0.01,0.02,0.05", help="list of shares")
    options = parser.parse_args()
    began = time.perf_counter()
    log = log_of(options.log, options.rows)
    vars(ngram_student)["_solved"] = timed("of which the kernel", vars(ngram_student)["_solved"])
    for owner, name, part in (
        (HashedFitter, "__init__", "n-grams counted"),
        (HashedFitter, "fit", "fits"),
        (HashedReader, "read", "texts read"),
    ):
        setattr(owner, name, timed(part, getattr(owner, name)))
    loaded = time.process_time()
    found = run(log, Plan(promises=tuple(float(share) for share in options.promises.split(","))))
    whole = time.process_time()
    parts = {"loaded": loaded, **spent}
    parts["loop and watch"] = whole - sum(seconds for name, seconds in parts.items() if not name.startswith("of which"))
    for name, seconds in parts.items():
        print(f"{name:22} {seconds:6.1f} s of CPU")
    results = [
        {"promise": one.promise, "net_saving": one.more["net_saving"], "releases": len(one.history.releases)}
        for one in found
    ]
    told = {
        "question": "backtest_speed",
        "log": log.path.name,
        "rows": len(log.rows),
        "promises": len(found),
        "cpu_seconds": round(whole, 1),
        "wall_seconds": round(time.perf_counter() - began, 1),
        "goal_seconds": GOAL_SECONDS,
        "parts": {name: round(seconds, 1) for name, seconds in parts.items()},
        "results": results,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
