"""Write with a transformers model in this process, one prompt at a time: on a device, and where a device is measured.

Rules:
 * Greedy unless a temperature above 0 is asked for; the same seed then gives the same text.
 * Token probabilities are the model's own: before temperature, over the whole vocabulary.
 * A prompt longer than the window is refused, never cut; an answer ends where the window does.
 * One thread, whatever the process uses elsewhere. The cache of each text is its own, so threads may share a writer.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from router.core.domain.generation import DEFAULT_TOKENS, LEAST_TAIL, Prompt, Written
from router.core.domain.plain_text import plain_for
from router.core.domain.prompting import before_stop
from router.core.domain.query import Distribution, FinishReason, GenerationLimits, TokenProbability
from router.core.errors import BadInputError, ModelError, TooLongError
from router.students.writers.plain_prompt import plain_messages, plain_text_of, plain_tools
from router.students.writers.transformers_loader import Form, LanguageModel, load_language

FAILURES = (RuntimeError, ValueError, IndexError, TypeError)  # what models of transformers fail with
SMALL_WEIGHTS = 50_000_000  # below it plain attention is faster on one core than the fused one: 39 and 52 ms an answer


class LocalWriter:
    """A causal or sequence-to-sequence model that writes."""

    in_process = True
    is_private = True

    def __init__(self, language: LanguageModel) -> None:
        """Write with a model that is loaded already.

        Raises:
            ModelError: It has a label head.
        """
        if language.form is Form.LABELS:
            raise ModelError("a model with a label head writes no text; ask it for labels")
        self.language = language
        self._ends = ends_of(language)
        takes = inspect.signature(language.model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Open the model in a folder, or of a hub's name.

        Raises:
            ModelError: It can't be loaded, does not fit its tokenizer, or the libraries are missing.
        """
        language = load_language(source)
        if sum(weight.numel() for weight in language.model.parameters()) < SMALL_WEIGHTS:
            language.model.set_attn_implementation("eager")
        return cls(language)

    def write(self, prompt: Prompt, limits: GenerationLimits = GenerationLimits(), top_k: int = 0) -> Written:
        """Answer one prompt; see ``router.core.domain.generation.Writer``.

        Raises:
            BadInputError: The prompt is longer than the window, or a stop can't be written.
            ModelError: The model failed.
        """
        import torch

        self._check_stops(limits.stop)
        ids = self._read(prompt)
        line = _Line(self.language.tokenizer, limits.stop, top_k, self._ends)
        draw = _Draw(limits)
        most = most_tokens(self.language, limits.max_tokens or DEFAULT_TOKENS, len(ids))
        try:
            with torch.inference_mode(), _one_thread():
                for logits in self._steps(ids, line):
                    line.add(draw.of(logits), logits)
                    if line.ended or len(line.ids) >= most:
                        break
        except FAILURES as error:
            raise failure(error, f"a prompt of {len(ids)} tokens") from error
        return line.written(len(ids))

    def _check_stops(self, stops: tuple[str, ...]) -> None:
        """Refuse a stop that would never be seen.

        Raises:
            BadInputError: The model's vocabulary can't write it.
        """
        unknown = getattr(self.language.tokenizer, "unk_token_id", None)
        for stop in stops:
            ids = self.language.tokenizer(stop, add_special_tokens=False)["input_ids"]
            if unknown is not None and unknown in ids:
                raise BadInputError("limits.stop", f"holds {stop!r}, which this model can't write")

    def _read(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt.

        Raises:
            BadInputError: They leave no room in the window.
        """
        ids = prompt_ids(self.language.tokenizer, prompt)
        most = self.language.window - (1 if self.language.form is Form.CAUSAL else 0)
        if len(ids) > most:
            raise TooLongError(f"has {len(ids)} tokens; the model's window leaves {most}")
        return ids

    def _steps(self, ids: list[int], line: _Line) -> Iterator[Any]:
        """Logits of the next token, (vocabulary,), again and again; reads what ``line`` took in between."""
        import torch

        model, name = self.language.model, "input_ids"
        start, given = ids, {}
        if self.language.form is Form.SEQ2SEQ:
            given["encoder_outputs"] = model.get_encoder()(input_ids=torch.tensor([ids], device=model.device))
            start, name = [decoder_start(self.language)], "decoder_input_ids"
        read = start
        while True:
            given[name] = torch.tensor([read], device=model.device)
            out = model(**given, use_cache=True, **self._last_only)
            yield out.logits[0, -1].cpu()
            given["past_key_values"] = getattr(out, "past_key_values", None)
            read = line.ids[-1:] if given["past_key_values"] is not None else [*start, *line.ids]


def prompt_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Token ids of a prompt: by the tokenizer's chat template where it has one and the prompt is a chat.

    What a caller wrote becomes no token of control, and closes no turn.

    Raises:
        BadInputError: The template refuses the conversation, or the prompt is empty.
    """
    plain = plain_for(tokenizer)
    if not prompt.messages or not getattr(tokenizer, "chat_template", None):
        ids = list(tokenizer(plain_text_of(prompt, plain))["input_ids"])
    else:
        tools = plain_tools(prompt, plain) or None
        try:
            text = tokenizer.apply_chat_template(
                plain_messages(prompt, plain), tools=tools, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # a template may raise anything, and jinja has no common base with it
            raise BadInputError("chat.messages", f"do not fit the model's chat template: {error}") from error
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not ids:
        raise BadInputError("input", "has no token that the model knows")
    return ids


def most_tokens(language: LanguageModel, asked: int, read: int) -> int:
    """Most tokens that an answer may have: as asked, and never beyond the window.

    Args:
        language: Whose window.
        asked: Tokens, at least 1.
        read: Tokens of the prompt; they take up the window of a model that writes on.
    """
    return min(asked, language.window - (read if language.form is Form.CAUSAL else 0))


def failure(error: Exception, reading: str) -> ModelError:
    """What is said of a model that failed while reading ``reading``."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ModelError(f"the model failed on {reading}: {reason}")


def alternatives(tokenizer: Any, values: Any, top_k: int) -> Distribution:
    """The likeliest tokens of one step.

    Args:
        tokenizer: Names the tokens.
        values: Natural log-probabilities, (vocabulary,).
        top_k: How many; none gives an empty distribution.
    """
    import torch

    if top_k <= 0:
        return Distribution()
    best = torch.topk(values, min(top_k, len(values)))
    names = tokenizer.convert_ids_to_tokens(best.indices.tolist())
    rest = values.clone()
    rest[best.indices] = -torch.inf
    tail = min(float(torch.logsumexp(rest, dim=-1)), 0.0)
    pairs = tuple((name, min(value, 0.0)) for name, value in zip(names, best.values.tolist(), strict=True))
    return Distribution(pairs, max(tail, LEAST_TAIL) if top_k < len(values) else None)


@dataclass(slots=True)
class _Line:
    """What has been written so far.

    Attributes:
        ids: Of every token, the end included.
        ended: Nothing comes after it.
    """

    tokenizer: Any
    stops: tuple[str, ...]
    top_k: int
    ends: frozenset[int]
    ids: list[int] = field(default_factory=list)
    ended: bool = False
    _tokens: list[tuple[float, Distribution]] = field(default_factory=list)
    _text: str | None = None

    def add(self, token: int, logits: Any) -> None:
        """Take one token, and the logits, (vocabulary,), that it was drawn from."""
        import torch

        values = torch.log_softmax(logits.float(), dim=-1)
        self._tokens.append((min(float(values[token]), 0.0), alternatives(self.tokenizer, values, self.top_k)))
        self.ids.append(token)
        self.ended = token in self.ends
        if self.stops and not self.ended:
            self._text = before_stop(self._decoded(), self.stops)
            self.ended = self._text is not None

    def written(self, tokens_in: int) -> Written:
        """The whole of it."""
        names = self.tokenizer.convert_ids_to_tokens(self.ids)
        tokens = tuple(TokenProbability(name, *rest) for name, rest in zip(names, self._tokens, strict=True))
        text = self._decoded() if self._text is None else self._text
        reason = FinishReason.STOP if self.ended else FinishReason.LENGTH
        return Written(text.strip(), tokens, reason, tokens_in=tokens_in, tokens_out=len(tokens))

    def _decoded(self) -> str:
        ids = self.ids[:-1] if self.ids[-1] in self.ends else self.ids
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


class _Draw:
    """The choice of each token."""

    def __init__(self, limits: GenerationLimits) -> None:
        import torch

        self._temperature = limits.temperature or 0.0
        self._generator = torch.Generator()
        if limits.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(limits.seed % 2**63)

    def of(self, logits: Any) -> int:
        """One token of the vocabulary."""
        import torch

        if self._temperature <= 0:
            return int(logits.argmax())
        chances = torch.softmax(logits.float() / self._temperature, dim=-1)
        return int(torch.multinomial(chances, 1, generator=self._generator))


def ends_of(language: LanguageModel) -> frozenset[int]:
    """Every token that ends a text: the tokenizer's, and those that the model names."""
    named = getattr(getattr(language.model, "generation_config", None), "eos_token_id", None)
    further = named if isinstance(named, list) else [named]
    return frozenset(token for token in (language.tokenizer.eos_token_id, *further) if token is not None)


def decoder_start(language: LanguageModel) -> int:
    """The token that a decoder begins with.

    Raises:
        ValueError: The model names none.
    """
    for holder in (language.model.generation_config, language.model.config):
        for name in ("decoder_start_token_id", "bos_token_id"):
            token = getattr(holder, name, None)
            if token is not None:
                return int(token)
    raise ValueError("the model names no token that its decoder begins with")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
