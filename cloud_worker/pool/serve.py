"""The pool: one Ray Serve application per teacher, and how a gateway asks one.

Rules:
 * A call carries many questions and streams their replies back, a few at a time.
 * Replicas on the gateway's machine are asked by sockets of theirs, others through Serve (docs/decisions/0168).
 * Whatever breaks between here and a replica comes out as ``UnavailableError``, or where it broke at once as
   ``NotReachedError``; what a teacher's code raises too, logged with its traceback where it happened.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
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
from cloud_worker.pool.direct_calls import ReplicaBrokeError, Replicas
from cloud_worker.pool.replica_calls import ReplicaCalls
from cloud_worker.teachers.base import NotNow, Question, Reply
from router.core.errors import HeadraceError, UnavailableError
from router.io.wordless_errors import tell
from router.transport import telemetry_names
from router.transport.address import Address
from router.transport.telemetry import Telemetry, TelemetrySettings, extract

log = logging.getLogger(__name__)

_REPLICA_CPUS = 0.2
_HEALTH_CHECK_SECONDS = 1.0
_HEALTH_TIMEOUT_SECONDS = 10.0
_STOP_SECONDS = 5.0
_CHECK_SECONDS = 5.0
_AT_ONCE_SECONDS = 0.3  # a call that breaks sooner has found its replica dead


class Replica:
    """One replica of a teacher, in a process of its own."""

    def __init__(self, settings: TeacherSettings, cache: Path, telemetry: TelemetrySettings) -> None:
        """Load the teacher that ``settings`` describe; ``cache`` holds fitted heads."""
        from cloud_worker.teachers.loader import load_teacher  # gateways import this module, and never compute

        _stay_on_loopback()
        os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported: replicas share the machine
        self._telemetry = Telemetry.start(telemetry_names.SERVICE_CLOUD, telemetry)
        self._teacher = load_teacher(settings, cache)
        self._calls = ReplicaCalls(self._answer, self._teacher.threads)

    async def answer(self, questions: Sequence[Question]) -> AsyncIterator[list[tuple[int, Reply | NotNow]]]:
        """Replies as they come, each with its question's position; late questions get none."""
        async with aclosing(self._calls.answers(questions)) as pieces:
            async for piece in pieces:
                yield piece

    async def socket(self) -> str:
        """The name of the socket where gateways of this machine ask; empty where there is none."""
        return await self._calls.socket()

    def _answer(self, questions: Sequence[Question]) -> Iterator[Reply | NotNow]:
        spans = [self._span(question) for question in questions] if self._telemetry.is_traced else []
        try:
            yield from self._teacher.answer(questions)
        except Exception as error:  # a teacher's library may raise anything; the question is asked again, or refused
            tell(log, f"teacher {self._teacher.name} failed on {len(questions)} questions", error)
            if isinstance(error, HeadraceError):
                raise
            raise UnavailableError(f"teacher {self._teacher.name} failed") from None  # Serve logs it whole
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
    """Start the replicas of a teacher and wait until they answer; a Ray cluster is connected.

    Raises:
        RuntimeError: They could not start.
    """
    deployment = serve.deployment(
        name=settings.name,
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.calls_of_a_replica * 2,
        ray_actor_options={"num_cpus": _REPLICA_CPUS},
        health_check_period_s=_HEALTH_CHECK_SECONDS,
        health_check_timeout_s=_HEALTH_TIMEOUT_SECONDS,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=_STOP_SECONDS,
        logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
    )
    application = deployment(Replica).bind(settings, cache, telemetry)
    serve.run(application, name=application_of(settings.name), route_prefix=None)


def application_of(teacher: str) -> str:
    """Name of the Serve application of a teacher."""
    return f"headrace-{teacher}"


def asker(teacher: str) -> Ask:
    """How a gateway asks a teacher: the seam between ``gather`` and Ray Serve."""
    handle: DeploymentHandle[Any] = serve.get_deployment_handle(teacher, application_of(teacher))
    through_serve = handle.options(stream=True, method_name="answer")
    # By Ray's calls: gRPC in the router's loop would wake this process's two loops for each message of either.
    told: DeploymentHandle[Any] = handle.options(_by_reference=True)

    async def find() -> Sequence[object]:
        said: Sequence[object] = await told.broadcast("socket").results_async(
            timeout_s=_CHECK_SECONDS, return_exceptions=True
        )
        return said

    replicas = Replicas(teacher, find)

    async def ask(questions: Sequence[Question]) -> AsyncIterator[Sequence[tuple[int, Reply | NotNow]]]:
        began, heard = time.monotonic(), False
        if not questions:
            await replicas.refresh()
        replica = replicas.least_busy()
        try:
            if replica is None:
                pieces = _through(through_serve, questions)
            elif questions:
                pieces = replica.ask(questions)
            else:
                return
            async with aclosing(pieces):
                async for piece in pieces:
                    heard = True
                    yield piece
        except ReplicaBrokeError as error:
            raise UnavailableError(f"teacher {teacher!r} broke") from error
        except (RayError, RayServeException, grpc.RpcError, ConnectionError) as error:
            at_once = not heard and time.monotonic() - began < _AT_ONCE_SECONDS
            kind = NotReachedError if at_once else UnavailableError
            raise kind(f"{type(error).__name__} from teacher {teacher!r}") from error

    return ask


async def _through(handle: DeploymentHandle[Any], questions: Sequence[Question]) -> AsyncGenerator[Any]:
    """Replies by Serve's way."""
    pieces: Any = handle.remote(list(questions))
    try:
        async for piece in pieces:
            yield piece
    finally:
        pieces.cancel()
