"""Keeps the libraries that we load from looking up, sending or writing what nobody asked for.

They read these variables while they are imported, some of them in native code: so this is called by the first import of
``router``, which every command, actor and program of ours passes before it loads any of them.

Rules:
 * What the operator has set stays: whoever sets ``ORT_DISABLE_TELEMETRY=0`` has asked for it. Set to nothing is unset.
 * A library that a program imported before ``router`` has read its variables already, and is that program's.
"""

from __future__ import annotations

import os

_SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime 1.32: looks up a host, and keeps a device id in the user's cache
    "ORT_TELEMETRY_DISABLED": "1",  # the same under the name that it had while it was made
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, transformers
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else its import fetches a list of prices
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_MODE": "PRODUCTION",  # else it reads whatever `.env` lies in the working folder
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",  # vLLM, huggingface_hub and others
}


def keep_libraries_quiet() -> None:
    """Set for this process, and for those that it starts, what keeps libraries quiet."""
    for name, value in _SILENT.items():
        if not os.environ.get(name, "").strip():
            os.environ[name] = value
