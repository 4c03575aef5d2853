"""The manifest of a release; may this release replace that one?

Rules:
 * Release 0 has no student: everything escalates.
 * A release names every one of its files with size and SHA-256; nothing else in its folder is read.
 * Numbers only grow; a rollback is a new number that names old content.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from router.core.domain.label_confidence import Calibration
from router.core.domain.limits import MAX_LABEL_BYTES, MAX_RELEASE, MAX_VERSION_BYTES
from router.core.domain.query import GenerationLimits
from router.core.domain.task import Privacy, Task
from router.core.errors import ReleaseError
from router.core.policy.deferral import Policy
from router.core.policy.text_confidence import TextCalibration
from router.core.ranges import check_range, check_share, out_of_range, shortened
from router.core.statistics.e_process import Certificate

MANIFEST_FILE = "manifest.json"
# What an agent that does not know of it must not pass over. 2: the task has privacy. 3: only what was asked is kept.
FORMAT = 3
MOST_FILES = 1000
MOST_FILE_BYTES = 2**40
MOST_NAME_BYTES = 255  # of a file's name on common file systems
MOST_LABELS = 100_000
MOST_TOKENS_READ = 10_000_000

_VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){0,3}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a release: its size in bytes and its SHA-256 in hex."""

    size: int
    sha256: str

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("size", self.size, 0, MOST_FILE_BYTES)
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"sha256 is {shortened(self.sha256)}; use 64 digits of hex")


@dataclass(frozen=True, slots=True)
class StudentSpec:
    """How to run the student.

    Attributes:
        kind: ``compact``, ``encoder-head``, ``generator`` or ``served``.
        model: File of the ONNX model that reads token ids, and gives logits or an embedding.
        head: File of the ONNX head over the embedding, or empty when the model gives logits itself.
        tokenizer: File of the tokenizer, in the format of the tokenizers library.
        labels: What the logits stand for, in their order.
        max_tokens: Longest input in tokens; longer ones are cut.
        version: The student's version, never reused.
        prompt: Template around the query, for a student that writes.
        limits: Of what it writes, where the query names none.
        answer_after: Words in what it writes after which its answer stands; empty when all of it is the answer.
        model_float32: File of the same model in float32, which a device fetches where the int8 one of ``model`` does
            not answer as it was judged; empty where there is none.
        served_model: Name of the model at the device's own server; such a release ships no model.
        asked: File of the texts that it may keep, those that were asked before it was proved (``KeptTexts``): all
            others escalate. Empty where it may keep any.
    """

    kind: str
    model: str
    tokenizer: str
    labels: tuple[str, ...]
    max_tokens: int
    version: str
    head: str = ""
    prompt: str = "{text}"
    limits: GenerationLimits = GenerationLimits()
    answer_after: str = ""
    served_model: str = ""
    model_float32: str = ""
    asked: str = ""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("max_tokens", self.max_tokens, 0, MOST_TOKENS_READ)
        if len(self.labels) > MOST_LABELS:
            raise ValueError(f"labels holds {len(self.labels)} labels; use {MOST_LABELS} at most")
        if len(set(self.labels)) < len(self.labels) or not all(self.labels):
            raise ValueError("labels holds an empty label, or one of them twice")
        if any(len(label.encode()) > MAX_LABEL_BYTES for label in self.labels):
            raise ValueError(f"labels holds a label of more than {MAX_LABEL_BYTES} bytes")
        if len(self.version.encode()) > MAX_VERSION_BYTES or not self.version.isprintable():
            raise ValueError(f"version must have {MAX_VERSION_BYTES} bytes at most, and no control characters")


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a release comes from: its parent, attempt in the lineage (from 1), rows learned from, recipe, seed."""

    parent: int = 0
    attempt: int = 0
    rows: int = 0
    log_version: int = 0
    recipe: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Golden:
    """What the student must answer on the device.

    Attributes:
        file: JSON lines ``{text, answer, score}``.
        tolerance: How far a score may be off, in [0, 1].
        least_equal: Least share of the lines that must come out so, in [0, 1]; below 1 for students that write, whose
            texts may part ways where two tokens are as good as equal.
    """

    file: str
    tolerance: float
    least_equal: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_share("tolerance", self.tolerance)
        if not 0 < self.least_equal <= 1:
            raise ValueError(f"least_equal is {self.least_equal}; use a share above 0, up to 1")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a release is.

    Attributes:
        task: The task it serves, as published.
        number: Its number; 0 has no student.
        created_at: Unix time in seconds.
        policy: When to defer.
        student: How to run the student; ``None`` in release 0.
        calibration: From signals to score, of a student of labels.
        text_calibration: From signals to score, of a student that writes.
        reliability: Bins of calibrating rows, low scores first: share, mean score, agreement, each in [0, 1].
        judged_by: The rule or the version of the verdict model that the promise is kept as judged by.
        self_agreement: How often the reference agrees with itself when asked twice, in [0, 1]; ``None`` if not known.
        certificate: The proof; ``None`` before it is certified.
        golden: What the student must answer on the device.
        lineage: Where it comes from.
        escalation: Share of queries that should leave the device, explored ones included, as its certifying rows say.
        files: Every file but the manifest, by name.
        min_agent: Least version of the agent that can run it.
        content: The release whose content this is, itself unless it is a rollback.
        format: Version of this format.
    """

    task: Task
    number: int
    created_at: float
    policy: Policy
    student: StudentSpec | None = None
    calibration: Calibration | None = None
    text_calibration: TextCalibration | None = None
    reliability: tuple[tuple[float, float, float], ...] = ()
    judged_by: str = ""
    self_agreement: float | None = None
    certificate: Certificate | None = None
    golden: Golden | None = None
    lineage: Lineage = Lineage()
    escalation: float | None = None
    files: dict[str, File] = field(default_factory=dict)
    min_agent: str = "0.1"
    content: int | None = None
    format: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.task.privacy != Privacy():
            object.__setattr__(self, "format", max(self.format, 2))
        if self.only_asked:
            object.__setattr__(self, "format", max(self.format, 3))
        check_range("number", self.number, 0, MAX_RELEASE)
        if not _VERSION.fullmatch(self.min_agent):
            raise ValueError(f"min_agent is {shortened(self.min_agent)}; use numbers with points between, such as 0.1")
        check_range("content", self.content, 0, self.number)
        for name in ("self_agreement", "escalation"):
            check_share(name, getattr(self, name))
        for bin_ in self.reliability:
            for share in bin_:
                check_share("reliability", share)
        check_files(self.files)

    @property
    def only_asked(self) -> bool:
        """Whether it keeps what was asked before it was proved alone."""
        return self.student is not None and bool(self.student.asked)


_MANIFEST = TypeAdapter(Manifest)


def write_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON, in UTF-8."""
    return _MANIFEST.dump_json(manifest, indent=1)


def read_manifest(data: bytes) -> Manifest:
    """The manifest that the bytes spell.

    Raises:
        ReleaseError: The bytes are not a manifest of a format known here, or name a file outside the release.
    """
    try:
        manifest = _MANIFEST.validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ReleaseError(f"{MANIFEST_FILE}: {path or 'content'}: {first['msg']}") from error
    if manifest.format > FORMAT:
        raise ReleaseError(f"{MANIFEST_FILE}: format {manifest.format} is newer than {FORMAT}; update the agent")
    found = out_of_range(manifest)
    if found is not None:
        raise ReleaseError(f"{MANIFEST_FILE}: {found[0]} {found[1]}")
    return manifest


def check_files(files: Mapping[str, File]) -> None:
    """Check that a release's files can lie side by side in one folder of any system.

    Raises:
        ValueError: Names the file.
    """
    if len(files) > MOST_FILES:
        raise ValueError(f"files lists {len(files)} files; use {MOST_FILES} at most")
    seen = {MANIFEST_FILE}
    for name in files:
        if not is_plain_name(name):
            raise ValueError(f"files: {shortened(name)} is not a plain file name")
        if name.casefold() in seen:
            raise ValueError(f"files: {name!r} differs from another name in its case alone")
        seen.add(name.casefold())


def is_plain_name(name: str) -> bool:
    """Whether a file name stays inside its folder on every system."""
    if not name or len(name.encode(errors="replace")) > MOST_NAME_BYTES or name.startswith("."):
        return False
    return name.isprintable() and not set(name) & set("/\\:")


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def check_replacement(candidate: Manifest, current: Manifest | None) -> None:
    """Check that ``candidate`` may replace ``current``.

    Raises:
        ReleaseError: Another task, an older number, or a student without calibration or golden inputs.
    """
    if current is not None:
        if candidate.task.name != current.task.name:
            raise ReleaseError(f"release is of task {candidate.task.name!r}, not {current.task.name!r}")
        if candidate.number < current.number:
            raise ReleaseError(f"release {candidate.number} is older than {current.number}, which is installed")
    if candidate.student is None:
        return
    if not (candidate.calibration or candidate.text_calibration) or candidate.golden is None:
        raise ReleaseError(f"release {candidate.number} has a student but no calibration or golden inputs")
    named = {candidate.student.model, candidate.student.tokenizer, candidate.golden.file}
    named = (named | {candidate.student.head, candidate.student.model_float32, candidate.student.asked}) - {""}
    missing = sorted(named - candidate.files.keys())
    if missing:
        raise ReleaseError(f"release {candidate.number} names files that it does not list: {', '.join(missing)}")
