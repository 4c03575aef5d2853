"""Traces and metrics of one daemon.

Needs opentelemetry-sdk, which the extras ``edge`` and ``cloud`` bring; ``trace_context.py`` does without.

Rules:
 * Providers are passed on explicitly and never set globally: inside its processes Ray sets the global ones.
 * Nothing leaves the process unless an exporter is configured.
 * A collector on this machine is never asked through a proxy; another one is, where the environment names one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIServer

from opentelemetry.metrics import Meter, NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider, Tracer

from router.core.errors import StartError
from router.transport.address import Address
from router.transport.trace_context import extract, inject

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import SpanProcessor

__all__ = ["Telemetry", "TelemetrySettings", "extract", "inject"]

_STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Where traces and metrics go.

    Attributes:
        otlp: URL of an OTLP collector that speaks gRPC, such as ``http://127.0.0.1:4317``; ``HOST:PORT`` is
            plain; empty sends nothing.
        prometheus_port: Port on 127.0.0.1 where Prometheus reads metrics; 0 opens none.
    """

    otlp: str = ""
    prometheus_port: int = 0


class Telemetry:
    """The tracer and the meter of one daemon. Made by ``start``.

    Attributes:
        is_traced: Somebody receives its spans; else none need be made.
        is_measured: Somebody reads its metrics.
    """

    def __init__(
        self,
        traces: Any,
        metrics: Any,
        close: Callable[[], None],
        *,
        is_traced: bool = True,
        is_measured: bool = True,
    ) -> None:
        self._traces = traces
        self._metrics = metrics
        self._close = close
        self.is_traced = is_traced
        self.is_measured = is_measured
        self.tracer: Tracer = traces.get_tracer("headrace")
        self.meter: Meter = metrics.get_meter("headrace")

    @classmethod
    def start(
        cls,
        service: str,
        settings: TelemetrySettings | None = None,
        *,
        node: str = "",
        processors: Sequence[SpanProcessor] = (),
        readers: Sequence[MetricReader] = (),
        measured: bool = True,
    ) -> Telemetry:
        """Open what ``settings`` ask for.

        Args:
            service: Name of the daemon, one of ``router.transport.telemetry_names.SERVICE_*``.
            settings: Where to send; nowhere by default.
            node: Opaque name of this device or gateway.
            processors: More receivers of spans, such as one in memory.
            readers: More readers of metrics.
            measured: Send metrics too; another process may do that for this one.

        Raises:
            StartError: The port for Prometheus is in use.
        """
        settings = settings or TelemetrySettings()
        processors, readers = list(processors), list(readers)
        if settings.otlp:
            url = settings.otlp if "://" in settings.otlp else f"http://{settings.otlp}"
            processors.append(_otlp_spans(url))
            if measured:
                readers.append(_otlp_metrics(url))
        close = _nothing
        if settings.prometheus_port:
            reader, close = _prometheus(settings.prometheus_port)
            readers.append(reader)
        named = {"service.name": service, "service.instance.id": node or service}
        traces = _traces(named, processors) if processors else NoOpTracerProvider()
        metrics = _metrics(named, readers) if readers else NoOpMeterProvider()
        return cls(traces, metrics, close, is_traced=bool(processors), is_measured=bool(readers))

    def stop(self) -> None:
        """Send what is waiting and close, within two seconds: a collector that is away delays no stop."""
        until = time.monotonic() + _STOP_SECONDS
        opened = [each for each in (self._traces, self._metrics) if hasattr(each, "shutdown")]
        closing = [threading.Thread(target=each.shutdown, daemon=True) for each in opened]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(max(0.0, until - time.monotonic()))
        self._close()


def _nothing() -> None:
    """Nothing was opened."""


# The SDK is imported where somebody receives what it makes, exporters where one is configured: together they cost a
# second and tens of megabytes.


def _traces(named: Mapping[str, str], processors: Sequence[SpanProcessor]) -> Any:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    traces = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    for processor in processors:
        traces.add_span_processor(processor)
    return traces


def _metrics(named: Mapping[str, str], readers: Sequence[MetricReader]) -> Any:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource

    return MeterProvider(readers, resource=Resource.create(named), shutdown_on_exit=False)


def _way_to(url: str) -> Any:
    """Options of a gRPC channel."""
    host = urlsplit(url).hostname or ""
    near = host == "localhost" or Address(host, 0).is_loopback
    return (("grpc.enable_http_proxy", 0),) if near else ()


def _otlp_spans(url: str) -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter(endpoint=url, channel_options=_way_to(url)))


def _otlp_metrics(url: str) -> MetricReader:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=url, channel_options=_way_to(url)))


def _prometheus(port: int) -> tuple[MetricReader, Callable[[], None]]:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import start_http_server

    try:
        server, _ = start_http_server(port, addr="127.0.0.1")
    except OSError as error:
        raise StartError(f"port {port} for Prometheus can't be opened: {error.strerror}") from error
    return PrometheusMetricReader(), lambda: _close_server(server)


def _close_server(server: WSGIServer) -> None:
    server.shutdown()
    server.server_close()
