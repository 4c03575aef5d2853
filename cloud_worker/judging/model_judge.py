"""A language model that says whether two answers are the same, and remembers what it said.

Rules:
 * The same answer twice is the same: no model is asked.
 * A model with a chat template is asked in it, as one turn of its user; the template is part of its version.
 * Everything else is asked once in the life of a verdict model's version, also across restarts.
 * A pair that is longer than the model's window can't be judged, and counts as disagreement.
 * Until an audit against pairs labelled by people allows it, a verdict model judges nothing.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cloud_worker.config.sections import VerdictSettings
from cloud_worker.language.architectures import Form, LanguageModel, load_model
from cloud_worker.language.encoder import weights_digest
from cloud_worker.language.generation import write_ids
from router.core.domain.generation import Prompt
from router.core.domain.plain_text import plain_for
from router.core.domain.prompting import as_conversation
from router.core.errors import ModelError
from router.core.evaluation.model_judge import WORDING, Audit, Verdict, VerdictModel
from router.io.atomic_write import write_whole
from router.students.writers.local_writer import prompt_ids

TOP_TOKENS = 20  # read of the one token's distribution: what is not among them holds little

_AUDIT = TypeAdapter(Audit)
_SCHEMA = "CREATE TABLE IF NOT EXISTS said (pair TEXT PRIMARY KEY, probability REAL, mass REAL, agrees INTEGER)"

Pair = tuple[str, str, str]  # what was asked, an answer, another


@dataclass(frozen=True, slots=True)
class Judge:
    """A verdict model that is ready to be asked.

    Attributes:
        model: Its prompt and its reading.
        language: What reads the prompt.
    """

    model: VerdictModel
    language: LanguageModel

    def ask(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """What it says of each pair."""
        plain = plain_for(self.language.tokenizer)
        prompts = [self._read(self.model.prompt(*(plain(text) for text in pair))) for pair in pairs]
        verdicts = [Verdict(None, 0.0)] * len(pairs)
        fitting = [position for position, ids in enumerate(prompts) if self._fits(ids)]
        texts = write_ids(self.language, [prompts[position] for position in fitting], max_tokens=1, top_k=TOP_TOKENS)
        for position, text in zip(fitting, texts, strict=True):
            verdicts[position] = self.model.read(text.tokens[0])
        return verdicts

    def _read(self, prompt: str) -> list[int]:
        """Ids of a prompt in which nothing but the wording may spell tokens of control."""
        return prompt_ids(self.language.tokenizer, as_conversation(Prompt(prompt, frame=(prompt, ""))))

    def _fits(self, ids: Sequence[int]) -> bool:
        reserved = 1 if self.language.form is Form.CAUSAL else 0
        return len(ids) + reserved <= self.language.window


def open_judge(settings: VerdictSettings) -> Judge:
    """The verdict model that ``settings`` describe.

    Raises:
        ModelError: It can't be loaded, or writes no text.
        ConfigError: Its wording or words can't work.
    """
    language = load_model(settings.model)
    if language.form is Form.LABELS:
        raise ModelError(f"verdict model {settings.model!r} has a label head; take one that writes")
    name = f"{Path(settings.model).name}@{weights_digest(language.model)}{_template_of(language)}"
    wording = settings.wording or WORDING
    asked = VerdictModel(name, wording, yes=settings.yes, no=settings.no, threshold=settings.threshold)
    return Judge(asked, language)


def _template_of(language: LanguageModel) -> str:
    """What tells a chat template from every other one; empty where the model has none."""
    template = getattr(language.tokenizer, "chat_template", None)
    return f"+{hashlib.sha256(str(template).encode()).hexdigest()[:12]}" if template else ""


class Verdicts:
    """Judges pairs one by one. Called as ``Judging``; opened at the first pair that needs it."""

    def __init__(self, settings: VerdictSettings, folder: Path) -> None:
        """Judge as ``settings`` say; ``folder`` holds audits and what has been said."""
        self._settings = settings
        self._folder = folder
        self._judge: Judge | None = None
        self._said: sqlite3.Connection | None = None

    @property
    def version(self) -> str:
        """The version of the verdict model: the promise is kept as judged by it.

        Raises:
            OperatorError: It can't be opened.
        """
        return self._ready().model.version

    def __call__(self, asked: str, answer: str, reference: str) -> bool:
        """Whether both answers say the same.

        Raises:
            OperatorError: The model can't be opened, or no audit allows it.
        """
        return answer == reference or self.verdict((asked, answer, reference)).agrees

    def verdict(self, pair: Pair) -> Verdict:
        """What the model says of a pair, or has said."""
        judge = self._ready()
        said = self._memory()
        key = _key(judge.model, pair)
        found = said.execute("SELECT probability, mass, agrees FROM said WHERE pair = ?", (key,)).fetchone()
        if found is not None:
            return Verdict(found[0], found[1], bool(found[2]))
        (verdict,) = judge.ask([pair])
        row = (key, verdict.probability, verdict.mass, int(verdict.agrees))
        said.execute("INSERT OR IGNORE INTO said VALUES (?, ?, ?, ?)", row)
        return verdict

    def _ready(self) -> Judge:
        if self._judge is None:
            judge = open_judge(self._settings)
            check_audit(self._folder, judge.model.version, self._settings.most_false_agreement)
            self._judge = judge
        return self._judge

    def _memory(self) -> sqlite3.Connection:
        if self._said is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._said = sqlite3.connect(
                self._folder / "said.sqlite", timeout=10, isolation_level=None, check_same_thread=False
            )
            self._said.execute("PRAGMA journal_mode=WAL")
            self._said.execute("PRAGMA synchronous=NORMAL")
            self._said.execute(_SCHEMA)
        return self._said


def keep_audit(folder: Path, version: str, audit: Audit) -> None:
    """Keep an audit where ``check_audit`` finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(_audit_file(folder, version), _AUDIT.dump_json(audit))


def check_audit(folder: Path, version: str, most_false_agreement: float) -> None:
    """Refuse a verdict model that has not been audited, or not well enough.

    Args:
        folder: Of audits.
        version: Of the verdict model.
        most_false_agreement: What even the upper end of its false agreement may be, in [0, 1].

    Raises:
        ModelError: Says what to do.
    """
    path = _audit_file(folder, version)
    if not path.is_file():
        raise ModelError(f"{version} has not been audited; run `headrace-cloud audit-verdict` with labelled pairs")
    try:
        audit = _AUDIT.validate_json(path.read_bytes())
    except ValidationError as error:
        raise ModelError(f"{path} is no audit; run `headrace-cloud audit-verdict` again") from error
    if not audit.may_judge(most_false_agreement):
        false = audit.false_agreement
        raise ModelError(
            f"{version} may not judge: it calls {false.share:.1%} of {false.rows} different pairs the same, up to "
            f"{false.high:.1%}; verdict.most_false_agreement is {most_false_agreement:.1%}. Label more pairs, or take "
            "another model"
        )


def _audit_file(folder: Path, version: str) -> Path:
    return folder / f"{version}.json"


def _key(model: VerdictModel, pair: Pair) -> str:
    return hashlib.sha256(f"{model.version}\n{model.prompt(*pair)}".encode()).hexdigest()
