"""``headrace-cloud audit-verdict``: hold a verdict model against pairs that people have labelled.

Rules:
 * The audit is of one version: model, wording and words. Another version judges nothing until it is audited.
 * Without enough pairs that differ, the interval of false agreement stays wide, and the model may not judge.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_worker.config.cloud import read_config
from cloud_worker.config.sections import VerdictSettings
from router.core.errors import ConfigError, DataError, HeadraceError
from router.io.json_lines import json_lines
from router.io.terminal import say

_AT_ONCE = 64
_TEXTS = ("question", "answer", "reference")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A pair of answers to a question, and whether people call them the same."""

    question: str
    answer: str
    reference: str
    same: bool


def read_pairs(path: Path) -> list[Labelled]:
    """The pairs in a file of JSON lines ``{question, answer, reference, same}``.

    Raises:
        DataError: Names the line that can't be used.
    """
    found = [_labelled(path, number, row) for number, row in json_lines(path)]
    if not found:
        raise DataError(str(path), 0, "holds no pair")
    return found


def _labelled(path: Path, number: int, row: Any) -> Labelled:
    if not isinstance(row, dict) or any(not isinstance(row.get(key), str) for key in _TEXTS):
        raise DataError(str(path), number, f"needs the texts {', '.join(_TEXTS)}")
    if not isinstance(row.get("same"), bool):
        raise DataError(str(path), number, "needs `same`, true or false")
    return Labelled(row["question"], row["answer"], row["reference"], row["same"])


def audit_verdict(
    config: Annotated[Path, typer.Option("--config", "-c", help="The cluster's TOML file.", metavar="FILE")],
    pairs: Annotated[Path, typer.Option(help="JSON lines: question, answer, reference, same.", metavar="FILE")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say how far the verdict model agrees with people; it judges only if this says that it may.

    Example: headrace-cloud audit-verdict --config cloud.toml --pairs pairs.jsonl
    """
    try:
        settings = read_config(config)
        if not settings.verdict.model:
            raise ConfigError(str(config), "verdict.model", "is missing; name the model to audit")
        figures = run_audit(settings.verdict, settings.verdicts_folder, read_pairs(pairs))
    except HeadraceError as error:
        say(f"headrace-cloud: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    say(json.dumps(figures) if as_json else "\n".join(_lines(figures)))
    if not figures["may_judge"]:
        raise typer.Exit(1)


def run_audit(settings: VerdictSettings, folder: Path, labelled: list[Labelled]) -> dict[str, Any]:
    """Ask the model about every pair, keep the audit, and return its figures.

    Args:
        settings: Name the model.
        folder: Where audits are kept.
        labelled: The pairs.

    Raises:
        OperatorError: The model can't be opened.
    """
    from cloud_worker.judging.model_judge import keep_audit, open_judge  # torch: seconds
    from router.core.evaluation.model_judge import LabelledPair, audit

    judge = open_judge(settings)
    judged = [
        LabelledPair(one.same, verdict)
        for batch in _batches(labelled)
        for one, verdict in zip(
            batch, judge.ask([(one.question, one.answer, one.reference) for one in batch]), strict=True
        )
    ]
    found = audit(judged)
    keep_audit(folder, judge.model.version, found)
    may = found.may_judge(settings.most_false_agreement)
    return {"judge": judge.model.version, "model": judge.model.model, **asdict(found), "may_judge": may}


def _batches(labelled: list[Labelled]) -> Iterator[list[Labelled]]:
    for start in range(0, len(labelled), _AT_ONCE):
        yield labelled[start : start + _AT_ONCE]


def _lines(figures: dict[str, Any]) -> Iterator[str]:
    yield f"{figures['judge']} (model {figures['model']}), {figures['pairs']} labelled pairs"
    for key, words in (
        ("false_agreement", "different pairs called the same"),
        ("false_disagreement", "same pairs called different"),
    ):
        share = figures[key]
        yield f"{words:<32} {share['share']:.1%} of {share['rows']} ({share['low']:.1%} to {share['high']:.1%})"
    yield f"{'verdicts that could not be read':<32} {figures['unreadable']:.1%}"
    yield f"{'agreement beyond chance (kappa)':<32} {figures['kappa']:.2f}"
    yield "it may judge" if figures["may_judge"] else "it may not judge: false agreement may be above the limit"
