"""Names that become names of files, folders and actors."""

from __future__ import annotations

import re
import unicodedata

MOST_FOLDER_BYTES = 400  # SQLite opens no path above 504, and the names of its files come after the folder's
MOST_NAME_BYTES = 64  # three times as many, percent-encoded, fit a folder's name

_FORBIDDEN = set('/\\:"*?<>|\0')
_BAD_IN_FOLDERS = re.compile(r"[\[\]\\^|]|%[0-9A-Fa-f]{2}")


def why_no_name(name: str) -> str:
    """Why a name can't be taken, so that it reads after the name; empty where it can."""
    if not name.strip():
        return "is empty"
    if name != name.strip() or name.startswith(".") or name.endswith("."):
        return "begins or ends with a dot or a space"
    if len(name.encode(errors="replace")) > MOST_NAME_BYTES:
        return f"is longer than {MOST_NAME_BYTES} bytes"
    bad = sorted({sign for sign in name if sign in _FORBIDDEN or not _is_printable(sign)})
    return f"holds {bad[0]!r}; use letters, digits, spaces, '-' and '_'" if bad else ""


def same_name(name: str) -> str:
    """What is equal for names that differ in case or composition alone, as on some file systems."""
    return unicodedata.normalize("NFKC", name).casefold()


def why_no_folder(path: str) -> str:
    """Why the log's library can't work in a folder of this path; empty where it can."""
    known = _BAD_IN_FOLDERS.search(path)
    bad = [known[0]] if known else [sign for sign in path if not _is_printable(sign)]
    return f"holds {bad[0]!r}, which can't be in the path of a table; set another folder" if bad else ""


def why_too_long(path: str) -> str:
    """Why no database can be in a folder of this path, with all links followed; empty where one can."""
    size = len(path.encode(errors="surrogateescape"))
    if size <= MOST_FOLDER_BYTES:
        return ""
    return f"has a path of {size} bytes, and a database can be in one of {MOST_FOLDER_BYTES} at most"


def _is_printable(sign: str) -> bool:
    return unicodedata.category(sign)[0] != "C" and unicodedata.category(sign) not in ("Zl", "Zp")
