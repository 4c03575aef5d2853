"""What is saved of the first queries, by memory, an early first release, or less exploring before it?

Net saving is told of the first 1,000, 2,000 and 5,000.

Whole lives by the product's own loop (``router.backtest.replay``), from nothing, at a promise of 2 %, with two
devices. Streams: ``clinc``, CLINC150's stream; ``close``, 77 intents easily taken for each other; ``demo``, the
default demo's own stream with the answers of its own kind of teacher; ``repertoire`` and ``bursts``, texts of
CLINC150 that are asked again and again (``bench/first_saving.py``). Students: ``hashed``, ``encoder`` (MiniLM with a
head), ``compact``, taught and exported as a cloud does. ``--min-rows``, ``--early-rows``, ``--cold`` and ``--memory``
take several values each; every combination is lived with the same seeds.

    python -m bench.first_queries --stream demo --student compact --memory 0 10000 --min-rows 300 1000 --seeds 3

Net saving: queries that never ask the large model, explored ones included. Needs HEADRACE_DATA (default
../shared/data); ends in one line of JSON, and in one that says so where the data is absent.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from bench import first_saving, streams
from bench.parts.recorded_scores import data_folder
from router.backtest.history import History
from router.backtest.logs.reader import Asked
from router.backtest.metrics import FIRST, disagreement, net_saving, release_intervals, share
from router.backtest.replay import Replay
from router.backtest.run import DEFAULT_CACHE, one_thread
from router.backtest.students.student import Fit, Fitter
from router.core.certification.refresh_schedule import Pace
from router.core.domain.record import Record
from router.core.domain.task import Exploration, Objective, StudentKind, Task
from router.core.monitoring.remembered_answers import USUAL

PROMISE, DEVICES = 0.02, 2
DEMO_QUERIES, REPEATED_QUERIES = 7_500, 6_000
REFERENCE = "log"


@dataclass(frozen=True, slots=True)
class Stream:
    """What is asked, and the pace at which its students are fitted."""

    rows: tuple[Asked, ...]
    growth: float = Pace().growth
    waiting: float = Exploration().waiting


def demo(data: Path, seed: int, cache: Path) -> Stream:
    """The default demo's stream, answered by MiniLM with a head over its examples."""
    from cloud_worker.teachers.base import Question, TeacherAnswer
    from cloud_worker.teachers.encoder_teacher import load_encoder_teacher
    from demo.workload import generate

    del data
    made = generate(DEMO_QUERIES, seed)
    kept = cache / f"demo-{seed}.json"
    if not kept.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            examples = Path(scratch) / "examples.jsonl"
            lines = (json.dumps({"text": line.text, "label": line.label}) for line in made.examples)
            examples.write_text("\n".join(lines), encoding="utf-8")
            teacher = load_encoder_teacher("minilm", "minilm", examples, Path(scratch))
            texts = list(dict.fromkeys(line.text for line in made.stream))
            said = zip(texts, teacher.answer([Question(text) for text in texts]), strict=True)
            kept.write_text(json.dumps({text: one.text for text, one in said if isinstance(one, TeacherAnswer)}))
    known = json.loads(kept.read_text())
    rows = tuple(Asked(line.text, known[line.text], asked_at=position) for position, line in enumerate(made.stream))
    return Stream(rows, growth=1.35, waiting=0.4)


def of_clinc(name: str, data: Path, seed: int) -> Stream:
    """CLINC150's stream, or the close intents: the same for every seed."""
    del seed
    rows = streams.STREAMS[name](data)
    return Stream(tuple(Asked(row["text"], row["label"], asked_at=position) for position, row in enumerate(rows)))


def repeated(world: Callable[..., list[str]], data: Path, seed: int) -> Stream:
    """Texts of CLINC150 in an order of the seed's, asked again and again."""
    random = np.random.default_rng(1000 + seed)
    rows = streams.clinc(data)
    labels = {row["text"]: row["label"] for row in rows}
    texts = [rows[position]["text"] for position in random.permutation(len(rows))]
    asked = world(texts, REPEATED_QUERIES, random)
    return Stream(tuple(Asked(text, labels[text], asked_at=position) for position, text in enumerate(asked)))


def stream_of(name: str, data: Path, seed: int, cache: Path) -> Stream:
    """A stream by its name."""
    if name == "demo":
        return demo(data, seed, cache)
    if name in streams.STREAMS:
        return of_clinc(name, data, seed)
    return repeated(getattr(first_saving, name), data, seed)


@dataclass(slots=True)
class CompactFitter:
    """Compact students, taught, exported and opened as a cloud and a device do."""

    cache: Path
    folders: list[tempfile.TemporaryDirectory[str]] = field(default_factory=list)

    def fit(self, rows: Sequence[Record]) -> Fit | None:
        """Fit on teachable rows; ``None`` when fewer than two labels have enough of them."""
        from cloud_worker.training import label_students
        from cloud_worker.training.spec import Recipe
        from router.core.learning.held_out import LabelMeasures
        from router.students.onnx_student import Student

        task = Task("first", REFERENCE, student=StudentKind.COMPACT)
        made = label_students.fit(rows, Recipe(task, "minilm", self.cache), lambda stage, done: None)
        if made is None:
            return None
        folder = tempfile.TemporaryDirectory(prefix="headrace-bench-")
        self.folders.append(folder)
        for name, data in made.files.items():
            assert isinstance(data, bytes)
            (Path(folder.name) / name).write_bytes(data)
        assert isinstance(made.measures, LabelMeasures)
        return Fit(made.spec.labels, Student(Path(folder.name), made.spec), made.rows, made.measures)


def fitter_of(student: str, rows: Sequence[Asked], cache: Path) -> Fitter:
    """What makes the students."""
    texts = [row.text for row in rows]
    if student == "compact":
        return CompactFitter(cache)
    if student == "hashed":
        from router.backtest.students.ngram_student import HashedFitter

        return HashedFitter(texts)
    from router.backtest.students.encoder_student import EncoderFitter

    return EncoderFitter(Path("minilm"), cache, texts)


def figures(life: History) -> dict[str, Any]:
    """Of one life."""
    rows, saved = life.served, net_saving(life.served)
    above = [number for number, interval in release_intervals(rows, 0.95).items() if interval.low > PROMISE]
    return {
        "first_at": life.releases[0].at_query if life.releases else len(rows),
        **{f"first_{most}": saved["first"].get(str(most)) for most in FIRST},
        "all": saved["all"],
        "last_quarter": saved["last_quarter"],
        "from_memory": saved["from_memory"],
        "local_last_quarter": share(rows[len(rows) * 3 // 4 :], "local"),
        "disagreement": disagreement(rows),
        "disagreement_of_first_5000": disagreement(rows[:5000]),
        "broken": len(above),
        "alarms": life.alarms,
        "releases": len(life.releases),
    }


def lived(
    stream: Stream, fitter: Fitter, min_rows: int, early_rows: int, cold: float, memory: int, seed: int
) -> History:
    """One life."""
    exploration = Exploration(cold=cold, waiting=stream.waiting)
    task = Task("first", REFERENCE, objective=Objective(PROMISE), exploration=exploration)
    labels = [row.answer for row in stream.rows]
    pace = Pace(min_rows=min_rows, growth=stream.growth, early_rows=early_rows)
    with one_thread():
        return Replay(stream.rows, labels, task, fitter, pace, memory).run(DEVICES, seed)


def main() -> None:
    """Print each combination's means, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", choices=("clinc", "close", "demo", "repertoire", "bursts"), default="demo")
    parser.add_argument("--student", choices=("hashed", "encoder", "compact"), default="encoder")
    parser.add_argument("--min-rows", type=int, nargs="+", default=[Pace().min_rows])
    parser.add_argument("--early-rows", type=int, nargs="+", default=[Pace().early_rows])
    parser.add_argument("--cold", type=float, nargs="+", default=[Exploration().cold])
    parser.add_argument("--memory", type=int, nargs="+", default=[0, USUAL.answers])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=0, help="most queries; 0 for all")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="keeps what encoder and teacher said")
    options = parser.parse_args()
    data = data_folder()
    if data is None:
        print(json.dumps({"question": "first_queries", "skipped": "no data; set HEADRACE_DATA to its folder"}))
        return
    cache, found = options.cache.expanduser(), {}
    combinations = list(itertools.product(options.min_rows, options.early_rows, options.cold, options.memory))
    lives: dict[str, list[dict[str, Any]]] = {}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        stream = stream_of(options.stream, data, seed, cache)
        stream = Stream(stream.rows[: options.limit or None], stream.growth, stream.waiting)
        fitter = fitter_of(options.student, stream.rows, cache)
        for min_rows, early_rows, cold, memory in combinations:
            name = f"min_rows {min_rows}, early {early_rows}, cold {cold}, memory {memory}"
            one = figures(lived(stream, fitter, min_rows, early_rows, cold, memory, seed))
            lives.setdefault(name, []).append(one)
            print(f"seed {seed}, {name}: {one}", flush=True)
    for name, ones in lives.items():
        keys = [key for key in ones[0] if ones[0][key] is not None]
        found[name] = {key: round(fmean(one[key] for one in ones), 4) for key in keys}
        print(name, found[name], flush=True)
    told = {"stream": options.stream, "student": options.student, "seeds": options.seeds, "promise": PROMISE}
    print(json.dumps({"question": "first_queries", **told, "lives": found}))


if __name__ == "__main__":
    main()
