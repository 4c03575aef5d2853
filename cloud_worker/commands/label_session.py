"""One person labels rows in a terminal, one at a time.

Rules:
 * The person sees the question and the labels that the task knows, never an answer.
 * Each label is kept at once, so that leaving at any moment loses nothing.
 * A word that begins with ``/`` is a command; two slashes begin a label with one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cloud_worker.state.gold_labels import Gold, Label
from router.core.domain.record import Record

HELP = """\
a label, or a part of it that no other has    keep it
/labels [PART]                                list the labels, or those with PART
/new LABEL                                    a label that the task does not know yet
/skip                                         nobody can tell
/undo                                         take the last one back
/quit                                         leave; the next time goes on from here"""

_MOST_SHOWN = 60
_NARROW = 5

Say = Callable[[str], None]
Ask = Callable[[str], str]


@dataclass(slots=True)
class Session:
    """A person at work.

    Attributes:
        gold: Keeps the labels.
        task: The task's name.
        who: The person.
        known: Labels that the task knows; empty where any text will do.
        say: Shows a line.
        ask: Shows a prompt and reads a line; ``EOFError`` when nobody answers any more.
        done: Labels of this session.
    """

    gold: Gold
    task: str
    who: str
    known: Sequence[str]
    say: Say
    ask: Ask
    done: list[Label] = field(default_factory=list)

    def run(self, rows: Sequence[Record]) -> int:
        """Ask for each row; how many labels and skips were kept."""
        self.say(f"{len(rows)} rows; /help lists the commands, /quit leaves and keeps what is done")
        if self.known:
            self._list("")
        position = 0
        while position < len(rows):
            self.say(f"\n[{position + 1}/{len(rows)}] {rows[position].text}")
            step = self._step(rows[position])
            if step is None:
                break
            position = max(0, position + step)
        return len(self.done)

    def _step(self, row: Record) -> int | None:
        """Ask until one row is done: how far to go on, ``None`` to leave."""
        while True:
            try:
                said = self.ask("label").strip()
            except EOFError:
                return None
            command, _, rest = said.partition(" ")
            if command in ("/quit", "/q"):
                return None
            if command == "/undo" and self._undo():
                return -1
            if command == "/skip":
                return self._keep(row, "", skipped=True)
            label = self._heard(command, rest.strip(), said)
            if label:
                return self._keep(row, label)

    def _heard(self, command: str, rest: str, said: str) -> str:
        """The label that was said; empty where something else was, which is then done or explained."""
        if command == "/new":
            return rest
        if command == "/labels":
            self._list(rest)
        elif said.startswith("/") and not said.startswith("//"):
            self.say("" if command == "/undo" else HELP)
        elif said:
            return self._meant(said.removeprefix("/"))
        return ""

    def _keep(self, row: Record, label: str, *, skipped: bool = False) -> int:
        one = Label(row.key, self.who, label, skipped, at=time.time(), subject=row.subject)
        self.gold.label(self.task, [one])
        self.done.append(one)
        return 1

    def _undo(self) -> bool:
        if not self.done:
            self.say("nothing to take back")
            return False
        self.gold.unlabel(self.task, self.done.pop().key, self.who)
        return True

    def _meant(self, said: str) -> str:
        """The label that is meant; empty, and told why, where none or several are."""
        if not self.known or said in self.known:
            return said
        found = [label for label in self.known if label.startswith(said)] or [one for one in self.known if said in one]
        if len(found) == 1:
            self.say(f"  {found[0]}")
            return found[0]
        self.say(
            f"which one? {', '.join(found[:_NARROW])}" if found else f"no label {said!r}; /new {said} makes it one"
        )
        return ""

    def _list(self, part: str) -> None:
        found = [label for label in self.known if part in label]
        more = f" and {len(found) - _MOST_SHOWN} more; /labels PART narrows" if len(found) > _MOST_SHOWN else ""
        self.say(f"labels: {', '.join(found[:_MOST_SHOWN])}{more}")
