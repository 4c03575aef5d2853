"""The loss over top-k with a tail bucket."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from cloud_worker.language.topk_loss import ABSENT, collapse, topk_loss

VOCABULARY = 7
logit_rows = st.lists(st.floats(-8, 8, width=32), min_size=VOCABULARY, max_size=VOCABULARY)


def known(teacher: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The teacher's likeliest ``k`` and its tail, from its logits."""
    whole = functional.log_softmax(teacher.double(), dim=-1)
    best = whole.topk(k, dim=-1)
    rest = whole.scatter(-1, best.indices, -torch.inf)
    return best.indices, best.values.float(), torch.logsumexp(rest, dim=-1).float()


@given(logit_rows, logit_rows, st.integers(1, VOCABULARY - 1), st.floats(0.5, 4))
@settings(max_examples=60, deadline=None)
def test_the_loss_is_never_negative_and_is_zero_for_the_teacher_itself(
    student: list[float], teacher: list[float], k: int, temperature: float
) -> None:
    target = known(torch.tensor([teacher]), k)
    assert topk_loss(torch.tensor([student]), *target, temperature).item() >= 0
    assert topk_loss(torch.tensor([teacher]), *target, temperature).item() == pytest.approx(0, abs=1e-4)


@given(logit_rows, logit_rows)
@settings(max_examples=40, deadline=None)
def test_with_every_label_known_it_is_the_divergence(student: list[float], teacher: list[float]) -> None:
    first, second = torch.tensor([student]), torch.tensor([teacher])
    target = known(second, VOCABULARY)
    whole = functional.kl_div(
        first.log_softmax(-1), second.log_softmax(-1), reduction="batchmean", log_target=True
    ).item()
    assert topk_loss(first, target[0], target[1], torch.tensor([-torch.inf])).item() == pytest.approx(whole, abs=1e-3)


def test_the_tail_keeps_a_top_one_loss_from_being_trivially_zero() -> None:
    top, value = torch.tensor([[2]]), torch.tensor([[math.log(0.6)]])
    wrong = torch.tensor([[9.0, 0.0, 0.0, 0.0]])
    with_tail = topk_loss(wrong, top, value, torch.tensor([math.log(0.4)]))
    renormalised = functional.softmax(value, dim=-1)  # what a loss over the named tokens alone would compare
    assert renormalised.item() == 1.0
    assert with_tail.item() > 1.0


def test_a_top_one_loss_moves_the_student_to_the_teachers_probability_and_no_further() -> None:
    logits = torch.zeros(1, 5, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.1)
    top, value, tail = torch.tensor([[3]]), torch.tensor([[math.log(0.7)]]), torch.tensor([math.log(0.3)])
    for _ in range(200):
        optimiser.zero_grad()
        torch.autograd.backward(topk_loss(logits, top, value, tail).sum())
        optimiser.step()
    assert logits.softmax(-1)[0, 3].item() == pytest.approx(0.7, abs=0.01)


def test_rows_may_name_fewer_than_k_tokens() -> None:
    logits = torch.randn(1, 6, generator=torch.Generator().manual_seed(1))
    short = topk_loss(logits, torch.tensor([[4]]), torch.tensor([[-0.5]]), torch.tensor([math.log1p(-math.exp(-0.5))]))
    padded = topk_loss(
        logits,
        torch.tensor([[4, ABSENT, ABSENT]]),
        torch.tensor([[-0.5, 0.0, 0.0]]),
        torch.tensor([math.log1p(-math.exp(-0.5))]),
    )
    assert padded.item() == pytest.approx(short.item(), abs=1e-6)


def test_the_gradient_is_finite_when_nothing_is_left_for_the_tail() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)
    loss = topk_loss(logits, torch.tensor([[0, 1]]), torch.tensor([[-0.1, -2.35]]), torch.tensor([-torch.inf]))
    torch.autograd.backward(loss.sum())
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_students_buckets_sum_to_one() -> None:
    logits = torch.tensor([[40.0, 1.0, 0.0, -3.0]])
    assert collapse(logits, torch.tensor([[0, 2]])).exp().sum().item() == pytest.approx(1.0)


def test_a_temperature_flattens_what_is_learnt() -> None:
    top, value, tail = torch.tensor([[0, 1]]), torch.tensor([[-0.05, -4.0]]), torch.tensor([-torch.inf])
    even = torch.zeros(1, 2)
    cold, warm = (topk_loss(even, top, value, tail, temperature) / temperature**2 for temperature in (1.0, 8.0))
    assert warm.item() < cold.item()


def test_a_temperature_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        topk_loss(torch.zeros(1, 2), torch.tensor([[0]]), torch.tensor([[0.0]]), torch.tensor([-torch.inf]), 0.0)
