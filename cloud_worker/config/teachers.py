"""What the operator writes about the teachers of the pool: one table each, its keys by its ``kind``.

Rules:
 * A key that its kind does not have is refused; a template without its field, too.
 * No secret stands in the file: it names the environment variable that holds one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from router.core.errors import ConfigError

LOADED_KINDS = frozenset({"encoder", "patterns", "generating", "vllm"})  # whose model may be a folder
CALLS_OF_A_REPLICA = 2  # one computes, one waits beside it
FIELD = "{text}"
REASONED = (
    "{text}\n\nThink step by step and give your reasons in a few sentences. "
    "Then end with one line that reads: The answer is"
)

_NAME = r"^[A-Za-z0-9_-]+$"
_VARIABLE = r"^([A-Za-z_][A-Za-z0-9_]*)?$"


class TeacherSettings(BaseModel):
    """What every teacher has.

    ``replicas`` are replicas, a process each; ``max_batch`` is the most queries in one call of a replica.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    FILES: ClassVar[tuple[str, ...]] = ()  # keys that name files
    NEEDED: ClassVar[tuple[str, ...]] = ()  # those of them that may not be left out

    name: str = Field(min_length=1, pattern=_NAME)
    kind: str
    replicas: int = Field(1, ge=1)
    max_batch: int = Field(64, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            for key in value:
                if key not in cls.model_fields:
                    raise ValueError(f"{key!r} is not a key of this kind; use one of {', '.join(cls.model_fields)}")
        return value

    @property
    def calls_of_a_replica(self) -> int:
        """Most calls that a replica takes at once."""
        return CALLS_OF_A_REPLICA


class EncoderSettings(TeacherSettings):
    """A frozen pretrained ``model`` (name, folder, or ``minilm``) with a head fitted on ``examples``, JSON lines."""

    FILES = NEEDED = ("examples",)
    kind: Literal["encoder"] = "encoder"
    model: str = "minilm"
    examples: str = ""


class RecordedSettings(TeacherSettings):
    """The answers in the file ``answers``, JSON lines ``{text, label}``, replayed."""

    FILES = NEEDED = ("answers",)
    kind: Literal["recorded"] = "recorded"
    answers: str = ""


class PatternsSettings(TeacherSettings):
    """A language ``model`` that labels: it scores what each label is called after each of the ``patterns``.

    Labels are those of ``labels``, ``verbaliser`` (label = what it is called) and ``examples`` together; ``shots`` of
    the examples stand in front of every question.
    """

    FILES = ("examples",)
    kind: Literal["patterns"] = "patterns"
    model: str = Field(min_length=1)
    patterns: tuple[str, ...] = Field(min_length=1)
    labels: tuple[str, ...] = ()
    verbaliser: dict[str, str] = {}
    examples: str = ""
    shots: int = Field(8, ge=0)

    @field_validator("patterns")
    @classmethod
    def _with_field(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked_template(pattern) for pattern in patterns)


class WritingSettings(TeacherSettings):
    """What teachers that write have: the templates ``prompt`` and, where a reason is wanted, ``rationale_prompt``.

    With an empty ``rationale_prompt`` no reason is given.
    """

    prompt: str = FIELD
    rationale_prompt: str = REASONED

    @field_validator("prompt")
    @classmethod
    def _prompt_has_field(cls, prompt: str) -> str:
        return _checked_template(prompt)

    @field_validator("rationale_prompt")
    @classmethod
    def _rationale_prompt_has_field(cls, prompt: str) -> str:
        return _checked_template(prompt) if prompt else prompt


class GeneratingSettings(WritingSettings):
    """A language ``model`` (name or folder) of transformers that writes in the replica's own process."""

    kind: Literal["generating"] = "generating"
    model: str = Field(min_length=1)


class RemoteSettings(WritingSettings):
    """What teachers elsewhere have.

    ``concurrency`` questions are asked at a time by a replica, each within ``seconds``. ``canaries`` is a file of JSON
    lines ``{text}`` that are asked every ``canary_hours``: changed answers make another version.
    """

    FILES = ("canaries",)
    concurrency: int = Field(16, ge=1, le=256)
    seconds: float = Field(60.0, gt=0)
    canaries: str = ""
    canary_hours: float = Field(24.0, gt=0)

    @property
    def calls_of_a_replica(self) -> int:
        """Most calls that a replica takes at once."""
        return self.concurrency


class CompatibleSettings(RemoteSettings):
    """The ``model`` of an OpenAI-compatible server at ``url``.

    ``api_key_variable`` names the environment variable that holds its key, if it wants one.
    """

    kind: Literal["compatible"] = "compatible"
    url: str
    model: str = Field(min_length=1)
    api_key_variable: str = Field("", pattern=_VARIABLE)

    @field_validator("url")
    @classmethod
    def _can_be_asked(cls, url: str) -> str:
        from router.students.writers.server_address import read_url

        try:
            read_url(url)
        except ConfigError as error:
            raise ValueError(f"{url!r} can't be asked; write it as http://127.0.0.1:8080/v1") from error
        return url


class HostedSettings(RemoteSettings):
    """A hosted ``model`` by litellm's name, such as ``anthropic/claude-sonnet-4-5``; the extra ``providers``.

    ``api_key_variable`` empty leaves it to litellm to find the variable of its provider; ``url`` goes before the
    provider's own address.
    """

    kind: Literal["hosted"] = "hosted"
    model: str = Field(min_length=1)
    url: str = ""
    api_key_variable: str = Field("", pattern=_VARIABLE)


class VllmSettings(RemoteSettings):
    """A ``model`` (name or folder) that vLLM serves on the cluster's GPUs, through Ray Serve's LLM API.

    ``gpus`` each for ``replicas`` engines of the ``accelerator`` kind, as Ray names them; ``engine`` goes to vLLM as it
    is. Serve listens on ``port`` of 127.0.0.1 of every node; all teachers of this kind share it.
    """

    kind: Literal["vllm"] = "vllm"
    model: str = Field(min_length=1)
    gpus: int = Field(1, ge=1)
    accelerator: str = ""
    engine: dict[str, Any] = {}
    port: int = Field(7710, ge=1, le=65535)

    @field_validator("engine")
    @classmethod
    def _ours(cls, engine: dict[str, Any]) -> dict[str, Any]:
        for key, ours in (("tensor_parallel_size", "gpus says it"), ("trust_remote_code", "it is never true")):
            if key in engine:
                raise ValueError(f"{key} is not set here; {ours}")
        return engine


_OneKind = (
    EncoderSettings
    | RecordedSettings
    | PatternsSettings
    | GeneratingSettings
    | CompatibleSettings
    | HostedSettings
    | VllmSettings
)
AnyTeacher = Annotated[_OneKind, Field(discriminator="kind")]
KINDS: tuple[str, ...] = tuple(kind.model_fields["kind"].default for kind in get_args(_OneKind))


def _checked_template(wording: str) -> str:
    if wording.count(FIELD) != 1:
        raise ValueError(f"{wording!r} needs the field {FIELD} exactly once, where the question goes")
    return wording
