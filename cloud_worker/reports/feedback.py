"""What callers said of their answers, as figures and warnings."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.markup import escape

from cloud_worker.state.feedback import Feedbacks, Given
from cloud_worker.state.store import Store
from router.core.domain.feedback import Opinion
from router.core.domain.query import Tier


def feedback_of(store: Store, task: str) -> dict[str, Any]:
    """What was said of a task's answers, ready for JSON: counts, and for each release the share called wrong."""
    from router.core.monitoring.complaint_rate import complaints  # scipy: a third of a second

    said = Feedbacks(store.engine).of(task)
    local = [(one.release, one.opinion is Opinion.WRONG) for one in said if one.tier is Tier.DEVICE]
    return {
        "said": len(said),
        "wrong": sum(one.opinion is Opinion.WRONG for one in said),
        "waiting": sum(waits(one) for one in said),
        "releases": [asdict(one) for one in complaints(local)],
    }


def warnings_of(task: str, said: dict[str, Any]) -> list[str]:
    """Lines in rich's markup, of what ``feedback_of`` gives: warnings alone."""
    return [
        f"[yellow]{escape(task)}: callers call {one['wrong']['share']:.0%} of {one['wrong']['rows']:,} answers of "
        f"release {one['release']} wrong, beyond the usual {one['usual']:.0%}; this warns and proves nothing[/]"
        for one in said["releases"]
        if one["warns"]
    ]


def waits(one: Given) -> bool:
    """Whether it is a correction that nobody has reviewed."""
    return one.opinion is Opinion.WRONG and bool(one.correction) and not one.review
