"""Answers reports in groups: what all devices share is read once for a group, and one transaction keeps its reports.

Rules:
 * A report that comes alone is answered at once. Groups begin some milliseconds apart: whoever comes meanwhile is taken
   in the next one, so that many devices cost little more than one.
 * A group has one report of a device at most; a second one waits for a later group, in the order in which they came.
 * Whoever has stopped waiting is left out: its next report says all that this one did.
 * Each report has its own answer or error; what fails for one fails for no other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from router.core.release.orders import Orders
from router.core.release.reports import DeviceReport

GROUP_SECONDS = 0.05  # between the beginnings of two groups
MOST_TOGETHER = 250  # reports of a group


@dataclass(frozen=True, slots=True)
class Came:
    """A report, and the Unix time in seconds when it came."""

    report: DeviceReport
    at: float


Answers = Sequence[Orders | Exception]  # to each report of a group
_Waiting = tuple[Came, "asyncio.Future[Orders]"]


class ReportGroups:
    """Those of one gateway. Used in one event loop at a time; groups are answered one after the other in a thread."""

    def __init__(self, answer_all: Callable[[Sequence[Came]], Answers]) -> None:
        """Let ``answer_all`` answer groups."""
        self._answer_all = answer_all
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None
        self._next_at = 0.0

    async def answer(self, came: Came) -> Orders:
        """The answer to a report.

        Raises:
            Exception: What failed for this report.
        """
        answer: asyncio.Future[Orders] = asyncio.get_running_loop().create_future()
        self._waiting.append((came, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            pause = self._next_at - time.monotonic()
            if pause > 0 and len(self._waiting) < MOST_TOGETHER:
                await asyncio.sleep(pause)
            group = self._take()
            if not group:
                continue
            self._next_at = time.monotonic() + GROUP_SECONDS
            answers: Answers
            try:
                answers = await asyncio.to_thread(self._answer_all, [came for came, _ in group])
            except Exception as error:  # noqa: BLE001 - each who waits is told, and its door logs it
                answers = [error] * len(group)
            for (_, waiting), answer in zip(group, answers, strict=True):
                _tell(waiting, answer)

    def _take(self) -> list[_Waiting]:
        """The next group, taken out of those who wait."""
        group: dict[str, _Waiting] = {}
        later = []
        for one in self._waiting:
            device = one[0].report.device
            if one[1].done():
                continue
            if device in group or len(group) >= MOST_TOGETHER:
                later.append(one)
            else:
                group[device] = one
        self._waiting = later
        return [*group.values()]


def _tell(waiting: asyncio.Future[Orders], answer: Orders | Exception) -> None:
    if waiting.done():  # it has stopped waiting
        return
    if isinstance(answer, Exception):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
