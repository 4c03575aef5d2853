"""What is told of devices: whether they are there, and what they did.

Rules:
 * A screen shows a bounded number of lines, those that need somebody first; everything is in the JSON.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from cloud_worker.config import CloudConfig
from cloud_worker.lives import ADVICE, TWINS
from cloud_worker.presence import LOST, SILENT, Presence
from cloud_worker.running import Up
from cloud_worker.store import Device, Store
from router.table_view import show_table

MOST_LINES = 40

# Of a device's columns, each with its key.
_COUNTED = {
    "release": "release",
    "answered": "answered",
    "local": "kept",
    "escalated": "escalated",
    "degraded": "degraded",
    "covered": "covered",
    "failed": "failed",
}
_HEADS = ("device", "seen", "state", "task", *_COUNTED)


def devices_of(config: CloudConfig, store: Store, up: Up | None) -> list[dict[str, Any]]:
    """Every device, by name, ready for JSON.

    Args:
        config: As it runs.
        store: The state of the fleet.
        up: What runs, ``None`` where nothing does.
    """
    presence, now = Presence.of(config.fleet.sync_seconds, config.fleet.jitter), time.time()
    since = None if up is None else up.started_at
    return [_device(device, presence, now, since) for device in store.devices()]


def show_devices(console: Console, devices: Sequence[dict[str, Any]]) -> None:
    """Print devices for people: those that need somebody first, then those heard last."""
    lines = [(device, task) for device in sorted(devices, key=_urgency) for task in device["tasks"] or [{}]]
    show_table(console, _HEADS, map(_row, lines[:MOST_LINES]), title="devices")
    away = [sum(device["state"] == state for device in devices) for state in (SILENT, LOST)]
    if any(away):
        console.print(f"{away[0]} of {len(devices):,} devices silent, {away[1]} lost")
    twins = [device["device"] for device in devices if device["said"] == TWINS]
    if twins:
        more = f" and {len(twins) - 3} more" if len(twins) > 3 else ""
        console.print(f"{', '.join(twins[:3])}{more}: {ADVICE}", soft_wrap=True)
    if len(lines) > MOST_LINES:
        console.print(f"and {len(lines) - MOST_LINES:,} lines more of {len(devices):,} devices: --json has them all")


def _device(device: Device, presence: Presence, now: float, up_since: float | None) -> dict[str, Any]:
    report = device.report
    said = "unknown" if report is None else report.state
    return {
        "device": device.id,
        "first_seen": device.first_seen,
        "last_seen": device.last_seen,
        "state": presence.state(said, device.last_seen, now, up_since),
        "said": said,
        "advice": ADVICE if said == TWINS else "",
        "outbox_pending": 0 if report is None else report.outbox_pending,
        "tasks": [
            {
                "task": task.task,
                "release": task.active_release,
                "answered": task.answered,
                "kept": task.kept,
                "escalated": task.escalated,
                "explored": task.explored,
                "degraded": task.degraded,
                "covered": task.covered,
                "failed": task.failed,
                "p50_milliseconds": task.p50_milliseconds,
            }
            for task in (() if report is None else report.tasks)
        ],
    }


def _row(line: tuple[dict[str, Any], dict[str, Any]]) -> tuple[object, ...]:
    device, task = line
    seen = f"{time.time() - device['last_seen']:.0f} s ago"
    numbers = (task.get(key, "") for key in _COUNTED.values())
    return device["device"], seen, _state(device), task.get("task", ""), *numbers


def _state(device: dict[str, Any]) -> str:
    """With what it said last of itself, where that tells more."""
    told, said = device["state"], device["said"]
    return told if told == said or said in {"ok", "unknown"} else f"{told} (said {said})"


def _urgency(device: dict[str, Any]) -> tuple[bool, float]:
    return device["state"] == "ok", -device["last_seen"]
