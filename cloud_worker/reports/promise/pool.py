"""What a task's cheaper teachers may answer, and what that saves: for ``status`` and its JSON.

Rules:
 * Every figure says its rows.
 * What is saved is estimated on explored rows, on which every teacher was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cloud_worker.pool.policies import PolicyState, StoredPolicy
from router.core.domain.task import Task, Way


@dataclass(frozen=True, slots=True)
class PolicyTold:
    """A policy of a pool, and what the explored rows say of it; see ``PoolFigures``."""

    number: int
    state: str
    note: str
    fitted_rows: int
    patience: int
    rows: int
    losses: int
    stood: float
    saved: float


@dataclass(frozen=True, slots=True)
class PoolTold:
    """The cheaper teachers of a task, and the policies by which they answer, or may once they are proved."""

    teachers: tuple[str, ...]
    way: Way
    allowance: float
    allowance_of_devices: float
    serving: PolicyTold | None
    waiting: PolicyTold | None
    ended: PolicyTold | None


def describe_pool(task: Task, policies: Sequence[StoredPolicy]) -> PoolTold | None:
    """The pool of one task; ``None`` where the reference stands alone.

    Args:
        task: The task.
        policies: Of its present version, oldest first.
    """
    if not task.cheaper.teachers:
        return None
    fallen = _fallen(task, policies)
    return PoolTold(
        teachers=tuple(task.cheaper.teachers),
        way=task.cheaper.way,
        allowance=task.at_pool.max_disagreement,
        allowance_of_devices=task.at_device.max_disagreement,
        serving=None if fallen else _last(policies, PolicyState.SERVING),
        waiting=_last(policies, PolicyState.WAITING),
        ended=fallen or _last(policies, PolicyState.WITHDRAWN, PolicyState.REJECTED),
    )


def _fallen(task: Task, policies: Sequence[StoredPolicy]) -> PolicyTold | None:
    """The policy that would serve, if its certificate does not speak for the task as it is now, and why."""
    serving = next((stored for stored in policies if stored.state is PolicyState.SERVING), None)
    why = "" if serving is None else serving.why_fallen(task)
    said = _last(policies, PolicyState.SERVING)
    return replace(said, state="unproven", note=why) if why and said else None


def pool_lines(pool: PoolTold | None) -> Iterator[str]:
    """Lines for people; ``pool`` as ``describe_pool`` gives it."""
    if pool is None:
        return
    names, serving, waiting = ", ".join(pool.teachers), pool.serving, pool.waiting
    if serving is not None:
        yield (
            f"pool: {names} answer {serving.stood:.0%} of what leaves the devices ({pool.way}), which saves "
            f"{serving.saved:.0%} of its cost; policy {serving.number} {serving.note}; since then "
            f"{serving.losses} of {serving.rows:,} explored rows lost, {100 * pool.allowance:g} % allowed"
        )
    if waiting is not None:
        yield (
            f"pool: policy {waiting.number} waits for its certificate: {waiting.rows:,} of at most "
            f"{waiting.patience:,} rows, {waiting.losses} lost; it would save {waiting.saved:.0%}"
        )
    if serving is None and waiting is None:
        ended = pool.ended
        why = f": policy {ended.number} {ended.state}, {ended.note}" if ended else ""
        yield f"pool: the reference answers everything, no policy of {names} is proved{why}"


def _last(policies: Sequence[StoredPolicy], *states: PolicyState) -> PolicyTold | None:
    found = next((stored for stored in reversed(policies) if stored.state in states), None)
    if found is None:
        return None
    seen = found.figures
    return PolicyTold(
        number=found.number,
        state=found.state.value,
        note=found.note,
        fitted_rows=found.rows,
        patience=found.patience,
        rows=seen.rows,
        losses=seen.losses,
        stood=seen.stood,
        saved=seen.saved,
    )
