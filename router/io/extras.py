"""Says which extra a command needs, where it is not installed or only half.

Rules:
 * A folder that happens to have the name of a package is no package.
 * One line and an exit code, never a traceback; nothing is imported to find out.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

from router.core.errors import ConfigError


def check_extra(command: str, extra: str, needed: Sequence[str]) -> None:
    """Check that what ``command`` needs is installed.

    Args:
        command: As the user calls it.
        extra: Of this distribution; brings all that is needed.
        needed: Names to import.

    Raises:
        ConfigError: Some are missing; says what to install.
    """
    missing = [name for name in needed if not _is_installed(name)]
    if missing:
        raise ConfigError(command, "", f"needs {', '.join(missing)}: {advice(extra)}")


def require_extra(command: str, extra: str, needed: Sequence[str]) -> None:
    """Check as ``check_extra`` does; the process ends with a line that says what is missing."""
    try:
        check_extra(command, extra, needed)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - nothing is imported yet that could
        raise SystemExit(error.exit_code) from None


def import_problem(command: str, extra: str, error: ImportError) -> ConfigError:
    """What an import that failed all the same means: a package that is half installed, or does not fit this machine."""
    what = error.name or "a package"
    return ConfigError(command, "", f"{what} can't be imported ({error}): {advice(extra)}")


def advice(extra: str) -> str:
    """The line to type: nothing is published, and whatever an index has under that name is not this."""
    return f"in a clone of it, pip install '.[{extra}]'; with a wheel, pip install 'headrace[{extra}] @ file:///PATH/TO/WHEEL'"


def _is_installed(name: str) -> bool:
    """Whether there is such a package or module; a namespace, as every folder is, does not count."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a parent is missing, or was taken out
        return False
    return spec is not None and spec.origin is not None
