"""What whoever deploys an agent may set: a TOML file, then the environment.

Rules:
 * Everything is read and checked once, before anything starts; afterwards it never changes.
 * An error names the file or variable, the key, and what would do.
 * A relative path is relative to the file that names it.
 * ``HEADRACE_EDGE_UPSTREAM__TARGET`` overrides ``target`` of ``[upstream]``, and so on for every key.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from router.core.domain.task import MOST_REDACTORS
from router.core.errors import ConfigError, OperatorError
from router.core.privacy.owner_privacy import OwnerPrivacy
from router.core.release.reports import DEVICE_NAME, MOST_NAME_CHARACTERS
from router.identity.names import ANONYMOUS
from router.io.redactors import redaction_of
from router.io.settings import check_variables, config_error, merged, read_toml
from router.students.server_settings import Servers
from router.transport.address import SOCKET, plain_address, read_address
from router.transport.channel import check_target
from router.transport.telemetry import TelemetrySettings

ENVIRONMENT_PREFIX = "HEADRACE_EDGE_"

DeviceName = Annotated[str, Field(min_length=1, max_length=MOST_NAME_CHARACTERS, pattern=DEVICE_NAME)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DoorSettings(_Section):
    """Where the agent listens.

    Attributes:
        listen: ``host:port``; port 0 takes a free one, written to ``<data>/run/agent.json``. Or ``unix:`` and a path.
        callers: What callers show where it listens beyond this machine: a certificate of the fleet, or a token.
        max_connection_seconds: Such a connection is closed in order after this time.
        reflection: Serve gRPC reflection.
        max_message_bytes: Largest message read or written.
        max_waiting: Most queries that wait until the agent has time to take them in; more are refused at once.
        tiers: Names of the devices below, which ask through this one: they alone may send what they did with a query.
    """

    listen: str = "127.0.0.1:7701"
    callers: Literal["certificate", "token"] = "certificate"
    max_connection_seconds: float = Field(default=600.0, ge=1)
    reflection: bool = False
    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=64 * 1024)
    max_waiting: int = Field(default=256, ge=1, le=100_000)
    tiers: tuple[DeviceName, ...] = Field(default=(), max_length=1000)

    @field_validator("tiers")
    @classmethod
    def _are_known(cls, tiers: tuple[str, ...]) -> tuple[str, ...]:
        if ANONYMOUS in tiers:
            raise ValueError(f"holds {ANONYMOUS!r}, which is whoever names nobody; list devices by their names")
        return tiers


class UpstreamSettings(_Section):
    """The next tier.

    Attributes:
        target: ``host:port`` of a gateway, or ``name@host:port`` of another device's agent.
        others: More such, of the same cloud: asked in this order while those before can't be reached.
    """

    target: str = Field(min_length=1)
    others: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=(), max_length=7)

    @field_validator("others")
    @classmethod
    def _are_others(cls, others: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for position, other in enumerate(others):
            if other == info.data.get("target") or other in others[:position]:
                raise ValueError(f"names {other!r} once more; name each target once")
        return others

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, in order."""
        return (self.target, *self.others)


class OutboxSettings(_Section):
    """What waits to be taught.

    Attributes:
        max_rows: Most queries that wait.
        max_bytes: Most bytes that they take of the disk.
        max_age_days: Longest that one waits; then it is dropped and counted.
        when_full: What is dropped, and counted, at the first two: the oldest that waits, or the newest, which is
            not taken.
        concurrency: Most of them on the wire at once.
    """

    max_rows: int = Field(default=10_000, ge=1, le=10_000_000)
    max_bytes: int = Field(default=256 * 1024**2, ge=1024**2, le=1024**4)
    max_age_days: float = Field(default=90.0, ge=0.01, le=3650)
    when_full: Literal["drop-oldest", "drop-newest"] = "drop-oldest"
    concurrency: int = Field(default=4, ge=1, le=256)


class PrivacySettings(_Section):
    """What the owner of the device sets, beside what tasks and callers do. It makes things more private, never less.

    Attributes:
        local_only: No query leaves the device.
        local_only_tasks: Of these tasks none does.
        local_only_tenants: Of these tenants none does.
        log: Answers may be logged in the cloud, where task or caller says so.
        redact: Redactors through which every text goes, beside those of its task.
    """

    local_only: bool = False
    local_only_tasks: tuple[str, ...] = Field(default=(), max_length=1000)
    local_only_tenants: tuple[str, ...] = Field(default=(), max_length=1000)
    log: bool = True
    redact: tuple[str, ...] = Field(default=(), max_length=MOST_REDACTORS)

    @field_validator("redact")
    @classmethod
    def _are_here(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            redaction_of(names)
        except OperatorError as error:
            raise ValueError(f"can't be used: {error}") from error
        return names

    @property
    def owner(self) -> OwnerPrivacy:
        """The same, as they are applied to a query."""
        return OwnerPrivacy(self.local_only, self.local_only_tasks, self.local_only_tenants, self.log)


class ReleaseSettings(_Section):
    """Where releases come from, and by whom they are believed.

    Attributes:
        mirror: URL of a mirror, by https or on this machine; empty fetches from the gateway.
        trusted_root: File of the first root to trust, in place of the one that came with enrolment; relative to the
            file that names it.
    """

    mirror: str = ""
    trusted_root: Path | None = None

    @field_validator("mirror")
    @classmethod
    def _is_safe(cls, mirror: str) -> str:
        parts = urlsplit(mirror)
        is_here = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}
        if mirror and not (parts.hostname and (parts.scheme == "https" or is_here)):
            raise ValueError("is no URL of https; plain http is for this machine only")
        return mirror


class MemorySettings(_Section):
    """What is remembered of the reference's answers, in memory alone.

    Attributes:
        max_answers: Most of them; 0 remembers none.
        max_bytes: Most that they take together, estimated.
        max_seconds: That each is remembered.
    """

    max_answers: int = Field(default=10_000, ge=0, le=1_000_000)
    max_bytes: int = Field(default=8 * 1024 * 1024, ge=64 * 1024, le=1024**3)
    max_seconds: float = Field(default=24 * 3600.0, gt=0, le=30 * 24 * 3600.0)


class ExporterSettings(_Section):
    """Where traces and metrics go.

    Attributes:
        otlp: URL of an OTLP collector that speaks gRPC; empty sends nothing.
        prometheus_port: Port on 127.0.0.1 where Prometheus reads metrics; 0 opens none.
    """

    otlp: str = ""
    prometheus_port: int = Field(default=0, ge=0, le=65_535)

    @property
    def settings(self) -> TelemetrySettings:
        """The same, as the telemetry takes it."""
        return TelemetrySettings(self.otlp, self.prometheus_port)


class Config(BaseSettings):
    """Everything that an agent is told.

    Attributes:
        device: Its name in the fleet; never give two devices the same.
        data: Folder of everything that it keeps.
        workers: Processes that answer behind one port; the first is the owner of the data folder.
        door: Where it listens.
        upstream: The next tier.
        outbox: What waits to be taught.
        privacy: What the device hides.
        releases: Where releases come from, and by whom they are believed.
        memory: What is remembered of the reference's answers.
        servers: Models that run beside the agent, at most one a name.
        telemetry: Where traces and metrics go.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    device: DeviceName
    data: Path
    workers: int = Field(default=1, ge=1, le=64)
    door: DoorSettings = DoorSettings()
    upstream: UpstreamSettings
    outbox: OutboxSettings = OutboxSettings()
    privacy: PrivacySettings = PrivacySettings()
    releases: ReleaseSettings = ReleaseSettings()
    memory: MemorySettings = MemorySettings()
    servers: Servers = ()
    telemetry: ExporterSettings = ExporterSettings()

    @model_validator(mode="after")
    def _can_share_its_port(self) -> Self:
        if self.workers > 1 and self.door.listen.startswith(SOCKET):
            raise ValueError("workers share a port; let door.listen be HOST:PORT, or set workers = 1")
        if self.workers > 1 and not hasattr(socket, "SO_REUSEPORT"):
            raise ValueError("workers share a port, which this system does not let them; set workers = 1")
        return self

    @model_validator(mode="after")
    def _is_no_tier_below_itself(self) -> Self:
        if self.device in self.door.tiers:
            raise ValueError(f"door.tiers holds {self.device!r}, which is this device; list those below it")
        return self

    @property
    def server_urls(self) -> dict[str, str]:
        """URL by model."""
        return {server.model: server.url for server in self.servers}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given, and nothing else: ``load_config`` has merged file and environment."""
        return (init_settings,)


def load_config(path: Path) -> Config:
    """Read, merge and check everything that is set.

    Args:
        path: The TOML file.

    Raises:
        ConfigError: Names the file or variable, the key, and what would do.
    """
    values = read_toml(path)
    _make_absolute(values, "data", path)
    _make_absolute(values.get("releases"), "trusted_root", path)
    check_variables(ENVIRONMENT_PREFIX, Config)
    try:
        values = merged(values, EnvSettingsSource(Config)())
    except SettingsError as error:
        raise ConfigError("environment", "", f"{error}; write lists and tables as JSON") from error
    try:
        return Config(**values)
    except ValidationError as error:
        raise config_error(path, ENVIRONMENT_PREFIX, error, Config) from error


def _make_absolute(values: Any, key: str, path: Path) -> None:
    """A path of the file at ``path`` is relative to that file."""
    if isinstance(values, dict) and isinstance(values.get(key), str):
        values[key] = str(path.resolve().parent / values[key])


def check_addresses(config: Config, source: str, *, insecure: bool) -> None:
    """Check, before anything starts, that all addresses can be read and may be used.

    Args:
        config: What is set.
        source: The file, for the message.
        insecure: Plain transport, on this machine only.

    Raises:
        ConfigError: Names the key, and what would do.
    """
    if insecure:
        plain_address(config.door.listen, source, "door.listen", insecure=True)
    else:
        read_address(config.door.listen, source, "door.listen")
    check_target(config.upstream.target, source, "upstream.target", insecure=insecure, secured=True)
    for position, other in enumerate(config.upstream.others):
        check_target(other, source, f"upstream.others.{position}", insecure=insecure, secured=True)
