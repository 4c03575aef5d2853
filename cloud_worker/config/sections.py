"""The tables of ``cloud.toml`` that stand for themselves: where it listens, stores, logs and learns."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Door(BaseModel):
    """The address that devices and clients dial.

    Attributes:
        listen: ``host:port``.
        reflection: Serve gRPC reflection, to operators.
        max_waiting: Most queries that wait for a teacher.
        max_message_bytes: Largest message.
        max_connection_seconds: A connection is closed in order after this time, so that new certificates are shown.
    """

    model_config = _FROZEN
    listen: str = "127.0.0.1:7700"
    reflection: bool = False
    max_waiting: int = Field(2000, ge=1)
    max_message_bytes: int = Field(4 * 1024 * 1024, ge=1024)
    max_connection_seconds: float = Field(600.0, ge=1)


class Ray(BaseModel):
    """The cluster: an ``address`` to join, or empty for one of our own with ``cpus`` logical processors."""

    model_config = _FROZEN
    address: str = ""
    cpus: int = Field(2, ge=1)


class StoreSettings(BaseModel):
    """Where fleet state lies: an SQLAlchemy URL, or empty for a file in the data folder."""

    model_config = _FROZEN
    url: str = ""


class Log(BaseModel):
    """The spool and the log: seconds between drains, most bytes of a spool before answers go unlogged."""

    model_config = _FROZEN
    drain_seconds: float = Field(1.0, gt=0)
    spool_max_bytes: int = Field(1024**3, ge=1024**2)


class Fleet(BaseModel):
    """The devices.

    Attributes:
        sync_seconds: Between two reports of a device.
        jitter: How far these are spread, as a share.
        max_devices: Most of them.
    """

    model_config = _FROZEN
    sync_seconds: float = Field(10.0, gt=0)
    jitter: float = Field(0.2, ge=0, lt=1)
    max_devices: int = Field(10_000, ge=1, le=1_000_000)


class RolloutSettings(BaseModel):
    """How a release comes to the fleet.

    Attributes:
        steps: Shares of the devices seen in the last day that take it, ascending to 1.
        smallest_fleet: With fewer such devices all take it at once.
        healthy_answers: By the devices of a step before the next one.
        step_seconds: Least time of a step.
        bad_share: Most devices that may be unwell under it; above, it is rolled back.
        slower: Most times as long that answers may take; above, it is rolled back.
        slower_milliseconds: Least time that is counted as slower.
    """

    model_config = _FROZEN
    steps: tuple[float, ...] = (0.01, 0.05, 0.25, 1.0)
    smallest_fleet: int = Field(10, ge=1)
    healthy_answers: int = Field(100, ge=1)
    step_seconds: float = Field(300.0, ge=0)
    bad_share: float = Field(0.1, ge=0, lt=1)
    slower: float = Field(2.0, ge=1)
    slower_milliseconds: float = Field(25.0, ge=0)

    @field_validator("steps")
    @classmethod
    def _check_steps(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        if not steps or list(steps) != sorted(set(steps)) or steps[0] <= 0 or steps[-1] != 1:
            raise ValueError("are shares that grow and end with 1, such as [0.01, 0.05, 0.25, 1.0]")
        return steps


class Refresh(BaseModel):
    """When to make a new student.

    ``min_rows`` teachable rows start the first refresh, ``growth`` times the rows of the last one start the next, and
    ``max_seconds`` after the last one any new row does. ``patience_rows`` is the most certifying rows that a challenger
    may look at. From ``early_rows`` on early ones are tried, whose students wait for a certificate only where they
    should keep much.
    """

    model_config = _FROZEN
    min_rows: int = Field(1000, ge=10)
    growth: float = Field(1.4, gt=1)
    max_seconds: float = Field(86_400.0, gt=0)
    patience_rows: int = Field(3000, ge=50)
    early_rows: int = Field(1000, ge=10)
    poll_seconds: float = Field(0.2, gt=0)
    seed: int = 0


class TelemetryTable(BaseModel):
    """Where traces and metrics go; empty for nowhere."""

    model_config = _FROZEN
    otlp: str = ""
    prometheus_port: int = Field(0, ge=0, le=65535)


class VerdictSettings(BaseModel):
    """The model that judges tasks whose ``judge`` is ``verdict``.

    ``model`` is a name or a folder; an empty ``wording`` takes the one in ``model_judge``. ``yes`` and ``no`` are
    what it may say, ``threshold`` the least share of yes that is agreement. It judges only while even the upper end of
    its audited false agreement is at most ``most_false_agreement``.
    """

    model_config = _FROZEN
    model: str = ""
    wording: str = ""
    yes: tuple[str, ...] = Field(("yes",), min_length=1)
    no: tuple[str, ...] = Field(("no",), min_length=1)
    threshold: float = Field(0.5, gt=0, lt=1)
    most_false_agreement: float = Field(0.1, gt=0, le=1)
