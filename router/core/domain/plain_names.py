"""Names that become names of files, folders and actors."""

from __future__ import annotations

import re
import unicodedata

from router.core.visible_text import as_seen, is_blank, is_filler

MOST_FOLDER_BYTES = 400  # SQLite opens no path above 504, and the names of its files come after the folder's
MOST_NAME_BYTES = 64  # three times as many, percent-encoded, fit a folder's name

_FORBIDDEN = set('/\\:"*?<>|\0')
_LIKE_A_URL = re.compile(r"(?:^|/)([a-z][a-z0-9+.-]*:)(?=/)")  # pathlib has made one slash of two
_BAD_IN_FOLDERS = re.compile(r"[\[\]\\^|]|%[0-9A-Fa-f]{2}")


def why_no_name(name: str) -> str:
    """Why a name can't be taken, so that it reads after the name; empty where it can."""
    if is_blank(name):
        return "is empty"
    if name != name.strip() or name.startswith(".") or name.endswith("."):
        return "begins or ends with a dot or a space"
    if name.startswith("-"):
        return "begins with a dash, which commands take for an option"
    if len(name.encode(errors="replace")) > MOST_NAME_BYTES:
        return f"is longer than {MOST_NAME_BYTES} bytes"
    bad = sorted({sign for sign in name if sign in _FORBIDDEN or is_filler(sign) or not _is_printable(sign)})
    return f"holds {bad[0]!r}; use letters, digits, spaces, '-' and '_'" if bad else ""


def same_name(name: str) -> str:
    """What is equal for names that differ in case, composition or blanks alone: to some file systems, and to people."""
    return " ".join(as_seen(name).casefold().split())


def why_no_folder(path: str) -> str:
    """Why the log's library can't work in a folder of this path; empty where it can."""
    url = _LIKE_A_URL.search(path)
    if url:
        return f"holds {url[1]!r} as a URL does, and is a folder of this machine; set another folder"
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
