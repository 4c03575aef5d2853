"""Imported first by ``headrace-cloud``: says which extra is missing, before anything else asks for it.

A package that is there and can't be imported is told by the command that imports it.
"""

from __future__ import annotations

from cloud_worker.extra import COMMAND, EXTRA
from router.io.extras import require_extra

NEEDED = (
    "alembic",
    "cryptography",
    "deltalake",
    "fastapi",
    "grpc_health.v1",
    "grpc_reflection.v1alpha",
    "httpx",
    "jsonschema",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "opentelemetry.sdk.metrics",
    "opentelemetry.sdk.trace",
    "pandas",
    "peft",
    "pyarrow",
    "pydantic",
    "pydantic_settings",
    "ray",
    "safetensors",
    "scipy",
    "securesystemslib",
    "sklearn",
    "sqlalchemy",
    "tokenizers",
    "torch",
    "transformers",
    "tuf",
    "uvicorn",
)

require_extra(COMMAND, EXTRA, NEEDED)
