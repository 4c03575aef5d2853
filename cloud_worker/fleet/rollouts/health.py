"""What the devices of a rollout say of themselves, read from their last reports.

Rules:
 * Meant are devices of the last day that have the labels, that may come, and whose word counts: none in quarantine of
   the task, no twins.
 * An agent that starts again soon after its last start may be crashing; one that has run for a while has recovered.
 * A report that can't be read says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Engine, select

from cloud_worker.fleet.device_labels import DeviceLabels, has_labels
from cloud_worker.fleet.presence import Presence
from cloud_worker.fleet.quarantines import Quarantines
from cloud_worker.fleet.rollouts.store import Member, Rollout
from cloud_worker.fleet.twins import TWINS
from cloud_worker.identity.register import Register
from cloud_worker.state.columns import read_object
from cloud_worker.state.database.rollout_tables import ROLLOUT_DEVICES
from cloud_worker.state.schema import DEVICES, SEEN
from router.core.release.rollout import CRASHES, SEEN_SECONDS, DeviceHealth, Facts
from router.identity.names import Role

RECOVERED_SECONDS = 600.0  # without a start


@dataclass(frozen=True, slots=True)
class Said:
    """What a device said last of a task: when, in Unix seconds, and its report of the task, as in its JSON."""

    at: float
    life: str
    state: str
    task: Mapping[str, Any]


class RolloutHealth:
    """The health of the devices in the rollouts of one fleet."""

    def __init__(self, engine: Engine, presence: Presence) -> None:
        """Read in the database of ``engine``; ``presence`` tells who is silent."""
        self._engine = engine
        self._presence = presence
        self._labels, self._register = DeviceLabels(engine), Register(engine)
        self._quarantines = Quarantines(engine)

    def fleet(self, task: str, labels: Mapping[str, str], now: float) -> dict[str, float]:
        """The devices that a rollout may mean at Unix time ``now`` in seconds, and when each was seen last."""
        since = select(SEEN.c.device, SEEN.c.last_seen).where(SEEN.c.last_seen > now - SEEN_SECONDS)
        with self._engine.connect() as connection:
            seen = {row.device: row.last_seen for row in connection.execute(since.where(SEEN.c.state != TWINS))}
        apart = {device for device, one in self._quarantines.of(task).items() if one.lasts}
        gone = apart | {*self._register.troubled(Role.DEVICE, now)}
        known = self._labels.all() if labels else {}
        return {
            device: at
            for device, at in seen.items()
            if device not in gone and (not labels or has_labels(known.get(device, {}), labels))
        }

    def newcomers(self, rollout: Rollout, devices: Iterable[str], now: float) -> list[Member]:
        """Devices as they come into a rollout, at its step."""
        said = self._said(rollout.task, DEVICES.c.id.in_([*devices]))
        return [
            Member(device, rollout.step, now, _milliseconds(one.task.get("p95_milliseconds")), life=one.life)
            for device, one in said.items()
        ]

    def said_in(self, rollout: Rollout) -> dict[str, Said]:
        """What each device of a rollout said last."""
        mine = select(ROLLOUT_DEVICES.c.device).where(ROLLOUT_DEVICES.c.rollout == rollout.id)
        return self._said(rollout.task, DEVICES.c.id.in_(mine))

    def facts(
        self,
        rollout: Rollout,
        members: Mapping[str, Member],
        said: Mapping[str, Said],
        fleet: Mapping[str, float],
        now: float,
    ) -> Facts:
        """What is known of a rollout.

        Args:
            rollout: As it stands.
            members: The devices in it, by name.
            said: What each of them said last.
            fleet: The devices that it may mean, and when each was seen last.
            now: Unix time in seconds.
        """
        others = [at for device, at in fleet.items() if device not in members]
        return Facts(
            state=rollout.state,
            step=rollout.step,
            is_last=rollout.is_last,
            seconds=now - rollout.step_began,
            devices=tuple(
                self._health(one, rollout, said[device], now)
                for device, one in members.items()
                if device in said and device in fleet
            ),
            silent_others=sum(self._is_silent(at, now) for at in others) / len(others) if others else 0.0,
            broken=rollout.broken,
            doubted=rollout.doubted,
        )

    def _health(self, member: Member, rollout: Rollout, said: Said, now: float) -> DeviceHealth:
        runs = _number(said.task.get("active_release")) == rollout.number
        return DeviceHealth(
            device=member.device,
            step=member.step,
            runs=runs,
            unwell=_why_unwell(member, rollout, said),
            silent=self._is_silent(said.at, now),
            healthy=_number(said.task.get("healthy_answers")) if runs else 0,
            before=member.before_milliseconds,
            now=_milliseconds(said.task.get("p95_milliseconds")),
        )

    def _is_silent(self, at: float, now: float) -> bool:
        return now - at > self._presence.silent_after

    def _said(self, task: str, which: Any) -> dict[str, Said]:
        query = select(DEVICES.c.id, DEVICES.c.last_seen, DEVICES.c.report).where(which)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return {row.id: _said(row, task) for row in rows}


def _said(row: Any, task: str) -> Said:
    report = read_object(row.report, f"the report of device {row.id}")
    told = report.get("tasks")
    mine = (
        one for one in (told if isinstance(told, list) else ()) if isinstance(one, dict) and one.get("task") == task
    )
    life, state = report.get("life"), report.get("state")
    return Said(row.last_seen, str(life or ""), str(state or ""), next(mine, {}))


def seen(members: Mapping[str, Member], rollout: Rollout, said: Mapping[str, Said], now: float) -> dict[str, Member]:
    """Those devices of a rollout of which something new is known at Unix time ``now`` in seconds, as they are now."""
    found = {device: _seen(one, rollout, said[device], now) for device, one in members.items() if device in said}
    return {device: one for device, one in found.items() if one != members[device]}


def _seen(member: Member, rollout: Rollout, said: Said, now: float) -> Member:
    runs = _number(said.task.get("active_release")) == rollout.number
    found = replace(member, took=now) if runs and member.took is None else member
    if said.life and said.life != found.life:
        again = bool(found.life) and found.took is not None and said.state != TWINS
        return replace(found, life=said.life, starts=found.starts + again, started=now if again else found.started)
    if found.starts and now - found.started > RECOVERED_SECONDS:
        return replace(found, starts=0)
    return found


def _why_unwell(member: Member, rollout: Rollout, said: Said) -> str:
    active, refused = _number(said.task.get("active_release")), said.task.get("refused")
    for one in refused if isinstance(refused, list) else ():
        if isinstance(one, list) and len(one) == 2 and one[0] == rollout.number:
            return f"refuses it: {one[1]}"
    if member.starts >= CRASHES:
        return f"has started {member.starts} times since"
    if member.took is not None and 0 < active < rollout.number:
        return f"went back to release {active}"
    return ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _milliseconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 < value < float("inf") else 0.0
