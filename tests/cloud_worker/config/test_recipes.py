"""What a task may say of its recipe is checked when the configuration is read."""

import inspect
import subprocess
import sys
from dataclasses import fields

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.config.recipes import LABEL_RECIPES, TEXT_RECIPES, TRAINING
from cloud_worker.language.recipes import RECIPES
from cloud_worker.language.recipes.few_shot import Ensemble
from cloud_worker.language.recipes.reasoning import Mixture
from cloud_worker.language.trainer import Schedule
from cloud_worker.training.self_labelling import MOST_QUERIES
from router.core.errors import ConfigError

HEAD = """
data = "data"
[[teachers]]
name = "big"
kind = "generating"
model = "m"
[[tasks]]
name = "other"
reference = "big"
[[tasks]]
name = "home"
reference = "big"
"""
TEXT = 'kind = "text"\nstudent = "generator"\nbase = "m"\n'


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "cloud.toml"
        path.write_text(HEAD + text)
        return read_config(path)

    return read


WRITES = [
    ('recipe = "magic"', "recipe: is 'magic'; students that write take one of answers, instructions"),
    ('recipe = "soft-labels"', "recipe: is 'soft-labels'; students that write"),
    ('recipe = "answers+responses"', "recipe: is 'answers+responses'"),
    ('prompt = "no field"', "prompt: is 'no field'; it needs the field {text} exactly once"),
    ('recipe = "prompt-erasure"', "options.rich: is missing; give a text with the field {text}"),
    ('recipe = "prompt-erasure"\noptions.rich = "no field"', "options.rich: is 'no field'"),
    (
        'recipe = "answers"\noptions.nonsense = 1',
        "options.nonsense: is not an option of answers for generator; use one",
    ),
    ("options.training.speed = 2", "options.training.speed: is not a key here; use one of batch"),
    ("options.training.rate = 0", "options.training.rate: is 0; use a number above 0"),
    ('options.training.steps = "many"', "options.training.steps: is 'many'; use a whole number from 1"),
    ("options.training = 3", "options.training: is 3; write it as a table"),
    ("options.layers = 1.5", "options.layers: is 1.5"),
    ('options.rationales = "yes"', "options.rationales: is 'yes'; use true or false"),
    ('recipe = "instructions"\noptions.templates = ["no field"]', "options.templates: is ['no field']"),
    ('recipe = "instructions"\noptions.templates = []', "options.templates: is []; give one or more texts"),
    ('recipe = "instructions"\noptions.cap = "x"', "options.cap: is 'x'"),
    ('recipe = "instructions"\noptions.tasks = ["nowhere"]', "options.tasks: names 'nowhere'; name other tasks"),
    ('recipe = "instructions"\noptions.tasks = ["home"]', "options.tasks: names 'home'"),
    ('recipe = "instructions"\nprompt = "do {text}"\noptions.templates = ["{text}"]', "beside options.templates"),
    ('recipe = "step-by-step"\noptions.share = "x"', "options.share: is 'x'; use a number above 0, at most 1"),
    ('recipe = "soft-texts"\noptions.temperature = 0', "options.temperature: is 0; use a number above 0"),
    ('recipe = "reasoning"\noptions.mixture = "x"', "options.mixture: is 'x'"),
    ('recipe = "reasoning"\noptions.mixture.steps = -1', "options.mixture.steps: is -1"),
    ('recipe = "reasoning"\noptions.mixture.stesp = 1', "options.mixture.stesp: is not a key here"),
    (
        'recipe = "reasoning"\noptions.mixture = {steps = 0, plain = 0, shown_steps = 0, shown_plain = 0}',
        "one of them above 0",
    ),
    ('recipe = "reasoning"\noptions.check = "magic"', "options.check: is 'magic'; use one of reaches-answer, readable"),
]
LABELS = [
    ('recipe = "magic"', "recipe: is 'magic'; students that label take one of"),
    ('recipe = "responses"', "recipe: is 'responses'"),
    ("options.temperature = -1", "options.temperature: is -1; use a number above 0"),
    ('options.temperature = "hot"', "options.temperature: is 'hot'"),
    (
        "options.temprature = 2",
        "options.temprature: is not an option of soft-labels for compact; use one of temperature",
    ),
    ('recipe = "hard-labels"\noptions.temperature = 2', "options.temperature: is not an option of hard-labels"),
    ('recipe = "few-shot"\noptions.patterns = ["{text} is"]', "base: is missing; name the model that writes"),
    ('recipe = "few-shot"\nbase = "m"', "options.patterns: is missing; give one or more texts"),
    ('recipe = "few-shot"\nbase = "m"\noptions.patterns = []', "options.patterns: is []"),
    (
        'recipe = "few-shot"\nbase = "m"\noptions.patterns = ["{text} is"]\noptions.growth = 1',
        "options.growth: is 1; use a number above 1",
    ),
    (
        'recipe = "few-shot"\nbase = "m"\noptions.patterns = ["{text} is"]\noptions.verbaliser = {on = " "}',
        "options.verbaliser: is {'on': ' '}; write it as a table",
    ),
    ("options.layers = 2", "options.layers: is not an option of soft-labels for compact;"),
    ('base = "m"\noptions.layers = -1', "options.layers: is -1"),
    ('base = "m"\noptions.training.rate = 0', "options.training.rate: is 0"),
    ('base = "m"\nstudent = "encoder-head"', "base: is 'm'; students of kind encoder-head read with `encoder`"),
    ('prompt = "do {text}"', "prompt: is 'do {text}'; students that label read the bare query"),
]
SERVED = [
    ("options.training.steps = 3", "options.training: is not an option of responses for served"),
    ('recipe = "denoise+responses"', "recipe: is 'denoise+responses'"),
]


@pytest.mark.parametrize(
    ("said", "named"),
    [
        *((TEXT + said, named) for said, named in WRITES),
        *LABELS,
        *((TEXT.replace("generator", "served") + said, named) for said, named in SERVED),
    ],
)
def test_what_a_fit_would_refuse_or_ignore_is_refused_when_the_file_is_read(read, said, named):
    with pytest.raises(ConfigError) as caught:
        read(said)
    assert f"cloud.toml: tasks.home.{named}" in str(caught.value) or named in str(caught.value)
    assert "tasks.home." in str(caught.value)


def test_reading_the_configuration_loads_no_torch():
    check = "import sys, cloud_worker.config.cloud; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.parametrize(("recipe", "options"), sorted(TEXT_RECIPES.items()))
def test_every_option_is_one_that_its_recipe_takes(recipe, options):
    taken = inspect.signature(RECIPES[recipe]).parameters
    assert set(options) - {"tasks"} <= set(taken)
    for name, option in options.items():
        if option.default not in (None, {}, []):
            assert taken[name].default == option.default


def test_every_recipe_for_students_that_write_can_be_chosen_by_some_task():
    assert {*TEXT_RECIPES, "denoise"} == set(RECIPES)


def test_the_options_of_few_shot_are_its_ensembles():
    options = LABEL_RECIPES["few-shot"]
    for field in fields(Ensemble):
        if field.name not in ("patterns", "schedule"):
            assert options[field.name].default == field.default
    assert options["most"].default == MOST_QUERIES


def test_the_tables_of_training_and_mixture_are_those_of_the_trainer_and_the_recipe():
    assert {name: option.default for name, option in TRAINING.keys.items()} == {
        field.name: field.default for field in fields(Schedule)
    }
    mixture = TEXT_RECIPES["reasoning"]["mixture"]
    assert {name: option.default for name, option in mixture.keys.items()} == {
        field.name: field.default for field in fields(Mixture)
    }
