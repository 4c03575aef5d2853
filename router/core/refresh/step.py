"""One step of the loop: the rows that came, and what is to be done.

    idle ──enough new rows──▶ fitting ▶ exporting ▶ judging ──worth proving──▶ waiting ──certified──▶ publishing
      ▲                                                │                        │                        │
      └────────────────────────────────────────────────┴──── hopeless, or no better than the champion ───┘

Rules:
 * Nothing here reads a clock, a store, a model or a file: time, fit results and predictions are told.
 * The same state, rows, inputs and outcomes give the same actions, whoever does them.
 * First what serves keeps its promise, then what waits is proved, then a better student is fitted.
 * A step that promotes fits nothing: whether to, is decided by what the next one is told of the new release.
 * A challenger that serves waits for no looser threshold where something else has come to serve between two steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from router.core.refresh.actions import Action, Step
from router.core.refresh.fit_due import is_due
from router.core.refresh.loop_state import LoopState, StepInputs
from router.core.refresh.promise_keeping import explore_suspected, keep_promise
from router.core.refresh.proving import close, prove, refresh


def step(loop: LoopState, inputs: StepInputs) -> Step[None]:
    """What follows from the rows that ``loop`` has taken in; to be driven by ``carry_out``."""
    before, loop.releases = loop.releases.champion, inputs.releases
    serves = loop.releases.champion
    if before != serves and loop.trial is not None and loop.trial.has_served:
        loop.end_trial()
    yield from keep_promise(loop, inputs)
    if loop.trial is not None and not loop.is_held:
        yield from prove(loop, inputs)
    if is_due(loop, inputs.now) and loop.releases.champion == serves:
        yield from close(loop)
        if loop.releases.champion == serves:
            yield from refresh(loop, inputs)
    yield from explore_suspected(loop, inputs)


def carry_out(steps: Step[None], do: Callable[[Action], Any]) -> None:
    """Do each action, and tell the step what came of it; what ``do`` raises ends the step."""
    outcome: Any = None
    while True:
        try:
            action = steps.send(outcome)
        except StopIteration:
            return
        outcome = do(action)
