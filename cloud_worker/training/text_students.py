"""Log rows -> a student that writes, in the device's format, and what it writes to rows that it did not train on.

Rules:
 * A fifth of the rows, by their query's hash, teaches nothing: it calibrates.
 * What follows is measured on the saved files, by the code that the device runs, one text at a time.
 * A row that can't teach is kept out, counted, and shown once. A calibrating row that the student can't read, or has no
   whole answer to, counts as deferred, as on a device.
 * One student at most lies in the cache, the last that was fitted: a release has files of its own.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from cloud_worker.config.recipe_needs import recipe_of
from cloud_worker.language.architectures import LanguageModel, load_model
from cloud_worker.language.examples import Example, Lessons
from cloud_worker.language.trainer import Fit, Schedule
from cloud_worker.language.trainer import fit as train
from cloud_worker.training.curriculum import Curriculum, curriculum_of
from cloud_worker.training.spec import Fitted, Progress, Recipe
from cloud_worker.training.text_measures import measured
from router.core.domain.plain_text import plain_for
from router.core.domain.record import Record
from router.core.domain.task import StudentKind, Task
from router.core.learning.training_rows import FOLDS, calibrating, fold_of
from router.core.release.manifest import StudentSpec
from router.students.text_student import TextStudent

log = logging.getLogger(__name__)

SOFT_TOKENS = "soft-tokens"
LEAST_TAUGHT = 20  # rows that teach, below which no student is tried
MOST_HELD = 1500  # calibrating rows that are read; more would make a refresh wait
WEIGHTS_FILE = "model.safetensors"


def fit_writer(rows: Sequence[Record], recipe: Recipe, progress: Progress) -> Fitted | None:
    """Teach a student to write, or take one that a device's own server runs; ``None`` when too few rows teach.

    Args:
        rows: Teachable ones.
        recipe: What a fit needs beside its rows; its task names recipe and base.
        progress: Told a phase and its share done.

    Raises:
        HeadraceError: The base can't be loaded, or no lesson fits the student.
    """
    torch.set_num_threads(recipe.threads)
    task = recipe.task
    curriculum = curriculum_of(task, [other for other, _ in recipe.auxiliary.tasks])
    taught = [row for row in rows if fold_of(row, FOLDS) != 0 and row.answer.strip()]
    held = calibrating([row for row in rows if fold_of(row, FOLDS) == 0])[-MOST_HELD:]
    if task.student == StudentKind.SERVED:
        held = calibrating(rows)[-MOST_HELD:]
        spec = _spec(task, curriculum, f"served-{_short(task.base, task.prompt)}")
        return measured(TextStudent.served(spec, dict(recipe.servers)), spec, {}, held, progress)
    if len(taught) < LEAST_TAUGHT:
        return None
    folder, remark = _teach(taught, curriculum, recipe, progress)
    files: dict[str, bytes | Path] = {path.name: path for path in sorted(folder.iterdir())}
    spec = _spec(task, curriculum, folder.name)
    fitted = measured(TextStudent.load(folder, spec), spec, files, held, progress)
    return replace(fitted, remark=remark) if fitted else None


def schedule_of(task: Task, seed: int) -> Schedule:
    """How long and how hard to train, from ``[tasks.options.training]``."""
    return Schedule(**{"seed": seed, **task.options.get("training", {})})


def _teach(rows: Sequence[Record], curriculum: Curriculum, recipe: Recipe, progress: Progress) -> tuple[Path, str]:
    """The taught student's folder, and what is to be said of its lessons."""
    task, schedule = recipe.task, schedule_of(recipe.task, recipe.seed)
    language = load_model(task.base, layers=task.options.get("layers", 0))
    others = [row for _, taught in recipe.auxiliary.tasks for row in taught]
    queries = [row for row in recipe.auxiliary.queries if fold_of(row, FOLDS) != 0]
    phases = curriculum.lessons(_plain([*rows, *others], language), _plain(queries, language))
    remark = ""
    for phase, lessons in enumerate(phases):
        if lessons.kept_out:
            log.warning("task %s: %d rows can't teach; one: %s", task.name, lessons.kept_out, lessons.sample)
        if not lessons.examples and phase + 1 < len(phases):
            continue  # nothing to practise on; the answers are still there to learn
        fit = train(language, lessons.examples, schedule, _part(progress, phase, len(phases)))
        if fit.kept_out:
            log.warning("task %s: %d lessons don't fit the student; one: %s", task.name, fit.kept_out, fit.sample)
        remark = hardened_remark(lessons, fit) if recipe_of(task) == SOFT_TOKENS else ""
    if remark:
        log.warning("task %s: %s", task.name, remark)
    return _saved(language, recipe.cache / "writers"), remark


def _plain(rows: Sequence[Record], language: LanguageModel) -> list[Record]:
    """Rows that spell no token of control, neither asked nor answered: as the student will read queries on a device."""
    plain = plain_for(language.tokenizer)
    return [
        replace(row, text=plain(row.text), answer=plain(row.answer), rationale=plain(row.rationale)) for row in rows
    ]


def _part(progress: Progress, phase: int, phases: int) -> Callable[[float], None]:
    return lambda share: progress("fitting", 0.8 * (phase + share) / phases)


def hardened_remark(lessons: Lessons[Example], fit: Fit) -> str:
    """What to say where ``soft-tokens`` had no tokens to learn from, or not the student's; empty where it had."""
    bare = sum(not example.alternatives for example in lessons.examples)
    if not bare and not fit.hardened:
        return ""
    whole = len(lessons.examples)
    return (
        f"soft-tokens learned {bare + fit.hardened} of {whole} answers as plain text: {bare} came without token "
        f"probabilities, {fit.hardened} in tokens that the student's tokenizer does not have"
    )


def _saved(language: LanguageModel, folder: Path) -> Path:
    """The student's folder, named after its weights; those of fits before are published, or were in vain."""
    shutil.rmtree(folder, ignore_errors=True)
    scratch = folder / "new"
    language.save(scratch)
    with (scratch / WEIGHTS_FILE).open("rb") as weights:
        return scratch.rename(folder / hashlib.file_digest(weights, "sha256").hexdigest()[:16])


def _spec(task: Task, curriculum: Curriculum, version: str) -> StudentSpec:
    return StudentSpec(
        kind=task.student,
        model=WEIGHTS_FILE if task.student == StudentKind.GENERATOR else "",
        tokenizer="tokenizer.json" if task.student == StudentKind.GENERATOR else "",
        labels=(),
        max_tokens=0,
        version=version,
        prompt=curriculum.prompt.wording,
        limits=task.limits,
        served_model=task.base if task.student == StudentKind.SERVED else "",
        answer_after=curriculum.answer_after,
    )


def _short(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:12]
