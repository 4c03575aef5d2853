"""What reads bytes from outside, one function each: whatever the bytes, it ends well or by an error of ours.

`test_harnesses.py` runs each for a moment by hypothesis; `guided.py` for minutes by atheris, led by what they reach.
"""

import atexit
import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from google.protobuf.message import DecodeError

from cloud_worker.config.cloud import read_config
from cloud_worker.gateway.query_checks import checked
from cloud_worker.identity.tokens import read_labels
from cloud_worker.log.spool_records import body_of, record_of
from edge_agent.config import check_addresses, load_config
from edge_agent.outbox.file import OutboxFile
from edge_agent.outbox.reading import select
from edge_agent.tasks.orders import load_orders
from edge_agent.tasks.pointer import read_pointer, write_pointer
from edge_agent.tasks.quota_store import load_spent
from edge_agent.tasks.slots import Slots
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.backtest.logs.reader import Columns, read_log
from router.core.domain.record import Record
from router.core.domain.task import Kind, Privacy, Task
from router.core.errors import HeadraceError
from router.core.release.manifest import read_manifest, write_manifest
from router.core.release.orders import Orders
from router.core.release.plausible_reports import plausible
from router.core.release.reports import DeviceReport
from router.core.release.signed_task import manifest_target, read_signed_task, task_target, write_signed_task
from router.identity.certificates import key_of_request, new_key, read_certificate, request_for
from router.identity.join_token import JoinToken, read_fingerprint, read_token, write_token
from router.identity.names import identity_of
from router.io.redactors import redaction_of
from router.io.sealed import seal
from router.transport.feedback_wire import feedback_from_proto, feedback_to_proto
from router.transport.fleet_wire import orders_from_proto, orders_to_proto, report_from_proto, report_to_proto
from router.transport.wire import answer_from_proto, answer_to_proto, query_from_proto, query_to_proto
from router.v1 import cascade_pb2, fleet_pb2

TASKS = {
    "home": Task("home", "big"),
    "talk": Task("talk", "big", kind=Kind.TEXT, privacy=Privacy(("mail", "card"), ("acme",))),
}
EDGE = b"""device = "kitchen"
data = "data"
upstream.target = "127.0.0.1:7700"
upstream.others = ["127.0.0.1:7800"]
[door]
listen = "127.0.0.1:7701"
callers = "token"
tiers = ["device-1"]
[outbox]
max_rows = 10
when_full = "drop-newest"
[privacy]
redact = ["mail", "iban"]
[releases]
mirror = "https://mirror.example/releases"
[memory]
max_answers = 5
[[servers]]
model = "qwen3-0.6b"
url = "http://127.0.0.1:8080/v1"
"""
CLOUD = b"""data = "data"
store.url = "sqlite:///fleet.sqlite"
[door]
listen = "127.0.0.1:7700"
[identity]
listen = "127.0.0.1:7702"
passphrase_file = "issuing.txt"
[rollout]
steps = [0.1, 1.0]
[[teachers]]
name = "big"
kind = "compatible"
url = "http://127.0.0.1:8080/v1"
model = "x"
[[teachers]]
name = "small"
kind = "recorded"
answers = "answers.jsonl"
[[tasks]]
name = "home"
reference = "big"
labels = ["a", "b"]
[tasks.objective]
max_disagreement = 0.02
[tasks.exploration]
floor = 0.01
[tasks.limits]
max_tokens = 5
[tasks.privacy]
redact = ["mail"]
[tasks.cheaper]
teachers = ["small"]
share = 0.3
"""
MEMORY = Path("/dev/shm")
ROLES = ("root", "timestamp", "snapshot", "targets", "models")
ENDINGS = (".jsonl", ".csv", ".json", ".parquet", ".tsv", ".gz")


@dataclass(frozen=True)
class Harness:
    """One reader: what reads, some bytes that it reads well, and words that lead further."""

    read: object
    seeds: tuple
    words: tuple = field(default=())


@cache
def folder():
    """A folder of this process, in memory where there is such; it goes with the process, or with whoever gave it."""
    given = os.environ.get("HEADRACE_FUZZ_FOLDER")
    if given:
        return Path(given)
    made = Path(tempfile.mkdtemp(prefix="headrace-fuzz-", dir=MEMORY if MEMORY.is_dir() else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def written(name, data):
    path = folder() / name
    path.write_bytes(data)
    return path


def spoilt_line(content, data):
    """A configuration in which the value of one line is the rest of the bytes; or else the bytes alone."""
    if not data or data[0] >= 128:
        return data[1:]
    lines = content.splitlines()
    position = data[0] % len(lines)
    key, equals, _ = lines[position].partition(b"=")
    lines[position] = key + equals + data[1:] if equals else data[1:]
    return b"\n".join(lines)


def edge_toml(data):
    path = written("edge.toml", spoilt_line(EDGE, data))
    config = load_config(path)
    check_addresses(config, str(path), insecure=True)


def cloud_toml(data):
    written("answers.jsonl", b'{"text": "lamp", "label": "lights"}')
    read_config(written("cloud.toml", spoilt_line(CLOUD, data)))


def manifest(data):
    read = read_manifest(data)
    assert read_manifest(write_manifest(read)) == read


def signed_task(data):
    read_signed_task(data)


@cache
def repository():
    from edge_agent.testing.signed_repository import SignedRepository

    made = SignedRepository()
    made.sign_task(TASK)
    made.sign_release(*tiny_release(TASK, 1, WORDS))
    made.publish()
    return made


@cache
def fetcher_class():
    from tuf.api.exceptions import DownloadHTTPError

    from edge_agent.releases.trust.bridge import BridgedFetcher

    class Given(BridgedFetcher):
        """Gives files from memory."""

        def __init__(self, files):
            super().__init__(None, None, 60.0)
            self._files = files

        def _fetch(self, url):
            self.path, self.data = url, bytearray(self._files.get(url, b""))
            if url not in self._files:
                raise DownloadHTTPError(url, 404)
            yield bytes(self.data)

    return Given


def signed_again(role, content):
    """Metadata whose content is any bytes of JSON, signed by the key of the role."""
    from securesystemslib.formats import encode_canonical

    signed = json.loads(content)
    signature = repository().signers[role].sign(encode_canonical(signed).encode()).to_dict()
    return json.dumps({"signatures": [signature], "signed": signed}).encode()


def metadata(data):
    """Metadata as anybody may send them: the first byte says of which role, and whether its key was stolen."""
    from edge_agent.releases.trust.repository import TrustedRepository

    made = repository()
    role = ROLES[(data[0] >> 1) % len(ROLES)] if data else "timestamp"
    spoilt = data[1:]
    if data and data[0] & 1:
        with contextlib.suppress(Exception):  # no JSON that can be signed: sent as it is
            spoilt = signed_again(role, spoilt)
    version = 2 if role == "root" else made.versions[role]
    path = "metadata/timestamp.json" if role == "timestamp" else f"metadata/{version}.{role}.json"
    with tempfile.TemporaryDirectory(dir=folder()) as position:
        given = fetcher_class()({**made.files, path: spoilt})
        device = TrustedRepository(Path(position) / "metadata", Path(position) / "targets", made.first_root, given)
        device.refresh()
        for name in (task_target("home"), manifest_target("home", 1)):
            device.target(name)


def seeds_of_metadata():
    made = repository()
    for position, role in enumerate(ROLES[1:], 1):
        path = "timestamp.json" if role == "timestamp" else f"{made.versions[role]}.{role}.json"
        whole = made.files[f"metadata/{path}"]
        yield bytes([position << 1]) + whole
        yield bytes([position << 1 | 1]) + json.dumps(json.loads(whole)["signed"]).encode()
    yield bytes([1]) + json.dumps(json.loads(made.first_root)["signed"] | {"version": 2}).encode()


def device_state(data):
    """What an agent finds on its disk."""
    which, content = (data[0] % 4, data[1:]) if data else (0, b"")
    with tempfile.TemporaryDirectory(dir=folder()) as position:
        path = Path(position) / "file"
        path.write_bytes(content)
        if which == 0:
            assert write_pointer(read_pointer(content))
        elif which == 1:
            load_orders(path)
        elif which == 2:
            load_spent(path)
        else:
            for name in ("active", "crashed"):
                (Path(position) / name).write_bytes(content)
            slots = Slots(Path(position))
            slots.crashed()
            slots.start()
            slots.committed()


def answer_request(data):
    query = query_from_proto(cascade_pb2.AnswerRequest.FromString(data))
    assert query_from_proto(query_to_proto(query)) == query or query != query
    checked(query, TASKS)
    redaction_of(("mail", "phone")).of_query(query)


def answer_response(data):
    answer_to_proto(answer_from_proto(cascade_pb2.AnswerResponse.FromString(data)))


def feedback(data):
    feedback_to_proto(feedback_from_proto(cascade_pb2.FeedbackRequest.FromString(data)))


def sync_request(data):
    report = report_from_proto(fleet_pb2.SyncRequest.FromString(data))
    report_to_proto(plausible(report, DeviceReport("kitchen", tasks=report.tasks[:1]), 10.0))


def sync_response(data):
    orders_to_proto(orders_from_proto(fleet_pb2.SyncResponse.FromString(data)))


def outbox_row(data):
    """A row of the outbox that the disk has spoilt is told, and the next one read."""
    with tempfile.TemporaryDirectory(dir=folder()) as position:
        file = OutboxFile(Path(position) / "outbox.sqlite", lambda: 1e9)
        try:
            file.count()
            with contextlib.closing(sqlite3.connect(Path(position) / "outbox.sqlite", isolation_level=None)) as other:
                other.execute("INSERT INTO waiting (id, query, at) VALUES ('q', ?, 0)", (data,))
            select(file, 10, frozenset(), frozenset())
        finally:
            file.close()


def spooled_record(data):
    with contextlib.suppress(ValueError):  # the log writer puts it aside by that
        record_of(data)


def identity(data):
    which, content = (data[0] % 6, data[1:]) if data else (0, b"")
    text = content.decode(errors="replace")
    readers = (
        lambda: read_token(text),
        lambda: read_fingerprint(text),
        lambda: key_of_request(content),
        lambda: identity_of(text),
        lambda: read_certificate(content),
        lambda: read_labels(text),
    )
    readers[which]()


def redaction(data):
    text = data.decode(errors="replace")
    redact = redaction_of(("card", "iban", "ip", "key", "mail", "phone"))
    once = redact.of_text(text)
    assert redact.of_text(once) == once


def backtest_log(data):
    ending, content = (ENDINGS[data[0] % len(ENDINGS)], data[1:]) if data else (".jsonl", b"")
    read_log(written(f"log{ending}", content), Columns(), skip_bad=bool(content[:1] == b"\n"))


def report():
    return report_to_proto(DeviceReport("kitchen")).SerializeToString()


def request(**fields):
    made = cascade_pb2.AnswerRequest(query_id="q", task="home", text="lamp", **fields)
    made.attempt.release, made.attempt.score, made.attempt.answer = 1, 0.5, "lights"
    made.tools.add(name="lamp", parameters_schema='{"type": "object"}')
    return made.SerializeToString()


def chat():
    made = cascade_pb2.AnswerRequest(query_id="q", task="talk", response_schema='{"type": "object"}')
    made.chat.messages.add(role="user", content="lamp").tool_calls.add(id="1", name="lamp", arguments="{}")
    return made.SerializeToString()


def response():
    made = cascade_pb2.AnswerResponse(query_id="q", answer="lights", confidence=0.5)
    made.distribution.top.add(label="lights", log_probability=-0.1)
    made.tokens.add(token="li", log_probability=-0.1)
    made.usage.stages.add(stage="student", milliseconds=1.0)
    return made.SerializeToString()


TOKEN = write_token(JoinToken("id", "secret", bytes(32))).encode()
RIGHT = cascade_pb2.FeedbackRequest(query_id="q", task="home", verdict=1).SerializeToString()
SIGNING = request_for(new_key())
RECORD = body_of(Record("kitchen", "q", "big", "1", "home", 1, 1.0, 1.0, "lamp", "lights"))
MANIFEST = write_manifest(tiny_release(TASK, 1, WORDS)[0])
ROW = b'{"messages": [{"role": "user", "content": "lamp"}], "response": {"choices": [{"message": {"content": "x"}}]}}\n'
TEXT = b"Write to anna@example.com, +49 30 901820, 4111 1111 1111 1111, DE89 3704 0044 0532 0130 00, 10.0.0.1, sk-ab"
SPENT = b'{"home": {"day": 20000, "queries": 3}}'
POINTER = b'{"slot": "a", "manifest_sha256": "ab", "probation": true, "former": {"slot": "b", "manifest_sha256": "cd"}}'
ORDERS = b'{"seed": "00", "orders": [{"task": "home", "release": 1, "manifest_sha256": "ab", "exploration": 0.5}]}'

HARNESSES = {
    "manifest": Harness(manifest, (MANIFEST,)),
    "signed-task": Harness(signed_task, (write_signed_task(TASK), write_signed_task(TASKS["talk"]))),
    "metadata": Harness(metadata, tuple(seeds_of_metadata()), ("_type", "keyids", "threshold", "path_hash_prefixes")),
    "device-state": Harness(device_state, (b"\0" + POINTER, b"\1" + ORDERS, b"\2" + SPENT, b"\3" + POINTER)),
    "edge-toml": Harness(edge_toml, (b"\xff" + EDGE, b'\0"kitchen"', b"\5[1, 2]", b'\2"[::1]:7"')),
    "cloud-toml": Harness(cloud_toml, (b"\xff" + CLOUD, b'\3"x"', b"\x09[0.5, 1]", b'\1"postgresql://a:b@c/d"')),
    "answer-request": Harness(answer_request, (request(), chat())),
    "answer-response": Harness(answer_response, (response(),)),
    "feedback": Harness(feedback, (RIGHT,)),
    "sync-request": Harness(sync_request, (report(),)),
    "sync-response": Harness(sync_response, (orders_to_proto(Orders(seed=bytes(32))).SerializeToString(),)),
    "outbox-row": Harness(outbox_row, (seal(request()),)),
    "spooled-record": Harness(spooled_record, (RECORD,)),
    "identity": Harness(identity, (b"\0" + TOKEN, b"\3headrace://device/kitchen", b"\5site=berlin", b"\2" + SIGNING)),
    "redaction": Harness(redaction, (TEXT,), ("@", "+49", "DE89", "sk-", "::1")),
    "backtest-log": Harness(backtest_log, (b"\0" + ROW, b"\1text,answer\nlamp,lights\n", b"\2[" + ROW + b"]")),
}


def run(name, data):
    """Read the bytes; whatever else than an error of ours comes out is a fault."""
    with contextlib.suppress(HeadraceError, DecodeError):
        HARNESSES[name].read(data)
