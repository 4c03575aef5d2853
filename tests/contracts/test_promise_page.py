"""The examples of ``docs/promise.md`` are what ``cloud.toml`` takes."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from router.core.domain.task import NO_FLOOR, Exploration, Limits, Objective, Task

PAGE = Path(__file__).parents[2] / "docs" / "promise.md"
TASK = TypeAdapter(Task)


def examples():
    return [tomllib.loads(text)["tasks"] for text in re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)]


def read(**tables):
    return TASK.validate_python({"name": "home", "reference": "big", **tables})


def test_every_example_of_the_page_is_read_as_the_page_says():
    floor, share, both, limits = (read(**tables) for tables in examples())
    assert floor.objective == Objective(0.02, 0.95)
    assert (share.objective.max_escalation, share.objective.has_floor) == (0.3, False)
    assert share.objective.max_disagreement == NO_FLOOR
    assert (both.objective.max_escalation, both.objective.max_disagreement) == (0.3, 0.02)
    assert limits.budget == Limits(30, 20_000, 25.0)


def test_an_objective_left_out_is_a_floor_of_two_per_cent():
    assert Objective().max_disagreement == 0.02
    assert Objective().has_floor


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"objective": {"max_escalation": 1.5}}, "max_escalation is 1.5; use a number between 0 and 1"),
        ({"objective": {"max_disagreement": 0.0}}, "max_disagreement is 0.0; use a number"),
        ({"budget": {"usd_per_day": -1}}, "usd_per_day is -1.0; use 0 or more, or leave it out"),
        ({"objective": {"max_escalation": 0.004}}, "raise it, or lower exploration.floor"),
    ],
)
def test_an_error_names_the_key_and_what_would_do(tables, says):
    with pytest.raises(ValidationError, match=re.escape(says)):
        read(**tables)


def test_a_share_of_escalations_leaves_room_for_what_is_explored():
    read(objective={"max_escalation": 0.04}, exploration={"floor": 0.01})
    with pytest.raises(ValueError, match="of the queries are explored already"):
        Task("home", "big", objective=Objective(max_escalation=0.1), exploration=Exploration(floor=0.1))
