"""In which states releases, refreshes and feedback stand in the fleet's database; the watch's are in ``orders``."""

from __future__ import annotations

from enum import StrEnum


class ReleaseState(StrEnum):
    """Where a release stands."""

    BUILDING = "building"
    WAITING = "waiting"  # for its certificate
    APPROVAL = "approval"  # certified; waits for a signature by the offline key
    REJECTED = "rejected"
    CHAMPION = "champion"  # it serves
    RETIRED = "retired"  # it has served

    @property
    def has_served(self) -> bool:
        """Whether a release in this state serves, or has served."""
        return self in {ReleaseState.CHAMPION, ReleaseState.RETIRED}


class Phase(StrEnum):
    """What the refresh of a task does."""

    IDLE = "idle"
    FITTING = "fitting"
    EXPORTING = "exporting"
    JUDGING = "judging"
    WAITING = "waiting"  # a challenger waits for its certificate
    PUBLISHING = "publishing"


class Review(StrEnum):
    """What an operator made of feedback."""

    NONE = ""
    ACCEPTED = "accepted"  # with the right answer
    DISMISSED = "dismissed"
