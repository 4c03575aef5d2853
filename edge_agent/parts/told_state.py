"""The state of an agent as ``headrace-edge status``, its metrics and its reports tell it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from edge_agent.config import Config
from edge_agent.identity.clock import Clock, by_offset
from edge_agent.identity.condition import STATE_OF_FAILURE, Facts, State
from edge_agent.identity.renewal import Renewal
from edge_agent.identity.status_writer import StatusWriter
from edge_agent.parts.kept_state import KeptState
from edge_agent.parts.updates import Updates
from edge_agent.tasks.hosted_task import HostedTask
from edge_agent.upstream.client import Upstream
from router.core.errors import RevokedError
from router.core.visible_text import in_line
from router.transport.connection_failures import ConnectionFailure

_MOST_REASON = 200  # characters of why a release is refused


class ToldState:
    """The state that one agent tells of itself.

    Attributes:
        writer: Looks at the state, and writes it where ``headrace-edge status`` reads it.
        workers: Describes the workers, where there are any.
    """

    def __init__(
        self,
        config: Config,
        kept: KeptState,
        upstream: Upstream,
        renewal: Renewal | None,
        clock_ahead: Callable[[], float],
        updates: Updates,
    ) -> None:
        """Tell the state of these parts.

        Args:
            config: All that is set.
            kept: What lies on the disk.
            upstream: The next tier.
            renewal: Of the identity, where there is one.
            clock_ahead: Seconds that the device's clock is ahead of the cloud's.
            updates: What installs releases.
        """
        self._config = config
        self._kept = kept
        self._upstream = upstream
        self._renewal = renewal
        self._clock_ahead = clock_ahead
        self._updates = updates
        self.workers: Callable[[], list[dict[str, Any]]] = list
        self.writer = StatusWriter(config.data, self._facts, self._more)

    @property
    def clock(self) -> Clock:
        """How this device's clock goes, by a gateway's certificate or by what the cloud says."""
        clock = self._renewal.clock if self._renewal is not None else Clock.RIGHT
        return by_offset(self._clock_ahead()) if clock is Clock.RIGHT else clock

    def _facts(self) -> Facts:
        renewal = self._renewal
        refusal = self._upstream.refusal or (renewal.refusal if renewal is not None else None)
        return Facts(
            away=tuple(failure.kind for _, failure in self._upstream.failures if failure)
            if self._upstream.is_away
            else (),
            refused=refusal is not None,
            revoked=isinstance(refusal, RevokedError),
            certificate_ends=renewal.certificate.ends if renewal is not None else None,
            now=time.time(),
            clock=self.clock,
            storage=(self._kept.outbox.state, self._updates.updater.state),
        )

    def _more(self) -> dict[str, Any]:
        """What the status tells beside the states."""
        refusal = self._upstream.refusal
        return {
            "device": self._config.device,
            "upstream": self._upstream.in_use,
            "targets": [_target(name, failure) for name, failure in self._upstream.failures],
            "refusal": "" if refusal is None else str(refusal),
            "certificate_ends": self._facts().certificate_ends,
            "outbox_pending": self._kept.outbox.pending,
            "outbox_dropped": self._kept.outbox.dropped,
            "outbox_dropped_because": dict(self._kept.outbox.drops),
            "signed": self._updates.manifests.are_signed,
            "tasks": [_told(hosted) for hosted in self._kept.tasks],
            "workers": self.workers(),
        }


def _target(name: str, failure: ConnectionFailure | None) -> dict[str, Any]:
    """What the status tells of one target."""
    if failure is None:
        return {"target": name, "state": State.OK.value, "because": ""}
    return {
        "target": name,
        "state": STATE_OF_FAILURE[failure.kind].value,
        "because": in_line(failure.words, _MOST_REASON),
    }


def _told(hosted: HostedTask) -> dict[str, Any]:
    """What the status tells of one task."""
    ordered = hosted.order.release if hosted.order else 0
    return {
        "task": hosted.name,
        "release": hosted.serving.manifest.number if hosted.serving else 0,
        "ordered": ordered,
        "float32_because": in_line(hosted.float32_because, _MOST_REASON),
        "refused": in_line(hosted.refused.get(ordered, ""), _MOST_REASON),
    }
