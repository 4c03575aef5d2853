"""Labels of devices: those given at enrolment, and over them those that operators give.

Rules:
 * An operator's label goes before the one of enrolment; an empty one takes that away.
 * A device that is removed loses the labels that operators gave it.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine, delete, insert, select

from cloud_worker.identity.register import Register
from cloud_worker.state.database.engine import writing
from cloud_worker.state.database.rollout_tables import DEVICE_LABELS
from router.identity.names import Role


class DeviceLabels:
    """The labels of the devices of one fleet."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine

    def give(self, device: str, labels: Mapping[str, str]) -> None:
        """Label a device; an empty value takes a label away. What is not named stays."""
        mine = (DEVICE_LABELS.c.device == device, DEVICE_LABELS.c.name.in_([*labels]))
        rows = [{"device": device, "name": name, "value": value} for name, value in labels.items()]
        if rows:
            with writing(self._engine) as connection:
                connection.execute(delete(DEVICE_LABELS).where(*mine))
                connection.execute(insert(DEVICE_LABELS), rows)

    def all(self) -> dict[str, dict[str, str]]:
        """The labels of each device that has some."""
        found = {one.identity.name: dict(one.labels) for one in Register(self._engine).all(Role.DEVICE) if one.labels}
        with self._engine.connect() as connection:
            for row in connection.execute(select(DEVICE_LABELS)):
                labels = found.setdefault(row.device, {})
                labels[row.name] = row.value
                if not row.value:
                    del labels[row.name]
        return {device: labels for device, labels in found.items() if labels}

    def of(self, device: str) -> dict[str, str]:
        """The labels of one device."""
        return self.all().get(device, {})

    def forget(self, device: str) -> None:
        """Drop what operators called a device."""
        with self._engine.begin() as connection:
            connection.execute(delete(DEVICE_LABELS).where(DEVICE_LABELS.c.device == device))


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether a device with ``labels`` is meant by ``wanted``: it has all of them."""
    return all(labels.get(name) == value for name, value in wanted.items())
