"""Logs small enough to be replayed in a second."""

import csv
import json
import random

import pytest

from router.backtest.run import one_thread
from router.core.domain.record import Record

WORDS = {
    "lights": ("lamp", "bulb", "bright", "dark", "glow"),
    "music": ("song", "tune", "loud", "album", "singer"),
    "clock": ("alarm", "noon", "hour", "wake", "timer"),
}
FILLERS = ("please", "turn", "the", "a", "now", "could", "you", "my", "some", "more")


def spoken(count, seed=0, words=None):
    """Rows of text and answer: two words of one answer among fillers, and now and then an answer by chance."""
    words = words or WORDS
    draws = random.Random(seed)
    rows = []
    for _ in range(count):
        answer = draws.choice(sorted(words))
        parts = [*draws.choices(words[answer], k=2), *draws.choices(FILLERS, k=3)]
        draws.shuffle(parts)
        rows.append({"text": " ".join(parts), "answer": answer})
    return rows


@pytest.fixture(scope="module", autouse=True)
def limited_to_one_thread():
    """Small matrices are not worth the threads that a busy machine makes them wait for."""
    with one_thread():
        yield


@pytest.fixture(scope="session")
def utterances():
    """Makes rows of text and answer."""
    return spoken


@pytest.fixture
def make_rows(utterances):
    return utterances


@pytest.fixture
def make_records():
    """Makes rows of a distillation log."""

    def make(count):
        return [
            Record(
                "device-1",
                f"q-{position:06d}",
                "log",
                "log",
                "backtest",
                1,
                position,
                position,
                row["text"],
                row["answer"],
            )
            for position, row in enumerate(spoken(count))
        ]

    return make


@pytest.fixture
def write_log(tmp_path):
    """Writes rows as ``log.jsonl``, ``log.csv`` or ``log.parquet``, and returns the path."""

    def write(rows, kind="jsonl", name="log"):
        path = tmp_path / f"{name}.{kind}"
        if kind == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        elif kind == "csv":
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        else:
            import pyarrow
            from pyarrow import parquet

            parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path

    return write
