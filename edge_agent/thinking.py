"""Let the student think: in a thread of its own, so that the event loop stays free.

Rules:
 * One thread, one text at a time; onnxruntime lets go of the interpreter while it computes.
 * A student that fails on a query counts as none for that query: the next tier answers it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from opentelemetry.trace import Tracer

from edge_agent.tasks import Serving
from router import names
from router.confidence import Array, probabilities
from router.errors import ModelError
from router.judgement import Judgement
from router.query import Answer, Distribution, Provenance, Query, Tier
from router.release import Manifest

log = logging.getLogger(__name__)


class Thinker:
    """Runs students, and puts what they say into answers."""

    def __init__(self, node: str, tracer: Tracer) -> None:
        """Answer in the name of ``node``."""
        self._node = node
        self._tracer = tracer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="student")

    async def judge(self, serving: Serving, query: Query) -> Judgement | None:
        """What the student says; ``None`` without a student, for a chat, and when the student fails."""
        student = serving.student
        if student is None or not query.text:
            return None
        with self._tracer.start_as_current_span(names.SPAN_STUDENT) as span:
            span.set_attribute(names.RELEASE, serving.manifest.number)
            try:
                judgement = await asyncio.get_running_loop().run_in_executor(self._thread, student.judge, query)
            except ModelError as error:
                log.error("release %d failed on a query: %s", serving.manifest.number, error)
                return None
        return judgement if judgement.score is None or math.isfinite(judgement.score) else None

    def speak(self, serving: Serving, query: Query, judgement: Judgement) -> Answer:
        """The student's answer; the reason and the rest of the provenance are the agent's to fill in."""
        manifest = serving.manifest
        return Answer(
            query_id=query.id,
            text=judgement.answer,
            confidence=judgement.score,
            distribution=_distribution(manifest, judgement.logits, query.wanted.top_k),
            provenance=Provenance(
                tier=Tier.DEVICE,
                model=manifest.student.kind if manifest.student else "",
                model_version=manifest.student.version if manifest.student else "",
                release=manifest.number,
                node=self._node,
            ),
        )

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False)


def _distribution(manifest: Manifest, logits: Array | None, top_k: int) -> Distribution:
    if top_k < 1 or logits is None or manifest.student is None or manifest.calibration is None:
        return Distribution()
    chances = probabilities(logits, manifest.calibration.temperature)
    best = np.argsort(-chances, kind="stable")[:top_k]
    rest = 1.0 - float(chances[best].sum())
    return Distribution(
        tuple((manifest.student.labels[i], math.log(max(float(chances[i]), 1e-300))) for i in best),
        None if len(best) == len(chances) else math.log(max(rest, 1e-300)),
    )
