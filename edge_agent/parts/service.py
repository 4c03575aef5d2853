"""Puts together what answers queries at an agent."""

from __future__ import annotations

import time

from edge_agent.answering.agent import Agent
from edge_agent.answering.answer_cache import RecentAnswers
from edge_agent.answering.device_privacy import DevicePrivacy
from edge_agent.answering.feedback_relay import FeedbackRelay
from edge_agent.answering.service import SERVICE, CascadeServicer
from edge_agent.answering.student_runner import StudentRunner
from edge_agent.config import Config
from edge_agent.parts.kept_state import KeptState
from edge_agent.telemetry import EdgeTelemetry
from edge_agent.upstream.client import Upstream

__all__ = ["SERVICE", "StudentRunner", "cascade_servicer"]


def cascade_servicer(
    config: Config,
    kept: KeptState,
    runner: StudentRunner,
    upstream: Upstream,
    telemetry: EdgeTelemetry,
    *,
    insecure: bool,
) -> CascadeServicer:
    """The Cascade service of an agent."""
    privacy = DevicePrivacy(config.privacy.wishes, config.privacy.redact)
    agent = Agent(kept.tasks, runner, upstream, kept.outbox, telemetry, privacy)
    feedback, recent = FeedbackRelay(upstream.feed_back), RecentAnswers(time.monotonic)
    tiers = config.door.tiers
    return CascadeServicer(agent, kept.tasks, recent, telemetry, feedback, privacy, insecure=insecure, tiers=tiers)
