"""A judge of your own: when do two answers say the same? Held against the laws of judges, then against real answers.

    python examples/own_judge.py 127.0.0.1:7701 127.0.0.1:7700 times.txt

Asks two tiers every line of the file and prints how often they agree: by the letter, and by a judge that knows that
9:30 pm is 21:30. To let a task name it in ``cloud.toml``: CONTRIBUTING.md, "A judge".
"""

import re
import sys
from itertools import combinations
from pathlib import Path

from router import Client
from router.core.domain.agreement import Agree, exact, normalised_text

_TIME = re.compile(r"(\d{1,2})(?:[:.](\d\d))?\s*(am|pm)?", re.IGNORECASE)


def same_time(one: str, other: str) -> bool:
    """The same time of day, however it is written; what is no time is compared as text."""
    first, second = _minutes(one), _minutes(other)
    return normalised_text(one, other) if first is None and second is None else first == second


def _minutes(text: str) -> int | None:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    hour, minute, half = int(found[1]), int(found[2] or 0), (found[3] or "").lower()
    hour = hour % 12 + 12 * (half == "pm") if half else hour
    return 60 * hour + minute


def check_laws(judge: Agree, answers: list[str]) -> None:
    """A judge is alike with itself, and does not mind the order."""
    for answer in answers:
        assert judge(answer, answer), f"{answer!r} is not alike with itself"
    for one, other in combinations(answers, 2):
        assert judge(one, other) == judge(other, one), f"{one!r} and {other!r}: the order matters"


def main(device: str, cloud: str, questions: str) -> None:
    """Print the share of answers on which both tiers agree."""
    texts = Path(questions).read_text(encoding="utf-8").splitlines()
    with Client(device, insecure=True) as near, Client(cloud, insecure=True) as far:
        pairs = [(near.ask(text, "times").text, far.ask(text, "times").text) for text in texts]
    check_laws(same_time, [answer for pair in pairs for answer in pair])
    for name, judge in (("exact", exact), ("same time", same_time)):
        print(f"{name}: {sum(judge(*pair) for pair in pairs)} of {len(pairs)} agree")


if __name__ == "__main__":
    main(*sys.argv[1:])
