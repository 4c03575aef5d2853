import socket
import time
import urllib.request

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from router.core.errors import StartError
from router.transport import telemetry_names
from router.transport.telemetry import Telemetry, TelemetrySettings, extract, inject


@pytest.fixture
def spans():
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(spans):
    started = Telemetry.start(telemetry_names.SERVICE_EDGE, processors=[SimpleSpanProcessor(spans)])
    yield started
    started.stop()


def test_a_trace_goes_on_over_grpc_metadata_and_over_a_dict(telemetry, spans):
    with telemetry.tracer.start_as_current_span("parent"):
        carrier = inject({"other": "kept"})
        metadata = (*inject().items(), ("binary-bin", b"\x00"))
    for came_over in (carrier, metadata):
        telemetry.tracer.start_span("child", context=extract(came_over)).end()
    parent, first, second = sorted(spans.get_finished_spans(), key=lambda span: span.name == "child")
    assert first.parent.span_id == second.parent.span_id == parent.context.span_id
    assert {span.context.trace_id for span in (parent, first, second)} == {parent.context.trace_id}
    assert carrier["other"] == "kept"


def test_without_a_span_nothing_is_written():
    assert inject() == {}


@pytest.mark.parametrize("came", [None, {}, (), {"traceparent": "garbage"}, (("traceparent", b"\xff"),)])
def test_what_carries_no_trace_starts_a_new_one(came):
    assert not trace.get_current_span(extract(came)).get_span_context().is_valid


def test_a_trace_that_is_current_here_does_not_leak_into_what_came_from_elsewhere(telemetry):
    with telemetry.tracer.start_as_current_span("here"):
        assert not trace.get_current_span(extract(())).get_span_context().is_valid


def test_metrics_are_counted_without_any_exporter():
    reader = InMemoryMetricReader()
    telemetry = Telemetry.start(telemetry_names.SERVICE_EDGE, readers=[reader], node="kitchen")
    telemetry.meter.create_counter(telemetry_names.QUERIES).add(3)
    (resource,) = reader.get_metrics_data().resource_metrics
    (metric,) = resource.scope_metrics[0].metrics
    assert metric.name == telemetry_names.QUERIES
    assert metric.data.data_points[0].value == 3
    assert resource.resource.attributes["service.name"] == telemetry_names.SERVICE_EDGE
    assert resource.resource.attributes["service.instance.id"] == "kitchen"
    telemetry.stop()


def test_the_global_providers_are_left_alone(telemetry):
    assert telemetry.tracer is not trace.get_tracer("headrace")
    assert type(trace.get_tracer_provider()).__module__.startswith("opentelemetry.trace")
    assert type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")


def test_prometheus_reads_on_loopback_until_the_stop():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    telemetry = Telemetry.start(telemetry_names.SERVICE_EDGE, TelemetrySettings(prometheus_port=port))
    telemetry.meter.create_counter(telemetry_names.QUERIES).add(3)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=120) as page:
        assert b"headrace_queries_total" in page.read()
    telemetry.stop()
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=120)


def test_a_prometheus_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=str(port)):
            Telemetry.start(telemetry_names.SERVICE_EDGE, TelemetrySettings(prometheus_port=port))


def test_a_collector_that_is_away_delays_no_stop():
    telemetry = Telemetry.start(telemetry_names.SERVICE_EDGE, TelemetrySettings(otlp="http://127.0.0.1:1"))
    telemetry.tracer.start_span("lost").end()
    started = time.monotonic()
    telemetry.stop()
    assert time.monotonic() - started < 4
