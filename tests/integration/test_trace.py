"""One query is one trace, from the client to the teacher and back."""

import asyncio
from concurrent import futures

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from rich.console import Console

from demo.setting import TASK, Setting, write_configs
from demo.starting import running
from demo.workload import Line
from router.client.async_client import AsyncClient
from router.transport import telemetry_names

pytestmark = pytest.mark.timeout(600)

LINES = (Line("turn on the light", "light_on"), Line("make it warmer", "heat_up"))
EXPECTED = {
    telemetry_names.SPAN_CLIENT,
    telemetry_names.SPAN_AGENT,
    telemetry_names.SPAN_ESCALATE,
    telemetry_names.SPAN_GATEWAY,
    telemetry_names.SPAN_TEACHER,
}


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """A real OTLP collector that remembers (trace, span, parent, name)."""

    def __init__(self):
        self.spans = []

    def Export(self, request, context):  # noqa: N802 - the contract's name
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [(s.trace_id, s.span_id, s.parent_span_id, s.name) for s in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector():
    server = grpc.server(futures.ThreadPoolExecutor(4))
    servicer = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)
    servicer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(1).wait()


async def test_one_trace_joins_client_agent_gateway_and_teacher(tmp_path, monkeypatch, collector):
    monkeypatch.setenv("HEADRACE_CLOUD_TELEMETRY__OTLP", f"http://{collector.target}")
    monkeypatch.setenv("HEADRACE_EDGE_TELEMETRY__OTLP", f"http://{collector.target}")
    setting = Setting(tmp_path, LINES, LINES, "recorded", "encoder-head", 0.02, 0.95, 1, 0.0, False, False)
    addresses = write_configs(setting)
    async with running(setting.folder, addresses, Console(quiet=True)):
        provider = TracerProvider(resource=Resource.create({"service.name": telemetry_names.SERVICE_CLIENT}))
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(collector.target, insecure=True)))
        async with AsyncClient(addresses.agent_targets[0], insecure=True, tracer=provider.get_tracer("test")) as client:
            answer = await client.ask(LINES[0].text, TASK)
        assert answer.text == LINES[0].label
        for _ in range(300):  # exporters send in batches, some seconds late
            if {name for *_, name in collector.spans} >= EXPECTED:
                break
            await asyncio.sleep(0.1)
    provider.shutdown()
    client_span = next(span for span in collector.spans if span[3] == telemetry_names.SPAN_CLIENT)
    of_trace = [span for span in collector.spans if span[0] == client_span[0]]
    assert {name for *_, name in of_trace} >= EXPECTED
    ids = {span_id for _, span_id, _, _ in of_trace}
    assert all(parent in ids for _, span_id, parent, _ in of_trace if span_id != client_span[1])
