"""Language models of transformers, loaded by name or folder.

Rules:
 * Weights are safetensors; code that comes with a model is never run.
 * A tokenizer that can name a token the model has no row for does not fit, and is refused at once. So is one that is of
   another model by what it shows: other special tokens, or names for less than half of the rows.
 * A folder is read as it lies there: nothing is fetched for it.
 * torch and transformers are imported when a model is loaded, and not before: most devices have neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from router.core.errors import ModelError
from router.io.extras import advice

UNBOUNDED_WINDOW = 100_000  # tokenizers say 1e30 when they know no window
DEFAULT_WINDOW = 512
_LEAST_NAMED = 0.5  # share of a model's rows that its tokenizer names; of models that we know 0.98 and more
_READERS = {"bert", "modernbert", "roberta", "distilbert"}  # read, and write nothing
_TAKE = "take the tokenizer of this model"


class Form(StrEnum):
    """How a model answers: by writing on, by writing from a reading, or by a label head."""

    CAUSAL = "causal"
    SEQ2SEQ = "seq2seq"
    LABELS = "labels"


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model that is ready to train and to run.

    Attributes:
        model: The transformer.
        tokenizer: Its tokenizer; has a padding and an end token.
        form: How it answers.
        window: Most tokens it can see at once; prompt and answer together for a causal one.
        labels: What the label head's outputs mean, for ``Form.LABELS`` only.
    """

    model: Any
    tokenizer: Any
    form: Form
    window: int
    labels: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Write weights (safetensors), configuration and tokenizer, so that they can be loaded again."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def fastest_device() -> str:
    """Where a teacher computes: on the machine's GPU, where torch sees one. Students stay on the processor."""
    return "cuda" if _libraries()[0].cuda.is_available() else "cpu"


def load_language(source: str | Path, labels: tuple[str, ...] = (), device: str = "cpu") -> LanguageModel:
    """Load a model and its tokenizer.

    Args:
        source: A folder, or a hub's name.
        labels: Ask for a label head over these; a new one is random unless the folder has one for the same labels.
        device: Where it computes, as torch names it.

    Raises:
        ModelError: Names the source, and what is wrong with it or with the installation.
    """
    torch, transformers = _libraries()
    from safetensors import SafetensorError

    transformers.utils.logging.disable_progress_bar()
    given = {"trust_remote_code": False, "local_files_only": Path(source).is_dir()}
    try:
        config = transformers.AutoConfig.from_pretrained(str(source), **given)
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source), **given)
        labels = labels or _labels_of(config)
        form = _form_of(config, labels)
        named = {"id2label": dict(enumerate(labels)), "label2id": {name: row for row, name in enumerate(labels)}}
        model = (
            getattr(transformers, _AUTO[form])
            .from_pretrained(
                str(source),
                use_safetensors=True,
                dtype=torch.float32,
                **given,
                **(named if form is Form.LABELS else {}),
            )
            .to(device)
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"model {str(source)!r} can't be loaded as safetensors: {reason}") from error
    _check_special(config, tokenizer)
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token
    return checked(LanguageModel(model.eval(), tokenizer, form, _window_of(config, tokenizer), labels))


def checked(language: LanguageModel) -> LanguageModel:
    """Return ``language`` when its tokenizer fits its model.

    Raises:
        ModelError: A token without a row, too many rows without a token, or no padding or end token.
    """
    rows = language.model.get_input_embeddings().num_embeddings
    ids = language.tokenizer.get_vocab().values()
    if max(ids, default=0) >= rows or len(ids) > rows:
        said = f"{len(ids)} tokens, up to id {max(ids)},"
        raise ModelError(f"the tokenizer has {said} and the model {rows} rows; {_TAKE}")
    if len(ids) < _LEAST_NAMED * rows:
        raise ModelError(f"the tokenizer has only {len(ids)} tokens for the {rows} rows of the model; {_TAKE}")
    for name in ("pad_token_id", "eos_token_id"):
        if getattr(language.tokenizer, name) is None and language.form is not Form.LABELS:
            raise ModelError(f"the tokenizer has no {name.removesuffix('_id')}; a student that writes needs it")
    return language


def _check_special(config: Any, tokenizer: Any) -> None:
    """Compare the special tokens that both name; a configuration may name several that end."""
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        given, own = getattr(config, name, None), getattr(tokenizer, name)
        known = given if isinstance(given, list) else [given]
        if (
            own is not None
            and own not in known
            and all(isinstance(position, int) and position >= 0 for position in known)
        ):
            raise ModelError(f"{name} is {own} in the tokenizer and {given} in the model; {_TAKE}")


def _libraries() -> tuple[Any, Any]:
    try:
        import safetensors  # noqa: F401 - named here so that its absence is said like the others'
        import torch
        import transformers
    except ImportError as error:
        missing = error.name or "torch"
        raise ModelError(f"a model that writes here needs {missing}: {advice('edge-torch')}") from error
    return torch, transformers


def _form_of(config: Any, labels: tuple[str, ...]) -> Form:
    if labels:
        return Form.LABELS
    if config.is_encoder_decoder:
        return Form.SEQ2SEQ
    if config.model_type in _READERS:
        raise ValueError(f"{config.model_type} answers by labels; give them")
    return Form.CAUSAL


def _labels_of(config: Any) -> tuple[str, ...]:
    names = tuple(config.id2label[row] for row in sorted(config.id2label or {}))
    classifies = any("SequenceClassification" in name for name in config.architectures or [])
    return names if classifies else ()


def _window_of(config: Any, tokenizer: Any) -> int:
    known = [tokenizer.model_max_length] if tokenizer.model_max_length < UNBOUNDED_WINDOW else []
    positions = getattr(config, "max_position_embeddings", None)
    known += [positions] if positions else []
    return int(min(known)) if known else DEFAULT_WINDOW


_AUTO = {
    Form.CAUSAL: "AutoModelForCausalLM",
    Form.SEQ2SEQ: "AutoModelForSeq2SeqLM",
    Form.LABELS: "AutoModelForSequenceClassification",
}
