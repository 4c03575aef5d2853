"""What a student or teacher says: greedy texts with token probabilities, and label texts scored under a prompt.

Rules:
 * Greedy: the same prompt gives the same answer, alone or in a batch, up to rounding. What a model's folder says of
   penalties and draws is left aside, and any token that it names as an end is one.
 * A label's score is the log-probability of its whole text after the prompt, as running text, normalised over the
   labels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig

from cloud_worker.language.architectures import Form, LanguageModel
from cloud_worker.language.batching import IGNORED, Batch, Encoded, collate, encode_prompt
from router.core.domain.generation import Written
from router.core.domain.query import FinishReason, TokenProbability
from router.core.errors import BadInputError, ModelError, TooLongError
from router.students.writers.local_writer import FAILURES, alternatives, decoder_start, ends_of, failure, most_tokens

BATCH = 64
_LEAST_REST = 1e-9  # share of a text's probability that stays its own, whatever rounding says


def write(language: LanguageModel, prompts: Sequence[str], max_tokens: int = 64, top_k: int = 0) -> list[Written]:
    """Answer prompts greedily.

    Args:
        language: A model that writes.
        prompts: In the form that it was trained on.
        max_tokens: Most new tokens, at least 1.
        top_k: How many alternatives to report for each token.

    Raises:
        BadInputError: A prompt longer than the window leaves, or a limit below 1.
        ModelError: A model with a label head, or one that failed.
    """
    if max_tokens < 1:
        raise BadInputError("limits.max_tokens", f"is {max_tokens}; use at least 1")
    if language.form is Form.LABELS:
        raise ModelError("a student with a label head writes no text; ask it for labels")
    return write_ids(language, [encode_prompt(language, prompt, max_tokens) for prompt in prompts], max_tokens, top_k)


def write_ids(
    language: LanguageModel, prompts: Sequence[Sequence[int]], max_tokens: int, top_k: int = 0
) -> list[Written]:
    """Answer prompts that are token ids already, greedily, as ``LocalWriter`` would each alone.

    Args:
        language: A model that writes.
        prompts: None of them empty; those of a causal model leave ``max_tokens`` of the window.
        max_tokens: Most new tokens, at least 1.
        top_k: How many alternatives to report for each token.

    Raises:
        ModelError: The model failed.
    """
    most = most_tokens(language, max_tokens, 0)
    found: list[Written] = []
    for start in range(0, len(prompts), BATCH):
        try:
            found += _write_batch(language, prompts[start : start + BATCH], most, top_k)
        except FAILURES as error:
            raise failure(error, f"{len(prompts)} prompts") from error
    return found


def label_log_probabilities(language: LanguageModel, prompts: Sequence[str]) -> NDArray[np.float64]:
    """A label head's answers: (prompts, labels), natural logarithms.

    Raises:
        BadInputError: A prompt longer than the window.
    """
    rows = [Encoded(encode_prompt(language, prompt), (), 1.0) for prompt in prompts]
    found = [_label_batch(language, rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
    return np.concatenate(found) if found else np.zeros((0, len(language.labels)))


def score_texts(language: LanguageModel, prompts: Sequence[str], texts: Sequence[str]) -> NDArray[np.float64]:
    """How likely each text is after each prompt: (prompts, texts), natural logarithms that sum to one over the texts.

    Prompt and text are read as one running text, as models are trained, and a text that begins another one counts
    without it. Where an end closes the prompt, or an encoder reads it, the text stands alone and its own end counts.

    Raises:
        BadInputError: A prompt that leaves no room for a text.
    """
    rows = [row for prompt in prompts for row in _continuations(language, prompt, texts)]
    sums = [_text_batch(language, rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
    scores = np.concatenate(sums).reshape(len(prompts), len(texts)) if sums else np.zeros((0, len(texts)))
    for position, own in enumerate(scores):
        begin = position * len(texts)
        own[:] = _apart(own, [row.target for row in rows[begin : begin + len(texts)]])
    return np.asarray(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))


def said_after(language: LanguageModel, prompt: str, text: str) -> str:
    """A text as it goes on from a prompt: after a space, unless the prompt ends in one or is read apart from it."""
    return text if _is_apart(language, prompt) or prompt[-1:].isspace() else f" {text}"


def _is_apart(language: LanguageModel, prompt: str) -> bool:
    """Whether a prompt is no running text: an encoder reads it, or the tokenizer puts an end behind it."""
    tokenizer = language.tokenizer
    return language.form is not Form.CAUSAL or tokenizer(prompt)["input_ids"][-1:] == [tokenizer.eos_token_id]


def _continuations(language: LanguageModel, prompt: str, texts: Sequence[str]) -> list[Encoded]:
    """A row for each text after a prompt.

    Raises:
        BadInputError: A prompt that leaves no room for a text.
    """
    tokenizer = language.tokenizer
    if _is_apart(language, prompt):
        alone = [(*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id) for text in texts]
        read = encode_prompt(language, prompt, max(len(target) for target in alone))
        return [Encoded(read, target, 1.0) for target in alone]
    opened = prompt + said_after(language, prompt, "")
    wholes = [tuple(tokenizer(opened + text)["input_ids"]) for text in texts]
    longest = max(len(whole) for whole in wholes)
    if longest > language.window:
        raise TooLongError(f"has {longest} tokens with the longest text; the model's window is {language.window}")
    shared = _shared(tuple(tokenizer(prompt)["input_ids"]), wholes)
    return [Encoded(whole[:shared], whole[shared:], 1.0) for whole in wholes]


def _shared(prompt: tuple[int, ...], wholes: Sequence[tuple[int, ...]]) -> int:
    """How many tokens of a prompt stand in front of every text: its last one may have merged with a text's first."""
    most = min(len(prompt), *(len(whole) - 1 for whole in wholes))
    sizes = range(most, 1, -1)
    return next((size for size in sizes if all(whole[:size] == prompt[:size] for whole in wholes)), 1)


def _apart(scores: NDArray[np.float64], targets: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
    """What each text has for itself: (texts,), without what goes on to a longer text that begins with it."""
    own = scores.copy()
    for position in sorted(range(len(targets)), key=lambda position: -len(targets[position])):
        size = len(targets[position])
        longer = [
            own[other]
            for other, target in enumerate(targets)
            if len(target) > size and target[:size] == targets[position]
        ]
        if longer:
            taken = min(np.exp(np.logaddexp.reduce(longer) - scores[position]), 1.0 - _LEAST_REST)
            own[position] += np.log1p(-taken)
    return own


@torch.inference_mode()
def _label_batch(language: LanguageModel, rows: Sequence[Encoded]) -> NDArray[np.float64]:
    logits = _logits(language, collate(language, rows))
    return np.asarray(functional.log_softmax(logits, dim=-1).numpy())


def _logits(language: LanguageModel, batch: Batch) -> torch.Tensor:
    """(rows, outputs) of a label head, (rows, positions, vocabulary) of a model that writes."""
    inputs = {name: values.to(language.model.device) for name, values in batch.inputs.items()}
    return language.model(**inputs).logits.double().cpu()


@torch.inference_mode()
def _text_batch(language: LanguageModel, rows: Sequence[Encoded]) -> NDArray[np.float64]:
    batch = collate(language, rows)
    logits = _logits(language, batch)
    held = batch.targets.clamp(min=0).unsqueeze(-1)
    each = functional.log_softmax(logits, dim=-1).gather(-1, held).squeeze(-1)
    return np.asarray((each * (batch.targets != IGNORED)).sum(1).numpy())


@torch.inference_mode()
def _write_batch(
    language: LanguageModel, prompts: Sequence[Sequence[int]], max_tokens: int, top_k: int
) -> list[Written]:
    ends = ends_of(language)
    ids, mask = _side_by_side(language, prompts)
    given = _greedy(language, ends, max_tokens).generate(input_ids=ids, attention_mask=mask)
    steps = functional.log_softmax(torch.stack(given.logits, dim=1).float().cpu(), dim=-1)  # (rows, steps, vocabulary)
    chosen = given.sequences[:, -steps.shape[1] :].cpu()
    written = [_written(language.tokenizer, ends, *row, top_k) for row in zip(chosen, steps, strict=True)]
    return [
        replace(text, tokens_in=len(prompt), tokens_out=len(text.tokens))
        for text, prompt in zip(written, prompts, strict=True)
    ]


def _side_by_side(language: LanguageModel, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, (rows, tokens): a causal model goes on at the right, an encoder counts positions from the left."""
    tensors = [torch.tensor(prompt) for prompt in prompts]
    side = "left" if language.form is Form.CAUSAL else "right"
    pad = language.tokenizer.pad_token_id
    ids = pad_sequence(tensors, batch_first=True, padding_value=pad, padding_side=side)
    mask = pad_sequence([torch.ones_like(one) for one in tensors], batch_first=True, padding_side=side)
    device = language.model.device
    return ids.to(device), mask.to(device)


def _greedy(language: LanguageModel, ends: frozenset[int], max_tokens: int) -> Any:
    """The model, sharing its weights, without what its folder says of penalties, beams and draws."""
    model = copy.copy(language.model)
    start = {"decoder_start_token_id": decoder_start(language)} if language.form is Form.SEQ2SEQ else {}
    model.generation_config = GenerationConfig(
        max_new_tokens=max_tokens,
        do_sample=False,
        num_beams=1,
        pad_token_id=language.tokenizer.pad_token_id,
        eos_token_id=sorted(ends),
        return_dict_in_generate=True,
        output_logits=True,
        **start,
    )
    return model


def _written(tokenizer: Any, ends: frozenset[int], chosen: torch.Tensor, steps: torch.Tensor, top_k: int) -> Written:
    ids = chosen.tolist()
    length = next((position for position, token in enumerate(ids, 1) if token in ends), len(ids))
    ended = ids[length - 1] in ends
    names = tokenizer.convert_ids_to_tokens(ids[:length])
    tokens = tuple(
        TokenProbability(
            names[position], float(steps[position, ids[position]]), alternatives(tokenizer, steps[position], top_k)
        )
        for position in range(length)
    )
    text = tokenizer.decode(ids[: length - ended], skip_special_tokens=True).strip()
    return Written(text, tokens, FinishReason.STOP if ended else FinishReason.LENGTH)
