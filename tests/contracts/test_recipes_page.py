"""The page of recipes says what the program does."""

import re
from pathlib import Path

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.config.recipes import LABEL_RECIPES, TEXT_RECIPES, TRAINING

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
AROUND = """data = "state"
[[teachers]]
name = "big"
kind = "patterns"
model = "m"
patterns = ["{text}"]
[[teachers]]
name = "writer"
kind = "generating"
model = "m"
"""


def rows():
    """First and last cell of each row of a table, by the names that stand in the first."""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"^`([a-z-]+)\+?`", cells[0]):
            yield name, cells[-1]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_read_as_it_stands(example, tmp_path):
    path = tmp_path / "cloud.toml"
    path.write_text(AROUND + example)
    assert read_config(path).tasks[0].options


def test_there_is_an_example_for_labels_and_one_for_texts():
    assert {'kind = "text"' in example for example in EXAMPLES} == {True, False}


@pytest.mark.parametrize(("name", "options"), sorted({**TEXT_RECIPES, **LABEL_RECIPES}.items()))
def test_a_recipes_row_names_its_options_with_their_defaults(name, options):
    told = dict(rows())[name]
    for key, option in options.items():
        assert f"`{key}`" in told
        if isinstance(option.default, int | float):
            assert f"({option.default})" in told.split(f"`{key}`")[1]


def test_the_keys_of_training_stand_with_their_defaults():
    for key, option in TRAINING.keys.items():
        default = "`refresh.seed`" if key == "seed" else option.default
        assert f"| `{key}` | {default} |" in PAGE
