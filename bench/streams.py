"""How much of a stream comes home at a promise of 2 %, and what is saved, on two streams of real queries?

``clinc``: CLINC150's stream, 150 intents. ``close``: 77 of them that are easily taken for each other, found by the
likeness of their examples alone, with the examples among the queries. The labels are the large model's answers, the
student is a head over a frozen encoder (MiniLM), and what decides is the product's own loop, replayed in lockstep with
two devices: what the demo does with ``--teacher recorded --lockstep``, but without its processes. Goals are over the
seeds: local and cloud share of the last quarter on the mean, and cloud share of the worst.

Run: ``python -m bench.streams [--stream clinc|close] [--student encoder|hashed] [--seeds N] [--cache FOLDER]``. Needs
HEADRACE_DATA (default ../shared/data); ends in one line of JSON, and in one that says so where the data is absent. The
first run with the encoder reads every text once: some minutes, kept in the cache.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from bench.parts.recorded_scores import data_folder
from router.backtest.logs.reader import Asked, Columns, Log
from router.backtest.run import DEFAULT_CACHE, Plan, Result, run

PROMISE, SEEDS, DEVICES = 0.02, 5, 2
CLOSE = 77
GOALS = {"clinc": {"local": 0.88, "cloud": 0.18, "worst_cloud": 0.25}, "close": {"local": 0.70, "cloud": 0.40}}

Rows = list[dict[str, str]]


def clinc(folder: Path) -> Rows:
    """The stream as it is."""
    return _read(folder / "stream.jsonl")


def close(folder: Path) -> Rows:
    """The stream's queries of the intents nearest to another, and as many examples of them, shuffled."""
    examples = _read(folder / "examples.jsonl")
    chosen = nearest_intents(examples, CLOSE)
    rows = [row for row in (*clinc(folder), *examples) if row["label"] in chosen]
    return [rows[position] for position in np.random.default_rng(0).permutation(len(rows))]


def nearest_intents(examples: Rows, count: int) -> frozenset[str]:
    """Intents in pairs, the nearest pair first, by the cosine of their words' TF-IDF."""
    texts: dict[str, list[str]] = defaultdict(list)
    for row in examples:
        texts[row["label"]].append(row["text"])
    names = sorted(texts)
    vectors = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(" ".join(texts[n]) for n in names)
    likeness = np.triu((vectors @ vectors.T).toarray(), 1)
    chosen: dict[str, None] = {}
    for position in np.argsort(-likeness, axis=None, kind="stable"):
        chosen |= dict.fromkeys(names[one] for one in divmod(int(position), len(names)))
        if len(chosen) >= count:
            break
    return frozenset(list(chosen)[:count])


STREAMS = {"clinc": clinc, "close": close}


def told(name: str, lives: list[Result]) -> dict[str, Any]:
    """A stream's figures over its seeds, beside its goals."""
    local = [one.figures["local_share_last_quarter"] for one in lives]
    cloud = [one.figures["cloud_share_last_quarter"] for one in lives]
    saved = [one.more["net_saving"] for one in lives]
    above = [
        f"seed {seed}: release {number} at {low:.4f} or more"
        for seed, one in enumerate(lives)
        for number, (low, _) in one.more["release_intervals"].items()
        if low > PROMISE
    ]
    found = {"local": round(mean(local), 4), "cloud": round(mean(cloud), 4), "worst_cloud": round(max(cloud), 4)}
    goals = GOALS[name]
    met = {key: found[key] >= goal if key == "local" else found[key] <= goal for key, goal in goals.items()}
    return {
        **found,
        "goals": goals,
        "met": met,
        "locals": local,
        "clouds": cloud,
        "net_saving": round(mean(one["all"] for one in saved), 4),
        "net_saving_last_quarter": round(mean(one["last_quarter"] for one in saved), 4),
        "least_saving": min(one["least"] if one["least"] is not None else 0.0 for one in saved),
        "disagreement": round(mean(one.figures["disagreement"] for one in lives), 4),
        "releases": [len(one.figures["releases"]) - 1 for one in lives],
        "first_release_at": [one.history.releases[0].at_query if one.history.releases else None for one in lives],
        "broken": above,
        "alarms": [one.history.alarms for one in lives],
    }


def main() -> None:
    """Print each stream's figures, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", choices=sorted(STREAMS), help="one of them; without it both")
    parser.add_argument("--student", choices=("encoder", "hashed"), default="encoder")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--limit", type=int, default=0, help="most queries; 0 for all")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="keeps what the encoder read")
    options = parser.parse_args()
    data = data_folder()
    if data is None:
        print(json.dumps({"question": "streams", "skipped": "no data; set HEADRACE_DATA to its folder"}))
        return
    found = {}
    for name in [options.stream] if options.stream else STREAMS:
        rows = STREAMS[name](data)[: options.limit or None]
        log = Log(Path(name), Columns("text", "label"), tuple(Asked(row["text"], row["label"]) for row in rows))
        encoder = Path("minilm") if options.student == "encoder" else None
        plan = Plan((PROMISE,), student=options.student, encoder=encoder, cache=options.cache, devices=DEVICES)
        began, lives = time.process_time(), []
        for seed in range(options.seeds):
            [life] = run(log, replace(plan, seed=seed))
            lives.append(life)
            print(f"{name}, seed {seed}: {life.figures['local_share_last_quarter']} local, ", end="")
            print(f"{life.figures['cloud_share_last_quarter']} cloud, {life.more['net_saving']}", flush=True)
        found[name] = {"queries": len(rows), **told(name, lives), "cpu_seconds": round(time.process_time() - began, 1)}
    print(json.dumps({"question": "streams", "promise": PROMISE, "student": options.student, "streams": found}))


def _read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
