"""The doors that ``gateway_speed`` compares, each with the same echo teacher behind it.

A process of its own joins the Ray that the bench started, and there starts Serve, Serve's gRPC proxy before the
teacher, and our gateway before the same teacher. Whether Serve's data plane is gRPC is read by Serve's processes when
they start, so each of the two ways has a Serve of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

TEACHER, TASK = "echo", "home"
APPLICATION = (("application", "peer"),)
_GRPC = "RAY_SERVE_USE_GRPC_BY_DEFAULT"
_MOST_ONGOING = 256
_ADD = "router.v1.cascade_pb2_grpc.add_CascadeServicer_to_server"


def config_in(folder: Path) -> Any:
    """A configuration whose teacher knows every text that is asked, and needs no time for it."""
    from bench.parts.load import TEXTS
    from cloud_worker.config.cloud import CloudConfig
    from cloud_worker.config.teachers import RecordedSettings
    from router.core.domain.task import Task

    folder.mkdir(parents=True, exist_ok=True)
    answers = folder / "answers.jsonl"
    lines = (json.dumps({"text": f"text {number}", "label": f"label {number % 7}"}) for number in range(TEXTS))
    answers.write_text("\n".join(lines))
    return CloudConfig(
        data=folder / "data",
        door={"listen": "127.0.0.1:0"},
        teachers=(RecordedSettings(name=TEACHER, kind="recorded", answers=str(answers)),),
        tasks=(Task(TASK, reference=TEACHER),),
    )


class Peer:
    """The teacher as an application of Serve's own, asked through Serve's gRPC proxy."""

    def __init__(self, answers: str) -> None:
        """Read the same file."""
        from cloud_worker.teachers.recorded import RecordedTeacher

        self._teacher = RecordedTeacher(TEACHER, Path(answers))

    async def Answer(self, request: Any) -> Any:  # noqa: N802 - the contract's name
        """One question; nothing is checked, and nothing kept."""
        from cloud_worker.teachers.base import Question, TeacherAnswer
        from router.v1 import cascade_pb2

        [said] = self._teacher.answer([Question(request.text)])
        text = said.text if isinstance(said, TeacherAnswer) else ""
        return cascade_pb2.AnswerResponse(query_id=request.query_id, answer=text)


def serve_doors(address: str, folder: Path, data_plane: str) -> None:
    """Start them on the Ray at ``address``, tell their ports, and end them when nobody listens any more.

    Args:
        address: Of Ray.
        folder: For our gateway.
        data_plane: ``1`` for gRPC between Serve's processes, ``0`` as installed.
    """
    os.environ[_GRPC] = data_plane
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions, gRPCOptions

    from cloud_worker.gateway.actor import start_gateway
    from cloud_worker.log.writer_actor import start_log_writer
    from cloud_worker.pool.serve import start_teacher
    from cloud_worker.releases.first_release import publish_first_releases
    from cloud_worker.releases.publisher import Publisher
    from cloud_worker.releases.recovered_state import open_at_start
    from router.transport.telemetry import TelemetrySettings

    config = config_in(folder)
    ray.init(
        address, namespace=f"bench-{data_plane}", log_to_driver=False, runtime_env={"env_vars": {_GRPC: data_plane}}
    )
    port, web = _free_port(), _free_port()
    serve.start(
        http_options=HTTPOptions(host="127.0.0.1", port=web),
        grpc_options=gRPCOptions(port=port, grpc_servicer_functions=[_ADD]),
    )
    deployed: Any = serve.deployment(
        Peer, num_replicas=1, max_ongoing_requests=_MOST_ONGOING, ray_actor_options={"num_cpus": 0.1}
    )
    serve.run(deployed.bind(config.teachers[0].answers), name="peer", route_prefix="/peer")
    store = open_at_start(config)
    store.declare_tasks(config.tasks)
    publish_first_releases(config.tasks, store, Publisher(config.releases_folder))
    writer = start_log_writer(config)
    start_teacher(config.teachers[0], config.teachers_folder, TelemetrySettings())
    gateways, ours = start_gateway(config, insecure=True)
    sys.stdout.write(json.dumps({"serve": port, "gateway": ours}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    for actor in (*reversed(gateways), writer):
        with suppress(ray.exceptions.RayError):
            ray.get(actor.stop.remote(), timeout=20)
        ray.kill(actor)
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def serve_plain() -> None:
    """The limit: the same messages, and nothing else; tells its port, and ends when nobody listens any more."""
    from grpc import aio

    from router.v1 import cascade_pb2, cascade_pb2_grpc

    class Echo(cascade_pb2_grpc.CascadeServicer):
        async def Answer(self, request: Any, context: Any) -> Any:  # noqa: N802
            label = f"label {int(request.text.rpartition(' ')[2]) % 7}"
            return cascade_pb2.AnswerResponse(query_id=request.query_id, answer=label)

    server = aio.server()
    cascade_pb2_grpc.add_CascadeServicer_to_server(Echo(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(json.dumps({"plain": port}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


def main() -> None:
    """``plain``, or ``doors ADDRESS FOLDER 0|1``."""
    if sys.argv[1] == "plain":
        asyncio.run(serve_plain())
    else:
        serve_doors(sys.argv[2], Path(sys.argv[3]), sys.argv[4])


if __name__ == "__main__":
    main()
