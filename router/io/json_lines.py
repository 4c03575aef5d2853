"""Files of JSON lines.

Rules:
 * A line ends at a line feed alone: U+2028, U+2029 and U+0085 may stand in a string as they are (RFC 8259, section 7).
 * A byte order mark before the first line is passed over.
 * What can't be read is refused with file and line, halves of surrogate pairs too, which are no text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from router.core.errors import DataError

HALF_OF_A_PAIR = re.compile("[\ud800-\udfff]")  # JSON may escape one; UTF-8 has none


def json_lines(path: Path) -> list[tuple[int, Any]]:
    """What each line that is not blank says, with the line's number, from 1.

    Raises:
        DataError: Names the file, and the line that can't be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), 0, f"can't be read as UTF-8 text: {error}") from error
    return [(number, _said(path, number, line)) for number, line in enumerate(lines, start=1) if line.strip()]


def parse_json(path: Path, line: int, text: str) -> Any:
    """What a text says that begins at a line of a file.

    Raises:
        DataError: Names the file and the line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"is not JSON at character {error.colno}: {error.msg}"
        raise DataError(str(path), line + error.lineno - 1, problem) from error
    except RecursionError as error:
        raise DataError(str(path), line, "is JSON that is nested too deeply") from error
    except ValueError as error:  # Python reads whole numbers of some thousand digits at most
        raise DataError(str(path), line, f"holds a number that can't be read: {error}") from error


def _said(path: Path, line: int, text: str) -> Any:
    value = parse_json(path, line, text)
    if "\\u" in text and HALF_OF_A_PAIR.search(json.dumps(value, ensure_ascii=False)):
        raise DataError(str(path), line, "holds half of a surrogate pair, which is no text")
    return value
