"""A trace goes on in the next process: W3C ``traceparent`` in gRPC metadata or in a plain dict.

Needs opentelemetry-api alone. Without a provider there is no span, and nothing is written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import INVALID_SPAN, Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from router.transport.telemetry_names import META_DEVICE

_W3C = TraceContextTextMapPropagator()
_PARENT = "traceparent"
_MOST_STATE = 512  # characters of a ``tracestate`` that are passed on (W3C Trace Context, 3.3.1.5)
_Pairs = Iterable[tuple[str, str | bytes]]


def inject(carrier: dict[str, str] | None = None, context: Context | None = None) -> dict[str, str]:
    """Write the current span, or the one of ``context``, into ``carrier``, and return it.

    ``tuple(inject().items())`` is gRPC metadata.
    """
    carrier = {} if carrier is None else carrier
    _W3C.inject(carrier, context)
    return carrier


def call_metadata(device: str = "") -> tuple[tuple[str, str], ...]:
    """The gRPC metadata of a call: the device in whose name it is made, if any, and the trace that it is part of."""
    return tuple(inject({META_DEVICE: device} if device else {}).items())


def extract(metadata: Mapping[str, str] | _Pairs | None) -> Context:
    """The context that gRPC metadata or a dict carries; an empty one if it carries none that can be read."""
    pairs: _Pairs = metadata.items() if isinstance(metadata, Mapping) else metadata or ()
    read = {key: value for key, value in pairs if isinstance(value, str)}
    if len(read.get("tracestate", "")) > _MOST_STATE:
        del read["tracestate"]  # what goes on must fit the next call's metadata
    return _W3C.extract(read, Context())


@contextlib.contextmanager
def passed_on(metadata: Mapping[str, str] | _Pairs | None) -> Iterator[Span]:
    """Let what is asked inside go on the trace that gRPC metadata or a dict carries, without a span of this process."""
    token = attach(extract(metadata))
    try:
        yield INVALID_SPAN
    finally:
        detach(token)


def carries_trace(metadata: _Pairs | None) -> bool:
    """Whether gRPC metadata carries a trace."""
    return any(key == _PARENT for key, _ in metadata or ())
