"""Imported first by ``headrace-cloud``: says which extra is missing, before anything else asks for it."""

from __future__ import annotations

from cloud_worker.extra import COMMAND, EXTRA
from router.io.extras import needing

NEEDED = (
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
    "sklearn",
    "sqlalchemy",
    "tokenizers",
    "torch",
    "transformers",
)

with needing(COMMAND, EXTRA, NEEDED):
    import cloud_worker.commands.label
    import cloud_worker.commands.operate  # noqa: F401 - with the other, all that the commands begin with
