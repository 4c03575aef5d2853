"""Who is in the fleet, and how many may be.

Rules:
 * A device joins with its first report, under a name that an agent may have. Nobody else is written down.
 * A device is in use once it has sent what it did with a query. While the fleet is full, the one silent longest of
   those never in use gives way to the next; of those in use, one that has been silent for a month.
 * Where none gives way, whoever comes is refused and told why: no stranger fills the store.
"""

from __future__ import annotations

import threading

from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from cloud_worker.fleet.device_labels import DeviceLabels
from cloud_worker.fleet.ordered_rates import OrderedRates
from cloud_worker.fleet.twins import Incarnations
from cloud_worker.state.schema import DEVICES, USED
from cloud_worker.state.store import Device, Store
from router.core.errors import BadInputError, NotPossibleError
from router.core.release.reports import is_device_name
from router.identity.names import ANONYMOUS

SILENT_SECONDS = 30 * 86_400.0


class Registry:
    """The devices of one fleet."""

    def __init__(self, store: Store, most: int) -> None:
        """Keep at most ``most`` devices in ``store``."""
        self._store, self._most = store, most
        self._rates = OrderedRates(store.engine)
        self._incarnations, self._labels = Incarnations(store.engine), DeviceLabels(store.engine)
        self._known_used: set[str] = set()
        self._joining = threading.Lock()

    def admit(self, name: str, now: float) -> Device:
        """The device of a name, which joins with its first report, at Unix time ``now`` in seconds.

        Raises:
            BadInputError: No agent may have such a name.
            NotPossibleError: The fleet is full.
        """
        found = self._store.find_device(name)
        if found is not None:
            return found
        if not is_device_name(name) or name == ANONYMOUS:
            raise BadInputError("device", "is no name of a device; use letters, digits, '.', '_' and '-', up to 64")
        with self._joining:
            if self.count() >= self._most and not self._make_space(now):
                full = f"this fleet has the {self._most} devices that fleet.max_devices allows, and all are in use"
                raise NotPossibleError(f"{full}; remove one, or raise it")
            return self._store.device(name)

    def use(self, name: str) -> None:
        """A device has sent what it did with a query."""
        if name in self._known_used:
            return
        try:
            with self._store.engine.begin() as connection:
                connection.execute(insert(USED).values(device=name))
        except IntegrityError:
            pass  # it was in use before
        self._known_used.add(name)

    def count(self) -> int:
        """How many devices there are."""
        with self._store.engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(DEVICES)).scalar_one())

    def in_use_since(self, at: float) -> int:
        """How many devices have reported since Unix time ``at`` in seconds, of those in use."""
        used = DEVICES.c.id.in_(select(USED.c.device))
        count = select(func.count()).select_from(DEVICES).where(used, DEVICES.c.last_seen >= at)
        with self._store.engine.connect() as connection:
            return int(connection.execute(count).scalar_one())

    def _make_space(self, now: float) -> bool:
        """Drop one device for another; whether one could be dropped."""
        oldest = select(DEVICES.c.id).order_by(DEVICES.c.last_seen).limit(1)
        never_used = oldest.where(DEVICES.c.id.not_in(select(USED.c.device)))
        silent = oldest.where(DEVICES.c.last_seen < now - SILENT_SECONDS)
        with self._store.engine.begin() as connection:
            gone = connection.execute(never_used).scalar() or connection.execute(silent).scalar()
            if gone is None:
                return False
        self.remove(str(gone))
        return True

    def remove(self, name: str) -> bool:
        """Forget a device and all that it was told; whether there was one. If it comes back, it is a new one."""
        found = self._store.remove_device(name)
        with self._store.engine.begin() as connection:
            connection.execute(delete(USED).where(USED.c.device == name))
        self._known_used.discard(name)
        self._rates.forget(name)
        self._incarnations.forget(name)
        self._labels.forget(name)
        return found
