"""The pool: one Ray Serve application per teacher, and how a gateway asks one.

Rules:
 * A call carries many questions and streams their replies back, a few at a time.
 * One thread computes in a copy of a teacher; one that waits for others is asked by several, a question each.
 * Questions whose callers have given up are left out.
 * Whatever breaks between here and a copy comes out as ``UnavailableError``, or where it broke at once as
   ``NotReachedError``; what a teacher's code raises too, logged with its traceback where it happened.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.trace import Span
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig
from ray.util import get_node_ip_address

from cloud_worker.config.teachers import TeacherSettings
from cloud_worker.pool.batcher import Ask, NotReachedError
from cloud_worker.teachers.base import NotNow, Question, Reply
from router.core.errors import UnavailableError
from router.transport import telemetry_names
from router.transport.address import Address
from router.transport.telemetry import Telemetry, TelemetrySettings, extract

log = logging.getLogger(__name__)

_STEP = 16  # questions whose replies travel together
_COPY_CPUS = 0.2
_HEALTH_CHECK_SECONDS = 1.0
_HEALTH_TIMEOUT_SECONDS = 10.0
_STOP_SECONDS = 5.0
_AT_ONCE_SECONDS = 0.3  # a call that breaks sooner has found its copy dead


class Copy:
    """One copy of a teacher, in a process of its own."""

    def __init__(self, settings: TeacherSettings, cache: Path, telemetry: TelemetrySettings) -> None:
        """Load the teacher that ``settings`` describe; ``cache`` holds fitted heads."""
        from cloud_worker.teachers.loader import load_teacher  # gateways import this module, and never compute

        _stay_on_loopback()
        os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported: copies share the machine
        self._telemetry = Telemetry.start(telemetry_names.SERVICE_CLOUD, telemetry)
        self._teacher = load_teacher(settings, cache)
        self._threads = ThreadPoolExecutor(self._teacher.threads, thread_name_prefix="teacher")

    async def answer(self, questions: Sequence[Question]) -> AsyncIterator[list[tuple[int, Reply | NotNow]]]:
        """Replies as they come, each with its question's place; late questions get none."""
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        step = _STEP if self._teacher.threads == 1 else 1
        steps = [range(start, min(start + step, len(questions))) for start in range(0, len(questions), step)]
        running = [
            loop.run_in_executor(self._threads, self._answer_in_time, questions, places, began) for places in steps
        ]
        try:
            for done in asyncio.as_completed(running):
                yield await done
        finally:
            for waiting in running:
                waiting.cancel()

    def _answer_in_time(
        self, questions: Sequence[Question], places: Sequence[int], began: float
    ) -> list[tuple[int, Reply | NotNow]]:
        passed = (time.monotonic() - began) * 1000
        left = [place for place in places if questions[place].milliseconds > passed]
        return list(zip(left, self._answer([questions[place] for place in left]), strict=True))

    def _answer(self, questions: Sequence[Question]) -> list[Reply | NotNow]:
        spans = [self._span(question) for question in questions]
        try:
            return list(self._teacher.answer(questions))
        except Exception:
            log.exception("teacher %s failed on %d questions", self._teacher.name, len(questions))
            raise
        finally:
            for span in spans:
                span.end()

    def _span(self, question: Question) -> Span:
        attributes = {telemetry_names.TEACHER: self._teacher.name}
        return self._telemetry.tracer.start_span(
            telemetry_names.SPAN_TEACHER, context=extract(question.trace), attributes=attributes
        )


def _stay_on_loopback() -> None:
    """Where Ray itself listens on loopback alone, make Serve's server in this process do so too.

    It takes pickles from whoever connects, and has no setting for its address (ray 2.60: always ``[::]``).
    """
    if not Address(get_node_ip_address(), 0).is_loopback:  # type: ignore[no-untyped-call]
        return
    replica: Any = import_module("ray.serve._private.replica")
    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", "127.0.0.1"))


def start_teacher(settings: TeacherSettings, cache: Path, telemetry: TelemetrySettings) -> None:
    """Start the copies of a teacher and wait until they answer; a Ray cluster is connected.

    Raises:
        RuntimeError: They could not start.
    """
    deployment = serve.deployment(
        name=settings.name,
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.calls_of_a_copy * 2,
        ray_actor_options={"num_cpus": _COPY_CPUS},
        health_check_period_s=_HEALTH_CHECK_SECONDS,
        health_check_timeout_s=_HEALTH_TIMEOUT_SECONDS,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=_STOP_SECONDS,
        logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
    )
    application = deployment(Copy).bind(settings, cache, telemetry)
    serve.run(application, name=application_of(settings.name), route_prefix=None)


def application_of(teacher: str) -> str:
    """Name of the Serve application of a teacher."""
    return f"headrace-{teacher}"


def asker(teacher: str) -> Ask:
    """How a gateway asks a teacher: the seam between ``gather`` and Ray Serve."""
    handle: DeploymentHandle[Any] = serve.get_deployment_handle(teacher, application_of(teacher)).options(
        stream=True, method_name="answer"
    )

    async def ask(questions: Sequence[Question]) -> AsyncIterator[Sequence[tuple[int, Reply | NotNow]]]:
        began, heard = time.monotonic(), False
        pieces: Any = handle.remote(list(questions))
        try:
            async for piece in pieces:
                heard = True
                yield piece
        except (RayError, RayServeException, grpc.RpcError, ConnectionError) as error:
            at_once = not heard and time.monotonic() - began < _AT_ONCE_SECONDS
            kind = NotReachedError if at_once else UnavailableError
            raise kind(f"{type(error).__name__} from teacher {teacher!r}") from error
        finally:
            pieces.cancel()

    return ask
