"""Traces and metrics, with providers of our own: Ray sets the global ones inside its processes.

Rules:
 * Exporters are off unless configured.
 * A trace crosses processes as W3C ``traceparent``: in gRPC metadata, or in a plain dictionary.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import start_http_server

_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Where traces and metrics go.

    Attributes:
        otlp: Target of an OTLP collector over plain gRPC, ``host:port``; empty for none.
        prometheus_port: Port on loopback that Prometheus may scrape; 0 for none.
    """

    otlp: str = ""
    prometheus_port: int = 0


class Telemetry:
    """A tracer and a meter, and what must be flushed when the process ends."""

    def __init__(self, service: str, settings: TelemetrySettings, node: str = "") -> None:
        """Start the exporters that ``settings`` name.

        Args:
            service: Name of the service, from ``names``.
            settings: Where to export.
            node: Opaque name of this device or gateway.
        """
        resource = Resource.create({"service.name": service, "service.instance.id": node or service})
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        readers: list[MetricReader] = []
        if settings.otlp:
            self._traces.add_span_processor(
                BatchSpanProcessor(OTLPSpanExporter(settings.otlp, insecure=True), schedule_delay_millis=500)
            )
            readers.append(PeriodicExportingMetricReader(OTLPMetricExporter(settings.otlp, insecure=True), 5_000))
        if settings.prometheus_port:
            readers.append(PrometheusMetricReader())
            start_http_server(settings.prometheus_port, addr="127.0.0.1")
        self._metrics = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self.tracer: Tracer = self._traces.get_tracer("headrace")
        self.meter: Meter = self._metrics.get_meter("headrace")

    def stop(self) -> None:
        """Flush and end the exporters."""
        self._traces.shutdown()
        self._metrics.shutdown()


def inject(carrier: MutableMapping[str, str], context: Context | None = None) -> None:
    """Write the current span, or that of ``context``, into ``carrier``."""
    _PROPAGATOR.inject(carrier, context)


def extract(pairs: Iterable[tuple[str, str | bytes]] | None) -> Context:
    """The context that gRPC metadata or a dictionary's items carry; an empty one if they carry none."""
    carrier = {key: value for key, value in pairs or () if isinstance(value, str)}
    return _PROPAGATOR.extract(carrier)
