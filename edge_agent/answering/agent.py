"""Answer with a small model when that answer can be trusted, escalate when it can't, learn from every escalation.

Rules:
 * A query gets an answer or a clear error before its deadline, whatever the next tier does.
 * A query that is answered here and was drawn, or is degraded, is taught later, and its caller does not wait for that.
   Its row is on the disk before the answer goes out, unless the disk can't take it now.
 * What students, outbox and next tiers see of a query is its redacted text.
 * Nothing known of a query influences its draw; what its caller refuses to have logged is neither drawn nor taught.
 * Whether a limit keeps a query here, or a next tier that can't be asked, is known before its answer is: such a query
   is not covered, however sure its answer, or the promise would speak of the sure ones alone.
 * What would escalate and was answered before may be answered from memory: see ``answer_memory``.
 * A query of another tier (it carries an attempt) and a CLOUD_ONLY one pass through: no draw, no student.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_agent.answering.answer_memory import AnswerMemory
from edge_agent.answering.device_privacy import DevicePrivacy
from edge_agent.answering.student_runner import StudentRunner, Thought, stays, too_busy
from edge_agent.answering.unserved import being_set_up, check_may_leave, escalate_unserved
from edge_agent.outbox.store import Outbox
from edge_agent.tasks.all_tasks import Tasks, may_be_logged
from edge_agent.tasks.hosted_task import HostedTask, Serving
from edge_agent.tasks.quota import Permit
from edge_agent.telemetry import EdgeTelemetry
from edge_agent.upstream.client import Upstream
from router.core.domain.prediction import Prediction, score_of
from router.core.domain.query import Answer, Attempt, Query, Reason, Route, check_query
from router.core.errors import (
    BadInputError,
    BusyError,
    CallerError,
    ConflictingQueryError,
    DeadlineError,
    DeniedError,
    HeadraceError,
    NotPossibleError,
    OverloadedError,
    SpentError,
    UnavailableError,
    UnknownTaskError,
)
from router.core.policy.deferral import Action, Decision, decide
from router.core.privacy.owner_privacy import stays_by_task

DEFAULT_SECONDS = 30.0  # for a caller that set no deadline
LEAST_STUDENT_SECONDS = 0.05  # seconds that a student has at least
STALE_SECONDS = 2.0  # that a task unknown to the orders of an earlier life is waited for
LEAST_SECONDS = 0.01  # below it, asking the next tier is pointless


@dataclass(frozen=True, slots=True)
class Case:
    """One query on its way: by which release, drawn or not, and when it must be answered.

    Attributes:
        query: As it was asked.
        hosted: Its task.
        serving: The release that was in place when it came.
        drawn: Whether the reference is to answer it too.
        exploration: Rate in force at the draw.
        deadline: Monotonic time in seconds.
        asked_at: Unix time in seconds.
        permit: To leave the device; not granted where a limit of the task keeps it here.
        obstacle: Why it can't leave, as known when it came; ``None`` when it can.
    """

    query: Query
    hosted: HostedTask
    serving: Serving
    drawn: bool
    exploration: float
    deadline: float
    asked_at: float
    permit: Permit
    obstacle: Reason | None

    @property
    def covered(self) -> bool:
        """Whether it counts in the promise, unless it is degraded."""
        may_go = may_be_logged(self.serving.manifest, self.query) and not stays(self.serving.manifest, self.query)
        return self.query.route is Route.AUTO and may_go and self.exploration > 0 and self.obstacle is None


class Agent:
    """Answers queries of every task that this device serves."""

    def __init__(
        self,
        tasks: Tasks,
        thinker: StudentRunner,
        upstream: Upstream,
        outbox: Outbox,
        telemetry: EdgeTelemetry,
        privacy: DevicePrivacy,
        memory: AnswerMemory,
    ) -> None:
        """Put the parts together."""
        self._memory = memory
        self._privacy = privacy
        self._tasks = tasks
        self._runner = thinker
        self._upstream = upstream
        self._outbox = outbox
        self._telemetry = telemetry
        self._clock: Callable[[], float] = time.monotonic

    async def answer(self, query: Query, seconds: float) -> Answer:
        """Answer one query: draw, let the student judge, decide, and keep, escalate or degrade.

        Args:
            query: Checked, with an id.
            seconds: Until its deadline.

        Raises:
            HeadraceError: Why there is no answer.
        """
        deadline = self._clock() + seconds
        hosted, serving = await self._find(query, deadline)
        query = await self._privacy.redacted(query, serving.manifest.task if serving is not None else None)
        if serving is None:
            return await self._ask_unserved(hosted, query, deadline)
        case = self._open(query, hosted, serving, deadline)
        try:
            return await self._answer(case)
        finally:
            case.permit.close()

    async def _find(self, query: Query, deadline: float) -> tuple[HostedTask, Serving | None]:
        """The query's task and the release in place; an agent that was told nothing yet waits for the first orders."""
        heard = self._tasks.heard
        try:
            return self._tasks.find(query.task)
        except (UnavailableError, UnknownTaskError) as error:
            if heard.is_set():
                raise
            if query.route is Route.LOCAL_ONLY:
                raise being_set_up(query) from error
        most = STALE_SECONDS if self._tasks.kept_orders.heard else self._seconds_to_ask(deadline)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(most, self._seconds_to_ask(deadline))):
                await heard.wait()
        return self._tasks.find(query.task)

    async def _ask_unserved(self, hosted: HostedTask, query: Query, deadline: float) -> Answer:
        check_may_leave(hosted, query)
        seed, seconds = self._tasks.kept_orders.seed, self._seconds_to_ask(deadline)
        with self._telemetry.escalation():
            return await escalate_unserved(hosted, query, seed, self._upstream, self._outbox, seconds)

    async def _answer(self, case: Case) -> Answer:
        query = case.query
        if query.attempt is not None or query.route is Route.CLOUD_ONLY:
            return await self._pass_through(case)
        thought = await self._think(case)
        prediction = thought.prediction
        decision = self._decide(case, thought)
        kept_by = case.obstacle
        if (recalled := self._recalled(case, decision)) is not None:
            return await self._give_again(case, recalled)
        if decision.action is Action.DEFER:
            try:
                self._check_permit(case)
                return await self._escalate(case, thought, decision)
            except HeadraceError as error:
                if isinstance(error, SpentError):
                    case.hosted.quota.shut()
                if prediction is None and case.serving.is_loading and not _is_callers_fault(error):
                    return await self._answer_once_loaded(case, error)
                if prediction is None or _is_callers_fault(error):
                    raise
                kept_by = _obstacle_of(error)
                decision = Decision(Action.DEGRADE, Reason.INPUT_CUT if thought.cut else kept_by)
        if prediction is None:
            if case.serving.is_loading:
                raise being_set_up(query)
            raise NotPossibleError(f"task {query.task!r} has no student here yet, and this query may not leave")
        return await self._keep(case, prediction, decision, kept_by)

    async def _answer_once_loaded(self, case: Case, error: HeadraceError) -> Answer:
        """The next tier has no answer, and the student is still being opened: wait for it, within the time left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._time_to_ask(case)):
                await case.hosted.loaded.wait()
        serving = case.hosted.serving
        if serving is None or serving.is_loading:
            raise error
        return await self._answer(replace(case, serving=serving, obstacle=self._obstacle(serving, case.permit)))

    def _open(self, query: Query, hosted: HostedTask, serving: Serving, deadline: float) -> Case:
        check_query(query, serving.manifest.task.max_text_bytes)
        drawn = query.attempt is None and self._tasks.is_drawn(hosted, serving, query)
        permit = Permit() if stays(serving.manifest, query) else hosted.permit(serving)
        obstacle = self._obstacle(serving, permit)
        return Case(query, hosted, serving, drawn, hosted.exploration, deadline, time.time(), permit, obstacle)

    def _obstacle(self, serving: Serving, permit: Permit) -> Reason | None:
        """Why no query can leave now. Who has no student asks the next tier however it fares."""
        if not permit.granted:
            return Reason.BUDGET
        return None if serving.student is None else self._upstream.obstacle()

    def _check_permit(self, case: Case) -> None:
        """Refuse what may not leave, and has no answer here to fall back on."""
        if not case.permit.granted:
            wait = case.hosted.quota.wait()
            raise OverloadedError(f"the limits of task {case.query.task!r} are spent for now", retry_after=wait)

    async def _think(self, case: Case) -> Thought:
        thought = await self._runner.think(case.serving, case.query, self._time_to_think(case))
        if thought.busy_seconds and case.obstacle is not None:
            raise too_busy(thought.busy_seconds)  # neither this device nor another can answer now
        if thought.prediction is not None and case.serving is case.hosted.serving:
            case.hosted.count_healthy()
        return thought

    def _decide(self, case: Case, thought: Thought) -> Decision:
        manifest = case.serving.manifest
        return decide(
            case.hosted.policy(manifest),
            score_of(thought.prediction),
            route=case.query.route,
            local_only=stays_by_task(manifest.task, case.query),
            mode=case.hosted.mode,
            obstacle=case.obstacle or self._late_obstacle(case),
            cut=thought.cut,
        )

    def _late_obstacle(self, case: Case) -> Reason | None:
        """What has come between while the student thought."""
        return self._upstream.obstacle() if self._time_to_ask(case) > LEAST_SECONDS else Reason.DEADLINE

    async def _escalate(self, case: Case, thought: Thought, decision: Decision) -> Answer:
        asked = replace(case.query, attempt=self._attempt(case, thought.prediction, decision.reason))
        case.permit.use()
        # Who has no student asks patiently; one that is being opened, or is busy, may be there in a moment.
        alone = thought.prediction is None and not case.serving.is_loading and not thought.busy_seconds
        ask = self._upstream.ask_patiently if alone else self._upstream.ask
        share = 0.5 if case.serving.is_loading else 1.0
        with self._telemetry.escalation(decision.reason):
            answer = await ask(asked, share * self._time_to_ask(case))
        self._memory.learn(case.query, case.serving.manifest, answer)
        provenance = replace(
            answer.provenance,
            release=case.serving.manifest.number,
            reason=decision.reason,
            covered=case.covered,
            explored=case.drawn,
        )
        return replace(answer, provenance=provenance)

    async def _pass_through(self, case: Case) -> Answer:
        if stays(case.serving.manifest, case.query):
            raise NotPossibleError(f"this query of task {case.query.task!r} may not leave this device")
        self._check_permit(case)
        case.permit.use()
        with self._telemetry.escalation():
            return await self._upstream.ask_patiently(case.query, self._time_to_ask(case))

    async def _keep(self, case: Case, prediction: Prediction, decision: Decision, obstacle: Reason | None) -> Answer:
        degraded = decision.action is Action.DEGRADE
        may_teach = may_be_logged(case.serving.manifest, case.query) and not stays(case.serving.manifest, case.query)
        # To teach all that a limit kept here would only spend the next day's limit.
        spared = Reason.BUDGET in (obstacle, decision.reason)
        uncovered = degraded or spared or case.obstacle is not None
        if case.drawn or (degraded and may_teach and not spared):
            reason = decision.reason if degraded else Reason.EXPLORED
            await self._teach_later(case, self._attempt(case, prediction, reason), uncovered=uncovered)
        return self._runner.speak(
            case.serving,
            case.query,
            prediction,
            reason=decision.reason,
            degraded=degraded,
            covered=case.covered and not degraded,
            explored=case.drawn,
        )

    async def _teach_later(self, case: Case, attempt: Attempt, *, uncovered: bool) -> None:
        """Put a kept query on the disk, before its answer goes out."""
        query = replace(case.query, attempt=replace(attempt, kept=True, degraded=uncovered))
        spare = max(0.0, case.deadline - self._clock()) / 2
        await self._outbox.keep(query, numbered=not uncovered, seconds=spare)

    def _recalled(self, case: Case, decision: Decision) -> Answer | None:
        if case.hosted.is_overridden or not case.permit.granted:
            return None
        if not self._tasks.cloud_counts_memory:
            return None
        return self._memory.recall(case.query, case.serving.manifest, case.exploration, decision)

    async def _give_again(self, case: Case, recalled: Answer) -> Answer:
        """What the reference said before, as an answer that was kept here."""
        if case.drawn:
            attempt = self._attempt(case, Prediction(recalled.text, None), Reason.REMEMBERED)
            await self._teach_later(case, attempt, uncovered=case.obstacle is not None)
        provenance = replace(recalled.provenance, covered=case.covered, explored=case.drawn)
        return replace(recalled, provenance=provenance)

    def _attempt(self, case: Case, prediction: Prediction | None, reason: Reason) -> Attempt:
        policy = case.hosted.policy(case.serving.manifest)
        return Attempt(
            release=case.serving.manifest.number,
            answer=prediction.answer if prediction else None,
            score=prediction.score if prediction else None,
            reason=reason,
            explored=case.drawn,
            exploration=case.exploration,
            threshold=policy.threshold if prediction else None,
            threshold_version=policy.version,
            asked_at=case.asked_at,
            sequence_number=self._outbox.sequence_number(case.query.task),
        )

    def _time_to_think(self, case: Case) -> float:
        """Seconds that the student may take: half of what is left where the next tier can still be asked, else all.

        However little is left, a student of milliseconds gets its chance: its answer is all that can still come.
        """
        left = max(self._time_to_ask(case), LEAST_STUDENT_SECONDS)
        alone = stays(case.serving.manifest, case.query) or self._upstream.obstacle() is not None
        return left if alone else max(left / 2, LEAST_STUDENT_SECONDS)

    def _time_to_ask(self, case: Case) -> float:
        """Seconds that the next tier may take: what is left, less the larger of 50 ms and 10 %."""
        return self._seconds_to_ask(case.deadline)

    def _seconds_to_ask(self, deadline: float) -> float:
        left = deadline - self._clock()
        return max(0.0, left - max(0.05, 0.1 * left))


def _is_callers_fault(error: HeadraceError) -> bool:
    """Whether the next tier found the query itself wrong, so that no answer would be right."""
    return isinstance(error, BadInputError | ConflictingQueryError) or type(error) is CallerError


def _obstacle_of(error: HeadraceError) -> Reason:
    refusals = OverloadedError | BusyError | DeniedError | CallerError
    reasons = ((DeadlineError, Reason.DEADLINE), (SpentError, Reason.BUDGET), (refusals, Reason.REFUSED))
    return next((reason for kinds, reason in reasons if isinstance(error, kinds)), Reason.UNREACHABLE)
