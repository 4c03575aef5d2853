"""What the trainer promises, and what it keeps out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cloud_worker.language import batching
from cloud_worker.language.architectures import Form, LanguageModel
from cloud_worker.language.batching import collate, encode, encode_prompt
from cloud_worker.language.examples import Example, LabelExample
from cloud_worker.language.generation import label_log_probabilities, score_texts, write
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.trainer import Schedule, fit
from router.core.domain.query import Distribution, FinishReason
from router.core.errors import BadInputError, ModelError

SIZE = Size(window=32)
COLOURS = [Example("switch red", "green"), Example("switch blue", "red light")]


def student(tokenizer: Any, family: str = "llama", seed: int = 0) -> LanguageModel:
    labels = ("red", "green") if family == "bert" else ()
    return make_model(family, tokenizer, SIZE, labels, seed)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_student_writes_what_it_was_taught_and_says_when_it_is_done(family: str, words: Any) -> None:
    model = student(words, family)
    done = fit(model, COLOURS, Schedule(steps=80, batch=2, rate=1e-2))
    found = write(model, [example.prompt for example in COLOURS], max_tokens=4)
    assert [one.text for one in found] == ["green", "red light"]
    assert all(one.finish_reason is FinishReason.STOP for one in found)
    assert done.last_loss < 0.1 * done.first_loss


def test_an_answer_that_is_cut_says_so(words: Any) -> None:
    model = student(words)
    fit(model, [Example("switch", "red green blue red green blue")], Schedule(steps=60, batch=1, rate=1e-2))
    (found,) = write(model, ["switch"], max_tokens=2)
    assert found.finish_reason is FinishReason.LENGTH
    assert len(found.tokens) == 2


def test_the_answer_is_the_same_alone_and_in_a_batch(words: Any) -> None:
    model = student(words)
    fit(model, COLOURS, Schedule(steps=20, batch=2, rate=1e-2))
    alone = write(model, ["switch red"], 4)[0]
    together = write(model, ["switch red", "switch the blue light on, the red light off"], 4)[0]
    assert alone.text == together.text
    for first, second in zip(alone.tokens, together.tokens, strict=True):
        assert first.log_probability == pytest.approx(second.log_probability, abs=1e-4)


def test_the_same_seed_trains_the_same_student(words: Any) -> None:
    models = [student(words), student(words)]
    for noise, model in enumerate(models):
        torch.manual_seed(noise)
        fit(model, COLOURS, Schedule(steps=5, seed=3))
    pairs = zip(models[0].model.parameters(), models[1].model.parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)


def test_training_leaves_the_global_random_state_alone(words: Any) -> None:
    torch.manual_seed(9)
    wanted = torch.rand(1)
    torch.manual_seed(9)
    fit(student(words), COLOURS, Schedule(steps=2))
    assert torch.equal(torch.rand(1), wanted)


def test_progress_rises_to_one(words: Any) -> None:
    heard: list[float] = []
    fit(student(words), COLOURS, Schedule(steps=4), heard.append)
    assert heard == [0.25, 0.5, 0.75, 1.0]


def test_a_weight_of_zero_teaches_nothing(words: Any) -> None:
    model = student(words)
    examples = [Example("switch red", "green", 1.0, "q"), Example("switch red", "blue", 0.0, "q")]
    fit(model, examples, Schedule(steps=60, batch=1, rate=1e-2))
    chances = score_texts(model, ["switch red"], ["green", "blue"])
    assert chances[0, 0] > math.log(0.95)


def test_weighted_texts_are_learnt_in_proportion(words: Any) -> None:
    model = student(words)
    examples = [Example("switch red", "green", 0.75, "q"), Example("switch red", "blue", 0.25, "q")]
    fit(model, examples, Schedule(steps=150, batch=1, rate=1e-2, decay=0.0))
    chances = score_texts(model, ["switch red"], ["green", "blue"])
    assert math.exp(chances[0, 0]) == pytest.approx(0.75, abs=0.08)


def test_examples_of_one_group_are_drawn_together(words: Any) -> None:
    examples = [Example("red", "on", 1.0, "a"), Example("blue", "off"), Example("green", "on", 1.0, "a")]
    groups = encode(student(words), examples).groups
    assert sorted(len(group) for group in groups) == [1, 2]


def test_soft_tokens_pull_the_student_towards_the_teachers_alternatives(words: Any) -> None:
    soft = Distribution((("green", math.log(0.6)), ("blue", math.log(0.3))), math.log(0.1))
    hard, softened = student(words), student(words)
    schedule = Schedule(steps=120, batch=1, rate=1e-2, decay=0.0)
    fit(hard, [Example("switch red", "green")], schedule)
    done = fit(softened, [Example("switch red", "green", alternatives=(soft,))], schedule)
    assert done.hardened == 0
    first = write(softened, ["switch red"], 1, top_k=2)[0].tokens[0]
    assert math.exp(first.log_probability) == pytest.approx(0.6, abs=0.08)
    assert write(hard, ["switch red"], 1)[0].tokens[0].log_probability > math.log(0.9)


def test_soft_tokens_of_another_tokenizer_are_counted_and_the_text_still_teaches(words: Any) -> None:
    strange = Distribution((("Ġgreen", -0.1),), -2.4)
    encodings = encode(student(words), [Example("switch red", "green", alternatives=(strange,))])
    assert encodings.hardened == 1
    assert len(encodings.groups) == 1


def test_a_label_head_learns_a_distribution(words: Any) -> None:
    model = student(words, "bert")
    target = Distribution((("red", math.log(0.8)), ("green", math.log(0.2))))
    fit(model, [LabelExample("switch", target)], Schedule(steps=80, batch=1, rate=1e-2))
    assert math.exp(label_log_probabilities(model, ["switch"])[0, 0]) == pytest.approx(0.8, abs=0.05)


def test_low_rank_adapters_are_merged_and_train_few_weights(words: Any) -> None:
    model = student(words)
    names = [name for name, _ in model.model.named_parameters()]
    embedding = model.model.get_input_embeddings().weight.clone()
    whole = sum(weight.numel() for weight in model.model.parameters())
    done = fit(model, COLOURS, Schedule(steps=10, rate=1e-2, rank=2))
    assert done.trained < whole / 4
    assert [name for name, _ in model.model.named_parameters()] == names
    assert torch.equal(model.model.get_input_embeddings().weight, embedding)
    assert all(weight.requires_grad for weight in model.model.parameters())
    assert done.last_loss < done.first_loss


def test_an_example_longer_than_the_window_is_kept_out_and_shown(words: Any) -> None:
    long = Example("red " * 40, "green")
    done = fit(student(words), [*COLOURS, long], Schedule(steps=1))
    assert done.kept_out == 1
    assert done.groups == 2
    assert "window of 32" in done.sample
    assert "red red" in done.sample


def test_a_label_that_the_head_does_not_have_is_kept_out(words: Any) -> None:
    examples = [LabelExample("a", Distribution((("red", 0.0),))), LabelExample("b", Distribution((("purple", 0.0),)))]
    done = fit(student(words, "bert"), examples, Schedule(steps=1))
    assert done.kept_out == 1
    assert "head" in done.sample


def test_no_lesson_at_all_is_a_clear_error(words: Any) -> None:
    with pytest.raises(ModelError, match="no lesson"):
        fit(student(words), [Example("red " * 40, "green")], Schedule(steps=1))


def test_lessons_of_the_wrong_kind_are_a_clear_error(words: Any) -> None:
    with pytest.raises(ModelError, match="another recipe"):
        fit(student(words), [LabelExample("a", Distribution((("red", 0.0),)))], Schedule(steps=1))
    with pytest.raises(ModelError, match="another recipe"):
        fit(student(words, "bert"), COLOURS, Schedule(steps=1))


def test_a_prompt_longer_than_the_window_is_refused_with_its_length(words: Any) -> None:
    with pytest.raises(BadInputError, match=r"has 42 tokens; the model's window leaves 24"):
        write(student(words), ["red " * 40], max_tokens=8)
    with pytest.raises(BadInputError, match="max_tokens"):
        write(student(words), ["red"], max_tokens=-1)
    assert encode_prompt(student(words, "t5"), "red", reserved=500)


@pytest.mark.parametrize("field", ["steps", "batch", "rate", "temperature"])
def test_a_schedule_out_of_range_names_its_field(field: str) -> None:
    with pytest.raises(BadInputError, match=field):
        Schedule(**{field: 0})
    with pytest.raises(BadInputError, match="rank"):
        Schedule(rank=-1)


def test_every_group_is_seen_before_any_comes_again(words: Any) -> None:
    from cloud_worker.language.trainer import _draws

    drawn = [position for step in _draws(10, Schedule(steps=5, batch=4)) for position in step]
    assert sorted(drawn[:10]) == list(range(10))
    assert sorted(drawn[10:20]) == list(range(10))
    assert all(len(step) == 3 for step in _draws(3, Schedule(steps=5, batch=8)))


def test_short_and_long_examples_are_padded_apart_and_teach_the_same(words: Any, monkeypatch: Any) -> None:
    mixed = [*COLOURS, Example("switch " * 9 + "red", "red " * 9 + "light")]
    losses = []
    for saved in (0, 10_000):
        monkeypatch.setattr(batching, "PART_TOKENS", saved)
        model = student(words)
        losses.append(fit(model, mixed, Schedule(steps=12, batch=3, rate=1e-3)).last_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_parts_hold_every_row_once_and_take_fewer_tokens() -> None:
    rows = [batching.Encoded((1,) * size, (2,), 1.0) for size in (3, 30, 4, 5, 3)]
    short, long = batching.by_length(rows, Form.CAUSAL)
    assert sorted(map(len, (row.prompt for row in short))) == [3, 3, 4, 5]
    assert [len(row.prompt) for row in long] == [30]


def test_many_lengths_make_many_parts() -> None:
    rows = [batching.Encoded((1,) * size, (2,), 1.0) for size in (*[5] * 20, *[15] * 20, *[60] * 20)]
    assert [len(part) for part in batching.by_length(rows, Form.CAUSAL)] == [20, 20, 20]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_rows_are_split_only_where_that_saves_padding(sizes: list[int]) -> None:
    rows = [batching.Encoded((1,) * size, (2,), 1.0) for size in sizes]
    parts = batching.by_length(rows, Form.CAUSAL)
    assert sorted(len(row.prompt) for part in parts for row in part) == sorted(sizes)
    padded = sum(len(part) * max(row.tokens(Form.CAUSAL) for row in part) for part in parts)
    in_one = len(sizes) * (max(sizes) + 1)
    assert padded + batching.PART_TOKENS * (len(parts) - 1) <= in_one


def test_what_is_predicted_stands_where_its_logits_are(words: Any) -> None:
    model = student(words)
    (group,) = encode(model, [Example("switch red", "green")]).groups
    batch = collate(model, group)
    end = words.eos_token_id
    asked = words("switch red")["input_ids"]
    green = words.convert_tokens_to_ids("green")
    assert batch.inputs["input_ids"].tolist() == [[*asked, green]]
    assert batch.targets.tolist() == [[-100] * (len(asked) - 1) + [green, end]]
