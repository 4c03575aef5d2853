"""What a person sees while a demo runs, with and without a terminal."""

import asyncio
import contextlib
import io
import time

import pytest
from rich.console import Console

from cloud_worker.state.store import Device, TaskState
from cloud_worker.state.task_figures import Figures, Waiting
from demo import view
from demo.fleet_state import FleetState
from demo.setting import TASK
from demo.stream import Asked, query_id
from demo.view import View
from demo.workload import Line
from router.core.domain.query import Answer, Provenance, Tier
from router.core.domain.task import Mode
from router.core.release.reports import DeviceReport, TaskReport

REPORT = TaskReport(TASK, active_release=4, answered=200, kept=150, explored_kept=40, explored_disagreed=1)


def state(**changes):
    known = {"name": TASK, "version": 1, "mode": Mode.SERVE, "exploration": 0.05, "champion": 4}
    known |= {"manifest_sha256": "", "phase": "fitting", "phase_note": "", "phase_progress": 0.5, "attempt": 1}
    known |= {"rows_seen": 0, "log_version_seen": 0, "watch": "quiet", "updated_at": 0.0}
    known |= {"rows_at_refresh": 0, "refreshed_at": 0.0}
    return TaskState(**{**known, **changes})


class StandingStill:
    """An observer of a loop in which nothing happens."""

    def __init__(self, fleet_state):
        self._fleet_state = fleet_state

    def read(self):
        return self._fleet_state


def device(report=REPORT):
    now = time.time()
    return Device("edge-1", b"", now, now, DeviceReport("edge-1", tasks=(report,), outbox_pending=3))


def answer(position, tier):
    return Answer(query_id(position), "on", Provenance(tier, "model"))


@pytest.fixture
def asked():
    answers = [answer(0, Tier.CLUSTER), answer(1, Tier.DEVICE), answer(2, Tier.DEVICE), answer(3, Tier.DEVICE), None]
    return Asked(answers, milliseconds=[1.0] * 5, sent=4)


def rendered(fleet_state, asked, terminal=True):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=110)
    shown = View(console, StandingStill(fleet_state), asked, ["edge-1", "edge-2"])
    console.print(shown.frame(fleet_state))
    return console.file.getvalue()


def test_each_agent_has_its_figures(asked):
    text = rendered(FleetState(state(), (device(),)), asked)
    for figure in ("edge-1", "200", "75%", "1/40", "4", "3"):
        assert figure in text


def test_an_agent_that_has_not_reported_is_shown_without_figures(asked):
    assert "edge-2" in rendered(FleetState(state(), (device(),)), asked)


def test_training_and_the_local_share_of_late_are_shown(asked):
    text = rendered(FleetState(state(), (device(),)), asked)
    assert "trains a student" in text
    assert "75%" in text


@pytest.mark.parametrize("phase", ["idle", "fitting", "exporting", "judging", "waiting", "publishing"])
def test_every_phase_has_words(asked, phase):
    assert rendered(FleetState(state(phase=phase), ()), asked)


WAITING = Figures(1.0, waiting=Waiting(5, 230, 2, expected_rows=370.0, rate=0.4, patience=1025, weight=210.0))
STREAM = (*[Line("light", "light_on")] * 2, *[Line("a plane", "flight")] * 3)


def told(asked, figures=None, labels=frozenset(), width=200, **changes):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, markup=False)
    fleet_state = FleetState(state(**changes), (device(),), figures, labels)
    shown = View(console, StandingStill(fleet_state), asked, ["edge-1"], STREAM, frozenset({"flight", "yoga"}))
    console.print(shown.frame(fleet_state))
    return " ".join(console.file.getvalue().split())


def test_a_challenger_that_waits_says_for_how_many_rows(asked):
    assert "release 5, waits for its certificate: 210 of about 370 rows" in told(asked, WAITING, phase="waiting")


def test_new_intents_that_the_release_has_not_learned_are_told_once_they_are_asked(asked):
    said = told(asked, labels=frozenset({"light_on"}))
    assert "2 new intents since query 3, 50% of late: release 4 has learned none of them" in said
    assert "0% of them escalate" in said
    assert "release 4 has learned 1 of them" in told(asked, labels=frozenset({"light_on", "flight"}))


def test_before_a_new_intent_is_asked_nothing_is_said_of_it(asked):
    asked.sent = 2
    assert "new intents" not in told(asked)


def test_words_that_look_like_markup_are_shown_as_they_are(asked):
    assert "release 5 rejected: [red]no[/red]" in told(
        asked, phase="idle", phase_note="release 5 rejected: [red]no[/red]"
    )


async def test_a_plain_line_says_what_is_waited_for_too(asked, monkeypatch):
    monkeypatch.setattr(view, "PLAIN_SECONDS", 0.01)
    console = Console(file=io.StringIO(), width=200)
    fleet_state = FleetState(state(phase="waiting"), (device(),), WAITING)
    running = asyncio.create_task(
        View(console, StandingStill(fleet_state), asked, ["edge-1"], STREAM, frozenset({"flight"})).run()
    )
    async with asyncio.timeout(120):
        while "release 4" not in console.file.getvalue():  # noqa: ASYNC110 - a console has no event
            await asyncio.sleep(0.01)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert "210 of about 370 rows" in console.file.getvalue()
    assert "1 new intent since query 3" in console.file.getvalue()


async def test_without_a_terminal_there_is_a_plain_line_now_and_then(asked, monkeypatch):
    monkeypatch.setattr(view, "PLAIN_SECONDS", 0.01)
    console = Console(file=io.StringIO(), width=200)
    running = asyncio.create_task(
        View(console, StandingStill(FleetState(state(), (device(),))), asked, ["edge-1"]).run()
    )
    async with asyncio.timeout(120):
        while "release 4" not in console.file.getvalue():  # noqa: ASYNC110 - a console has no event
            await asyncio.sleep(0.01)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert "\x1b" not in console.file.getvalue()
