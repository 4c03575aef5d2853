"""The live view: agents, training, and the stream's progress. Without a terminal it prints a line now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cloud_worker.state.states import Phase
from demo.fleet_state import FleetState, Observer
from demo.story import Newcomers, newcomers, next_release
from demo.stream import Asked, is_local
from demo.workload import Line

REFRESH_SECONDS = 0.5
PLAIN_SECONDS = 10.0
RECENT = 500

_PHASES = {
    Phase.IDLE: "waits for more rows",
    Phase.FITTING: "trains a student",
    Phase.EXPORTING: "writes the device's format",
    Phase.JUDGING: "looks for a threshold",
    Phase.WAITING: "collects proof",
    Phase.PUBLISHING: "publishes",
}


class View:
    """Shows a running demo on a console."""

    def __init__(
        self,
        console: Console,
        observer: Observer,
        asked: Asked,
        devices: Sequence[str],
        stream: Sequence[Line] = (),
        new_labels: AbstractSet[str] = frozenset(),
    ) -> None:
        """Show what ``observer`` and ``asked`` say of ``stream``, into which ``new_labels`` come under way."""
        self._console = console
        self._observer = observer
        self._asked = asked
        self._devices = devices
        self._is_new = [line.label in new_labels for line in stream]
        self._new_labels = new_labels
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._stream = self._progress.add_task("stream", total=len(asked.answers))
        self._training = self._progress.add_task("refresh", total=100)

    async def run(self) -> None:
        """Show until cancelled."""
        if not self._console.is_terminal:
            await self._print_lines()
        with Live(console=self._console, refresh_per_second=4) as live:
            while True:
                live.update(self.frame(await asyncio.to_thread(self._observer.read)))
                await asyncio.sleep(REFRESH_SECONDS)

    async def _print_lines(self) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(PLAIN_SECONDS)
            fleet_state = await asyncio.to_thread(self._observer.read)
            state = fleet_state.state
            words = "; ".join((_PHASES[state.phase], *self._words(fleet_state)))
            self._console.print(
                f"{time.monotonic() - began:5.0f} s  {self._asked.done:6d} queries  local {self._local_share():4.0%} "
                f"of the last {RECENT}  release {state.champion}  {words}",
                highlight=False,
                soft_wrap=True,
            )

    def frame(self, fleet_state: FleetState) -> Group:
        """What is shown of a fleet's state."""
        state = fleet_state.state
        agents = Table(title="agents")
        for name in ("agent", "queries", "local", "differs*", "release", "p50", "p95", "outbox"):
            agents.add_column(name, justify="right")
        for device in self._devices:
            agents.add_row(device, *self._cells(fleet_state, device))
        self._progress.update(self._stream, completed=self._asked.done)
        words = f"refresh: {_PHASES[state.phase]}"
        self._progress.update(self._training, description=words, completed=100 * state.phase_progress)
        recent = f"local share of the last {RECENT} queries: {self._local_share():.0%}"
        note = "* of explored answers that the student kept; every query is measured at the end"
        return Group(agents, self._progress, recent, *map(Text, self._words(fleet_state)), note)

    def _words(self, fleet_state: FleetState) -> list[str]:
        """What a reader should know of what happens now."""
        new = self._newcomers(fleet_state)
        words = [
            next_release(fleet_state.state, fleet_state.figures),
            newcomers(new, fleet_state.state.champion) if new else "",
        ]
        return [one for one in words if one]

    def _newcomers(self, fleet_state: FleetState) -> Newcomers | None:
        """What became of the new intents of late; ``None`` before one was asked."""
        sent = self._asked.sent
        if True not in self._is_new[:sent]:
            return None
        late = range(max(0, sent - RECENT), sent)
        answers = [answer for position in late if self._is_new[position] and (answer := self._asked.answers[position])]
        return Newcomers(
            first=self._is_new.index(True),
            intents=len(self._new_labels),
            learned=len(self._new_labels & fleet_state.labels),
            asked=len(late),
            new=len(answers),
            escalated=sum(not is_local(answer) for answer in answers),
        )

    def _cells(self, fleet_state: FleetState, device: str) -> list[str]:
        report = fleet_state.report(device)
        if report is None or not report.answered:
            return ["-"] * 7
        known = next(known for known in fleet_state.devices if known.id == device)
        differs = f"{report.explored_disagreed}/{report.explored_kept}"
        return [
            str(report.answered),
            f"{report.kept / report.answered:.0%}",
            differs,
            str(report.active_release),
            f"{report.p50_milliseconds:.1f} ms",
            f"{report.p95_milliseconds:.1f} ms",
            str(known.report.outbox_pending if known.report else 0),
        ]

    def _local_share(self) -> float:
        recent = [
            answer for answer in self._asked.answers[max(0, self._asked.sent - RECENT) : self._asked.sent] if answer
        ]
        kept = sum(is_local(answer) for answer in recent)
        return kept / len(recent) if recent else 0.0
