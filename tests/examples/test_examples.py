"""Every program in ``examples/`` runs as its docstring says, and prints what is written here."""

import asyncio
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cloud_worker.startup.in_process import serving
from cloud_worker.teachers.base import TeacherAnswer
from router.core.domain.task import Task
from router.core.errors import OperatorError
from router.io.redactors import known_redactors, redaction_of

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


class Clock:
    """Answers from a table, as a large model would word it."""

    threads = 1

    def __init__(self, answers, name="clock"):
        self.name = self.version = name
        self._answers = answers

    def answer(self, questions):
        for question in questions:
            yield TeacherAnswer(self._answers[question.text], self.version)


def command(name, *arguments):
    return [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]


def ran(name, *arguments):
    done = subprocess.run(command(name, *arguments), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
async def ran_beside():
    """Runs an example beside what this process serves."""

    async def run(name, *arguments):
        return await asyncio.to_thread(ran, name, *arguments)

    return run


async def test_asking_prints_the_answer_and_who_gave_it(tmp_path, ran_beside):
    async with serving(tmp_path, [Clock({"when": "at noon"})], [Task("times", reference="clock")]) as target:
        lines = await ran_beside("ask.py", target, "times", "when")
    assert lines == ["at noon", "from the cluster, by clock, because: direct"]


def test_asking_where_nobody_answers_says_so_and_fails():
    done = subprocess.run(command("ask.py", "127.0.0.1", "times", "when"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr and "Traceback" not in done.stderr


def test_a_teacher_of_ones_own_answers_over_grpc():
    assert ran("own_teacher.py") == ["kitchen rooms rooms-1"]


async def test_a_judge_of_ones_own_finds_more_alike_than_the_letters_do(tmp_path, ran_beside):
    near = Clock({"supper": "7 pm", "bed": "21:30", "up": "6:00"}, "near")
    far = Clock({"supper": "19:00", "bed": "9.30 pm", "up": "7:00"}, "far")
    (tmp_path / "times.txt").write_text("supper\nbed\nup\n")
    async with (
        serving(tmp_path / "near", [near], [Task("times", reference="near")]) as one,
        serving(tmp_path / "far", [far], [Task("times", reference="far")]) as other,
    ):
        lines = await ran_beside("own_judge.py", one, other, tmp_path / "times.txt")
    assert lines == ["exact: 0 of 3 agree", "same time: 2 of 3 agree"]


def test_a_log_of_openai_is_replayed_under_each_promise(tmp_path):
    draws = random.Random(0)
    words = {"lights": ("lamp", "bulb", "dark"), "music": ("song", "tune", "album")}
    with (tmp_path / "log.jsonl").open("w") as log:
        for _ in range(1500):
            answer = draws.choice(sorted(words))
            text = " ".join(draws.choices(words[answer], k=2))
            request = {"model": "big", "messages": [{"role": "user", "content": text}]}
            response = {"choices": [{"message": {"role": "assistant", "content": answer}}]}
            log.write(json.dumps({"request": request, "response": response}) + "\n")
    lines = ran("backtest_openai_log.py", tmp_path / "log.jsonl")
    assert [line.split(" differ")[0] for line in lines] == ["at most 2%", "at most 10%"]
    stays = [int(re.search(r"(\d+)% of the last quarter", line)[1]) for line in lines]
    assert stays[1] > 50
    assert "at most 10% differ: " in lines[1] and "0.0% of all answers differ" in lines[1]


def test_of_two_tiers_the_upper_one_answers_until_it_is_gone():
    answered, gone = ran("two_tiers.py")
    assert answered == "hello: from the cluster, no_student"
    assert gone.startswith("UnavailableError: ")


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_an_example_is_short_and_says_how_to_run_it(example):
    text = example.read_text()
    assert len(text.splitlines()) <= 90
    assert f"python examples/{example.name}" in text.split('"""')[1]


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/client.md", "docs/backtest.md", "docs/cluster.md"]
)
def test_an_example_that_a_page_names_is_there(page):
    named = set(re.findall(r"examples/(\w+\.py)", (ROOT / page).read_text()))
    assert named
    assert named <= {path.name for path in EXAMPLES}


def test_the_readme_lists_every_example():
    assert {path.name for path in EXAMPLES} <= set(re.findall(r"examples/(\w+\.py)", (ROOT / "README.md").read_text()))


def test_a_redactor_of_ones_own_takes_out_what_it_finds_and_is_known_by_its_entry_point(tmp_path, monkeypatch):
    assert ran("own_redactor.py", "B-1234-0 and B-1234-1 are ada@mail.example") == ["<badge> and B-1234-1 are <mail>"]
    package = tmp_path / "badges-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: badges\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[headrace.redactors]\nbadge = own_redactor:find_badges\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    assert redaction_of(["mail", "badge"]).of_text("B-1234-0: ada@mail.example") == "<badge>: <mail>"
    assert "badge" in known_redactors()
    with pytest.raises(OperatorError, match=r"no redactor 'bage'.*use of badge, card"):
        redaction_of(["bage"])
