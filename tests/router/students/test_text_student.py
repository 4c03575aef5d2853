from dataclasses import replace

import pytest

from edge_agent.testing.tiny_releases import served_release, tiny_text_release
from router.core.domain.generation import Prompt, Written
from router.core.domain.prediction import Prediction
from router.core.domain.prompting import Template, limits_of, prompt_of
from router.core.domain.query import FinishReason, GenerationLimits, Message, Query, Route, ToolCall, Wanted
from router.core.domain.task import Judge, Kind, Task
from router.core.errors import ModelError, NotPossibleError, ReleaseError, UnavailableError
from router.core.release.manifest import Golden, StudentSpec, read_manifest, write_manifest
from router.students.loader import check_golden, open_student
from router.students.text_student import TextStudent, text_kinds_here
from router.students.writers.testing import FakeChatServer

TASK = Task("say", reference="big", kind=Kind.TEXT, judge=Judge.NORMALISED_TEXT)
WORDS = {"light": "lights on", "song": "music then stop"}
SERVED = StudentSpec("served", "", "", (), 0, "served-1", served_model="tiny")


def ask(text="", **fields):
    return Query("q", "say", text, **fields)


class Recorder:
    """A writer that records what it was asked, and says what it was given."""

    in_process = True
    is_private = True

    def __init__(self, written):
        self.written = written
        self.asked = []

    def write(self, prompt, limits, top_k=0):
        self.asked.append((prompt, limits, top_k))
        return self.written


def lay(folder, release):
    manifest, files = release
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return read_manifest(write_manifest(manifest))


@pytest.fixture
def release(tmp_path):
    return lay(tmp_path, tiny_text_release(TASK, 1, WORDS))


@pytest.fixture
def server():
    with FakeChatServer(lambda text: f"re {text}", log_probability=-1e-6) as made:
        yield made


def test_a_generating_release_answers_with_score_and_tokens(tmp_path, release):
    student = open_student(tmp_path, release)
    prediction = student.predict(ask("the light", wanted=Wanted(top_k=2)))
    assert prediction.answer == "lights on"
    assert prediction.score > 0.99
    assert len(prediction.written.tokens[0].alternatives.top) == 2
    assert student.predict(ask("zebra")).score < 0.01


def test_a_chat_is_read_as_its_transcript(tmp_path, release):
    student = open_student(tmp_path, release)
    chat = (Message("user", "zebra"), Message("assistant", "hm"), Message("user", "the light"))
    assert student.predict(ask(messages=chat)).answer == "lights on"


def test_golden_inputs_come_out_as_they_were(tmp_path, release):
    check_golden(tmp_path, release)


@pytest.mark.parametrize(("least_equal", "passes"), [(0.5, True), (0.6, False)])
def test_a_stated_share_of_golden_texts_must_be_equal(tmp_path, release, least_equal, passes):
    lines = '{"text": "light", "answer": "lights on", "score": 1}\n{"text": "song", "answer": "no", "score": 1}\n'
    (tmp_path / "golden.jsonl").write_text(lines)
    manifest = replace(release, golden=Golden("golden.jsonl", 0.05, least_equal))
    if passes:
        check_golden(tmp_path, manifest)
    else:
        with pytest.raises(ReleaseError, match=r"golden input 2 is answered 'music then stop' here.*1 of 2 differ"):
            check_golden(tmp_path, manifest)


def test_a_querys_own_limits_go_before_the_releases():
    defaults = GenerationLimits(max_tokens=9, temperature=0.5, stop=("\n",), seed=1)
    assert limits_of(GenerationLimits(), defaults) == defaults
    own = GenerationLimits(max_tokens=2, temperature=0.0, stop=(".",), seed=0)
    assert limits_of(own, defaults) == own


def test_limits_of_query_and_release_reach_the_writer():
    writer = Recorder(Written("x"))
    spec = replace(SERVED, limits=GenerationLimits(max_tokens=9, stop=("\n",)), prompt="Q: {text}\nA:")
    TextStudent(writer, spec).read(ask("hi {text}", limits=GenerationLimits(max_tokens=2), wanted=Wanted(top_k=3)))
    assert writer.asked == [(Prompt("Q: hi {text}\nA:"), GenerationLimits(max_tokens=2, stop=("\n",)), 3)]


def test_only_the_bare_template_leaves_a_chat_a_chat():
    query = ask(messages=(Message("user", "hi"),))
    assert prompt_of(query, Template()) == Prompt("user: hi", query.messages)
    assert prompt_of(query, Template("Q: {text}")) == Prompt("Q: user: hi")


def test_no_probabilities_no_score(tmp_path, release):
    student = TextStudent(Recorder(Written("x")), SERVED, release.text_calibration)
    assert student.predict(ask("hi")) == Prediction("x", None, written=Written("x"))


def test_calls_are_the_answer_of_who_calls(release):
    written = Written("", (), FinishReason.TOOL_CALLS, (ToolCall("dim", '{"to": 3}'),))
    prediction = TextStudent(Recorder(written), SERVED, release.text_calibration).predict(ask("dim it"))
    assert prediction.answer == '[{"name": "dim", "arguments": {"to": 3}}]'
    assert prediction.written.tool_calls == written.tool_calls


@pytest.mark.parametrize(
    ("text", "answer", "rationale"),
    [
        ("1 + 1 = 2. The answer is 2.", "2", "1 + 1 = 2."),
        ("the answer is 1, no, the answer is 2", "2", "the answer is 1, no,"),
        ("two", "two", ""),
    ],
)
def test_an_answer_after_worked_steps_is_taken_out(text, answer, rationale):
    written = TextStudent(Recorder(Written(text)), replace(SERVED, answer_after="the answer is")).read(ask("1 + 1?"))
    assert (written.text, written.rationale) == (answer, rationale)


def test_without_calibration_it_reads_and_does_not_judge(tmp_path, release):
    student = TextStudent.load(tmp_path, release.student)
    assert student.read(ask("light")).text == "lights on"
    with pytest.raises(ModelError, match="no calibration"):
        student.predict(ask("light"))


def test_a_prompt_that_is_no_template_is_refused():
    with pytest.raises(ModelError, match=r"needs the field \{text\} exactly once"):
        TextStudent(Recorder(Written("x")), replace(SERVED, prompt="Answer!"))


def test_a_served_release_asks_the_devices_own_server(tmp_path, server):
    manifest = lay(tmp_path, served_release(TASK, 1, "tiny", {"hi": "re hi"}))
    student = open_student(tmp_path, manifest, {"tiny": server.url})
    check_golden(tmp_path, manifest, student)
    prediction = student.predict(ask(messages=(Message("system", "brief"), Message("user", "hello"))))
    assert prediction.answer == "re hello"
    assert prediction.score > 0.99
    assert [message["role"] for message in server.requests[-1]["messages"]] == ["system", "user"]


def test_opening_a_served_release_asks_nothing_yet(tmp_path):
    manifest = lay(tmp_path, served_release(TASK, 1, "tiny", {"hi": "re hi"}))
    student = open_student(tmp_path, manifest, {"tiny": "http://127.0.0.1:9/v1"})
    with pytest.raises(UnavailableError, match="no server answers"):
        check_golden(tmp_path, manifest, student)


def test_a_model_without_a_server_says_what_to_add(tmp_path):
    manifest = lay(tmp_path, served_release(TASK, 1, "tiny", {"hi": "re hi"}))
    with pytest.raises(
        ModelError, match=r"no server is set up for the model 'tiny' \(set up: other\).*\[\[servers\]\]"
    ):
        open_student(tmp_path, manifest, {"other": "http://127.0.0.1:9/v1"})


def test_what_may_not_leave_is_shown_to_servers_on_this_machine_alone(tmp_path, server):
    near = TextStudent.served(SERVED, {"tiny": server.url})
    far = TextStudent.served(SERVED, {"tiny": "http://192.0.2.1:8080/v1"})
    private = ask("hi", route=Route.LOCAL_ONLY)
    assert near.read(private).text == "re hi"
    with pytest.raises(NotPossibleError, match="may not leave"):
        far.read(private)


def test_a_task_that_never_leaves_uses_no_server_elsewhere(tmp_path):
    manifest = lay(tmp_path, served_release(replace(TASK, local_only=True), 1, "tiny", {"hi": "re hi"}))
    with pytest.raises(NotPossibleError):
        open_student(tmp_path, manifest, {"tiny": "http://192.0.2.1:8080/v1"}).predict(ask("hi"))


def test_a_model_that_can_not_be_loaded_says_so_to_every_query(tmp_path, release):
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    student = open_student(tmp_path, release)
    for _ in range(2):
        with pytest.raises(ModelError, match="can't be loaded as safetensors"):
            student.predict(ask("light"))


def test_without_torch_a_generating_release_names_the_extra(tmp_path, release, monkeypatch):
    monkeypatch.setattr("router.students.text_student.text_kinds_here", lambda: ("served",))
    with pytest.raises(ModelError, match=r"headrace\[edge-torch\]"):
        open_student(tmp_path, release)


def test_every_kind_is_offered_where_torch_is_installed():
    assert text_kinds_here() == ("generator", "served")
