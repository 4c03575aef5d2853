"""Where the gateway that runs listens, as its run file tells."""

from __future__ import annotations

import json

from cloud_worker.config.cloud import CloudConfig

_RUN_FILE = "gateway-0.json"


def enrolment_address(config: CloudConfig) -> str:
    """``host:port`` where devices enrol: as configured, with the port that was taken where that is a free one."""
    host, _, port = config.identity.listen.rpartition(":")
    if port != "0":
        return config.identity.listen
    try:
        told = json.loads((config.run_folder / _RUN_FILE).read_bytes())
        return f"{host}:{int(told['enrolment'])}"
    except (OSError, ValueError, KeyError, TypeError):
        return config.identity.listen
