"""Students that write: what they practise, and how they are fitted and measured."""

from dataclasses import replace

import pytest

from cloud_worker.language.families import make_model
from cloud_worker.language.tokenizing import word_tokenizer
from cloud_worker.refresh.curriculum import curriculum_of
from cloud_worker.refresh.distil import Recipe
from cloud_worker.refresh.fitting import fit_student
from cloud_worker.refresh.generate import LEAST_TAUGHT, schedule_of
from router.errors import ConfigError, ModelError
from router.query import GenerationLimits, Query
from router.task import Judge, Kind, Task
from router.text_student import TextStudent

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
    return [record(place, text, answer, rationale="because the light") for place, (text, answer) in enumerate(pairs)]


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
        ("step-by-step", {"share": 0.3}, "predict: {text}", 1),
        ("reasoning", {}, "{text}\nLet's think step by step.", 1),
        ("instructions", {"templates": ["do {text}", "please {text}"]}, "do {text}", 1),
        ("prompt-erasure", {"rich": "You are a home. {text}"}, "ask {text}", 1),
    ],
)
def test_a_recipe_decides_what_is_practised_and_what_is_read_in_use(name, options, prompt, phases, rows):
    task = replace(TASK, recipe=name, options=options, prompt="ask {text}")
    curriculum = curriculum_of(task)
    assert curriculum.prompt.wording == prompt
    given = curriculum.lessons(rows)
    assert len(given) == phases
    assert any(example.prompt == curriculum.prompt.fill(rows[0].text) for example in given[-1].examples) or name in (
        "instructions",
        "reasoning",
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"recipe": "magic"}, "magic"),
        ({"recipe": "soft-labels"}, "soft-labels"),
        ({"recipe": "prompt-erasure", "options": {}}, "options.rich"),
        ({"recipe": "answers", "options": {"speed": 9}}, "speed"),
        ({"prompt": "no field"}, "no field"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_by_name(changes, named):
    with pytest.raises(ConfigError, match=named):
        curriculum_of(replace(TASK, **changes))


def test_an_unknown_training_key_is_refused():
    with pytest.raises(ConfigError, match=r"options\.training.*speed"):
        schedule_of(replace(TASK, options={"training": {"speed": 2}}), 0)


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
