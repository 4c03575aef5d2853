"""The refresh loop over a store: log -> challenger -> certificate -> release, again and again, for every task.

What is decided is decided by ``router.core.refresh``; here it is told what there is, and what it wants is done.

Rules:
 * A version of the log counts as seen once everything that follows from it has been done.
 * The state is read once a step; the log from where it was read last.
 * A fit that fails is logged and noted; the old release serves on. It counts as one in vain: a tenth more rows, time or
   a new start of the cloud bring the next.
 * While the operator holds a task, or too few explored rows come, nothing is fitted and nothing promoted.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.refresh.figure_posts import FigurePosts
from cloud_worker.refresh.fitting import Fitting, RunFit
from cloud_worker.refresh.parts import AskAgain, RefreshParts
from cloud_worker.refresh.promise_guard import PromiseGuard
from cloud_worker.refresh.prove_and_promote import ProveAndPromote
from cloud_worker.refresh.resume import UNFINISHED, begin_anew, failure_note, resume
from cloud_worker.refresh.staging import Staging
from cloud_worker.refresh.step_inputs import InputReader
from cloud_worker.refresh.task_context import TaskContext
from cloud_worker.refresh.task_setup import set_up
from cloud_worker.state.overrides import Override, Overrides
from cloud_worker.state.states import Phase
from router.core.refresh import actions
from router.core.refresh.step import carry_out, step

log = logging.getLogger(__name__)


class RefreshLoop:
    """Turns the log into releases.

    Attributes:
        contexts: What is held of each task, by its name.
        rollouts: Leads releases through the fleet, in a thread of its own.
    """

    def __init__(self, config: CloudConfig, fit: RunFit, ask_again: AskAgain | None = None) -> None:
        """Take up every task where the store says that it stands.

        Args:
            config: Of the cluster.
            fit: Runs a fit, wherever it likes.
            ask_again: Asks the pool a second time; ``None`` where there is no pool.
        """
        parts = RefreshParts.of(config, ask_again)
        self._store, self._log, self._publisher = parts.store, parts.log, parts.publisher
        self._overrides = Overrides(parts.store.engine)
        self._inputs, self._figures = InputReader(parts.store.engine), FigurePosts(parts.store.engine)
        self.contexts = {task.name: set_up(task, parts) for task in parts.tasks}
        self._fit = Fitting(parts, fit, self.contexts)
        self._stage = Staging(parts)
        self._prove = ProveAndPromote(
            parts.store, parts.publisher, parts.opening.of_certified, needs_approval=config.needs_approval
        )
        self.rollouts, self._opening, self._locks = parts.rollouts, parts.opening, parts.locks
        self._settle_losses()
        twins = self._inputs.twins()
        for context in self.contexts.values():
            context.log.twins = twins
            resume(context, parts.store, parts.publisher)

    def step(self) -> None:
        """Consider what is new in the log, for every task; without anything new, whenever it is time to look again."""
        self._settle_losses()
        last_batch, overrides, now = self._log.last_batch(), self._overrides.of_all(), time.time()
        seen = {state.name: state.log_version_seen for state in self._store.task_states()}
        for name, context in self.contexts.items():
            if last_batch != seen[name] or context.is_due(overrides[name], now):
                with self._locks[name]:
                    self._consider(context, last_batch, overrides[name], now)

    def _settle_losses(self) -> None:
        """Begin anew with the tasks whose state was lost since the last look."""
        lost = self._store.losses_to_settle()
        for name, context in self.contexts.items():
            if name in lost:
                begin_anew(context, self._store, time.time())

    def _consider(self, context: TaskContext, last_batch: int, override: Override, now: float) -> None:
        name, loop = context.task.name, context.loop
        context.override, context.checked_at = override, now
        self._hear_of_twins(context)
        context.read_new(last_batch)
        note: dict[str, str] = {}
        try:
            self._opening.of_wanted(context.task)
            context.second.observe(loop.rows.drawn)
            context.blindness.observe(now)
            carry_out(step(loop, self._inputs.inputs(context, now)), partial(self.do, context))
            context.student = None if loop.trial is None else context.student
            rate = loop.rate_at_ease(bool(context.override.holds)) if loop.is_suspected else loop.releases.exploration
            context.policies.observe(rate, held=loop.is_held)
            self._figures.post(context)
        except Exception as error:  # the loop's outermost edge: a failed fit must not end it
            log.exception("refresh of task %s failed", name)
            self._store.reject_unfinished(name, UNFINISHED)
            note = {"phase_note": failure_note(error)}
        phase = Phase.IDLE if loop.trial is None else Phase.WAITING
        self._store.update_task(name, phase=phase, rows_seen=loop.rows.seen, log_version_seen=last_batch, **note)

    def _hear_of_twins(self, context: TaskContext) -> None:
        twins = self._inputs.twins()
        if twins != context.log.twins:
            context.hear_of_twins(twins, self._store.spent(context.task.name))

    def do(self, context: TaskContext, action: actions.Action) -> Any:
        """Do what the loop decided for a task, and answer what it needs to know."""
        match action:
            case actions.AskReferenceAgain() | actions.BeginFit() | actions.Fit():
                return self._fit.do(context, action)
            case actions.Stage():
                return self._stage.do(context, action, self._fit.last)
            case actions.Find() | actions.Alarm() | actions.EscalateAll() | actions.Reinstate():
                return self._guard_of(context).do(action)
            case actions.NoteOvertaken() | actions.ServeUnproven() | actions.ServeAgain():
                return self._guard_of(context).do(action)
            case actions.SetApart() | actions.TakeBack():
                return self._guard_of(context).do(action)
            case actions.SuspectChange(number, is_suspected):
                doubt = "seems to lose more than it may: everything is asked for a while"
                said = doubt if is_suspected else "is suspected no more"
                log.warning("task %s: release %d %s", context.task.name, number, said)
                return None
            case _:
                return self._prove.do(context, action)

    def _guard_of(self, context: TaskContext) -> PromiseGuard:
        return PromiseGuard(context.task, self._store, self._publisher, context.snapshot)
