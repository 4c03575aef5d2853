"""Students that write: what they practise, and how they are fitted and measured."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from cloud_worker.language.tiny_models import make_model
from cloud_worker.language.tokenizers import word_tokenizer
from cloud_worker.releases.publisher import Publisher
from cloud_worker.training.curriculum import curriculum_of
from cloud_worker.training.fit import fit_student
from cloud_worker.training.spec import Recipe
from cloud_worker.training.text_students import LEAST_TAUGHT, WEIGHTS_FILE
from router.core.domain.query import Distribution, GenerationLimits, Query, TokenProbability
from router.core.domain.task import Judge, Kind, Task
from router.core.domain.token_codec import pack
from router.core.errors import ModelError
from router.core.learning.training_rows import FOLDS, fold_of
from router.core.policy.deferral import Policy
from router.core.release.manifest import Manifest
from router.students.text_student import TextStudent

WORDS = {"switch the light on": "lights on", "play a song": "music on", "stop the song": "music off"}
ROOMS = ("red", "green", "blue", "white", "black", "big", "small")
TASK = Task(
    "home",
    reference="big",
    kind=Kind.TEXT,
    judge=Judge.NORMALISED_TEXT,
    student="generator",
    recipe="answers",
    limits=GenerationLimits(max_tokens=8),
    options={"training": {"steps": 120, "batch": 16, "rate": 5e-3}},
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    texts = [
        *WORDS,
        *WORDS.values(),
        *ROOMS,
        "predict: explain: the answer is because Let's think step by step . Answer:",
    ]
    folder = tmp_path_factory.mktemp("base")
    make_model("llama", word_tokenizer(texts, window=64)).save(folder)
    return folder


@pytest.fixture
def rows(record):
    pairs = [(f"{text} {one} {other}", answer) for text, answer in WORDS.items() for one in ROOMS for other in ROOMS]
    return [
        record(position, text, answer, rationale="because the light") for position, (text, answer) in enumerate(pairs)
    ]


def quietly(phase, share):
    assert phase in {"fitting", "exporting"}
    assert 0 <= share <= 1


def recipe(task, base, cache):
    return Recipe(replace(task, base=str(base)), "", cache)


def test_a_student_learns_to_write_and_is_measured_on_rows_that_taught_it_nothing(rows, base, tmp_path):
    fitted = fit_student(rows, recipe(TASK, base, tmp_path), quietly)
    answers = fitted.measures.answers
    assert len(answers) == len(fitted.rows) < len(rows) / 2
    agrees = [answer == row.answer for answer, row in zip(answers, fitted.rows, strict=True)]
    assert sum(agrees) / len(agrees) > 0.9
    assert fitted.spec.prompt == "{text}"
    assert "model.safetensors" in fitted.files
    folder = next(iter(fitted.files.values())).parent
    student = TextStudent.load(folder, fitted.spec)
    assert student.read(Query("", "home", fitted.rows[0].text)).text == answers[0]


def test_one_student_at_most_lies_in_the_cache_and_a_published_one_needs_none(rows, base, tmp_path):
    quick = replace(TASK, options={"training": {"steps": 2}})
    published = tmp_path / "published"
    for seed in (0, 1):
        fitted = fit_student(rows, replace(recipe(quick, base, tmp_path), seed=seed), quietly)
        (cached,) = (tmp_path / "writers").iterdir()
        assert {Path(path).parent for path in fitted.files.values()} == {cached}
        if not published.exists():
            Publisher(published).publish(Manifest(quick, 1, 0.0, Policy(1.0), fitted.spec), fitted.files)
            weights = (cached / WEIGHTS_FILE).read_bytes()
    assert (published / "home" / "1" / WEIGHTS_FILE).read_bytes() == weights


def test_too_few_rows_teach_nothing(rows, base, tmp_path):
    assert fit_student(rows[:LEAST_TAUGHT], recipe(TASK, base, tmp_path), quietly) is None


def test_a_base_that_is_not_there_is_named(rows, tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        fit_student(rows, recipe(TASK, tmp_path / "nowhere", tmp_path), quietly)


def test_a_served_model_without_a_server_is_named(rows, tmp_path):
    served = recipe(replace(TASK, student="served"), "tiny-chat", tmp_path)
    with pytest.raises(ModelError, match="no server is set up for the model 'tiny-chat'"):
        fit_student(rows, served, quietly)


@pytest.mark.parametrize(
    ("name", "options", "prompt", "phases"),
    [
        ("", {}, "ask {text}", 1),
        ("answers", {}, "ask {text}", 1),
        ("soft-texts", {"temperature": 2.0}, "ask {text}", 1),
        ("denoise+responses", {}, "ask {text}", 2),
        ("step-by-step", {"share": 0.3}, "predict: ask {text}", 1),
        ("reasoning", {}, "ask {text}\nLet's think step by step.", 1),
        ("reasoning", {"mixture": {"steps": 1.0}, "check": "readable"}, "ask {text}\nLet's think step by step.", 1),
        ("prompt-erasure", {"rich": "You are a home. {text}"}, "ask {text}", 1),
    ],
)
def test_a_recipe_decides_what_is_practised_and_what_is_read_in_use(name, options, prompt, phases, rows):
    curriculum = curriculum_of(replace(TASK, recipe=name, options=options, prompt="ask {text}"))
    assert curriculum.prompt.wording == prompt
    given = curriculum.lessons(rows)
    assert len(given) == phases
    assert any(example.prompt == curriculum.prompt.fill(rows[0].text) for example in given[-1].examples)


def test_instructions_are_read_in_use_as_the_first_template_asks(rows):
    templates = ["do {text}", "please {text}"]
    curriculum = curriculum_of(replace(TASK, recipe="instructions", options={"templates": templates}))
    assert curriculum.prompt.wording == "do {text}"
    (lessons,) = curriculum.lessons(rows)
    assert {example.prompt.split()[0] for example in lessons.examples} == {"do", "please"}


def test_instructions_mix_other_tasks_in_their_own_wording_and_by_their_own_judge(record):
    own = replace(TASK, recipe="instructions", options={"templates": ["do {text}"], "tasks": ["calls", "plain"]})
    calls = Task("calls", "big", kind=Kind.TEXT, judge=Judge.TOOL_CALL, recipe="instructions")
    calls = replace(calls, options={"templates": ["call {text}"]})
    plain = Task("plain", "big", kind=Kind.TEXT, judge=Judge.NORMALISED_TEXT, prompt="say {text}")
    rows = [
        record(1, "lamp", "on"),
        record(2, "lamp", '[{"name": "on", "arguments": {}}]', task="calls"),
        record(3, "fog", "no call", task="calls"),
        record(4, "lamp", "a lamp", task="plain"),
    ]
    (lessons,) = curriculum_of(own, [calls, plain]).lessons(rows)
    assert [example.prompt for example in lessons.examples] == ["do lamp", "call lamp", "say lamp"]
    assert lessons.kept_out == 1


@pytest.mark.parametrize(
    ("judge", "options", "taught"),
    [
        (Judge.NUMBER, {}, ["2 + 1 = 3."]),
        (Judge.NORMALISED_TEXT, {}, ["2 + 1 = 3.", "the lamp is red.", "2 + 1 = 4."]),
        (Judge.NORMALISED_TEXT, {"check": "reaches-answer"}, ["2 + 1 = 3."]),
    ],
)
def test_reasoning_checks_steps_as_the_judge_compares_answers(judge, options, taught, record):
    rows = [
        record(1, "2 and 1?", "3", rationale="2 + 1 = 3."),
        record(2, "which lamp?", "red", rationale="the lamp is red."),
        record(3, "1 and 2?", "3", rationale="2 + 1 = 4."),
    ]
    mixed = {"mixture": {"plain": 0, "shown_steps": 0, "shown_plain": 0}, **options}
    (lessons,) = curriculum_of(replace(TASK, judge=judge, recipe="reasoning", options=mixed)).lessons(rows)
    assert [example.target.split(" the answer is")[0] for example in lessons.examples] == taught


@pytest.mark.parametrize("recipe", ["responses", "prompt-erasure", "reasoning"])
def test_a_reason_that_is_written_first_is_no_part_of_the_answer_in_use(recipe):
    options = {"rationales": True} | ({"rich": "Think. {text}"} if recipe == "prompt-erasure" else {})
    assert curriculum_of(replace(TASK, recipe=recipe, options=options)).answer_after == "the answer is"


def test_denoising_practises_on_queries_whose_answers_teach_nothing(record):
    task = replace(TASK, judge=Judge.TOOL_CALL, recipe="denoise+answers")
    rows = [
        record(1, "switch the light on", '[{"name": "on", "arguments": {}}]'),
        record(2, "what fog is that", "well, no call"),
    ]
    queries = [record(3, "an old query of yesterday", "?")]
    practised, taught = curriculum_of(task).lessons(rows, queries)
    assert len(practised.examples) == 3
    assert [example.prompt for example in taught.examples] == ["switch the light on"]


def test_a_student_whose_queries_are_too_short_to_denoise_is_taught_all_the_same(record, base, tmp_path):
    rows = [
        record(position, f"{one} {other}", "lights on") for position, (one, other) in enumerate(product(ROOMS, ROOMS))
    ]
    task = replace(TASK, recipe="denoise+answers", options={"training": {"steps": 2}})
    assert fit_student(rows, recipe(task, base, tmp_path), quietly) is not None


def test_a_truncated_start_keeps_the_first_layers(rows, base, tmp_path):
    options = {"layers": 1, "training": {"steps": 2}}
    fitted = fit_student(rows[:60], recipe(replace(TASK, options=options), base, tmp_path), quietly)
    assert json.loads(fitted.files["config.json"].read_text())["num_hidden_layers"] == 1


def test_a_base_with_too_few_layers_is_named(rows, base, tmp_path):
    with pytest.raises(ModelError, match="no 9 layers"):
        fit_student(rows, recipe(replace(TASK, options={"layers": 9}), base, tmp_path), quietly)


def test_soft_tokens_that_became_plain_text_are_told(rows, base, tmp_path, caplog):
    foreign = TokenProbability("\u0120lights", -0.1, Distribution((("\u0120lights", -0.1),), -2.3))
    rows = [replace(row, rationale="", tokens=pack((foreign, foreign))) for row in rows]
    rows = [*rows[:60], replace(rows[60], tokens=b"")]
    task = replace(TASK, recipe="soft-tokens", options={"training": {"steps": 2}})
    fitted = fit_student(rows, recipe(task, base, tmp_path), quietly)
    taught = [row for row in rows if fold_of(row, FOLDS) != 0]
    bare = sum(not row.tokens for row in taught)
    assert f"learned {len(taught)} of {len(taught)} answers as plain text: {bare} came without" in fitted.remark
    assert fitted.remark in caplog.text


def test_nothing_is_told_of_lessons_that_are_as_the_recipe_says(rows, base, tmp_path):
    task = replace(TASK, options={"training": {"steps": 2}})
    assert fit_student(rows[:60], recipe(task, base, tmp_path), quietly).remark == ""


def test_answers_that_must_be_json_and_are_not_are_kept_out_and_shown(record):
    task = replace(TASK, judge=Judge.TOOL_CALL)
    rows = [record(1, "lamp", '[{"name": "on", "arguments": {}}]'), record(2, "fog", "well, turn it on")]
    (lessons,) = curriculum_of(task).lessons(rows)
    assert [example.prompt for example in lessons.examples] == ["lamp"]
    assert lessons.kept_out == 1
    assert "well, turn it on" in lessons.sample


def test_a_text_that_came_twice_teaches_its_latest_answer(record):
    (lessons,) = curriculum_of(TASK).lessons([record(1, "lamp", "old"), record(2, "lamp", "new")])
    assert [example.target for example in lessons.examples] == ["new"]
