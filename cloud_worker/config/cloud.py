"""What the operator writes in ``cloud.toml``: read once, checked whole, then frozen.

Rules:
 * File, then environment (``HEADRACE_CLOUD_DOOR__LISTEN``), then flags; the later wins.
 * An error names the file or variable, the key, and what would do.
 * A relative path starts from the folder of the file that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)
from sqlalchemy import URL

from cloud_worker.config.identity import IdentitySettings
from cloud_worker.config.recipe_needs import instruction_of, wants_rationales
from cloud_worker.config.recipes import check_recipe
from cloud_worker.config.teachers import (
    KINDS,
    LOADED_KINDS,
    AnyTeacher,
    TeacherSettings,
    VllmSettings,
    WritingSettings,
)
from router.core.domain.limits import MAX_TASK_BYTES
from router.core.domain.plain_names import same_name, why_no_folder, why_no_name, why_too_long
from router.core.domain.query import MAX_TEXT_BYTES, check_limits
from router.core.domain.task import LABEL_STUDENTS, WRITING_STUDENTS, Judge, Kind, Task
from router.core.errors import BadInputError, ConfigError, no_such_task
from router.io.settings import config_error, merged, read_toml
from router.students.server_settings import Servers

ENVIRONMENT_PREFIX = "HEADRACE_CLOUD_"
FLEET_FILE = "fleet.sqlite"  # in the data folder

_PLACE_OF_TEACHER = re.compile(r"teachers\.(\d+)(.*)")

_FROZEN = ConfigDict(frozen=True, extra="forbid")


def _refuse_unknown_keys(value: Any, kind: type[Any] = Task) -> Any:
    """Check a table that becomes a plain dataclass, which would ignore a misspelt key."""
    if not isinstance(value, Mapping):
        return value
    known = {field.name: field.default for field in fields(kind)}
    for key, inner in value.items():
        if key not in known:
            raise ValueError(f"{key!r} is not a key here; use one of {', '.join(sorted(known))}")
        if is_dataclass(known[key]):
            _refuse_unknown_keys(inner, type(known[key]))
    return value


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


class Refresh(BaseModel):
    """When to make a new student.

    ``min_rows`` teachable rows start the first refresh, ``growth`` times the rows of the last one start the next, and
    ``max_seconds`` after the last one any new row does. ``patience_rows`` is the most certifying rows that a challenger
    may look at.
    """

    model_config = _FROZEN
    min_rows: int = Field(1000, ge=10)
    growth: float = Field(1.4, gt=1)
    max_seconds: float = Field(86_400.0, gt=0)
    patience_rows: int = Field(3000, ge=50)
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


class CloudConfig(BaseSettings):
    """Everything in ``cloud.toml``."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )
    data: Path
    door: Door = Door()
    identity: IdentitySettings = IdentitySettings()
    ray: Ray = Ray()
    store: StoreSettings = StoreSettings()
    log: Log = Log()
    fleet: Fleet = Fleet()
    refresh: Refresh = Refresh()
    telemetry: TelemetryTable = TelemetryTable()
    encoder: str = "minilm"
    verdict: VerdictSettings = VerdictSettings()
    servers: Servers = ()
    teachers: tuple[AnyTeacher, ...] = Field(min_length=1)
    tasks: tuple[Annotated[Task, BeforeValidator(_refuse_unknown_keys)], ...] = Field(min_length=1)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given: ``read_config`` has merged file, environment and flags."""
        return (init_settings,)

    @property
    def store_url(self) -> str | URL:
        """SQLAlchemy URL of the store."""
        return self.store.url or URL.create("sqlite", database=str(self.data / FLEET_FILE))

    @property
    def server_urls(self) -> dict[str, str]:
        """URL by model, where served students are measured."""
        return {server.model: server.url for server in self.servers}

    @property
    def ca_folder(self) -> Path:
        """The certificate authority."""
        return self.identity.folder or self.data / "ca"

    @property
    def log_folder(self) -> Path:
        """The distillation log's Delta table."""
        return self.data / "log"

    @property
    def releases_folder(self) -> Path:
        """Releases, as ``<task>/<number>/``."""
        return self.data / "releases"

    @property
    def spool_folder(self) -> Path:
        """One spool per gateway."""
        return self.data / "spool"

    @property
    def teachers_folder(self) -> Path:
        """Fitted heads of encoder teachers."""
        return self.data / "teachers"

    @property
    def verdicts_folder(self) -> Path:
        """Audits of verdict models, and what they have said."""
        return self.data / "verdicts"

    @property
    def run_folder(self) -> Path:
        """What runs now, and where."""
        return self.data / "run"

    def task(self, name: str) -> Task:
        """The task of that name; ``UnknownTaskError`` without one, which names those that there are."""
        tasks = {task.name: task for task in self.tasks}
        if name not in tasks:
            raise no_such_task(name, tasks)
        return tasks[name]


def read_config(path: Path, **changes: Any) -> CloudConfig:
    """Read and check ``path``.

    Args:
        path: A TOML file.
        changes: What flags say, nested as the file is; they win over file and environment.

    Raises:
        ConfigError: The file is missing or malformed, or a key is unknown or out of its range.
    """
    content = _anchored(read_toml(path), path.parent.absolute())
    try:
        content = merged(merged(content, EnvSettingsSource(CloudConfig)()), changes)
        _check_kinds(path, content)
        config = CloudConfig(**content)
    except SettingsError as error:
        raise ConfigError("environment", "", f"{error}; write lists and tables as JSON") from error
    except ValidationError as error:
        raise _by_name(config_error(path, ENVIRONMENT_PREFIX, error, CloudConfig), content) from error
    _check_names(path, config)
    return config


def _anchored(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    if isinstance(content.get("data"), str):
        content["data"] = folder / content["data"]
    _anchor_folder(content, "encoder", folder)
    identity = content.get("identity")
    for key in ("folder", "passphrase_file"):
        if isinstance(identity, dict) and isinstance(identity.get(key), str):
            identity[key] = str(folder / identity[key])
    verdict = content.get("verdict")
    model = verdict.get("model") if isinstance(verdict, dict) else None
    if isinstance(verdict, dict) and isinstance(model, str) and model and (folder / model).is_dir():
        verdict["model"] = str(folder / model)
    for task in _tables(content.get("tasks")):
        _anchor_folder(task, "base", folder)
    for teacher in _tables(content.get("teachers")):
        for key in ("examples", "answers", "canaries"):
            if isinstance(teacher.get(key), str) and teacher[key]:
                teacher[key] = str(folder / teacher[key])
        if teacher.get("kind") in LOADED_KINDS:
            _anchor_folder(teacher, "model", folder)
    return content


def _check_kinds(path: Path, content: Mapping[str, Any]) -> None:
    for place, table in enumerate(_tables(content.get("teachers"))):
        if table.get("kind") not in KINDS:
            problem = f"is {table.get('kind', '')!r}; use one of {', '.join(KINDS)}"
            raise ConfigError(str(path), f"teachers.{table.get('name', place)}.kind", problem)


def _by_name(error: ConfigError, content: Mapping[str, Any]) -> ConfigError:
    """The same error, with the name of the teacher that it is about: ``teachers.big.url``, not ``teachers.0...``."""
    found = _PLACE_OF_TEACHER.match(error.key)
    tables = _tables(content.get("teachers"))
    if found is None or int(found[1]) >= len(tables):
        return error
    table = tables[int(found[1])]
    rest = found[2].removeprefix(f".{table.get('kind')}")
    return ConfigError(error.source, f"teachers.{table.get('name', found[1])}{rest}", error.problem)


def _tables(value: Any) -> list[dict[str, Any]]:
    return [table for table in value if isinstance(table, dict)] if isinstance(value, list) else []


def _anchor_folder(table: dict[str, Any], key: str, folder: Path) -> None:
    """Take a name for a folder beside the file where there is one."""
    if isinstance(table.get(key), str) and table[key] and (folder / table[key]).is_dir():
        table[key] = str(folder / table[key])


def _check_names(path: Path, config: CloudConfig) -> None:
    teachers = [teacher.name for teacher in config.teachers]
    problem = why_no_folder(str(config.data)) or why_too_long(str(config.data.resolve()))
    if problem:
        raise ConfigError(str(path), "data", problem)
    for key, names in (("teachers", teachers), ("tasks", [task.name for task in config.tasks])):
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(str(path), key, f"{sorted(twice)} is named twice")
        _check_plain(path, key, names)
    for task in config.tasks:
        if task.judge is Judge.VERDICT and not config.verdict.model:
            raise ConfigError(str(path), "verdict.model", f"is missing; task {task.name} has the judge verdict")
        if task.reference not in teachers:
            raise ConfigError(
                str(path), f"tasks.{task.name}.reference", f"{task.reference!r} is no teacher; known: {teachers}"
            )
        _check_limits(path, task)
        _check_cheaper(path, task, teachers)
        _check_student(path, task)
        check_recipe(str(path), task, [other.name for other in config.tasks])
        _check_reference(path, task, next(teacher for teacher in config.teachers if teacher.name == task.reference))
    for teacher in config.teachers:
        _check_files(path, teacher)
    ports = {teacher.port for teacher in config.teachers if isinstance(teacher, VllmSettings)}
    if len(ports) > 1:
        raise ConfigError(str(path), "teachers.port", f"is {sorted(ports)}; all teachers of kind vllm share one")


def _check_plain(path: Path, key: str, names: Sequence[str]) -> None:
    """Check names that become folders and actors."""
    for place, name in enumerate(names):
        problem = why_no_name(name)
        if problem:
            raise ConfigError(str(path), f"{key}.{place}.name", f"{name!r} {problem}")
        alike = [other for other in names if other != name and same_name(other) == same_name(name)]
        if alike:
            raise ConfigError(str(path), f"{key}.{place}.name", f"{name!r} is {alike[0]!r} to some file systems")


def _check_limits(path: Path, task: Task) -> None:
    if not 1 <= task.max_text_bytes <= MAX_TEXT_BYTES:
        problem = f"is {task.max_text_bytes}; use 1 to {MAX_TEXT_BYTES}, which is what one message takes"
        raise ConfigError(str(path), f"tasks.{task.name}.max_text_bytes", problem)
    if len(task.name.encode()) > MAX_TASK_BYTES:
        raise ConfigError(str(path), "tasks.name", f"has {len(task.name.encode())} bytes; use {MAX_TASK_BYTES} at most")
    try:
        check_limits(task.limits)
    except BadInputError as error:
        problem = str(error).removeprefix(f"{error.field} ")
        raise ConfigError(str(path), f"tasks.{task.name}.{error.field}", problem) from error


def _check_cheaper(path: Path, task: Task, teachers: Sequence[str]) -> None:
    unknown = [name for name in task.cheaper.teachers if name not in teachers]
    if unknown:
        raise ConfigError(
            str(path), f"tasks.{task.name}.cheaper.teachers", f"{unknown[0]!r} is no teacher; known: {teachers}"
        )


def _check_files(path: Path, teacher: TeacherSettings) -> None:
    for key in teacher.FILES:
        file = getattr(teacher, key)
        if (file or key in teacher.NEEDED) and not Path(file).is_file():
            raise ConfigError(str(path), f"teachers.{teacher.name}.{key}", f"no such file: {file!r}")


def _check_reference(path: Path, task: Task, reference: TeacherSettings) -> None:
    if instruction_of(task) and not isinstance(reference, WritingSettings):
        problem = f"gives an instruction, and teacher {reference.name!r} follows none; set one that writes"
        raise ConfigError(str(path), f"tasks.{task.name}.options.rich", problem)
    gives = isinstance(reference, WritingSettings) and bool(reference.rationale_prompt)
    if wants_rationales(task) and not gives:
        problem = (
            f"learns from reasons, and teacher {reference.name!r} gives none; set another, or its rationale_prompt"
        )
        raise ConfigError(str(path), f"tasks.{task.name}.recipe", problem)


def _check_student(path: Path, task: Task) -> None:
    kinds = WRITING_STUDENTS if task.kind is Kind.TEXT else LABEL_STUDENTS
    if task.student not in kinds:
        known = f"a task of kind {task.kind.value} takes {' or '.join(kinds)}"
        raise ConfigError(str(path), f"tasks.{task.name}.student", f"{task.student!r} is unknown; {known}")
    if task.kind is Kind.TEXT and not task.base:
        problem = "is missing; name the model that its students start from, or that devices serve"
        raise ConfigError(str(path), f"tasks.{task.name}.base", problem)
