"""What the loop wants done. A shell does each and says what came of it, before the loop goes on.

Every action is a value. Those that are answered say with what; all others are answered with ``None``. Whoever does them
in their order has done what the loop decided, and who compares them compares every decision.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from router.core.arrays import Array, Bools, Ints
from router.core.certification.class_gate import ClassFigures
from router.core.certification.trial import Trial
from router.core.domain.record import Record
from router.core.learning.training_rows import Key
from router.core.release.kept_texts import KeptTexts
from router.core.release.orders import Watch
from router.core.statistics.e_process import Certificate


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a fitted student says of the calibrating rows: (rows,) each.

    Attributes:
        scores: In [0, 1], ``-inf`` for none; of a student that did not train on the row.
        agrees: Whether its answer agrees with the reference's.
        weights: One over the propensity.
        callers: The device of each row.
        texts: Numbers of what was asked, the same for the same words.
        releases: The release that was in force.
        stayed: Whether that release's answer stayed, or would have.
    """

    scores: Array
    agrees: Bools
    weights: Array
    callers: tuple[str, ...]
    texts: tuple[int, ...]
    releases: Ints
    stayed: Bools


@dataclass(frozen=True, slots=True)
class Find:
    """Find a release that is whole. Answered with its ``Manifest``; ``None`` where it can't serve, which is told."""

    release: int


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """Read all rows of the task anew, those that may certify or had to be asked at least. Answered with the records."""


@dataclass(frozen=True, slots=True)
class Predict:
    """Have a release's student answer some rows, with a ``Prediction`` each; ``None`` where it can't read a row.

    The whole answer is ``None`` where a fallback release's student can't be used at all.
    """

    release: int
    rows: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A release broke its promise: note it for as long as it is known."""

    release: int


@dataclass(frozen=True, slots=True)
class EscalateAll:
    """Let nothing be kept from now on.

    Attributes:
        release: That served, and may keep nothing.
        exploration: Rate from now on, in [0, 1].
        why: In words, empty after an alarm.
    """

    release: int
    exploration: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Reinstate:
    """The certificate of what serves stands again: let it be kept."""

    release: int


@dataclass(frozen=True, slots=True)
class NoteOvertaken:
    """Note whether another version of the reference answers now than those that certified a release."""

    release: int
    is_overtaken: bool


@dataclass(frozen=True, slots=True)
class ServeUnproven:
    """What serves goes on without proof, as the operator orders."""

    release: int


@dataclass(frozen=True, slots=True)
class ServeAgain:
    """Let a fallback release serve under a new number. Answered with its ``ServedRelease``; ``None`` where it can't.

    Attributes:
        release: It is.
        number: It has from now on.
        watch: What it says from now on.
        exploration: Rate from now on, in [0, 1].
    """

    release: int
    number: int
    watch: Watch
    exploration: float


@dataclass(frozen=True, slots=True)
class SuspectChange:
    """A release seems to lose more than it may: everything is explored until that is clear, or no more.

    Attributes:
        release: That serves.
        is_suspected: From now on; else no more.
    """

    release: int
    is_suspected: bool


@dataclass(frozen=True, slots=True)
class SetApart:
    """A device loses alone: it escalates everything from now on, and the others go on without it.

    Attributes:
        device: Its name.
        since: Unix time in seconds at which the latest row had been received.
        why: In words.
    """

    device: str
    since: float
    why: str


@dataclass(frozen=True, slots=True)
class TakeBack:
    """A device is in quarantine no more: it keeps answers as the others do.

    Attributes:
        device: Its name.
        until: Unix time in seconds at which the latest row had been received: its rows until then say nothing.
        attempt: The last of the lineage that has been spent by now.
        why: In words.
    """

    device: str
    until: float
    attempt: int
    why: str


@dataclass(frozen=True, slots=True)
class Explore:
    """Explore at a rate in [0, 1] from now on."""

    rate: float


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the operator where the task stands; empty takes back what was said."""

    what: str


@dataclass(frozen=True, slots=True)
class AskReferenceAgain:
    """Ask what is still to be asked twice. Answered with why no release may be proposed, empty where one may."""


@dataclass(frozen=True, slots=True)
class BeginFit:
    """A fit begins.

    Attributes:
        rows_at_refresh: That it counts as having had, while nothing of it serves.
        at: Unix time in seconds.
    """

    rows_at_refresh: int
    at: float


@dataclass(frozen=True, slots=True)
class Fit:
    """Fit a student on all rows up to a batch that may teach. Answered with a ``FitResult``; ``None`` for no student.

    Attributes:
        taught: How many these are.
        last_batch: The batch.
        without: Devices whose rows teach nothing.
    """

    taught: int
    last_batch: int
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Stage:
    """Keep the student of the last fit as a challenger that waits for its certificate.

    Attributes:
        trial: Its trial.
        attempt: Which of the lineage, from 1.
        taught: Teachable rows that it learned from.
        keeps: The texts that it may keep, ``None`` for any.
    """

    trial: Trial
    attempt: int
    taught: int
    keeps: KeptTexts | None = None


@dataclass(frozen=True, slots=True)
class TryAgain:
    """A fallback release waits for a new certificate. Answered with whether it can."""

    trial: Trial
    attempt: int


@dataclass(frozen=True, slots=True)
class Spend:
    """A trial has observed rows, or an alarm came after them: they certify nothing more."""

    release: int
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """How far a challenger is with the threshold that it is after.

    Attributes:
        release: It is.
        progress: Of its evidence, in [0, 1].
        rows: Observed, or missed.
        losses: Of them.
        missing: Of them: kept on devices and never sent.
    """

    release: int
    progress: float
    rows: int
    losses: int
    missing: int


@dataclass(frozen=True, slots=True)
class Promote:
    """Let a challenger serve at its loosest certified threshold.

    Answered with its ``ServedRelease``, or with ``None`` where it waits for somebody's approval first.

    Attributes:
        release: The challenger.
        number: It serves under; another one where it has served, or something newer has.
        threshold: Least score kept.
        certificate: The proof.
        local_share: Share of queries that it should keep, in [0, 1].
        escalation: Share of queries that should leave the device, in [0, 1].
        exploration: Rate from now on, in [0, 1].
        rows_at_refresh: That it learned from.
        has_served: The challenger, at a stricter threshold.
        classes: What it does with each answer.
    """

    release: int
    number: int
    threshold: float
    certificate: Certificate
    local_share: float
    escalation: float
    exploration: float
    rows_at_refresh: int
    has_served: bool
    classes: tuple[ClassFigures, ...]


@dataclass(frozen=True, slots=True)
class Reject:
    """Give a challenger up.

    Attributes:
        release: It is.
        why: In words.
    """

    release: int
    why: str


Action = (
    Find
    | ReadAgain
    | Predict
    | Alarm
    | EscalateAll
    | Reinstate
    | NoteOvertaken
    | ServeUnproven
    | ServeAgain
    | SuspectChange
    | SetApart
    | TakeBack
    | Explore
    | Say
    | AskReferenceAgain
    | BeginFit
    | Fit
    | Stage
    | TryAgain
    | Spend
    | Report
    | Promote
    | Reject
)

Outcome = TypeVar("Outcome")
Step = Generator[Action, Any, Outcome]  # gives actions, and takes what came of each
