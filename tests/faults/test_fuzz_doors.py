"""Spoilt messages at both doors: no daemon ends or stalls, none answers INTERNAL, and who is honest is served on.

HEADRACE_FUZZ_SECONDS is how long each door is stormed, 8 by default; HEADRACE_FUZZ_SEED repeats a storm.
"""

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
import pytest
from google.protobuf.descriptor import FieldDescriptor

from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.drainer import Drainer
from cloud_worker.log.spool import MOST_PATIENCE_SECONDS
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Store
from edge_agent.testing.cloud_simulator import CloudSimulator
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.client.blocking_client import Client
from router.core.domain.limits import LIMITS, Many
from router.transport.telemetry_names import META_DEVICE
from router.v1 import cascade_pb2, cascade_pb2_grpc, enrolment_pb2, fleet_pb2, release_pb2

pytestmark = pytest.mark.timeout(1800)

SECONDS = float(os.environ.get("HEADRACE_FUZZ_SECONDS", "8"))
SEED = int(os.environ.get("HEADRACE_FUZZ_SEED", random.randrange(2**32)))
CASCADE = {"Cascade/Answer": cascade_pb2.AnswerRequest, "Cascade/Feedback": cascade_pb2.FeedbackRequest}
STREAMS = {"Cascade/AnswerStream": cascade_pb2.AnswerRequest}
FLEET = {"Fleet/Sync": fleet_pb2.SyncRequest}
ENROLMENT = {"Enrolment/Enroll": enrolment_pb2.EnrollRequest, "Enrolment/Renew": enrolment_pb2.RenewRequest}
FETCH = {"Releases/Fetch": release_pb2.FetchRequest}
HONEST = {"task": "home", "text": "text 5", "verdict": 1, "file": "manifest.json", "device": "fuzz", "query_id": "q"}
FAULTS_OF_OURS = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED"}
TEXTS = [
    "",
    "\0",
    "\x1b[2J",
    "\x9b",
    "\u202e",
    "[red]",
    "../../etc/passwd",
    "a/b",
    "\n",
    "%s%n{}",
    "\U0001f600",
    "x" * 64,
]
LONG = [65, 129, 300, 5_000, 300_000, 3_900_000]
WHOLE = [0, 1, 2**31 - 1, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -1, -(2**63)]
REAL = [0.0, -0.0, -1.0, 1.5, 1e300, -1e300, 5e-324, float("nan"), float("inf"), float("-inf")]
COUNTS = [1, 20, 40, 600, 5_000]
SCRIPT = Path(__file__).with_name("gateway_process.py")
CLOUD = cloud_toml(
    """student = "encoder-head"
[door]
listen = "127.0.0.1:0"
reflection = true
""",
    teacher="recorded",
)
MOST_BYTES = 4 * 1024 * 1024
MOST_GROWTH = 400 * 1024 * 1024  # bytes of memory


def honest(kind, rng):
    message = kind()
    for name, value in HONEST.items():
        if name in kind.DESCRIPTOR.fields_by_name and kind.DESCRIPTOR.fields_by_name[name].type != _MESSAGE:
            setattr(message, name, value)
    if "query_id" in kind.DESCRIPTOR.fields_by_name:
        message.query_id = f"{rng.getrandbits(64):x}"
    return message


_MESSAGE = FieldDescriptor.TYPE_MESSAGE


def bad_value(described, rng):
    if described.type == FieldDescriptor.TYPE_STRING:
        text = rng.choice(TEXTS)
        return text if rng.random() < 0.6 else (text or "y") * (rng.choice(LONG) // max(1, len(text)))
    if described.type == FieldDescriptor.TYPE_BYTES:
        return b"\xff" * rng.choice(LONG)
    if described.type == FieldDescriptor.TYPE_DOUBLE:
        return rng.choice(REAL)
    return rng.choice([0, 1]) if described.type == FieldDescriptor.TYPE_BOOL else rng.choice(WHOLE)


def spoil(message, rng):
    """Set one field, however deep, to what nobody means."""
    described = rng.choice(message.DESCRIPTOR.fields)
    holder = getattr(message, described.name)
    try:
        if hasattr(holder, "GetEntryClass"):
            for number in range(rng.choice(COUNTS)):
                holder[f"{number}{rng.choice(TEXTS)}"] = rng.choice(TEXTS)
        elif described.is_repeated and described.type == _MESSAGE:
            one = holder.add()
            spoil(one, rng)
            holder.extend([one] * min(rng.choice(COUNTS), MOST_BYTES // (1 + one.ByteSize())))
        elif described.is_repeated:
            value = bad_value(described, rng)
            holder.extend([value] * (1 if isinstance(value, str | bytes) and len(value) > 100 else rng.choice(COUNTS)))
        elif described.type == _MESSAGE:
            holder.SetInParent()
            spoil(holder, rng)
        else:
            setattr(message, described.name, bad_value(described, rng))
    except (ValueError, TypeError):  # not even protobuf takes it
        pass


def broken(data, rng):
    """The bytes of a message, cut, flipped, or with parts that no library of ours would write."""
    way = rng.randrange(5)
    position = rng.randrange(len(data) + 1)
    if way == 0:
        return data[:position]
    if way == 1 and data:
        position = min(position, len(data) - 1)
        return data[:position] + bytes([data[position] ^ 1 << rng.randrange(8)]) + data[position + 1 :]
    if way == 2:
        return data + b"\x1a\x02\xff\xfe"  # no UTF-8
    if way == 3:
        tag = bytes([rng.randrange(1, 16) << 3 | 2])
        return data + (tag + b"\0") * rng.choice([1_000, 100_000, 800_000, 2_000_000])
    return rng.randbytes(rng.choice([1, 10, 1000, 100_000]))


def message_for(kind, rng):
    message = honest(kind, rng)
    for _ in range(rng.randrange(1, 4)):
        spoil(message, rng)
    data = message.SerializeToString()
    return broken(data, rng) if rng.random() < 0.3 else data


def metadata_for(rng):
    device = "fuzz" if rng.random() < 0.9 else "d" * rng.choice([64, 65, 9000, 20_000])
    state = {"tracestate": "k=" + "v" * rng.choice([1, 600, 6000]), "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    return ((META_DEVICE, device), *(state.items() if rng.random() < 0.1 else ()))


@dataclass
class Storm:
    """Threads that send what is spoilt, and a process that asks honestly all along."""

    waits: object
    target: str
    calls: dict
    streams: dict
    ask: str
    pid: int
    said: Counter = field(default_factory=Counter)
    faults: list = field(default_factory=list)
    answers: list = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, seconds):
        print(f"seed {SEED}, {seconds:.0f} s at {self.target}")
        with self.waits.beats(self.target, self.pid, self.ask) as honest:
            wait_for(lambda: len(honest.answers) > 9)  # quiet, to compare with
            before, began = self.memory(), time.monotonic()
            threads = [threading.Thread(target=self.send, args=(SEED + number,)) for number in range(2)]
            for thread in threads:
                thread.start()
            time.sleep(seconds)
            self.over.set()
            for thread in threads:
                thread.join()
            growth = self.memory() - before
        self.answers = honest.answers
        calm = [answer for answer in self.answers if answer["at"] < began]
        storm = [answer for answer in self.answers if answer["at"] >= began]
        longest = max(answer["own_seconds"] for answer in storm)
        figures = {
            "messages": self.said.total(),
            "statuses": self.by_status(),
            "quiet_median_ms": milliseconds(statistics.median(answer["seconds"] for answer in calm)),
            "storm_median_ms": milliseconds(statistics.median(answer["seconds"] for answer in storm)),
            "longest_ms": milliseconds(max(answer["seconds"] for answer in storm)),
            "longest_of_its_own_ms": milliseconds(longest),
            "memory_growth_mb": round(growth / 2**20),
        }
        print(json.dumps(figures))
        assert self.faults == []
        assert [answer["error"] for answer in self.answers if "error" in answer] == []
        assert self.said.total() > 20
        assert longest < self.waits.LONGEST_SECONDS, figures
        assert growth < MOST_GROWTH

    def by_status(self):
        found = Counter()
        for (_, status), count in self.said.items():
            found[status] += count
        return dict(found)

    def memory(self):
        return psutil.Process(self.pid).memory_info().rss  # fails where the daemon has ended

    def send(self, seed):
        rng = random.Random(seed)
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(self.target, options=options) as channel:
            while not self.over.is_set():
                name = rng.choice([*self.calls, *self.streams])
                kind = self.calls.get(name) or self.streams[name]
                data, metadata = message_for(kind, rng), metadata_for(rng)
                status, details = self.call(channel, name, data, metadata)
                self.said[name, status] += 1
                if status in FAULTS_OF_OURS or len(details) > 2500:
                    self.faults.append((name, status, details[:200], data[:200]))

    def call(self, channel, name, data, metadata):
        path = f"/headrace.v1.{name}"
        try:
            if name in self.streams:
                for _ in channel.unary_stream(path)(data, timeout=60, metadata=metadata):
                    pass
            else:
                channel.unary_unary(path)(data, timeout=60, metadata=metadata)
        except grpc.RpcError as error:
            return error.code().name, error.details() or ""
        return "OK", ""


def milliseconds(seconds):
    return round(1000 * seconds, 1)


def wait_for(what, seconds=60):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


class Cloud:
    """A cloud in memory, in a thread of its own."""

    def __enter__(self):
        self.simulator = CloudSimulator(lambda text: WORDS.get(text, "unknown"))
        self.simulator.publish(*tiny_release(TASK, 1, WORDS))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.wait(self.simulator.start())
        return self

    def wait(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    def __exit__(self, *_):
        self.wait(self.simulator.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@pytest.fixture
def agent(tmp_path):
    """An agent as a process, with a student; gives its cloud, its process and its address."""
    config = tmp_path / "edge.toml"
    with Cloud() as cloud:
        config.write_text(
            f'device = "fuzzed"\ndata = "data"\n[door]\nlisten = "127.0.0.1:0"\n'
            f'[upstream]\ntarget = "{cloud.simulator.target}"\n'
        )
        command = [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(config), "--insecure"]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, stderr=log)
        try:
            cloud.wait(cloud.simulator.until_active(1, 90))
            run_file = json.loads((tmp_path / "data" / "run" / "agent.json").read_text())
            yield cloud.simulator, process, f"127.0.0.1:{run_file['port']}"
        finally:
            process.terminate()
            process.wait(60)
            print((tmp_path / "log").read_text(errors="replace")[-3000:])


def test_an_agents_door_stands_a_storm_of_spoilt_messages(agent, waits):
    _, process, target = agent
    storm = Storm(waits, target, CASCADE, STREAMS, "lamp", process.pid)
    storm.run(SECONDS)
    assert process.poll() is None
    assert {answer["text"] for answer in storm.answers} == {"lights"}


@pytest.fixture
def gateway(tmp_path):
    """A gateway as a process, with all but its teachers; gives its configuration, its process and its address."""
    (tmp_path / "answers.jsonl").write_text('{"text": "text 5", "label": "label 5"}\n')
    path = tmp_path / "cloud.toml"
    path.write_text(CLOUD)
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, str(SCRIPT), str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        port = process.stdout.readline().strip()
        assert port, (tmp_path / "log").read_text(errors="replace")[-3000:]
        yield read_config(path), process, f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
        print((tmp_path / "log").read_text(errors="replace")[-3000:])


def test_a_gateways_door_stands_a_storm_of_spoilt_messages_and_loses_no_answer(gateway, waits):
    config, process, target = gateway
    storm = Storm(waits, target, CASCADE | FLEET, STREAMS | FETCH, "text 5", process.pid)
    storm.run(SECONDS)
    assert process.poll() is None
    logged = {answer["query_id"] for answer in storm.answers if answer["logged"]}
    unlogged = [answer["seconds"] for answer in storm.answers if not answer["logged"]]
    assert all(seconds >= MOST_PATIENCE_SECONDS for seconds in unlogged)  # else the machine gave the spool no time
    log = DistillationLog(config.log_folder)
    drainer = Drainer(config.spool_folder, log, Repeats(Store(config.store_url).engine))
    drainer.drain()
    drainer.close()
    assert logged - set(log.read("home", columns=["query_id"])["query_id"].to_pylist()) == set()


def test_the_storm_reaches_every_field_that_has_a_limit():
    rng, seen = random.Random(1), set()
    for kind in (CASCADE | STREAMS | FLEET | ENROLMENT | FETCH).values():
        for _ in range(1500):
            message = kind()
            spoil(message, rng)
            seen.update(fields_in(message))
    of_requests = {name for name in LIMITS if not name.startswith(ANSWERED)}
    assert of_requests - seen == set()
    assert any(isinstance(LIMITS[name], Many) for name in seen)


ANSWERED = (
    *("AnswerResponse", "AnswerChunk", "Distribution", "LabelProbability", "TokenProbability", "Provenance", "Usage"),
    *(
        "StageTime",
        "AuthoritiesResponse",
        "ErasureOrder",
        "EnrollResponse",
        "RenewResponse",
        "TaskOrder",
        "SyncResponse",
        "FetchChunk",
        "TagsEntry",
    ),
)


def fields_in(message):
    for described, value in message.ListFields():
        yield f"{message.DESCRIPTOR.name}.{described.name}"
        if described.type == _MESSAGE and not hasattr(value, "GetEntryClass"):
            for inner in value[:1] if described.is_repeated else [value]:
                yield from fields_in(inner)


GREETINGS = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    bytes.fromhex("1603010200010001fc0303") + b"x" * 500,  # TLS, to a door in plain
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff\xff\xff\x04" + bytes(5),  # a frame of 16 MB that never comes
    b"\0" * 3_000,
)


def test_scanners_impatient_callers_and_packed_messages_do_no_harm_to_others(gateway):
    _, process, target = gateway
    host, port = target.rsplit(":", 1)
    before = psutil.Process(process.pid).num_fds()
    for greeting in GREETINGS * 30:
        with socket.create_connection((host, int(port))) as scanner:
            scanner.sendall(greeting)
    with grpc.insecure_channel(target, options=[("grpc.max_send_message_length", -1)]) as channel:
        stub = cascade_pb2_grpc.CascadeStub(channel)
        for number in range(1_000):
            stub.Answer.future(cascade_pb2.AnswerRequest(query_id=f"r{number}", task="home", text="text 5")).cancel()
        packed = cascade_pb2.AnswerRequest(query_id="packed", task="home", text="a" * 100_000_000)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Answer(packed, timeout=60, compression=grpc.Compression.Gzip)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with Client(target, insecure=True, deadline=60.0) as client:
        assert client.ask("text 5", "home").text == "label 5"
    wait_for(lambda: psutil.Process(process.pid).num_fds() < before + 20)
    assert psutil.Process(process.pid).memory_info().rss < MOST_GROWTH * 3
