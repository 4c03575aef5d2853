"""Prompt erasure through the loop: the reference is told how to think, log and student are not."""

import pytest

from cloud_worker.pool.answer_records import Asked, Outcome, question_of, record_of
from cloud_worker.teachers.prompts import Wording
from cloud_worker.teachers.remote_teacher import WritingTeacher
from cloud_worker.training.curriculum import curriculum_of
from router.core.domain.generation import Written
from router.core.domain.query import Message, Query
from router.core.domain.task import Judge, Kind, Task

RICH = "Think twice before you switch anything.\n{text}\nNow answer."
TASK = Task(
    "home",
    "big",
    kind=Kind.TEXT,
    judge=Judge.NORMALISED_TEXT,
    student="generator",
    recipe="prompt-erasure",
    options={"rich": RICH},
    prompt="Q: {text}",
)


class RecordingWriter:
    """Writes the same to every prompt, and keeps them."""

    def __init__(self):
        self.prompts = []

    def write(self, prompt, limits=None, top_k=0):
        self.prompts.append(prompt)
        return Written("on")


@pytest.fixture
def writer():
    return RecordingWriter()


@pytest.fixture
def teacher(writer):
    return WritingTeacher("big", writer, Wording.of("User: {text}", ""), lambda: "v1")


def asked(**query):
    return Asked(Query("q1", "home", **query), "kitchen", TASK, 0.0, False)


def test_the_reference_reads_the_instruction_and_the_log_and_the_student_do_not(teacher, writer):
    query = asked(text="lamp")
    answer = teacher.answer_one(question_of(query))
    row = record_of(query, Outcome(answer, "big"))
    assert writer.prompts[0].text == "User: " + RICH.format(text="lamp")
    assert (row.text, row.answer) == ("lamp", "on")
    curriculum = curriculum_of(TASK)
    (lessons,) = curriculum.lessons([row])
    assert [(one.prompt, one.target) for one in lessons.examples] == [("Q: lamp", "on")]
    assert curriculum.prompt.fill("lamp") == "Q: lamp"


def test_the_instruction_is_part_of_the_references_version(teacher):
    versions = {teacher.answer_one(question_of(asked(text=text))).version for text in ("lamp", "fog")}
    other = Task("home", "big", kind=Kind.TEXT, recipe="prompt-erasure", options={"rich": "Be brief. {text}"})
    brief = question_of(Asked(Query("q", "home", "lamp"), "kitchen", other, 0.0, False))
    bare = question_of(Asked(Query("q", "home", "lamp"), "kitchen", Task("home", "big", kind=Kind.TEXT), 0.0, False))
    versions |= {teacher.answer_one(brief).version}
    assert len(versions) == 2
    assert teacher.answer_one(bare).version == "v1" not in versions


def test_a_chat_is_framed_as_its_transcript(teacher, writer):
    teacher.answer_one(question_of(asked(messages=(Message("user", "lamp"),))))
    assert writer.prompts[0].messages == ()
    assert RICH.format(text="user: lamp") in writer.prompts[0].text


def test_it_is_asked_again_with_the_instruction(teacher, record):
    from cloud_worker.refresh.monitoring.reask import question_again  # ray

    again = question_again(TASK, record(1, "lamp"))
    assert teacher.answer_one(again).version == teacher.answer_one(question_of(asked(text="lamp"))).version
