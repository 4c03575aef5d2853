"""Labels of devices, ``key=value``, as operators write them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from router.core.errors import ConfigError

MOST_LABELS = 16
_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def read_label_options(said: Iterable[str], option: str = "--label") -> dict[str, str]:
    """The labels that an option spells, each time it is given.

    Raises:
        ConfigError: One is misspelt, there are two of a key, or too many.
    """
    labels: dict[str, str] = {}
    for text in said:
        key, equals, value = text.partition("=")
        if not equals or not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            problem = "is no label; write key=value, such as site=berlin, of letters, digits, '_', '.' and '-'"
            raise ConfigError(option, repr(text), problem)
        if key in labels:
            raise ConfigError(option, key, "is given twice; one value is right")
        labels[key] = value
    if len(labels) > MOST_LABELS:
        raise ConfigError(option, "", f"is given {len(labels)} times; {MOST_LABELS} are allowed")
    return labels
