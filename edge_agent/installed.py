"""Imported first by ``headrace-edge``: says which extra is missing, before anything else asks for it."""

from __future__ import annotations

from router.io.extras import needing

COMMAND, EXTRA = "headrace-edge", "edge"
NEEDED = (
    "grpc_health.v1",
    "grpc_reflection.v1alpha",
    "httpx",
    "onnxruntime",
    "opentelemetry.sdk.metrics",
    "opentelemetry.sdk.trace",
    "pydantic",
    "pydantic_settings",
    "tokenizers",
)

with needing(COMMAND, EXTRA, NEEDED):
    import onnxruntime  # noqa: F401 - here, and not with the first student, in the middle of serving
    import tokenizers  # noqa: F401

    import edge_agent.daemon  # noqa: F401 - all that runs later
