"""What an operator is told of keys: of the authority that issues certificates, and of those that sign releases."""

from __future__ import annotations

import time
from typing import Any

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.identity.authority import WARN_DAYS, issuing_days_left
from cloud_worker.releases.repository.facts import signing_facts, signing_lines
from cloud_worker.state.store import Store


def trust_facts(config: CloudConfig, store: Store) -> dict[str, Any]:
    """Days until the issuing key ends, ``None`` without one; and of ``signing`` what ``signing_facts`` gives."""
    return {
        "issuing_days_left": issuing_days_left(config.ca_folder),
        "signing": signing_facts(config, store, time.time()),
    }


def trust_lines(report: dict[str, Any]) -> list[str]:
    """What somebody should do, one line each."""
    days_left = report.get("issuing_days_left")
    lines = []
    if days_left is not None and days_left < WARN_DAYS:
        lines.append(f"the issuing key ends in {days_left:,.0f} days: `headrace-cloud ca renew` makes another")
    return [*lines, *(signing_lines(report["signing"]) if "signing" in report else [])]
