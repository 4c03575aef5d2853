import json
import threading

import pytest

from cloud_worker.teachers.canaries import Canaries, read_canaries
from router.core.errors import DataError, ModelError, UnavailableError

DAY = 86_400.0


class Model:
    """A model elsewhere that says what it is told to, and a clock."""

    def __init__(self):
        self.says = {"two and two?": "Four.", "capital of France?": "Paris"}
        self.once = {}
        self.asked = []
        self.away = False
        self.gate = threading.Event()  # nobody is answered before it is set
        self.gate.set()
        self.now = 1_000_000.0

    def ask(self, text):
        self.asked.append(text)
        self.gate.wait(10)
        if self.away:
            raise UnavailableError("it is away")
        said = self.once.pop(text, self.says[text])
        if isinstance(said, Exception):
            raise said
        return said

    def canaries(self, path):
        return Canaries("base", list(self.says), path, self.ask, seconds=DAY, clock=lambda: self.now)


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "teachers" / "big.canaries.json"


def after(canaries, model, seconds):
    """The version once everything is done that is due after ``seconds``."""
    model.now += seconds
    canaries.version()
    canaries.wait()
    return canaries.version()


def test_they_are_asked_once_in_their_time(model, path):
    canaries = model.canaries(path)
    version = canaries.version()
    assert version.startswith("base-")
    assert len(model.asked) == 2
    assert after(canaries, model, DAY - 1) == version
    assert len(model.asked) == 2
    assert after(canaries, model, 1) == version
    assert len(model.asked) == 4


def test_answers_that_changed_make_a_version_that_never_comes_back(model, path):
    canaries = model.canaries(path)
    first = canaries.version()
    model.says["two and two?"] = "Five"
    second = after(canaries, model, DAY)
    model.says["two and two?"] = "Four."
    third = after(canaries, model, DAY)
    assert len({first, second, third}) == 3


def test_one_odd_answer_is_chance_and_so_is_spelling(model, path):
    canaries = model.canaries(path)
    version = canaries.version()
    model.once["two and two?"] = "Hm"
    assert after(canaries, model, DAY) == version
    model.says["two and two?"] = " four"
    assert after(canaries, model, DAY) == version


def test_copies_share_what_one_of_them_heard(model, path):
    one, other = model.canaries(path), model.canaries(path)
    assert one.version() == other.version()
    assert len(model.asked) == 2
    model.says["two and two?"] = "Five"
    changed = after(one, model, DAY)
    asked = len(model.asked)
    assert after(other, model, 0) == changed
    assert len(model.asked) == asked
    assert model.canaries(path).version() == changed


def test_while_they_can_not_be_asked_the_version_that_is_known_stays(model, path):
    canaries = model.canaries(path)
    version = canaries.version()
    model.away = True
    assert after(canaries, model, DAY) == version
    asked = len(model.asked)
    assert after(canaries, model, 60) == version
    assert len(model.asked) == asked  # it does not insist
    model.away, model.says["two and two?"] = False, "Five"
    assert after(canaries, model, 600) != version


def test_without_a_version_nobody_is_answered(model, path):
    model.away = True
    with pytest.raises(UnavailableError):
        model.canaries(path).version()


def test_a_refusal_is_an_answer_too(model, path):
    model.says["two and two?"] = ModelError("refused at http://somewhere")
    canaries = model.canaries(path)
    version = canaries.version()
    assert after(canaries, model, DAY) == version
    model.says["two and two?"] = "Four."
    assert after(canaries, model, DAY) != version


def test_nobody_waits_while_they_are_asked_again(model, path):
    canaries = model.canaries(path)
    version = canaries.version()
    model.gate.clear()
    model.now += DAY
    model.says["two and two?"] = "Five"
    assert canaries.version() == version  # although nothing has been said yet
    model.gate.set()
    canaries.wait()
    assert canaries.version() != version


def test_a_torn_file_is_asked_anew(model, path):
    version = model.canaries(path).version()
    path.write_text(path.read_text()[:20])
    assert model.canaries(path).version() == version
    assert json.loads(path.read_text())["version"] == version


@pytest.mark.parametrize(
    ("content", "named"), [("", "holds no canary"), ("nonsense", ":1: is not JSON"), ('{"text": ""}', ":1: is no")]
)
def test_a_line_that_is_no_canary_is_named(tmp_path, content, named):
    path = tmp_path / "canaries.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=named):
        read_canaries(path)
