"""What both daemons' configuration needs: a TOML file, the environment over it, and errors that name key and value.

Needs pydantic, which the extras ``edge`` and ``cloud`` bring.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from router.core.errors import ConfigError


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ConfigError: There is no such file, or it can't be read as TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(str(path), "", "there is no such file; give one with --config") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"can't be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), "", f"is not TOML: {error}") from error
    except ValueError as error:  # Python reads whole numbers of some thousand digits at most
        raise ConfigError(str(path), "", "is not TOML: a number in it has too many digits") from error
    except RecursionError as error:
        raise ConfigError(str(path), "", "is not TOML: it is nested too deeply") from error


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over`` in it, table by table."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result


def config_error(path: Path, prefix: str, error: ValidationError, model: type[BaseModel]) -> ConfigError:
    """The first problem, as an error that names file or variable, key, value, and what would do.

    Args:
        path: The file.
        prefix: Of the environment's variables.
        error: As pydantic raised it.
        model: The settings that were checked.
    """
    first = error.errors(include_url=False)[0]
    keys = [str(part) for part in first["loc"]]
    variable = prefix + "__".join(keys).upper()
    source = variable if variable in os.environ else str(path)
    return ConfigError(source, ".".join(keys), _problem(first, keys, model))


def _problem(first: Mapping[str, Any], keys: Sequence[str], model: type[BaseModel]) -> str:
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "missing":
        return "is missing; set it"
    if first["type"] == "extra_forbidden":
        known = _known_keys(keys, model)
        return f"is not a key here; use {', '.join(known)}" if known else "is not a key here; check its spelling"
    if first["type"] == "value_error":
        return message
    return f"is {first['input']!r}: {message}"


def _known_keys(keys: Sequence[str], model: type[BaseModel]) -> list[str]:
    for part in keys[:-1]:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return sorted(model.model_fields)
