"""Files of JSON lines ``{text, label}``.

Rules:
 * A line that can't be used is an error that names file and line; nothing is skipped but empty lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router.core.errors import DataError
from router.io.json_lines import json_lines


@dataclass(frozen=True, slots=True)
class Example:
    """A text and its label."""

    text: str
    label: str


def read_examples(path: Path) -> list[Example]:
    """Every example of a file, in its order.

    Raises:
        DataError: Names the file, and the line that can't be used.
    """
    examples = [_example(path, number, said) for number, said in json_lines(path)]
    if not examples:
        raise DataError(
            str(path), 0, 'holds no example; write lines such as {"text": "lights on", "label": "light_on"}'
        )
    return examples


def _example(path: Path, number: int, value: Any) -> Example:
    if not isinstance(value, dict):
        raise DataError(str(path), number, 'is not an object; write {"text": ..., "label": ...}')
    for key in ("text", "label"):
        if not isinstance(value.get(key), str) or not value[key].strip():
            raise DataError(str(path), number, f"{key}: is {value.get(key)!r}; a text that is not empty is needed")
    return Example(value["text"], value["label"])
