"""A rollout of one release: which devices take it when, and whether to go on, to wait or to go back.

    wanted ──▶ running ◀──▶ paused        the last step has proved healthy: done, or reached where only a part was meant
                  │
                  └──▶ halted ──▶ rolled back          anything else that serves meanwhile: superseded

Rules:
 * A step holds the devices of lowest hash among those of the last day; the hash knows the release, so that each release
   is tried on others. A device that is in stays in.
 * The next step comes when the one before has been healthy: no data, no step.
 * What was halted never goes on by itself, and never by an order either: a new rollout is a new release number.
 * A device says of itself whether it is well, no more: one cannot say so for others, and the promise is judged in the
   cloud, on drawn rows.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

SEEN_SECONDS = 86_400.0  # a device that has reported since is one of the fleet
FEW_SILENT = 3  # devices, that no chance explains
LEAST_ANSWERS = 20  # of a device, before its time to answer says anything
SHARED_BY = 3  # devices at least give the healthy answers of a step, where it has as many
CRASHES = 3  # starts of one agent since it took the release


class RolloutState(StrEnum):
    """Where a rollout stands."""

    WANTED = "wanted"  # by an operator; nothing has happened yet
    RUNNING = "running"
    PAUSED = "paused"  # by an operator
    REACHED = "reached"  # all devices with its labels run it; the others wait for an operator
    HALTED = "halted"  # no device takes it any more, and those that have it will get the former one back
    ROLLED_BACK = "rolled_back"
    DONE = "done"
    SUPERSEDED = "superseded"  # another release serves
    REFUSED = "refused"  # what was wanted can't be

    @property
    def is_open(self) -> bool:
        """Whether some devices run another release than others because of it."""
        return self in {RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.REACHED, RolloutState.HALTED}


def rank(task: str, release: int, device: str) -> bytes:
    """What devices of a task are sorted by for a release: 32 bytes that nobody can choose."""
    return hashlib.sha256(f"{task}\0{release}\0{device}".encode()).digest()


def size_of(share: float, devices: int) -> int:
    """How many of ``devices`` a step of ``share``, in (0, 1], holds: one at least, where there is any."""
    return min(devices, max(1, math.ceil(share * devices - 1e-9)))


def members(task: str, release: int, fleet: Iterable[str], already: Set[str], share: float) -> frozenset[str]:
    """The devices of a step.

    Args:
        task: Of which task.
        release: Which release.
        fleet: Devices of the last day that may take it.
        already: Those of the steps before.
        share: How many of ``fleet``, in (0, 1].
    """
    ranked = sorted({*fleet}, key=lambda device: rank(task, release, device))
    return frozenset(already) | frozenset(ranked[: size_of(share, len(ranked))])


def step_after(steps: Sequence[float], step: int, devices: int) -> int:
    """The next step that holds more devices than ``step``, of a fleet of so many; the last one where none does."""
    held = size_of(steps[step], devices)
    more = (later for later in range(step + 1, len(steps)) if size_of(steps[later], devices) > held)
    return next(more, len(steps) - 1)


@dataclass(frozen=True, slots=True)
class Gates:
    """What a step must show before the next.

    Attributes:
        healthy_answers: By the devices of the step, since they took the release.
        step_seconds: Since the step began.
        bad_share: Most devices of those heard that may be unwell, in [0, 1).
        slower: Most times as long, for the device in the middle, as before it took the release.
        slower_milliseconds: Least time that is counted as slower.
    """

    healthy_answers: int = 100
    step_seconds: float = 300.0
    bad_share: float = 0.1
    slower: float = 2.0
    slower_milliseconds: float = 25.0


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """What one device of a rollout says of itself.

    Attributes:
        device: Its name.
        step: With which step it came in.
        runs: It runs the release.
        unwell: Why it is: the release was refused, left, or its agent starts again and again; empty where it is well.
        silent: It has missed its reports.
        healthy: Answers by the release.
        before: 95th percentile of its time to answer before, in milliseconds; 0 where that is not known.
        now: The same now.
    """

    device: str
    step: int
    runs: bool = False
    unwell: str = ""
    silent: bool = False
    healthy: int = 0
    before: float = 0.0
    now: float = 0.0

    @property
    def slower(self) -> tuple[float, float] | None:
        """How many times as long it takes to answer, and how many milliseconds more; ``None`` where nobody knows."""
        if not self.runs or self.unwell or self.healthy < LEAST_ANSWERS or self.before <= 0.0:
            return None
        return self.now / self.before, self.now - self.before


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a rollout at one moment.

    Attributes:
        state: Where it stands.
        step: Its step, from 0.
        is_last: It has no other.
        seconds: Since the step began.
        devices: Of all steps so far.
        silent_others: Share of the rest of the fleet that has missed its reports, in [0, 1].
        broken: Why the cloud holds the release to be worse than promised; empty where it does not.
        doubted: Why the cloud can't say yet; empty where it can.
    """

    state: RolloutState
    step: int
    is_last: bool
    seconds: float
    devices: tuple[DeviceHealth, ...]
    silent_others: float = 0.0
    broken: str = ""
    doubted: str = ""


class Verdict(StrEnum):
    """What a rollout does next."""

    HOLD = "hold"
    ADVANCE = "advance"  # to the next step
    FINISH = "finish"  # the last step is proved
    HALT = "halt"  # and roll back


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rollout does next, and why, in words."""

    verdict: Verdict
    why: str


def decide(facts: Facts, gates: Gates) -> Decision:
    """Say whether a rollout goes on, waits or goes back."""
    if facts.state is RolloutState.HALTED:
        return Decision(Verdict.HALT, "it was halted")
    if not facts.state.is_open:
        return Decision(Verdict.HOLD, f"it is {facts.state.value.replace('_', ' ')}")
    bad = facts.broken or _why_bad(facts, gates)
    if bad:
        return Decision(Verdict.HALT, bad)
    waits = _why_waiting(facts, gates)
    if waits:
        return Decision(Verdict.HOLD, waits)
    return Decision(Verdict.FINISH if facts.is_last else Verdict.ADVANCE, "it is healthy")


def _why_bad(facts: Facts, gates: Gates) -> str:
    """Why the devices themselves speak against the release; empty where they don't."""
    unwell = sorted((one.device, one.unwell) for one in facts.devices if one.unwell)
    heard = sum(one.runs or bool(one.unwell) for one in facts.devices)
    if unwell and len(unwell) > gates.bad_share * heard:
        return f"{len(unwell)} of {_devices(heard)} that took it are unwell: {unwell[0][0]} {unwell[0][1]}"
    runs = [one for one in facts.devices if one.runs]
    silent = sum(one.silent for one in runs)
    if silent >= FEW_SILENT and 2 * silent > len(runs) and facts.silent_others < 0.5:
        return f"{silent} of {_devices(len(runs))} that took it are silent"
    slower = [one.slower for one in facts.devices if one.slower is not None]
    if slower:
        times, more = median(ratio for ratio, _ in slower), median(added for _, added in slower)
        if times > gates.slower and more > gates.slower_milliseconds:
            return f"answers take {times:.1f} times as long as before, on {_devices(len(slower))}"
    return ""


def _why_waiting(facts: Facts, gates: Gates) -> str:
    """Why it is too early to go on; empty where it isn't."""
    new = [one for one in facts.devices if one.step == facts.step]
    runs = sum(one.runs and not one.silent for one in new)
    if facts.state is RolloutState.PAUSED:
        return "an operator has paused it"
    if facts.state is RolloutState.REACHED:
        return "all devices with its labels run it; `headrace-cloud rollout promote` gives it to the others"
    if facts.doubted:
        return facts.doubted
    if new and 2 * runs < len(new):
        return f"{runs} of {_devices(len(new))} run it"
    healthy = healthy_of(new, gates)
    if healthy < gates.healthy_answers:
        return f"{healthy} of {gates.healthy_answers} healthy answers have come"
    if facts.seconds < gates.step_seconds:
        return f"{facts.seconds:.0f} of {gates.step_seconds:.0f} s have gone by"
    return ""


def healthy_of(devices: Sequence[DeviceHealth], gates: Gates) -> int:
    """Healthy answers of a step, such that no device gives more than its part."""
    most = math.ceil(gates.healthy_answers / max(1, min(len(devices), SHARED_BY)))
    return sum(min(one.healthy, most) for one in devices if one.runs)


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"
