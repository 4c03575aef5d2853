"""The cloud in memory, over real gRPC, for tests of agents; and a student small enough to be built in one.

``CloudSimulator`` serves what a cluster serves to devices, records what it was asked, and breaks on demand.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from grpc import aio

from router.core.domain.chat import transcript
from router.core.domain.feedback import Feedback
from router.core.domain.label_confidence import Calibration
from router.core.domain.query import Answer, GenerationLimits, Provenance, Query, Reason, Tier
from router.core.domain.task import StudentKind, Task
from router.core.errors import SpentError
from router.core.policy.deferral import Policy
from router.core.policy.text_confidence import TEXT_SIGNALS, TextCalibration
from router.core.release.manifest import MANIFEST_FILE, File, Golden, Manifest, StudentSpec, digest, write_manifest
from router.core.release.orders import DeviceReport, Order, Orders
from router.students.writers.testing import tiny_writer_files
from router.transport import telemetry_names
from router.transport.error_interceptor import NO_RETRY
from router.transport.feedback_wire import feedback_from_proto
from router.transport.wire import answer_to_proto, orders_to_proto, query_from_proto, report_from_proto
from router.v1 import (
    cascade_pb2,
    cascade_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    release_pb2,
    release_pb2_grpc,
)

SEED = bytes(range(32))
TASK = Task("home", reference="simulated")
TEXT_LIMITS = GenerationLimits(max_tokens=8)
WORDS = {"light": "lights", "lamp": "lights", "song": "music", "tune": "music", "noon": "clock"}

_Context = aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class Faults:
    """What goes wrong, until it is set back.

    Attributes:
        unavailable: Calls of ``Answer`` and ``Sync`` get UNAVAILABLE.
        hang: They get no answer at all, as over a half-open connection.
        delay: Seconds before each answer.
        unknown_task: Calls of ``Answer`` get NOT_FOUND.
        pushback: Calls of ``Answer`` are shed, to come back after this many seconds.
        unlogged: Answers say ``logged = false``.
        other_id: Answers come under another query's id.
        spent: Calls of ``Answer`` are refused, as where the fleet's limit is spent.
        corrupt: Files whose bytes come changed, of the same length.
        break_after: A fetch breaks after this many bytes; once for each file.
        chunk_bytes: Size of the pieces of a fetch.
        chunk_delay: Seconds before each piece.
    """

    unavailable: bool = False
    hang: bool = False
    delay: float = 0.0
    unknown_task: bool = False
    pushback: float | None = None
    unlogged: bool = False
    other_id: bool = False
    spent: bool = False
    corrupt: frozenset[str] = frozenset()
    break_after: int | None = None
    chunk_bytes: int = 16 * 1024
    chunk_delay: float = 0.0


@dataclass(slots=True)
class CloudSimulator:
    """A cluster as devices see it.

    Attributes:
        answer: What the reference says to a text, or to the transcript of a chat.
        seed: Handed to every device.
        interval: Seconds between reports.
        faults: What goes wrong.
        orders: What devices are told, by task.
        queries: Every query asked, with its device, in order.
        feedback: All that was passed on, in order.
        metadata: The metadata of every query asked.
        reports: Every report, in order.
        fetches: Every fetch: task, release, file, offset.
    """

    answer: Callable[[str], str]
    seed: bytes = SEED
    interval: float = 0.1
    faults: Faults = field(default_factory=Faults)
    orders: dict[str, Order] = field(default_factory=dict)
    queries: list[Query] = field(default_factory=list)
    feedback: list[Feedback] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    reports: list[DeviceReport] = field(default_factory=list)
    fetches: list[tuple[str, int, str, int]] = field(default_factory=list)
    port: int = 0
    _files: dict[tuple[str, int, str], bytes] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _broken: set[tuple[str, int, str]] = field(default_factory=set)
    _server: aio.Server | None = None

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen: at first on a free port, later on the same one."""
        server = aio.server(options=[("grpc.so_reuseport", 0)])
        cascade_pb2_grpc.add_CascadeServicer_to_server(_Cascade(self), server)
        fleet_pb2_grpc.add_FleetServicer_to_server(_Fleet(self), server)
        release_pb2_grpc.add_ReleasesServicer_to_server(_Releases(self), server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Break every connection, as a kill would."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    def publish(self, manifest: Manifest, files: dict[str, bytes], exploration: float = 0.0) -> Order:
        """Make a release ready and order every device to run it."""
        data = write_manifest(manifest)
        may_leave = not manifest.task.local_only
        order = Order(manifest.task.name, manifest.number, digest(data), exploration, may_leave=may_leave)
        self.offer(order, {**files, MANIFEST_FILE: data})
        return order

    def offer(self, order: Order, files: dict[str, bytes]) -> None:
        """Order every device to run a release of these files, whatever they hold."""
        for name, content in files.items():
            self._files[order.task, order.release, name] = content
        self.orders[order.task] = order

    def order(self, task: str, **changes: Any) -> None:
        """Change what devices are told of a task."""
        self.orders[task] = replace(self.orders[task], **changes)

    async def until(self, holds: Callable[[], bool], seconds: float = 30.0) -> None:
        """Return when ``holds()``, looked at after everything that it is asked.

        Raises:
            TimeoutError: It does not hold in time.
        """
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(holds)

    async def until_active(self, release: int, seconds: float = 30.0) -> None:
        """Return when a report says that a release is active.

        Raises:
            TimeoutError: None does in time.
        """
        await self.until(lambda: any(task.active_release == release for task in self.last_tasks()), seconds)

    def last_tasks(self) -> tuple[Any, ...]:
        """The tasks of the last report."""
        return self.reports[-1].tasks if self.reports else ()

    async def note(self) -> None:
        """Wake who waits in ``until``."""
        async with self._changed:
            self._changed.notify_all()

    async def suffer(self, context: _Context, *, is_query: bool) -> None:
        """Let the faults of a call happen."""
        if self.faults.hang:
            await asyncio.Event().wait()
        if self.faults.delay:
            await asyncio.sleep(self.faults.delay)
        if self.faults.unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable on purpose")
        if is_query and self.faults.unknown_task:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown on purpose")
        if is_query and self.faults.spent:
            told = ((telemetry_names.META_ERROR, SpentError.__name__), (telemetry_names.META_PUSHBACK, NO_RETRY))
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "spent on purpose", told)
        if is_query and self.faults.pushback is not None:
            pushback = ((telemetry_names.META_PUSHBACK, str(int(1000 * self.faults.pushback))),)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "shed on purpose", pushback)

    async def pieces(self, request: release_pb2.FetchRequest, context: _Context) -> AsyncIterator[bytes]:
        """The bytes of a file as they are sent, with all that goes wrong with them."""
        key = (request.task, request.release, request.file)
        if key not in self._files:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no file {request.file}")
        data = self._files[key]
        if request.file in self.faults.corrupt:
            data = bytes([data[0] ^ 1]) + data[1:]
        for start in range(request.offset, len(data), self.faults.chunk_bytes):
            if self.faults.chunk_delay:
                await asyncio.sleep(self.faults.chunk_delay)
            limit = self.faults.break_after
            if limit is not None and start >= limit and key not in self._broken:
                self._broken.add(key)
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken on purpose")
            yield data[start : start + self.faults.chunk_bytes]


class _Cascade(cascade_pb2_grpc.CascadeServicer):
    def __init__(self, cloud: CloudSimulator) -> None:
        self._cloud = cloud

    async def Answer(self, request: Any, context: Any) -> cascade_pb2.AnswerResponse:  # noqa: N802
        query = query_from_proto(request)
        self._cloud.queries.append(query)
        self._cloud.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        await self._cloud.note()
        await self._cloud.suffer(context, is_query=True)
        reason = query.attempt.reason if query.attempt else Reason.DIRECT
        faults, said = self._cloud.faults, self._cloud.answer(query.text or transcript(query.messages))
        logged = not faults.unlogged
        provenance = Provenance(Tier.CLUSTER, "simulated", "1", reason=reason, logged=logged, node="gateway-0")
        return answer_to_proto(Answer("another" if faults.other_id else query.id, said, provenance))

    def AnswerStream(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def Feedback(self, request: Any, context: Any) -> cascade_pb2.FeedbackResponse:  # noqa: N802
        await self._cloud.suffer(context, is_query=True)
        self._cloud.feedback.append(feedback_from_proto(request))
        await self._cloud.note()
        return cascade_pb2.FeedbackResponse()


class _Fleet(fleet_pb2_grpc.FleetServicer):
    def __init__(self, cloud: CloudSimulator) -> None:
        self._cloud = cloud

    async def Sync(self, request: Any, context: Any) -> fleet_pb2.SyncResponse:  # noqa: N802
        cloud = self._cloud
        await cloud.suffer(context, is_query=False)
        cloud.reports.append(report_from_proto(request))
        await cloud.note()
        return orders_to_proto(Orders(tuple(cloud.orders.values()), cloud.interval, cloud.seed))

    def Enroll(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    def Renew(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError


class _Releases(release_pb2_grpc.ReleasesServicer):
    def __init__(self, cloud: CloudSimulator) -> None:
        self._cloud = cloud

    async def Fetch(self, request: Any, context: Any) -> AsyncIterator[release_pb2.FetchChunk]:  # noqa: N802
        self._cloud.fetches.append((request.task, request.release, request.file, request.offset))
        await self._cloud.note()
        offset = request.offset
        async for piece in self._cloud.pieces(request, context):
            yield release_pb2.FetchChunk(data=piece, offset=offset, total=0)
            offset += len(piece)


def empty_release(task: Task) -> Manifest:
    """Release 0: no student, everything escalates."""
    return Manifest(task, 0, 0.0, Policy(2.0))


def tiny_release(
    task: Task, number: int, words: dict[str, str], *, threshold: float = 0.5, padding: int = 0
) -> tuple[Manifest, dict[str, bytes]]:
    """A release whose student knows single words and nothing else.

    Args:
        task: What it serves.
        number: Its number.
        words: Label by word. A text of known words of one label scores close to 1, any other close to 0.
        threshold: Least score kept.
        padding: Bytes of a further file, to make the release take time.
    """
    labels = tuple(sorted(set(words.values())))
    vocabulary = ("[UNK]", *sorted(words))
    files = {"model.onnx": _tiny_model(vocabulary, words, labels), "tokenizer.json": _tiny_tokenizer(vocabulary)}
    files["golden.jsonl"] = _lines({"text": word, "answer": words[word], "score": 1.0} for word in sorted(words))
    if padding:
        files["padding.bin"] = number.to_bytes(4, "big") * (padding // 4)
    manifest = Manifest(
        task=task,
        number=number,
        created_at=0.0,
        policy=Policy(threshold, number),
        student=StudentSpec(StudentKind.COMPACT, "model.onnx", "tokenizer.json", labels, 32, f"tiny-{number}"),
        # From the probability alone: 0.9 is the middle, and each 0.05 counts once.
        calibration=Calibration(1.0, (0.9, 0.0, 0.0, 0.0), (0.01, 1.0, 1.0, 1.0), (1.0, 0.0, 0.0, 0.0), 0.0),
        golden=Golden("golden.jsonl", 0.01),
        files={name: File(len(data), digest(data)) for name, data in files.items()},
    )
    return manifest, files


def tiny_text_release(
    task: Task, number: int, words: dict[str, str], *, threshold: float = 0.5, limits: GenerationLimits = TEXT_LIMITS
) -> tuple[Manifest, dict[str, bytes]]:
    """A release whose student writes on from the last word of what it reads; see ``tiny_writer_files``.

    Args:
        task: What it serves.
        number: Its number.
        words: What follows each word. A text that ends in one of them scores close to 1, any other close to 0.
        threshold: Least score kept.
        limits: Of an answer, where the query names none.
    """
    files = tiny_writer_files(words)
    files["golden.jsonl"] = _lines({"text": word, "answer": words[word], "score": 1.0} for word in sorted(words))
    spec = StudentSpec(
        StudentKind.GENERATOR, "model.safetensors", "tokenizer.json", (), 0, f"tiny-{number}", limits=limits
    )
    return _text_manifest(task, number, threshold, spec, files), files


def served_release(
    task: Task, number: int, model: str, golden: dict[str, str], *, threshold: float = 0.5
) -> tuple[Manifest, dict[str, bytes]]:
    """A release whose student is a model at the device's own server.

    Args:
        task: What it serves.
        number: Its number.
        model: As the server calls it.
        golden: The server's answer to some texts, each of a score close to 1.
        threshold: Least score kept.
    """
    files = {"golden.jsonl": _lines({"text": text, "answer": golden[text], "score": 1.0} for text in golden)}
    spec = StudentSpec(StudentKind.SERVED, "", "", (), 0, f"served-{number}", limits=TEXT_LIMITS, served_model=model)
    return _text_manifest(task, number, threshold, spec, files), files


def _text_manifest(task: Task, number: int, threshold: float, spec: StudentSpec, files: dict[str, bytes]) -> Manifest:
    # From the mean alone, as log-odds: 2 is the middle. A token of probability 0.999 is 7, one of 0.3 is -1.
    others = len(TEXT_SIGNALS) - 1
    calibration = TextCalibration((2.0, *[0.0] * others), (1.0,) * (others + 1), (2.0, *[0.0] * others), 0.0)
    return Manifest(
        task=task,
        number=number,
        created_at=0.0,
        policy=Policy(threshold, number),
        student=spec,
        text_calibration=calibration,
        golden=Golden("golden.jsonl", 0.02),
        files={name: File(len(data), digest(data)) for name, data in files.items()},
    )


def _tiny_tokenizer(vocabulary: tuple[str, ...]) -> bytes:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer.to_str().encode()


def _tiny_model(vocabulary: tuple[str, ...], words: dict[str, str], labels: tuple[str, ...]) -> bytes:
    """Token ids -> rows of a table -> their mean -> logits. The table holds 1 at the word's label."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    table = np.zeros((len(vocabulary), len(labels)), dtype=np.float32)
    for place, word in enumerate(vocabulary[1:], start=1):
        table[place, labels.index(words[word])] = 1.0
    weights = 12 * np.eye(len(labels), dtype=np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),  # (1, T, labels)
        helper.make_node("ReduceMean", ["rows", "over_tokens"], ["mean"], keepdims=0),  # (1, labels)
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node("ReduceMax", ["mean", "over_labels"], ["similarity"], keepdims=0),  # (1,)
    ]
    axes = np.array([1], dtype=np.int64)
    constants: dict[str, Any] = {"table": table, "weights": weights, "over_tokens": axes, "over_labels": axes}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "T"]) for name in ("input_ids", "attention_mask")],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(labels)]),
            helper.make_tensor_value_info("similarity", TensorProto.FLOAT, [1]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    stream = io.StringIO()
    for row in rows:
        stream.write(json.dumps(row) + "\n")
    return stream.getvalue().encode()
