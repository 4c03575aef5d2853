"""Memory that an owner and its workers share: how new what they know is, and each worker's figures.

Rules:
 * Each number has one writer: the epoch the owner, a worker's figures that worker.
 * Figures only grow, past the death of a worker too: the one in its place goes on from them.
 * Healthy answers stand beside the release that gave them, in one number, so that they are never read of another.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from dataclasses import dataclass

import numpy as np

from edge_agent.tasks.counters import Counters

MOST_TASKS = 64  # that workers answer; more are answered by the owner alone
LATENCIES = 128  # that are remembered of each worker and task
_FIGURES = ("answered", "kept", "escalated", "explored", "degraded", "failed", "covered")
_HEALTHY = len(_FIGURES)
_HALF = 32  # bits for the number of healthy answers, below the release


@dataclass(frozen=True, slots=True)
class Position:
    """Where figures stand on the board: those of a worker, of a task. Both count from 0."""

    worker: int
    task: int


def shared_memory() -> int:
    """A descriptor of memory without a name, which processes share by inheriting it."""
    if sys.platform == "linux":
        return os.memfd_create("headrace", 0)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Board:
    """The board of one agent. All who share it say the same number of ``workers``."""

    def __init__(self, descriptor: int, workers: int) -> None:
        """See what lies behind ``descriptor``; it is 0 at first."""
        cells = workers * MOST_TASKS
        count = 8 * (1 + cells * (_HEALTHY + 1 + LATENCIES))
        os.ftruncate(descriptor, count)
        memory = mmap.mmap(descriptor, count)
        split = 1 + cells * (_HEALTHY + 1)
        numbers = np.frombuffer(memory, np.int64, split)
        self._epoch, self._figures = numbers[:1], numbers[1:].reshape(workers, MOST_TASKS, _HEALTHY + 1)
        times = np.frombuffer(memory, np.float64, cells * LATENCIES, 8 * split)
        self._milliseconds = times.reshape(workers, MOST_TASKS, LATENCIES)

    @property
    def epoch(self) -> int:
        """Grows with each change of what workers have to know."""
        return int(self._epoch[0])

    def renew(self) -> int:
        """Something has changed: whoever knows the epoch before knows too little from now on."""
        self._epoch[0] += 1
        return self.epoch

    def publish(self, position: Position, counters: Counters, release: int) -> None:
        """Let the owner see a worker's figures; its last answer's time is the last of ``counters.latencies``."""
        row = self._figures[position.worker, position.task]
        row[:_HEALTHY] = [getattr(counters, name) for name in _FIGURES]
        row[_HEALTHY] = release << _HALF | counters.healthy_answers
        times = self._milliseconds[position.worker, position.task]
        if not counters.latencies:
            times[:] = 0.0
        else:
            times[counters.answered % LATENCIES] = counters.latencies[-1]

    def figures(self, position: Position, release: int) -> Counters:
        """A worker's figures; healthy answers and times are those of ``release``, or none."""
        row = self._figures[position.worker, position.task]
        healthy_of, healthy = divmod(int(row[_HEALTHY]), 1 << _HALF)
        counters = Counters()
        for at, name in enumerate(_FIGURES):
            setattr(counters, name, int(row[at]))
        if healthy_of == release:
            counters.healthy_answers = healthy
            times = self._milliseconds[position.worker, position.task]
            counters.latencies.extend(float(one) for one in times[times > 0])
        return counters
