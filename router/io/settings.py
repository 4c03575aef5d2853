"""What both daemons' configuration needs: a TOML file, the environment over it, and errors that name key and value.

Needs pydantic, which the extras ``edge`` and ``cloud`` bring.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from router.core.errors import ConfigError

# What Kubernetes tells every container of a service that is called as our programs are.
_OF_ORCHESTRATORS = re.compile(
    r"(?:[A-Z0-9]+_)*(?:SERVICE_(?:HOST|PORT)(?:_.*)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


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


def check_variables(prefix: str, model: type[BaseModel]) -> None:
    """Check that every variable of ours sets something: a misspelt one would be a setting that nobody hears.

    Args:
        prefix: Of the environment's variables.
        model: The settings that they are of.

    Raises:
        ConfigError: One sets nothing; says which may be meant.
    """
    known = [one.removeprefix(prefix) for one in _variables(prefix, model)]
    for name in sorted(os.environ):
        upper = name.upper()
        rest = upper.removeprefix(prefix)
        is_known = rest.split("__")[0].lower() in model.model_fields
        if not upper.startswith(prefix) or is_known or _OF_ORCHESTRATORS.fullmatch(rest):
            continue
        inside = [one for one in known if one.split("__")[-1] == rest]
        near = inside or difflib.get_close_matches(rest.replace(".", "__"), known, 1, cutoff=0.75)
        meant = f"did you mean {prefix}{near[0]}?" if near else "unset it"
        raise ConfigError(name, "", f"sets nothing; {meant}")


def _variables(prefix: str, model: type[BaseModel]) -> list[str]:
    """The names of all variables that set something of a model."""
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        found.append(f"{prefix}{name.upper()}")
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += _variables(f"{prefix}{name.upper()}__", kind)
    return found


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
