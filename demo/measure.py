"""What the demo shows, measured afterwards on every query against the teacher's own answer.

Rules:
 * Nothing here is estimated: the teacher is asked every distinct text, directly, and refuses consent to log.
 * A query belongs to the release that its agent ran when it answered.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.state.store import ReleaseRow
from demo.setting import CLIENT_NAME, TASK, Addresses, Setting
from demo.stream import Asked, is_local, query_id
from router.client.async_client import AsyncClient
from router.core.domain.query import Consent, Route
from router.core.domain.task import agree
from router.core.release.manifest import Manifest
from router.core.statistics.e_process import Certificate

WINDOW = 500
CONCURRENCY = 32


@dataclass(frozen=True, slots=True)
class Row:
    """One answered query.

    Attributes:
        local: A student answered.
        cloud: The teacher saw it, for any reason.
        explored: Drawn for the reference.
        covered: Counts in the promise.
        agrees: With the teacher's own answer.
        right: With the stream's label.
        release: That the agent ran.
        milliseconds: As the caller saw it.
        new: It means an intent that is asked only from somewhere in the stream on.
    """

    local: bool
    cloud: bool
    explored: bool
    covered: bool
    agrees: bool
    right: bool
    release: int
    milliseconds: float
    new: bool = False


async def teacher_answers(
    setting: Setting, addresses: Addresses, progress: Callable[[int, int], None]
) -> dict[str, str]:
    """What the teacher says of every distinct text.

    Raises:
        HeadraceError: It did not answer one of them.
    """
    texts = list(dict.fromkeys(line.text for line in setting.stream))
    answers: dict[str, str] = {}
    gate = asyncio.Semaphore(CONCURRENCY)

    identity = addresses.client if addresses.is_secure else None
    plain = CLIENT_NAME if identity is None else ""
    async with AsyncClient(
        addresses.cloud_target, insecure=identity is None, identity=identity, device=plain
    ) as client:

        async def ask(position: int, text: str) -> None:
            async with gate:
                answer = await client.ask(
                    text,
                    TASK,
                    query_id=f"measure-{position:06d}",
                    route=Route.CLOUD_ONLY,
                    consent=Consent.REFUSED,
                    deadline=120.0,
                )
                answers[text] = answer.text
                progress(len(answers), len(texts))

        await asyncio.gather(*(ask(position, text) for position, text in enumerate(texts)))
    return answers


def logged_keys(log: DistillationLog) -> Counter[tuple[str, str]]:
    """How often each (caller, query id) stands in the log."""
    table = log.read(TASK, columns=["caller", "query_id"])
    return Counter(zip(table.column("caller").to_pylist(), table.column("query_id").to_pylist(), strict=True))


def rows_of(
    setting: Setting, asked: Asked, teacher: dict[str, str], logged: Counter[tuple[str, str]], devices: Sequence[str]
) -> list[Row]:
    """One row a query that got an answer, in the stream's order."""
    rows = []
    for position, (line, answer) in enumerate(zip(setting.stream, asked.answers, strict=True)):
        if answer is None:
            continue
        seen = not is_local(answer) or logged[devices[position % len(devices)], query_id(position)] > 0
        rows.append(
            Row(
                local=is_local(answer),
                cloud=seen,
                explored=answer.provenance.explored,
                covered=answer.provenance.covered,
                agrees=agree(setting.judge, answer.text, teacher[line.text]),
                right=agree(setting.judge, answer.text, line.label),
                release=answer.provenance.release,
                milliseconds=asked.milliseconds[position],
                new=line.label in setting.new_labels,
            )
        )
    return rows


def teacher_right(setting: Setting, teacher: dict[str, str]) -> float:
    """Share of the stream that the teacher alone would have had right, by the same judge as every answer."""
    agrees = [agree(setting.judge, teacher[line.text], line.label) for line in setting.stream]
    return round(sum(agrees) / len(agrees), 6)


def lost(asked: Asked, logged: Counter[tuple[str, str]], devices: Sequence[str]) -> int:
    """Queries that got an error, and logged answers that are not in the log exactly once."""
    missing = sum(
        logged[devices[position % len(devices)], query_id(position)] != 1
        for position, answer in enumerate(asked.answers)
        if answer is not None and answer.provenance.logged
    )
    return len(asked.failed) + missing


def figures(
    rows: Sequence[Row],
    releases: Sequence[tuple[ReleaseRow, Manifest]],
    teacher_right: float,
    new_labels: AbstractSet[str] = frozenset(),
    waits: str = "",
    **given: object,
) -> dict[str, object]:
    """The demo's JSON object; ``waits`` says what for at the end, ``given`` are figures that come from elsewhere."""
    last = rows[len(rows) * 3 // 4 :]
    first_met: dict[int, int] = {}
    for position, row in enumerate(rows):
        first_met.setdefault(row.release, position)
    return {
        **given,
        "waits": waits,
        "queries": len(rows),
        "releases": [
            _release(row, manifest, first_met, new_labels) for row, manifest in releases if row.number in first_met
        ],
        "new_intents_from": next((position for position, row in enumerate(rows) if row.new), None),
        "local_share": _share(rows, "local"),
        "local_share_last_quarter": _share(last, "local"),
        "cloud_share": _share(rows, "cloud"),
        "cloud_share_last_quarter": _share(last, "cloud"),
        "explored_share": _share(rows, "explored"),
        "covered_share": _share(rows, "covered"),
        "disagreement": _disagreement(rows),
        "disagreement_last_quarter": _disagreement(last),
        "disagreement_by_release": _by_release(rows),
        "accuracy": _share(rows, "right"),
        "teacher_accuracy": teacher_right,
        "p50_ms_local": _median([row.milliseconds for row in rows if row.local]),
        "p50_ms_escalated": _median([row.milliseconds for row in rows if not row.local]),
        "windows": [_window(rows[start : start + WINDOW]) for start in range(0, len(rows), WINDOW)],
    }


def _release(
    row: ReleaseRow, manifest: Manifest, first_met: dict[int, int], new_labels: AbstractSet[str]
) -> dict[str, object]:
    certificate = manifest.certificate
    return {
        "number": row.number,
        "at_query": first_met[row.number],
        "threshold": manifest.policy.threshold if manifest.student else None,
        "certifying_rows": certificate.rows if certificate else 0,
        "certifying_weight": _weight(certificate) if certificate else 0.0,
        "losses": certificate.losses if certificate else 0,
        "allowance": certificate.allowance if certificate else None,
        "attempt": certificate.attempt if certificate else 0,
        "new_intents": len(new_labels & set(manifest.student.labels)) if manifest.student else 0,
    }


def _weight(proof: Certificate) -> float:
    """How many drawn rows its rows are worth."""
    return float(proof.rows) if proof.weight is None else round(proof.weight, 2)


def _by_release(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    result: dict[str, dict[str, float]] = {}
    for number in sorted({row.release for row in rows}):
        served = [row for row in rows if row.release == number]
        result[str(number)] = {"n": len(served), "disagreement": _disagreement(served)}
    return result


def _window(rows: Sequence[Row]) -> dict[str, float]:
    differs = [row for row in rows if not row.agrees]
    return {
        "local_share": _share(rows, "local"),
        "disagreement": _disagreement(rows),
        "release": Counter(row.release for row in rows).most_common(1)[0][0],
        "differing": len(differs),
        "new_differing": sum(row.new for row in differs),
    }


def _share(rows: Sequence[Row], name: str) -> float:
    return round(sum(getattr(row, name) for row in rows) / len(rows), 6) if rows else 0.0


def _disagreement(rows: Sequence[Row]) -> float:
    return round(1 - _share(rows, "agrees"), 6)


def _median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 3) if values else None
