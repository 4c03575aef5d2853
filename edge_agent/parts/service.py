"""Puts together what answers queries at an agent."""

from __future__ import annotations

from edge_agent.answering.agent import Agent
from edge_agent.answering.answer_cache import RecentAnswers
from edge_agent.answering.answer_memory import AnswerMemory
from edge_agent.answering.device_privacy import DevicePrivacy
from edge_agent.answering.feedback_relay import FeedbackRelay
from edge_agent.answering.service import SERVICE, CascadeServicer
from edge_agent.answering.student_runner import StudentRunner
from edge_agent.config import Config
from edge_agent.parts.kept_state import KeptState
from edge_agent.telemetry import EdgeTelemetry
from edge_agent.upstream.client import Upstream
from edge_agent.workers.no_workers import NoWorkers
from router.core.monitoring.remembered_answers import MemoryBounds

__all__ = ["SERVICE", "AnswerMemory", "NoWorkers", "RecentAnswers", "StudentRunner", "cascade_servicer", "memory_of"]
__all__ += ["workers_of"]


def memory_of(config: Config) -> AnswerMemory:
    """What an agent remembers of the reference's answers; nothing yet."""
    memory = config.memory
    return AnswerMemory(config.device, MemoryBounds(memory.max_answers, memory.max_bytes, memory.max_seconds))


def cascade_servicer(
    config: Config,
    kept: KeptState,
    runner: StudentRunner,
    upstream: Upstream,
    telemetry: EdgeTelemetry,
    memory: AnswerMemory,
    recent: RecentAnswers,
    *,
    insecure: bool,
) -> CascadeServicer:
    """The Cascade service of an agent."""
    privacy = DevicePrivacy(config.privacy.owner, config.privacy.redact)
    agent = Agent(kept.tasks, runner, upstream, kept.outbox, telemetry, privacy, memory)
    feedback = FeedbackRelay(upstream.feed_back)
    tiers = config.door.tiers
    return CascadeServicer(agent, kept.tasks, recent, telemetry, feedback, privacy, insecure=insecure, tiers=tiers)


def workers_of(
    config: Config,
    kept: KeptState,
    upstream: Upstream,
    servicer: CascadeServicer,
    telemetry: EdgeTelemetry,
    *,
    insecure: bool,
) -> NoWorkers:
    """What looks after an agent's workers, where it has any.

    Raises:
        StartError: There is no place for a socket.
    """
    if config.workers == 1:
        return NoWorkers()
    from edge_agent.workers.overseer import Overseer  # here, since most agents are one process

    return Overseer(config, kept.tasks, upstream, servicer, telemetry, insecure=insecure)
