"""Which lives of a device's agent report: so that two agents under one name are told from one that was started again.

An agent draws a random id at each start, its life. After a restart the former life never reports again.

Rules:
 * A life that reports after another one has, and had reported before, proves two agents at once: twins.
 * Twins are told of until neither has followed the other for some time. From the report before the first proof until
   then, no row of the device speaks for or against a promise: their numbers and draws can't be told apart.
 * What a life counts is compared with what the same life counted before.
 * An agent that names no life is taken at its word as before: it proves nothing.
 * A report that comes after that of a later life, though it was sent before, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from cloud_worker.state.columns import read_as
from cloud_worker.state.schema import LIVES, SPANS
from cloud_worker.state.store import Device
from router.core.certification.missing_rows import Spans
from router.core.release.orders import DeviceReport

TWINS = "twins"
ADVICE = (
    "two agents report under this device's name, and its queries prove nothing: "
    "give each device its own name (device = ... in edge.toml) and its own data folder"
)
MOST_LIVES = 16  # of one device that are remembered
MARGIN_SECONDS = 60.0  # by which a device's clock may be wrong
LEAST_TOLD_SECONDS = 60.0

_REPORT = TypeAdapter(DeviceReport)


@dataclass(frozen=True, slots=True)
class Met:
    """What is known of a report that came.

    Attributes:
        before: The last one of the same life, ``None`` where nothing is to be compared; of a new life an empty one.
        seconds: Since then, >= 0.
        twins: Two agents report under this name.
        first_told: They are told of for the first time.
        late: Another life has reported since it was sent.
    """

    before: DeviceReport | None
    seconds: float
    twins: bool = False
    first_told: bool = False
    late: bool = False


class Lives:
    """Of one fleet, beside the rest of its state."""

    def __init__(self, engine: Engine, told_seconds: float = LEAST_TOLD_SECONDS) -> None:
        """Keep them in ``engine``; after a proof twins are told of for ``told_seconds``, a minute at least."""
        self._engine = engine
        self._told_seconds = max(told_seconds, LEAST_TOLD_SECONDS)

    def meet(self, device: Device, report: DeviceReport, now: float) -> Met:
        """Look at a report before it is kept.

        Args:
            device: Its device as it was until now.
            report: That came.
            now: Unix time in seconds when it came.
        """
        last = device.report
        if last is None or last.life == report.life:
            twins = last is not None and last.state == TWINS and self.are_twins(device.id, now)
            return Met(last, now - device.last_seen, twins)
        if now < device.last_seen:
            return Met(last, 0.0, last.state == TWINS, late=True)
        try:
            return self._changed(device, last, report, now)
        except IntegrityError:  # another gateway met it in the same moment
            return Met(last, now - device.last_seen, self.are_twins(device.id, now))

    def are_twins(self, device: str, now: float) -> bool:
        """Whether two agents report under a device's name at Unix time ``now`` in seconds."""
        query = select(SPANS.c.until).where(SPANS.c.device == device, SPANS.c.until > now).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(query).first() is not None

    def spans(self) -> dict[str, Spans]:
        """From when until when each device had twins, in Unix seconds."""
        found: dict[str, list[tuple[float, float]]] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(select(SPANS).order_by(SPANS.c.began)):
                found.setdefault(row.device, []).append((row.began, row.until))
        return {device: tuple(spans) for device, spans in found.items()}

    def forget(self, device: str) -> None:
        """Forget the lives of a device that was removed; when it had twins stays, for its rows stay."""
        with self._engine.begin() as connection:
            connection.execute(delete(LIVES).where(LIVES.c.device == device))

    def _changed(self, device: Device, last: DeviceReport, report: DeviceReport, now: float) -> Met:
        """Another life reports than did before."""
        with self._engine.begin() as connection:
            mine = LIVES.c.device == device.id
            _keep(connection, device.id, last.life, device.last_seen, _REPORT.dump_json(last).decode())
            known = connection.execute(select(LIVES).where(mine, LIVES.c.life == report.life)).first()
            if known is None:
                _keep(connection, device.id, report.life, now, None)
                _sweep(connection, device.id)
                return self._new(connection, device, last, report, now)
            first = bool(report.life) and self._proved(connection, device.id, known.last_seen, now)
            before = read_as(_REPORT, known.report, f"a report of {device.id}") or DeviceReport(device.id)
            return Met(before, now - known.last_seen, self._lasts(connection, device.id, now), first)

    def _new(self, connection: Connection, device: Device, last: DeviceReport, report: DeviceReport, now: float) -> Met:
        before = DeviceReport(device.id) if report.life else last
        return Met(before, now - device.last_seen, self._lasts(connection, device.id, now))

    def _lasts(self, connection: Connection, device: str, now: float) -> bool:
        query = select(SPANS.c.until).where(SPANS.c.device == device, SPANS.c.until > now).limit(1)
        return connection.execute(query).first() is not None

    def _proved(self, connection: Connection, device: str, since: float, now: float) -> bool:
        """Keep that two agents were there since Unix time ``since`` in seconds; whether that is told anew."""
        until = now + self._told_seconds
        mine = (SPANS.c.device == device, SPANS.c.until >= since - MARGIN_SECONDS)
        lasting = connection.execute(select(SPANS).where(*mine).order_by(SPANS.c.began.desc()).limit(1)).first()
        if lasting is None:
            connection.execute(insert(SPANS).values(device=device, began=since - MARGIN_SECONDS, until=until))
            return True
        same = (SPANS.c.device == device, SPANS.c.began == lasting.began)
        connection.execute(update(SPANS).where(*same).values(until=until))
        return bool(lasting.until <= now)


def _keep(connection: Connection, device: str, life: str, last_seen: float, report: str | None) -> None:
    """Note what a life reported last, at Unix time ``last_seen`` in seconds."""
    values = {"last_seen": last_seen, "report": report}
    mine = (LIVES.c.device == device, LIVES.c.life == life)
    if not connection.execute(update(LIVES).where(*mine).values(**values)).rowcount:
        connection.execute(insert(LIVES).values(device=device, life=life, **values))


def _sweep(connection: Connection, device: str) -> None:
    """Forget the lives that were heard longest ago."""
    kept = select(LIVES.c.life).where(LIVES.c.device == device).order_by(LIVES.c.last_seen.desc()).limit(MOST_LIVES)
    lives = [row.life for row in connection.execute(kept)]
    connection.execute(delete(LIVES).where(LIVES.c.device == device, LIVES.c.life.not_in(lives)))
