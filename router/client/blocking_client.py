"""Ask an agent or the cloud: the same service, so the same client.

    with Client("127.0.0.1:7701", insecure=True) as client:
        print(client.ask("turn the heating down", "home").text)

Rules:
 * One channel per target, opened once and kept.
 * The deadline is the only one: failing over, waiting and asking again all happen within it.
 * A client lives in one process until it is closed, and an ``AsyncClient`` in one event loop at a time; anywhere else
   it says what to do.
 * A query keeps its id however often it is sent, so that a target that has answered it answers the same again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, NoReturn, Self, Unpack

import grpc
from opentelemetry.trace import Tracer

from router.client.failover import Wait
from router.client.identity import ClientIdentity
from router.client.lifetime import Lifetime
from router.client.request import DEFAULT_DEADLINE_SECONDS, AskOptions, caller, first_to_tell, opinion_of, query_of
from router.core.domain.feedback import Feedback
from router.core.domain.query import Answer, Query
from router.core.errors import HeadraceError
from router.transport.channel import call_error
from router.v1 import cascade_pb2_grpc

_HEALTH_CHECK = "/grpc.health.v1.Health/Check"  # an empty request asks for the whole server
_log = logging.getLogger(__name__)


class Client:
    """Asks over gRPC, without an event loop. Threads may share one.

    Args:
        targets: ``HOST:PORT`` of a gateway, ``NAME@HOST:PORT`` of a device's agent, or ``unix:PATH``; one or several in
            order of preference.
        insecure: Plain transport, on this machine only.
        identity: Folder of the certificate or token that this client was given.
        device: Who asks, where an insecure door believes it.
        deadline: Seconds that a query may take if it says nothing else.
        tracer: Makes the client's spans; the application's global one by default.

    Raises:
        ConfigError: An argument is of a wrong type, or a target can't be read, or may not be spoken to in plain.
        NotPossibleError: This process was forked from one that had opened a client.
    """

    def __init__(
        self,
        targets: str | Sequence[str],
        *,
        insecure: bool = False,
        identity: str | Path | None = None,
        device: str = "",
        deadline: float = DEFAULT_DEADLINE_SECONDS,
        tracer: Tracer | None = None,
    ) -> None:
        self._identity = ClientIdentity(identity)
        self._caller = caller(targets, insecure, device, deadline, tracer, self._identity.is_there)
        self._life = Lifetime("Client")
        self._channels = [self._identity.open_sync(target, insecure=insecure) for target in self._caller.targets]
        self._stubs = [cascade_pb2_grpc.CascadeStub(channel) for channel in self._channels]
        self._checks = [channel.unary_unary(_HEALTH_CHECK, bytes, bytes) for channel in self._channels]

    def ask(self, text: str, task: str, **options: Unpack[AskOptions]) -> Answer:
        """Ask one question.

        Args:
            text: The question.
            task: The task that it belongs to.
            **options: See ``AskOptions``.

        Raises:
            TypeError: An option that there is not.
            CallerError: The question is not one that can be answered, or the client is closed; says what to change.
            ServiceError: No target answered before the deadline; asking again may help.
        """
        return self.answer(query_of(text, task, options), options.get("deadline"))

    def answer(self, query: Query, deadline: float | None = None) -> Answer:
        """Ask a whole ``Query``, which may hold chat messages and tools; an empty id is filled in.

        Args:
            query: What is asked.
            deadline: Seconds; the client's own if left out.

        Raises:
            CallerError: As in ``ask``.
            ServiceError: As in ``ask``.
        """
        with self._alive(), self._caller.asking(query, deadline) as asked:
            step = next(asked.steps)
            while True:
                if isinstance(step, Wait):
                    self._wait(step)
                    step = asked.steps.send(None)
                    continue
                try:
                    response = self._stubs[step.target].Answer(
                        asked.request, timeout=step.seconds, metadata=asked.metadata
                    )
                except grpc.RpcError as error:
                    self._life.check()
                    self._identity.failed(self._channels[step.target], error)
                    step = asked.steps.send(call_error(error, self._caller.targets[step.target]))
                else:
                    return asked.done(response)

    def feedback(
        self,
        query_id: str,
        task: str,
        verdict: Literal["right", "wrong"],
        *,
        correction: str = "",
        comment: str = "",
        deadline: float | None = None,
    ) -> None:
        """Say what you think of an answer; whichever target gave it hears so. Replaces what was said before.

        Args:
            query_id: Of the answer.
            task: Of the question.
            verdict: ``right`` or ``wrong``.
            correction: What would have been right.
            comment: For the operator.
            deadline: Seconds; the client's own if left out.

        Raises:
            CallerError: No target gave this caller that answer, or a field is out of its range.
            ServiceError: A target could not be asked; trying again may help.
        """
        said = Feedback(query_id, task, opinion_of(verdict), correction, comment)
        giving = self._caller.giving(said, deadline)
        failure: HeadraceError | None = None
        with self._alive():
            for stub, target in zip(self._stubs, self._caller.targets, strict=True):
                try:
                    stub.Feedback(giving.request, timeout=giving.seconds, metadata=giving.metadata)
                    return
                except grpc.RpcError as error:
                    self._life.check()
                    failure = first_to_tell(failure, call_error(error, target))
        assert failure is not None
        raise failure

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        """Check that the client lives, and say so when it is closed meanwhile."""
        self._life.check()
        self._identity.show_to(self._channels)
        try:
            yield
        except ValueError:  # what gRPC raises on a closed channel
            self._life.check()
            raise

    def _wait(self, step: Wait) -> None:
        """Ask every target for its health, so that the first to come back, healthy or not, ends the wait.

        Watching the state of a synchronous channel would leave a thread behind that fails when the channel is closed.
        """
        if step.reason:
            _log.info("%s", step.reason)
        time.sleep(step.pause)
        back = threading.Event()
        seconds = self._identity.wait_seconds(self._channels, step.seconds)
        checks = [check.future(b"", timeout=seconds, wait_for_ready=True) for check in self._checks]
        for check in checks:
            check.add_done_callback(lambda _: back.set())
        back.wait(seconds)
        for check in checks:
            check.cancel()

    def close(self) -> None:
        """Close the channels; calls in flight end. A second time does nothing, nor does it in a forked child."""
        if self._life.closed or self._life.is_elsewhere:
            return
        self._life.closed = True
        for channel in self._channels:
            channel.close()

    def __reduce__(self) -> NoReturn:
        self._life.refuse_pickle()

    def __enter__(self) -> Self:
        self._life.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
