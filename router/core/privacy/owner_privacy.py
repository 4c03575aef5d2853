"""What may not leave its device, and what may not be logged: of what caller, task and owner ask for, the strictest.

Rules:
 * A query can be made more private than its task and its device say, never less.
 * What may not leave is answered on the device or refused, whatever way its caller names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from router.core.domain.query import Consent, Query, Route
from router.core.domain.task import Task


@dataclass(frozen=True, slots=True)
class OwnerPrivacy:
    """What the owner of a device forbids, besides what the tasks do.

    Attributes:
        local_only: No query leaves the device.
        local_only_tasks: Of these tasks none does.
        local_only_tenants: Of these tenants none does.
        log: Queries may be logged, where task or caller says so.
    """

    local_only: bool = False
    local_only_tasks: tuple[str, ...] = ()
    local_only_tenants: tuple[str, ...] = ()
    log: bool = True

    def applied(self, query: Query) -> Query:
        """The query as the owner lets it be asked."""
        if self.local_only or query.task in self.local_only_tasks or query.tenant in self.local_only_tenants:
            query = replace(query, route=Route.LOCAL_ONLY)
        return query if self.log else replace(query, consent=Consent.REFUSED)


def stays_at_device(task: Task, query: Query) -> bool:
    """Whether a query may not leave the device, by its caller, its task or its tenant."""
    return query.route is Route.LOCAL_ONLY or stays_by_task(task, query)


def stays_by_task(task: Task, query: Query) -> bool:
    """Whether a task keeps a query on the device, whatever its caller says."""
    return task.local_only or query.tenant in task.privacy.local_only_tenants
