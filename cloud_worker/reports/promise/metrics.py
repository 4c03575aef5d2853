"""The promise of every task as metrics, read when somebody looks.

    headrace.promise.used          share of the allowance that the live loss is
    headrace.promise.rows          explored rows that it is measured on
    headrace.promise.state         1 for the state in force, of PromiseState, else 0
    headrace.promise.suspected     1 while everything is explored since the watch suspects a change, else 0
    headrace.promise.missing_rows  that the waiting challenger's certificate should still take
    headrace.promise.covered_share covered answers of all, since the devices' start
    headrace.promise.net_saving    share of all answers that did not ask the reference, since the devices' start
    headrace.exploration           rate in force
    headrace.inputs.warnings       comparisons of the last window that warn
    headrace.inputs.distance       size of each comparison

Rules:
 * One gathering serves all gauges of a reading, and those of the next few seconds.
 * A store that can't be read gives no reading, and ends nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from sqlalchemy.exc import SQLAlchemyError

from cloud_worker.reports.promise.values import MissingProof, Promise, PromiseState
from router.core.errors import HeadraceError
from router.transport import telemetry_names

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0

Gather = Callable[[], dict[str, Promise]]
_Read = Callable[[Promise], Iterator[tuple[float, dict[str, str]]]]


class PromiseMetrics:
    """Gauges over what ``gather`` gives: each task's promise, by its name."""

    def __init__(self, meter: Meter, gather: Gather, clock: Callable[[], float] = time.monotonic) -> None:
        """Make the gauges; ``clock`` tells seconds."""
        self._gather = gather
        self._clock = clock
        self._lock = threading.Lock()
        self._gathered: dict[str, Promise] = {}
        self._until = -1.0
        for name, read in _GAUGES.items():
            meter.create_observable_gauge(name, [self._gauge(read)])

    def _gauge(self, read: _Read) -> Callable[[CallbackOptions], list[Observation]]:
        def observe(_: CallbackOptions) -> list[Observation]:
            return [
                Observation(value, {telemetry_names.TASK: task, **more})
                for task, promise in self._fresh().items()
                for value, more in read(promise)
            ]

        return observe

    def _fresh(self) -> dict[str, Promise]:
        with self._lock:
            if self._clock() >= self._until:
                try:
                    self._gathered = self._gather()
                except (HeadraceError, OSError, SQLAlchemyError) as error:
                    log.warning("the promises can't be read: %s", error)
                    self._gathered = {}
                self._until = self._clock() + FRESH_SECONDS
            return self._gathered


def _used(promise: Promise) -> Iterator[tuple[float, dict[str, str]]]:
    if promise.used and promise.used.of_allowance is not None:
        yield promise.used.of_allowance, {}


def _rows(promise: Promise) -> Iterator[tuple[float, dict[str, str]]]:
    if promise.used:
        yield promise.used.rows, {}


def _state(promise: Promise) -> Iterator[tuple[float, dict[str, str]]]:
    for state in PromiseState:
        yield float(promise.state == state), {"state": state}


def _suspected(promise: Promise) -> Iterator[tuple[float, dict[str, str]]]:
    if promise.used:
        yield float(promise.used.suspected is not None), {}


def _missing(promise: Promise) -> Iterator[tuple[float, dict[str, str]]]:
    missing = promise.missing
    if missing and isinstance(missing, MissingProof) and missing.rows is not None:
        yield missing.rows, {}


def _covered(promise: Promise) -> Iterator[tuple[float, dict[str, str]]]:
    if promise.covered.share is not None:
        yield promise.covered.share, {}


def _net_saving(promise: Promise) -> Iterator[tuple[float, dict[str, str]]]:
    if promise.saved.share is not None:
        yield promise.saved.share, {}


def _exploration(promise: Promise) -> Iterator[tuple[float, dict[str, str]]]:
    yield promise.exploration, {}


def _warnings(promise: Promise) -> Iterator[tuple[float, dict[str, str]]]:
    if promise.inputs:
        yield len(promise.inputs.warnings), {}


def _distances(promise: Promise) -> Iterator[tuple[float, dict[str, str]]]:
    for comparison in promise.inputs.comparisons if promise.inputs else ():
        yield comparison.size, {"comparison": comparison.what}


_GAUGES: dict[str, _Read] = {
    "headrace.promise.used": _used,
    "headrace.promise.rows": _rows,
    "headrace.promise.state": _state,
    "headrace.promise.suspected": _suspected,
    "headrace.promise.missing_rows": _missing,
    "headrace.promise.covered_share": _covered,
    "headrace.promise.net_saving": _net_saving,
    "headrace.exploration": _exploration,
    "headrace.inputs.warnings": _warnings,
    "headrace.inputs.distance": _distances,
}
