"""What a cloud of any version does by itself, done at once; run with that version's packages.

steps.py release CLOUD.toml NUMBER     lets a certified release with a student serve
steps.py drain CLOUD.toml              drains the spools into the log; prints the ids of all queries in it
steps.py messages                      prints messages of the contract as that version writes them, in base64 by name
"""

import json
import sys
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

from cloud_worker.config.cloud import read_config
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.drainer import Drainer
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import ReleaseRow, Store
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.query import (
    Answer,
    Attempt,
    Consent,
    GenerationLimits,
    Provenance,
    Query,
    Reason,
    Tier,
)
from router.core.domain.task import Mode
from router.core.release.orders import Order, Orders
from router.core.statistics.e_process import Certificate, attempt_alpha
from router.transport.fleet_wire import orders_to_proto, report_to_proto
from router.transport.wire import answer_to_proto, query_to_proto

try:
    from router.core.release.reports import DeviceReport, TaskReport
except ModuleNotFoundError:  # versions before it had a module of its own
    from router.core.release.orders import DeviceReport, TaskReport  # type: ignore[attr-defined, no-redef]


def release(config, number):
    store, publisher, task = Store(config.store_url), Publisher(config.releases_folder), config.task("home")
    alpha = attempt_alpha(task.at_device.assurance, 1)
    proof = Certificate(task.at_device.max_disagreement, alpha, 412, 1, 9.0, attempt=1)
    manifest, files = tiny_release(task, number, WORDS)
    digest = publisher.publish(replace(manifest, certificate=proof, judged_by=task.judge.value), files)
    store.add_release(ReleaseRow("home", number, "building", digest, 1.0))
    Lineages(store.engine).hold_judge(task, task.judge.value)
    store.promote("home", number, digest, watch="quiet", exploration=task.exploration.floor)


def drain(config):
    log = DistillationLog(config.log_folder)
    drainer = Drainer(config.spool_folder, log, Repeats(Store(config.store_url).engine))
    drainer.drain()
    drainer.close()
    print(json.dumps(sorted(log.read("home", columns=["query_id"])["query_id"].to_pylist())))


def messages():
    attempt = Attempt(3, "lights", 0.5, Reason.EXPLORED, True, 0.25, kept=True, asked_at=1e9, threshold=0.75, place=7)
    limits = GenerationLimits(5, 0.5, ("stop",), 9)
    fields = {"tenant": "acme", "subject": "anna", "limits": limits, "consent": Consent.GRANTED, "attempt": attempt}
    provenance = Provenance(Tier.CLUSTER, "big", "v1", 3, Reason.UNCONFIDENT, covered=True, logged=True, explored=True)
    refused = TaskReport("home", 3, answered=10, kept=8, escalated=2, explored=1, covered=9, refused=((4, "rotten"),))
    order = Order("home", 3, "ab" * 32, 0.25, Mode.OBSERVE, "quiet", 0.75, 4, 60, 1000, may_leave=True)
    said = {
        "query": query_to_proto(Query("q1", "home", "lamp", **fields)),
        "answer": answer_to_proto(Answer("q1", "lights", provenance, confidence=0.5)),
        "report": report_to_proto(DeviceReport("kitchen", tasks=(refused,), outbox_pending=5, life="a" * 32)),
        "orders": orders_to_proto(Orders((order,), 5.0, bytes(range(32)), "hello", 1e9)),
    }
    print(json.dumps({name: b64encode(one.SerializeToString()).decode() for name, one in said.items()}, indent=1))


if __name__ == "__main__":
    verb, *given = sys.argv[1:]
    if verb == "release":
        release(read_config(Path(given[0])), int(given[1]))
    elif verb == "drain":
        drain(read_config(Path(given[0])))
    else:
        messages()
