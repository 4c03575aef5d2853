"""What is told of devices: whether they are there, and what they did.

Rules:
 * A screen and the JSON of ``status`` show a bounded number, those that need somebody first; every device is in
   ``devices list --json``.
 * For them only the reports of the devices that it shows are read; of the others, when they were there, and how.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from sqlalchemy import func, select

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.presence import LOST, SILENT, Presence
from cloud_worker.fleet.quarantines import REMEDY, Quarantine, Quarantines
from cloud_worker.fleet.twins import ADVICE, TWINS
from cloud_worker.identity.register import Register
from cloud_worker.running.process_lock import Up
from cloud_worker.state.schema import DEVICES, SEEN
from cloud_worker.state.store import Device, Store
from cloud_worker.state.tallies import UNKNOWN
from router.core.visible_text import in_line
from router.identity.names import Role
from router.io.table import show_table

MOST_LINES = 40
MOST_DROPPING = 5  # devices of which a screen tells what they dropped
_MOST_WHY = 64  # characters of a reason, which a device spells
_TOLD_ONCE = '"active_release":'  # of every task in a report

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


@dataclass(frozen=True, slots=True)
class Brief:
    """A device without its report: its name, the Unix time of its last report, and how many lines tell of it.

    ``state`` is what is told of it, ``said`` what it said of itself.
    """

    device: str
    last_seen: float
    state: str
    said: str
    lines: int


def devices_of(config: CloudConfig, store: Store, up: Up | None) -> list[dict[str, Any]]:
    """Every device, by name, ready for JSON.

    Args:
        config: As it runs.
        store: The state of the fleet.
        up: What runs, ``None`` where nothing does.
    """
    told, apart = _Facts.of(config, store, up), _apart(store)
    return [_device(device, told, apart) for device in store.devices()]


def briefs_of(config: CloudConfig, store: Store, up: Up | None) -> list[Brief]:
    """Every device in brief, those that a screen tells of first; see ``devices_of`` for the arguments."""
    told = _Facts.of(config, store, up)
    report = DEVICES.c.report  # in its JSON nothing that a device says can spell what is counted here
    counted = func.length(report) - func.length(func.replace(report, _TOLD_ONCE, ""))
    query = select(DEVICES.c.id, DEVICES.c.last_seen, func.coalesce(SEEN.c.state, UNKNOWN), counted)
    with store.engine.connect() as connection:
        rows = connection.execute(query.outerjoin_from(DEVICES, SEEN, SEEN.c.device == DEVICES.c.id)).all()
    briefs = [
        Brief(name, seen, told.state(name, said, seen), said, max((count or 0) // len(_TOLD_ONCE), 1))
        for name, seen, said, count in rows
    ]
    return sorted(briefs, key=lambda brief: _urgency(brief.state, brief.last_seen))


def counted(briefs: Sequence[Brief]) -> dict[str, Any]:
    """How large the fleet is, and how many of its devices are in which state."""
    return {"devices": len(briefs), "by_state": dict(Counter(brief.state for brief in briefs))}


def first_of(
    config: CloudConfig, store: Store, up: Up | None, briefs: Sequence[Brief], most: int = MOST_LINES
) -> list[dict[str, Any]]:
    """The first ``most`` whole devices, by default as many as a screen holds, as ``briefs`` go; see ``devices_of``."""
    told, apart = _Facts.of(config, store, up), _apart(store)
    found = (store.find_device(brief.device) for brief in briefs[:most])
    return [_device(device, told, apart) for device in found if device is not None]


def show_devices(console: Console, devices: Sequence[dict[str, Any]], briefs: Sequence[Brief] | None = None) -> None:
    """Print devices for people: those that need somebody first, then those heard last.

    Args:
        console: Where to.
        devices: All of them, or as many as the lines of a screen tell of.
        briefs: All of them in brief, where ``devices`` are not all.
    """
    everyone = _in_brief(devices) if briefs is None else briefs
    urgent = sorted(devices, key=lambda device: _urgency(device["state"], device["last_seen"]))
    lines = [(device, task) for device in urgent for task in device["tasks"] or [{}]]
    show_table(console, _HEADS, map(_row, lines[:MOST_LINES]), title="devices")
    away = [sum(brief.state == state for brief in everyone) for state in (SILENT, LOST)]
    if any(away):
        console.print(f"{away[0]} of {len(everyone):,} devices silent, {away[1]} lost")
    twins = sorted(brief.device for brief in everyone if brief.said == TWINS)
    if twins:
        more = f" and {len(twins) - 3} more" if len(twins) > 3 else ""
        console.print(f"{', '.join(twins[:3])}{more}: {ADVICE}", soft_wrap=True)
    for device in urgent:
        for one in device.get("quarantines", ()):
            said = f"{device['device']} is in quarantine of {one['task']}: {one['why']}; {REMEDY}"
            console.print(said, soft_wrap=True, markup=False)
    dropping = [device for device in urgent if device.get("outbox_dropped")]
    for device in dropping[:MOST_DROPPING]:
        console.print(_dropped(device), soft_wrap=True, markup=False)
    if len(dropping) > MOST_DROPPING:
        console.print(f"and {len(dropping) - MOST_DROPPING:,} more devices have dropped queries")
    left = sum(brief.lines for brief in everyone) - MOST_LINES
    if left > 0:
        console.print(f"and {left:,} lines more of {len(everyone):,} devices: `devices list --json` has them all")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the state of a device is told by: see ``Presence.state``. Who can't come is told so before anything else."""

    presence: Presence
    now: float
    up_since: float | None
    troubled: Mapping[str, str]

    @classmethod
    def of(cls, config: CloudConfig, store: Store, up: Up | None) -> _Facts:
        presence = Presence.of(config.fleet.sync_seconds, config.fleet.jitter)
        now = time.time()
        troubled = Register(store.engine).troubled(Role.DEVICE, now)
        return cls(presence, now, None if up is None else up.started_at, troubled)

    def state(self, name: str, said: str, last_seen: float) -> str:
        return self.troubled.get(name) or self.presence.state(said, last_seen, self.now, self.up_since)


def _in_brief(devices: Sequence[dict[str, Any]]) -> list[Brief]:
    return [
        Brief(one["device"], one["last_seen"], one["state"], one["said"], max(len(one["tasks"]), 1)) for one in devices
    ]


def _apart(store: Store) -> dict[str, list[Quarantine]]:
    """The quarantines that last, by device."""
    found: dict[str, list[Quarantine]] = {}
    for one in Quarantines(store.engine).lasting():
        found.setdefault(one.device, []).append(one)
    return found


def _device(device: Device, told: _Facts, apart: dict[str, list[Quarantine]]) -> dict[str, Any]:
    report = device.report
    said = "unknown" if report is None else report.state
    return {
        "device": device.id,
        "first_seen": device.first_seen,
        "last_seen": device.last_seen,
        "state": told.state(device.id, said, device.last_seen),
        "said": said,
        "advice": ADVICE if said == TWINS else "",
        "quarantines": [{"task": one.task, "since": one.since, "why": one.why} for one in apart.get(device.id, ())],
        "outbox_pending": 0 if report is None else report.outbox_pending,
        "outbox_dropped": 0 if report is None else report.outbox_dropped,
        "outbox_dropped_because": {} if report is None else dict(report.outbox_dropped_because),
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


def _dropped(device: dict[str, Any]) -> str:
    """What a device has dropped of what was to be taught, and why."""
    because = ", ".join(
        f"{in_line(why, _MOST_WHY)} {count:,}" for why, count in device["outbox_dropped_because"].items()
    )
    return f"{device['device']} has dropped {device['outbox_dropped']:,} queries untaught: {because or 'unknown why'}"


def _state(device: dict[str, Any]) -> str:
    """The device's state, with what it said last of itself where that tells more."""
    told, said = device["state"], device["said"]
    if device.get("quarantines", ()) and told == "ok":
        return "quarantine"
    return told if told == said or said in {"ok", "unknown"} else f"{told} (said {said})"


def _urgency(state: str, last_seen: float) -> tuple[bool, float]:
    return state == "ok", -last_seen
