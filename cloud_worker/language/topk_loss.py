"""The loss against a teacher of which only the likeliest k tokens (or labels) are known.

The k that are known and one tail bucket, log(1 - sum), make a whole distribution; the student's is put into the same
buckets. Without the tail a top-1 answer renormalises to certainty on both sides, and its loss is zero for any student.

Laws:
 * At least 0, and 0 exactly when the student agrees with the teacher in every bucket.
 * With every label known and temperature 1 it is the Kullback-Leibler divergence; with a temperature it is Hinton et
   al. 2015, times the temperature squared, so that gradients keep their size.
"""

from __future__ import annotations

import torch
from torch.nn import functional

ABSENT = -1
NOTHING = -1e30  # a log-probability of zero that stays finite, so that gradients do


def topk_loss(
    logits: torch.Tensor,
    top: torch.Tensor,
    log_probabilities: torch.Tensor,
    tail: torch.Tensor,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Divergence of the student from the teacher, row by row.

    With a temperature the buckets are tempered, the tail as one: an approximation where a tail is left.

    Args:
        logits: The student's, (rows, vocabulary).
        top: Ids of the teacher's likeliest, (rows, k); ``ABSENT`` where a row has fewer.
        log_probabilities: Theirs, natural, (rows, k).
        tail: log(1 - sum of the others), (rows,); ``-inf`` when none is left out.
        temperature: Above 0.

    Returns:
        (rows,), in nats, each at least 0.

    Raises:
        ValueError: A temperature that is not above 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; use a number above 0")
    student = functional.log_softmax(collapse(logits, top) / temperature, dim=-1)
    known = log_probabilities.masked_fill(top == ABSENT, NOTHING)
    buckets = torch.cat([known, tail.unsqueeze(-1)], dim=-1).clamp(min=NOTHING)  # (rows, k + 1)
    teacher = functional.log_softmax(buckets / temperature, dim=-1)
    weights = teacher.exp()
    terms = torch.where(weights > 0, weights * (teacher - student), torch.zeros_like(weights))
    return terms.sum(-1).clamp(min=0) * temperature**2


def collapse(logits: torch.Tensor, top: torch.Tensor) -> torch.Tensor:
    """The student's log-probabilities in the teacher's buckets: (rows, vocabulary), (rows, k) -> (rows, k + 1).

    The last bucket holds everything that is not in ``top``; it is summed, not subtracted, so that it keeps its digits.
    """
    absent = top == ABSENT
    ids = top.clamp(min=0)
    whole = functional.log_softmax(logits, dim=-1)
    named = whole.gather(-1, ids).masked_fill(absent, NOTHING)
    hits = torch.zeros_like(whole).scatter_add(-1, ids, (~absent).to(whole.dtype))
    rest = torch.logsumexp(whole.masked_fill(hits > 0, NOTHING), dim=-1, keepdim=True)
    return torch.cat([named, rest.clamp(min=NOTHING)], dim=-1)
