"""Runs students: in a thread of their own where they take their time, so that the event loop stays free.

Rules:
 * One thread for what computes here, one text at a time: a device has better things to do. A student that is faster
   than the way to that thread and back answers short texts on the event loop. What waits for a model at a
   server has a thread of its own, so that the server may take several at a time, and one that hangs holds nothing up.
 * A student that fails on a query, or takes too long, counts as none for that query: the next tier answers it.
 * Nobody waits for that thread longer than ``QUEUE_SECONDS`` or two runs, nor half of the time there is: whose turn
   would come later is told so at once, and asks the next tier while there still is time.
 * A query that no other tier may see hears why it has no answer. Logs tell nothing of what it asks.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from opentelemetry.trace import Span

from edge_agent.tasks.hosted_task import Serving
from router.core.arrays import Array
from router.core.domain.agreement import tool_calls_in
from router.core.domain.generation import Written
from router.core.domain.label_confidence import probabilities
from router.core.domain.limits import MAX_ANSWER_BYTES
from router.core.domain.prediction import DeviceStudent, Prediction
from router.core.domain.query import Answer, Distribution, FinishReason, Provenance, Query, Route, Tier, Usage
from router.core.domain.task import Judge
from router.core.errors import (
    BadInputError,
    BusyError,
    DeadlineError,
    HeadraceError,
    ModelError,
    OverloadedError,
    TooLongError,
    UnavailableError,
)
from router.core.privacy.owner_privacy import stays_at_device
from router.core.release.manifest import Manifest
from router.students.onnx_student import Student
from router.students.text_student import TextStudent
from router.transport import telemetry_names

FAST_SECONDS = 0.001  # a run that takes no longer is no longer than the way to another thread and back
MOST_SECONDS_HERE = 8 * FAST_SECONDS  # by the clock; what takes longer waits for something, or for other threads
SHORT_TEXT = 1024  # characters; more may take the tokenizer long
QUEUE_SECONDS = 0.5  # most that queries before this one may take the thread
SERVED_CALLS = 16  # most that wait for servers at a time; above it, a query has no student

_REMEMBERED_RUNS = 16

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Thought:
    """What came of asking the student.

    Attributes:
        prediction: Its answer; ``None`` without a student, or where it has no answer to this query.
        cut: The query is longer than what the student reads: at best, its beginning was answered.
        busy_seconds: The student has no time for it: those before it take it so long; 0 where it has.
    """

    prediction: Prediction | None = None
    cut: bool = False
    busy_seconds: float = 0.0


@dataclass(slots=True)
class _Runs:
    """The running means of a student's last runs, in seconds: by the clock, and of the processor's time."""

    took: float
    computed: float

    def note(self, took: float, computed: float) -> None:
        """Take in one more."""
        self.took += (took - self.took) / _REMEMBERED_RUNS
        self.computed += (computed - self.computed) / _REMEMBERED_RUNS


class Pace:
    """How long students take for short texts.

    Whether one is fast is known by the processor's time: on a device that others keep busy a run takes longer by the
    clock, and the way to another thread does so too.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, computed: Callable[[], float] = time.thread_time
    ) -> None:
        """Know nothing yet; ``clock`` gives seconds, and ``computed`` those that this thread had the processor."""
        self._clock, self._computed = clock, computed
        self._runs: weakref.WeakKeyDictionary[DeviceStudent, _Runs] = weakref.WeakKeyDictionary()

    def is_fast(self, student: DeviceStudent, query: Query) -> bool:
        """Whether the student is known to answer such a query faster than another thread could be told of it."""
        is_short = len(query.text) <= SHORT_TEXT and not query.messages
        if not is_short:
            return False
        runs = self._runs.get(student)
        return runs is not None and runs.computed <= FAST_SECONDS and runs.took <= MOST_SECONDS_HERE

    def expected(self, student: DeviceStudent) -> float:
        """Seconds that a query is expected to take; 0 while nothing is known."""
        runs = self._runs.get(student)
        return 0.0 if runs is None else runs.took

    def predicted(self, student: DeviceStudent, query: Query) -> Prediction:
        """The student's answer, and its time noted: the running mean of the last ones.

        Raises:
            HeadraceError: Why it has none.
        """
        runs = self._runs.get(student)
        is_sure = runs is not None and runs.took <= FAST_SECONDS / 2  # asking for the processor's time takes its own
        before = 0.0 if is_sure else self._computed()
        began = self._clock()
        prediction = student.predict(query)
        took = self._clock() - began
        computed = took if is_sure else self._computed() - before
        if len(query.text) <= SHORT_TEXT:
            if runs is None:
                self._runs[student] = _Runs(took, computed)
            else:
                runs.note(took, computed)
        return prediction


class StudentRunner:
    """Runs students, and puts what they say into answers."""

    def __init__(self, node: str, span: Callable[[str], AbstractContextManager[Span]]) -> None:
        """Answer in the name of ``node``; ``span`` opens a span of a name."""
        self._node = node
        self._span = span
        self._pace = Pace()
        self._here = ThreadPoolExecutor(1, thread_name_prefix="student")
        self._line = 0.0  # seconds that those who wait for the thread are expected to take it
        self._counting = threading.Lock()
        self._free_calls = threading.BoundedSemaphore(SERVED_CALLS)

    async def think(self, serving: Serving, query: Query, seconds: float) -> Thought:
        """What the student says; nothing without a student, when it can't take a chat, fails, or takes too long.

        Args:
            serving: The release.
            query: Checked.
            seconds: Most that it may take.

        Raises:
            HeadraceError: Why a query that may not leave has no answer here.
        """
        student = serving.student
        if student is None or (isinstance(student, Student) and not query.text):
            return Thought()
        with self._span(telemetry_names.SPAN_STUDENT) as span:
            span.set_attribute(telemetry_names.RELEASE, serving.manifest.number)
            try:
                asked = _as_private_as_it_is(serving.manifest, query)
                if self._pace.is_fast(student, asked):
                    prediction = self._pace.predicted(student, asked)
                elif self._line > self._most_line(student, seconds):
                    return self._too_busy(serving, query)
                else:
                    async with asyncio.timeout(seconds):
                        prediction = await self._run(student, asked)
            except (BadInputError, ModelError, UnavailableError, TimeoutError) as error:
                private = stays(serving.manifest, query)
                why = type(error).__name__ if private or isinstance(error, BadInputError) else repr(error)
                log.warning("release %d has no answer to a query: %s", serving.manifest.number, why)
                if private:
                    raise _told(error) from error
                return Thought(cut=isinstance(error, TooLongError))
            if prediction.says_nothing:
                log.warning("release %d has an empty answer to a query", serving.manifest.number)
                if stays(serving.manifest, query):
                    raise UnavailableError("the model on this device has no answer to this, and it may not leave it")
                return Thought()
        return Thought(prediction, prediction.cut) if _can_be_told(prediction) else Thought()

    def _too_busy(self, serving: Serving, query: Query) -> Thought:
        if stays(serving.manifest, query):
            raise too_busy(self._line)
        return Thought(busy_seconds=self._line)

    def _run(self, student: DeviceStudent, query: Query) -> asyncio.Future[Prediction]:
        if not isinstance(student, TextStudent) or student.in_process:
            takes = self._pace.expected(student)
            self._lengthen(takes)
            work = self._here.submit(self._pace.predicted, student, query)
            work.add_done_callback(lambda _: self._lengthen(-takes))
            return asyncio.wrap_future(work)
        if not self._free_calls.acquire(blocking=False):
            raise UnavailableError(f"{SERVED_CALLS} queries wait for the model's server already")
        served: Future[Prediction] = Future()
        threading.Thread(target=self._wait, args=(student, query, served), name="served", daemon=True).start()
        return asyncio.wrap_future(served)

    def _lengthen(self, seconds: float) -> None:
        with self._counting:  # those who leave do so in that thread
            self._line += seconds

    def _most_line(self, student: DeviceStudent, seconds: float) -> float:
        """Seconds that the line may be long for one who joins it; of a slow student two may always be before it."""
        return min(max(QUEUE_SECONDS, 2 * self._pace.expected(student)), seconds / 2)

    def _wait(self, student: TextStudent, query: Query, done: Future[Prediction]) -> None:
        """Run the student in a thread that ends with the process: a server that hangs holds no agent up."""
        if done.set_running_or_notify_cancel():
            try:
                done.set_result(student.predict(query))
            except Exception as error:  # noqa: BLE001 - handed on to who waits
                done.set_exception(error)
        self._free_calls.release()

    def speak(self, serving: Serving, query: Query, prediction: Prediction, **known: Any) -> Answer:
        """The student's answer; ``known`` is what the agent knows of its provenance."""
        manifest, written = serving.manifest, prediction.written or Written(prediction.answer)
        calls = written.tool_calls
        if not calls and manifest.task.judge is Judge.TOOL_CALL:
            calls = tool_calls_in(prediction.answer) or ()
        called = bool(calls) and written.finish_reason is FinishReason.STOP
        return Answer(
            query_id=query.id,
            text=prediction.answer,
            finish_reason=FinishReason.TOOL_CALLS if called else written.finish_reason,
            tool_calls=calls,
            tokens=written.tokens if query.wanted.top_k else (),
            rationale=written.rationale if query.wanted.rationale else "",
            usage=Usage(written.tokens_in, written.tokens_out),
            confidence=prediction.score,
            distribution=_distribution(manifest, prediction.logits, query.wanted.top_k),
            provenance=Provenance(
                tier=Tier.DEVICE,
                model=manifest.student.kind if manifest.student else "",
                model_version=manifest.student.version if manifest.student else "",
                release=manifest.number,
                node=self._node,
                **known,
            ),
        )

    def close(self) -> None:
        """End the thread."""
        self._here.shutdown(wait=False, cancel_futures=True)


def _can_be_told(prediction: Prediction) -> bool:
    """Whether the next tier can hear of it: its score is a number, and its answer has a size that a message takes."""
    known = prediction.score is None or math.isfinite(prediction.score)
    return known and len(prediction.answer.encode(errors="replace")) <= MAX_ANSWER_BYTES


def stays(manifest: Manifest, query: Query) -> bool:
    """Whether a query may not leave the device."""
    return stays_at_device(manifest.task, query)


def _as_private_as_it_is(manifest: Manifest, query: Query) -> Query:
    """The query so that a student at a server knows of it, too, that it may not leave."""
    return replace(query, route=Route.LOCAL_ONLY) if stays(manifest, query) else query


def too_busy(seconds: float) -> OverloadedError:
    """Why a query has no answer here while so many are before it, and when to come back."""
    return OverloadedError("this device is asked more than it can answer; try again later", seconds)


def _told(error: Exception) -> HeadraceError:
    """What a caller hears of a failure: the model's own words may name files and addresses."""
    if isinstance(error, BadInputError):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineError("the model on this device did not answer in time")
    if isinstance(error, BusyError):
        again = f"it is asked again in {error.retry_after or 0:.0f} s"
        return BusyError(f"the model on this device asked to be left alone ({again})", error.retry_after)
    return UnavailableError("the model on this device can't answer now, and this query may not leave it")


def _distribution(manifest: Manifest, logits: Array | None, top_k: int) -> Distribution:
    if top_k < 1 or logits is None or manifest.student is None or manifest.calibration is None:
        return Distribution()
    chances = probabilities(logits, manifest.calibration.temperature)
    best = np.argsort(-chances, kind="stable")[:top_k]
    rest = 1.0 - float(chances[best].sum())
    return Distribution(
        tuple((manifest.student.labels[i], math.log(max(float(chances[i]), 1e-300))) for i in best),
        None if len(best) == len(chances) else math.log(max(rest, 1e-300)),
    )
