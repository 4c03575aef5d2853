"""The reference's answers of late, given again to whoever asks exactly the same: the rule of devices and replays.

Nothing here reads a clock: the time is an argument.

Rules:
 * It stands in for an escalation for want of an answer alone: what a student keeps, what is degraded and what an
   operator lets escalate stays as it is. Where everything is explored, nothing is given from memory.
 * It holds what the reference answered and the cloud logged: no chat, nothing of a conversation, nothing that may not
   leave or may not be logged, no answer of a device, a cheaper teacher or another tier.
 * The same is the same task and version, text (redacted), tenant, subject, limits, schema, tools and extras wanted.
 * It gives nothing until the reference was seen to repeat itself within the promise; see ``RepeatedAnswers``.
 * Another version of the reference or the task ends what is held. It is bounded in answers and bytes, expires, and
   forgets a subject, a task or everything when told to.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field

from router.core.domain.query import Answer, Consent, FinishReason, Query, Reason, Route, Tier
from router.core.domain.task import Task, agree
from router.core.monitoring.repeated_answers import APART, RepeatedAnswers
from router.core.policy.deferral import Action, Decision
from router.core.privacy.erasure import digest_of
from router.core.privacy.owner_privacy import stays_at_device
from router.core.visible_text import is_blank

FOR_WANT_OF_AN_ANSWER = frozenset({Reason.UNCONFIDENT, Reason.NO_STUDENT, Reason.INPUT_CUT})
_BYTES_EACH = 1000  # of an answer beside its text


@dataclass(frozen=True, slots=True)
class MemoryBounds:
    """How much is held.

    Attributes:
        answers: Most of them, all tasks together; 0 holds none.
        bytes: Most that they take together, estimated.
        seconds: That each is held.
    """

    answers: int = 10_000
    bytes: int = 8 * 1024 * 1024
    seconds: float = 24 * 3600.0


USUAL = MemoryBounds()


@dataclass(slots=True)
class _Entry:
    """One answer: its subject, when it expires, its size, and when it counted last, in answers of its task."""

    answer: Answer
    subject: str
    until: float
    size: int
    counted_at: int | None = None  # None: it was never asked again
    is_fickle: bool = False  # answered in two ways


@dataclass(slots=True)
class _OfTask:
    """What is held of one task, oldest first, all of one version of task and reference."""

    version: tuple[int, str]
    trust: RepeatedAnswers
    entries: OrderedDict[bytes, _Entry] = field(default_factory=OrderedDict)
    heard: int = 0  # answers, so far

    def compare(self, known: _Entry, *, changed: bool) -> None:
        """What is held was answered again."""
        if known.is_fickle:
            return
        since = APART if known.counted_at is None else self.heard - known.counted_at
        self.trust.follow(since, changed=changed)
        known.is_fickle = changed
        if since >= APART:
            known.counted_at = self.heard


class RememberedAnswers:
    """The answers that one device remembers.

    Attributes:
        bytes: That they take, estimated.
    """

    def __init__(self, bounds: MemoryBounds = USUAL) -> None:
        """Hold nothing yet."""
        self._bounds = bounds
        self._tasks: dict[str, _OfTask] = {}
        self.bytes = 0

    def __len__(self) -> int:
        """How many answers are held."""
        return sum(len(one.entries) for one in self._tasks.values())

    def recall(self, query: Query, task: Task, exploration: float, now: float) -> Answer | None:
        """The reference's answer of before; ``None`` where there is none that may stand.

        Args:
            query: As it would be escalated.
            task: Of the release in place.
            exploration: Rate in force, in [0, 1].
            now: In seconds, of a clock that never goes backwards.
        """
        held = self._tasks.get(query.task)
        if held is None or exploration >= 1 or not held.trust.may_answer or not _may_be_held(query, task):
            return None
        entry = held.entries.get(_key(query)) if held.version[0] == task.version else None
        if entry is None or entry.is_fickle or entry.until <= now:
            return None
        return entry.answer

    def learn(self, query: Query, task: Task, answer: Answer, now: float) -> None:
        """Hear what the next tier answered; where the text is known, see whether it says the same again."""
        if not self._bounds.answers or not _is_the_references(answer, task) or not _may_be_held(query, task):
            return
        version, key = (task.version, answer.provenance.model_version), _key(query)
        held = self._tasks.get(query.task)
        if held is None or held.version != version:
            self._forget_task(query.task)
            objective = task.at_device
            held = _OfTask(version, RepeatedAnswers(objective.max_disagreement, 1.0 - objective.assurance))
            self._tasks[query.task] = held
        held.heard += 1
        known = held.entries.get(key)
        if known is not None and known.until > now:
            held.compare(known, changed=not agree(task.judge, known.answer.text, answer.text))
            return
        self._hold(held, key, query, answer, now + self._bounds.seconds)

    def _hold(self, held: _OfTask, key: bytes, query: Query, answer: Answer, until: float) -> None:
        self._drop(held, key)
        size = _BYTES_EACH + len(answer.text) + len(answer.rationale) + 200 * len(answer.tokens)
        if size > self._bounds.bytes // 16:
            return
        held.entries[key] = _Entry(answer, query.subject, until, size)
        self.bytes += size
        while len(self) > self._bounds.answers or self.bytes > self._bounds.bytes:
            fullest = max(self._tasks.values(), key=lambda one: len(one.entries))
            self._drop(fullest, next(iter(fullest.entries)))

    def _drop(self, held: _OfTask, key: bytes) -> None:
        entry = held.entries.pop(key, None)
        self.bytes -= entry.size if entry is not None else 0

    def erase(self, subject: str) -> int:
        """Forget what was answered to a subject; how many answers that were.

        Args:
            subject: Digest of its name, in hex; empty for all answers, and all that was proven by them.
        """
        if not subject:
            forgotten = len(self)
            self._forget_all()
            return forgotten
        concerned = [
            (held, key)
            for held in self._tasks.values()
            for key, entry in held.entries.items()
            if digest_of(entry.subject) == subject
        ]
        for held, key in concerned:
            self._drop(held, key)
        return len(concerned)

    def _forget_task(self, task: str) -> None:
        held = self._tasks.pop(task, None)
        self.bytes -= sum(entry.size for entry in held.entries.values()) if held is not None else 0

    def _forget_all(self) -> None:
        self._tasks.clear()
        self.bytes = 0


def may_stand_in(decision: Decision) -> bool:
    """Whether an old answer may stand in for what was decided: an escalation for want of an answer."""
    return decision.action is Action.DEFER and decision.reason in FOR_WANT_OF_AN_ANSWER


def _may_be_held(query: Query, task: Task) -> bool:
    is_plain = bool(query.text) and not query.messages and not query.conversation
    consents = task.log_by_default if query.consent is Consent.AS_TASK else query.consent is Consent.GRANTED
    may_go = query.route is Route.AUTO and consents and not stays_at_device(task, query)
    return is_plain and may_go and task.objective.has_floor


def _is_the_references(answer: Answer, task: Task) -> bool:
    source = answer.provenance
    says_something = bool(answer.tool_calls) or not is_blank(answer.text)
    is_whole = says_something and answer.finish_reason in {FinishReason.STOP, FinishReason.TOOL_CALLS}
    return source.tier is Tier.CLUSTER and source.logged and source.model == task.reference and is_whole


def _key(query: Query) -> bytes:
    """What is the same question; nothing of the text can be read from it."""
    asked = (query.tenant, query.subject, query.text, query.limits, query.response_schema, query.tools, query.wanted)
    return hashlib.sha256(repr(asked).encode(errors="surrogatepass")).digest()
