"""Imported first by ``headrace-edge``: says which extra is missing, before anything else asks for it.

A package that is there and can't be imported is told by the command that imports it.
"""

from __future__ import annotations

from router.io.extras import require_extra

COMMAND, EXTRA = "headrace-edge", "edge"
NEEDED = (
    "cryptography",
    "grpc_health.v1",
    "grpc_reflection.v1alpha",
    "httpx",
    "onnxruntime",
    "opentelemetry.sdk.metrics",
    "opentelemetry.sdk.trace",
    "pydantic",
    "pydantic_settings",
    "securesystemslib",
    "tokenizers",
    "tuf",
)

require_extra(COMMAND, EXTRA, NEEDED)
