"""A redactor of your own: numbers of badges, such as B-1234-7, whose last digit checks the others.

    python examples/own_redactor.py "B-1234-0 has lost his key"

Prints the text as students, teachers and the log would see it. To let a task name it in ``cloud.toml``
(``privacy = {redact = ["mail", "badge"]}``), install a package with this in its ``pyproject.toml``, on the devices of
the task and on the cluster:

    [project.entry-points."headrace.redactors"]
    badge = "own_redactor:find_badges"
"""

import re
import sys
from collections.abc import Iterator

from router.core.privacy.redaction import Redaction

_BADGE = re.compile(r"\bB-(\d{4})-(\d)\b")  # no part of it can match in many ways, so that no text takes long


def find_badges(text: str) -> Iterator[tuple[int, int]]:
    """Where badges stand: the positions of their first character, and of the one after their last."""
    for found in _BADGE.finditer(text):
        if sum(map(int, found[1])) % 10 == int(found[2]):
            yield found.span()


def main(text: str) -> None:
    """Print the text with badges and addresses of mail taken out."""
    print(Redaction(own=(("badge", find_badges),), built_in=("mail",)).of_text(text))


if __name__ == "__main__":
    main(*sys.argv[1:])
