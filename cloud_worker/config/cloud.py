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

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)
from sqlalchemy import URL

from cloud_worker.config.cross_checks import check_data_path, check_tasks, check_teachers
from cloud_worker.config.identity import IdentitySettings
from cloud_worker.config.paths import is_folder
from cloud_worker.config.releases import Approval, ReleasesSettings
from cloud_worker.config.sections import (
    Door,
    Fleet,
    Log,
    Ray,
    Refresh,
    RolloutSettings,
    StoreSettings,
    TelemetryTable,
    VerdictSettings,
)
from cloud_worker.config.teachers import (
    KINDS,
    LOADED_KINDS,
    AnyTeacher,
)
from router.core.domain.task import Task
from router.core.errors import ConfigError, no_such_task
from router.io.settings import check_variables, config_error, merged, read_toml
from router.students.server_settings import Servers

ENVIRONMENT_PREFIX = "HEADRACE_CLOUD_"
FLEET_FILE = "fleet.sqlite"  # in the data folder

_TEACHER_KEY = re.compile(r"teachers\.(\d+)(.*)")


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


class CloudConfig(BaseSettings):
    """Everything in ``cloud.toml``."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )
    data: Path
    door: Door = Door()
    identity: IdentitySettings = IdentitySettings()
    releases: ReleasesSettings = ReleasesSettings()
    ray: Ray = Ray()
    store: StoreSettings = StoreSettings()
    log: Log = Log()
    fleet: Fleet = Fleet()
    rollout: RolloutSettings = RolloutSettings()
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
    def repository_folder(self) -> Path:
        """Signed metadata of the releases, for devices and mirrors."""
        return self.data / "repository"

    @property
    def signs_releases(self) -> bool:
        """Whether somebody has made the keys that sign releases."""
        return (self.repository_folder / "metadata" / "1.root.json").is_file()

    @property
    def needs_approval(self) -> bool:
        """Whether a release waits for somebody before devices hear of it."""
        return self.signs_releases and self.releases.approval is Approval.MANUAL

    @property
    def keys_folder(self) -> Path:
        """The online keys of the releases, and metadata that waits for signatures."""
        return self.releases.keys or self.data / "keys"

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
    check_variables(ENVIRONMENT_PREFIX, CloudConfig)
    try:
        content = merged(merged(content, EnvSettingsSource(CloudConfig)()), changes)
        _check_kinds(path, content)
        config = CloudConfig(**content)
    except SettingsError as error:
        raise ConfigError("environment", "", f"{error}; write lists and tables as JSON") from error
    except ValidationError as error:
        raise _by_name(config_error(path, ENVIRONMENT_PREFIX, error, CloudConfig), content) from error
    check_data_path(path, config.data)
    check_teachers(path, config.teachers)
    check_tasks(path, config.tasks, config.teachers, config.verdict.model)
    return config


def _anchored(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    if isinstance(content.get("data"), str):
        content["data"] = folder / content["data"]
    _anchor_folder(content, "encoder", folder)
    _anchor_files(content.get("identity"), ("folder", "passphrase_file"), folder)
    _anchor_files(content.get("releases"), ("keys", "passphrase_file"), folder)
    verdict = content.get("verdict")
    model = verdict.get("model") if isinstance(verdict, dict) else None
    if isinstance(verdict, dict) and isinstance(model, str) and model and is_folder(folder / model):
        verdict["model"] = str(folder / model)
    for task in _tables(content.get("tasks")):
        _anchor_folder(task, "base", folder)
    for teacher in _tables(content.get("teachers")):
        for key in ("examples", "answers", "canaries"):
            if isinstance(teacher.get(key), str) and teacher[key]:
                teacher[key] = str(folder / teacher[key])
        if str(teacher.get("kind")) in LOADED_KINDS:
            _anchor_folder(teacher, "model", folder)
    return content


def _anchor_files(table: Any, keys: Sequence[str], folder: Path) -> None:
    for key in keys:
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = str(folder / table[key])


def _check_kinds(path: Path, content: Mapping[str, Any]) -> None:
    for position, table in enumerate(_tables(content.get("teachers"))):
        if table.get("kind") not in KINDS:
            problem = f"is {table.get('kind', '')!r}; use one of {', '.join(KINDS)}"
            raise ConfigError(str(path), f"teachers.{table.get('name', position)}.kind", problem)


def _by_name(error: ConfigError, content: Mapping[str, Any]) -> ConfigError:
    """The same error, with the name of the teacher that it is about: ``teachers.big.url``, not ``teachers.0...``."""
    found = _TEACHER_KEY.match(error.key)
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
    if isinstance(table.get(key), str) and table[key] and is_folder(folder / table[key]):
        table[key] = str(folder / table[key])
