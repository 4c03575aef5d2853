"""What each recipe changes, and what it keeps out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_worker.language.recipes import RECIPES, choose
from cloud_worker.language.recipes.denoise import MIXTURE, Denoiser, corrupt, denoise
from cloud_worker.language.recipes.few_shot import Ensemble, few_shot
from cloud_worker.language.recipes.instructions import instructions
from cloud_worker.language.recipes.prompt_erasure import prompt_erasure
from cloud_worker.language.recipes.reasoning import Mixture, reasoning
from cloud_worker.language.recipes.responses import ALPACA, answers, responses
from cloud_worker.language.recipes.soft_labels import hard_labels, soft_labels, soft_texts
from cloud_worker.language.recipes.step_by_step import step_by_step
from cloud_worker.language.templates import Pattern, Template
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import MODES, SENTINELS
from cloud_worker.language.trainer import Schedule
from router.core.domain.record import Record
from router.core.errors import BadInputError, ConfigError

Row = Callable[..., Record]
WORKED = {"text": "1 + 2 + 3?", "answer": "6", "rationale": "1 + 2 = 3. 3 + 3 = 6."}


def test_soft_labels_keep_the_teachers_doubt_and_hard_ones_drop_it(row: Row) -> None:
    records = [row(labels=("lights_on", "lights_off"), log_probabilities=(-0.2, -2.0), tail_log_probability=-3.0)]
    (soft,), (hard,) = soft_labels(records).examples, hard_labels(records).examples
    assert soft.distribution.top == (("lights_on", -0.2), ("lights_off", -2.0))
    assert soft.distribution.tail == -3.0
    assert hard.distribution.top == (("lights_on", 0.0),)
    assert hard.distribution.tail is None


def test_soft_labels_of_a_teacher_that_gave_none_are_its_answer(row: Row) -> None:
    assert soft_labels([row()]).examples == hard_labels([row()]).examples


def test_soft_labels_for_a_student_that_writes_are_weighted_texts(row: Row) -> None:
    record = row(labels=("on", "off", "dim"), log_probabilities=(math.log(0.6), math.log(0.3), math.log(0.1)))
    cold = soft_texts([record]).examples
    assert [(one.target, round(one.weight, 3)) for one in cold] == [("on", 0.6), ("off", 0.3), ("dim", 0.1)]
    assert len({one.group for one in cold}) == 1
    warm = soft_texts([record], temperature=10.0).examples
    assert warm[0].weight < cold[0].weight
    assert sum(one.weight for one in soft_texts([record], most=2).examples) == pytest.approx(1.0)


def test_a_row_whose_labels_and_probabilities_differ_in_number_is_kept_out(row: Row) -> None:
    lessons = soft_labels([row(labels=("a", "b"), log_probabilities=(-0.1,)), row()])
    assert (len(lessons.examples), lessons.kept_out) == (1, 1)


def test_responses_teach_the_whole_response_under_one_template(row: Row) -> None:
    (example,) = responses([row(**WORKED)]).examples
    assert example.prompt == ALPACA.fill("1 + 2 + 3?")
    assert example.target == "1 + 2 = 3. 3 + 3 = 6. the answer is 6"
    assert responses([row()]).examples[0].target == "lights_on"


def test_answers_leave_the_rationale_out(row: Row) -> None:
    assert answers([row(**WORKED)]).examples[0].target == "6"


def test_step_by_step_makes_two_tasks_of_one_row_and_splits_the_loss(row: Row) -> None:
    label, reason = step_by_step([row(**WORKED)], share=0.7).examples
    assert (label.prompt, label.target, label.weight) == ("predict: 1 + 2 + 3?", "6", 0.7)
    assert (reason.prompt, reason.target) == ("explain: 1 + 2 + 3?", WORKED["rationale"])
    assert reason.weight == pytest.approx(0.3)
    assert label.group == reason.group


def test_step_by_step_is_half_and_half_unless_told_and_label_only_at_one(row: Row) -> None:
    assert [one.weight for one in step_by_step([row(**WORKED)]).examples] == [0.5, 0.5]
    assert len(step_by_step([row(**WORKED)], share=1.0).examples) == 1
    with pytest.raises(BadInputError, match="share"):
        step_by_step([], share=0.0)


@pytest.mark.parametrize(
    ("rationale", "problem"),
    [("", "no rationale"), ("a\ufffdb", "not text"), ("a\x00b", "not text"), ("word " * 500, "more than 400 words")],
)
def test_a_rationale_that_can_not_be_read_is_kept_out_counted_and_shown(rationale: str, problem: str, row: Row) -> None:
    lessons = step_by_step([row(**WORKED), row(rationale=rationale, number=1)])
    assert lessons.kept_out == 1
    assert problem in lessons.sample
    assert len(lessons.sample) < 300
    assert len(lessons.examples) == 2


def test_instructions_ask_a_task_in_several_ways_and_the_same_row_always_in_one(row: Row) -> None:
    templates = {"home": [Template("Do: {text}"), Template("{text} What is meant?"), Template("Name it. {text}")]}
    records = [row(number=number) for number in range(60)]
    first = instructions(records, templates).examples
    assert len({one.prompt for one in first}) == 3
    assert instructions(records, templates).examples == first


def test_instructions_mix_tasks_and_cap_the_frequent_one(row: Row) -> None:
    templates = {"home": [Template()], "rare": [Template("rare: {text}")]}
    records = [*(row(number=number) for number in range(40)), *(row(task="rare", number=number) for number in range(5))]
    lessons = instructions(records, templates, cap=10)
    weight = dict.fromkeys(templates, 0.0)
    for record, example in zip(records, lessons.examples, strict=True):
        weight[record.task] += example.weight
    assert weight == {"home": pytest.approx(10.0), "rare": pytest.approx(5.0)}


def test_instructions_refuse_a_task_without_a_template(row: Row) -> None:
    with pytest.raises(ConfigError, match="home"):
        instructions([row()], {"other": [Template()]})


def test_prompt_erasure_takes_the_instruction_away_and_keeps_the_response(row: Row) -> None:
    rich = Template("You are careful. Think in steps, check twice.\n{text}\nNow answer.")
    asked = row(**(WORKED | {"text": rich.fill("1 + 2 + 3?")}))
    (example,) = prompt_erasure([asked], rich).examples
    assert example.prompt == "1 + 2 + 3?"
    assert example.target.endswith("the answer is 6")
    bare, lean = prompt_erasure([row(**WORKED)], rich, Template("Q: {text}")).examples[0], "Q: 1 + 2 + 3?"
    assert bare.prompt == lean


def test_reasoning_mixes_four_forms_of_a_row(row: Row) -> None:
    records = [row(**WORKED, number=0), row(text="2 * 4?", answer="8", rationale="2 * 4 = 8.", number=1)]
    lessons = reasoning(records, Mixture(0.4, 0.1, 0.4, 0.1))
    second = [one for one in lessons.examples if one.group == lessons.examples[-1].group]
    assert [round(one.weight, 2) for one in second] == [0.4, 0.1, 0.4, 0.1]
    assert second[0].target == "2 * 4 = 8. the answer is 8"
    assert second[1].target == "8"
    assert WORKED["text"] in second[2].prompt
    assert WORKED["rationale"] in second[2].prompt
    assert WORKED["rationale"] not in second[3].prompt
    first = [one for one in lessons.examples if one.group == lessons.examples[0].group]
    assert [one.weight for one in first] == [pytest.approx(0.8), pytest.approx(0.2)]


def test_reasoning_keeps_out_steps_that_do_not_reach_their_answer(row: Row) -> None:
    lessons = reasoning([row(**(WORKED | {"answer": "7"})), row(**WORKED, number=1), row(number=2, rationale="so on")])
    assert lessons.kept_out == 2
    assert "does not reach" in lessons.sample
    with pytest.raises(BadInputError, match="mixture"):
        Mixture(0, 0, 0, 0)


@given(
    st.lists(st.text(alphabet="abcxyz", min_size=1, max_size=4), min_size=3, max_size=60),
    st.integers(0, 2**16),
    st.sampled_from(MIXTURE),
)
def test_a_denoised_query_can_be_put_together_again(words: list[str], seed: int, denoiser: Denoiser) -> None:
    prompt, target = corrupt(words, denoiser, np.random.default_rng(seed))
    hidden: dict[str, list[str]] = {}
    for word in target.split():
        if word in SENTINELS:
            hidden[word] = []
        else:
            hidden[list(hidden)[-1]].append(word)
    again = [one for word in prompt.split() for one in hidden.get(word, [word])]
    assert again == words
    assert all(hidden.values())
    assert any(word not in SENTINELS for word in prompt.split())


def test_denoise_mixes_its_denoisers_and_reads_no_answer(row: Row) -> None:
    records = [row(text=f"switch light {number} on in the kitchen now", number=number) for number in range(300)]
    examples = denoise(records, seed=1).examples
    modes = [one.prompt.split()[0] for one in examples]
    assert set(modes) == set(MODES)
    assert modes.count(MODES[2]) / len(modes) == pytest.approx(0.5, abs=0.1)
    assert not any("lights_on" in one.prompt + one.target for one in examples)
    assert denoise(records, seed=1).examples == examples
    assert denoise([row(text="on")]).kept_out == 1


def test_few_shot_soft_labels_queries_that_have_no_label(row: Row, words: Any) -> None:
    labelled = [
        row("switch the red light", "lights_on", number=1),
        row("switch the blue light", "lights_off", number=2),
    ]
    unlabelled = [row("the red light", "?", number=3), row("the blue light", "?", number=4)]
    patterns = (
        Pattern(Template("{text} it is"), (("lights_on", "on"), ("lights_off", "off"))),
        Pattern(Template("switch: {text}"), (("lights_on", "green"), ("lights_off", "red"))),
    )
    start = make_model("llama", words, Size(window=48))
    before = {name: value.clone() for name, value in start.model.state_dict().items()}
    ensemble = Ensemble(patterns, Schedule(steps=60, batch=2, rate=1e-2), generations=2)
    heard: list[float] = []
    found = few_shot(labelled, unlabelled, start, ensemble, heard.append)
    assert [(one.text, one.answer) for one in found] == [
        ("the red light", "lights_on"),
        ("the blue light", "lights_off"),
    ]
    assert all(one.labels[0] == one.answer and one.log_probabilities[0] < 0 for one in found)
    assert all(sum(map(math.exp, one.log_probabilities)) == pytest.approx(1.0) for one in found)
    assert heard == [0.5, 1.0]
    assert all(value.equal(before[name]) for name, value in start.model.state_dict().items())


def test_few_shot_without_rows_or_patterns_is_a_clear_error(row: Row, words: Any) -> None:
    with pytest.raises(BadInputError, match="patterns"):
        Ensemble((), Schedule(steps=1))
    with pytest.raises(BadInputError, match="labelled"):
        few_shot([], [row()], make_model("llama", words), Ensemble((Pattern(Template()),), Schedule(steps=1)))


@pytest.mark.parametrize("wording", ["no field", "{text} and {text}", "{query}", ""])
def test_a_template_without_its_field_is_refused(wording: str) -> None:
    with pytest.raises(ConfigError, match=r"\{text\}"):
        Template(wording)


@given(st.text())
def test_a_template_gives_its_query_back_whatever_it_holds(text: str) -> None:
    template = Template("before {text} after")
    assert template.strip(template.fill(text)) == text


def test_a_verbaliser_says_a_label_by_its_name_unless_told() -> None:
    pattern = Pattern(Template(), (("lights_on", "yes"), ("bad", " ")))
    assert (pattern.say("lights_on"), pattern.say("lights_off")) == ("yes", "lights off")
    with pytest.raises(ConfigError, match="bad"):
        pattern.say("bad")


def test_a_recipe_is_chosen_by_name_with_its_options(row: Row) -> None:
    assert choose("step-by-step", share=0.9)([row(**WORKED)]).examples[0].weight == 0.9
    with pytest.raises(ConfigError, match=r"steps.*use one of .*step-by-step"):
        choose("steps")
    with pytest.raises(ConfigError, match="it takes share, check"):
        choose("step-by-step", shares=0.9)
    with pytest.raises(ConfigError, match="rich"):
        choose("prompt-erasure")


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"instructions", "prompt-erasure"}))
def test_no_rows_make_no_lessons(name: str) -> None:
    assert choose(name)([]).examples == ()
