import pickle

import pytest

from cloud_worker.config.cloud import read_config
from router.core.errors import ConfigError

GOOD = """
data = "data"
[door]
listen = "127.0.0.1:7700"
[[teachers]]
name = "big"
kind = "recorded"
answers = "answers.jsonl"
[[tasks]]
name = "home"
reference = "big"
[tasks.objective]
max_disagreement = 0.05
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "on", "label": "light_on"}\n')

    def write(text):
        path = tmp_path / "cloud.toml"
        path.write_text(text)
        return path

    return write


def test_relative_paths_start_from_the_files_folder(write, tmp_path):
    config = read_config(write(GOOD))
    assert config.data == tmp_path / "data"
    assert config.teachers[0].answers == str(tmp_path / "answers.jsonl")
    assert str(config.store_url) == f"sqlite:///{tmp_path / 'data' / 'fleet.sqlite'}"


def test_a_task_is_read_with_its_objective(write):
    task = read_config(write(GOOD)).task("home")
    assert task.objective.max_disagreement == 0.05
    assert task.objective.assurance == 0.95


def test_the_environment_wins_over_the_file_and_a_flag_over_both(write, monkeypatch):
    path = write(GOOD)
    monkeypatch.setenv("HEADRACE_CLOUD_DOOR__LISTEN", "127.0.0.1:7800")
    monkeypatch.setenv("HEADRACE_CLOUD_DOOR__MAX_WAITING", "7")
    assert read_config(path).door.listen == "127.0.0.1:7800"
    config = read_config(path, door={"listen": "127.0.0.1:7900"})
    assert (config.door.listen, config.door.max_waiting) == ("127.0.0.1:7900", 7)


def test_a_variable_that_sets_nothing_is_refused(write, monkeypatch):
    monkeypatch.setenv("HEADRACE_CLOUD_DOOR_LISTEN", "127.0.0.1:7800")
    with pytest.raises(ConfigError, match="sets nothing; did you mean HEADRACE_CLOUD_DOOR__LISTEN"):
        read_config(write(GOOD))


@pytest.mark.parametrize(
    ("limit", "named"),
    [
        ("max_tokens = -5", "max_tokens is -5; use 0 to 32768"),
        ("max_tokens = 40000", "max_tokens is 40000"),
        ("temperature = -1.0", "temperature is -1.0; use 0 to 10"),
        ('stop = [""]', "stop holds an empty text"),
        ("seed = -1", "seed is -1"),
    ],
)
def test_a_tasks_limits_are_checked_like_a_callers(write, limit, named):
    with pytest.raises(ConfigError, match=rf"cloud\.toml: tasks\.home\.limits\.{named.replace(' ', ':? ', 1)}"):
        read_config(write(f"{GOOD}[tasks.limits]\n{limit}\n"))


def test_a_configuration_crosses_processes_as_it_is(write, monkeypatch):
    config = read_config(write(GOOD))
    monkeypatch.setenv("HEADRACE_CLOUD_DOOR__LISTEN", "127.0.0.1:1")
    assert pickle.loads(pickle.dumps(config)) == config


def test_it_never_changes_after_reading(write):
    config = read_config(write(GOOD))
    with pytest.raises(ValueError, match="frozen"):
        config.door.listen = "127.0.0.1:1"


def test_a_name_that_is_too_long_for_a_folder_is_no_folder(write):
    name = "x" * 5000
    assert read_config(write(f'encoder = "{name}"\n{GOOD}')).encoder == name


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ('data = "data"\n[door', "TOML"),
        (GOOD.replace('data = "data"', ""), "data: is missing"),
        (GOOD.replace("[door]", "[door]\nlisden = 1"), "door.lisden: is not a key"),
        (GOOD.replace("[door]", '[door]\nmax_waiting = "many"'), "door.max_waiting"),
        (GOOD.replace("[door]", "[door]\nmax_waiting = 0"), "is 0"),
        (GOOD.replace('kind = "recorded"', 'kind = "oracle"'), "teachers.big.kind: is 'oracle'; use one of encoder"),
        (GOOD.replace('kind = "recorded"', "kind = [0.5]"), "teachers.big.kind: is [0.5]; use one of encoder"),
        (GOOD.replace("answers.jsonl", "a" * 5000), "teachers.big.answers: no such file"),
        (GOOD.replace('answers = "answers.jsonl"', ""), "teachers.big.answers: no such file"),
        (GOOD.replace("answers.jsonl", "nowhere.jsonl"), "nowhere.jsonl"),
        (GOOD.replace('reference = "big"', 'reference = "bigger"'), "tasks.home.reference: 'bigger' is no teacher"),
        (GOOD + '[tasks.cheaper]\nteachers = ["tiny"]', "cheaper.teachers: 'tiny' is no teacher; known: ['big']"),
        (GOOD + '[tasks.cheaper]\nteachers = ["big"]', "names 'big', which is the reference"),
        (GOOD + '[tasks.cheaper]\nteachers = ["a", "a"]', "names a twice"),
        (GOOD + "[tasks.cheaper]\nshare = 1.0", "share is 1.0"),
        (GOOD + '[tasks.cheaper]\nway = "guess"', "'cascade', 'routing' or 'both'"),
        (
            GOOD.replace("max_disagreement = 0.05", "max_escalation = 0.2") + '[tasks.cheaper]\nteachers = ["a"]',
            "cheaper.teachers needs objective.max_disagreement",
        ),
        (GOOD.replace('reference = "big"', 'reference = "big"\nstudent = "tiny"'), "takes compact or encoder-head"),
        (
            GOOD.replace('reference = "big"', 'reference = "big"\nlog_by_defualt = false'),
            "'log_by_defualt' is not a key",
        ),
        (GOOD.replace("max_disagreement = 0.05", "max_disagreement = 5.0"), "between 0 and 1"),
        (GOOD.replace("max_disagreement = 0.05", "max_disagremeent = 0.05"), "'max_disagremeent' is not a key"),
        (GOOD + GOOD[GOOD.index("[[tasks]]") :], "tasks: ['home'] is named twice"),
        (GOOD[: GOOD.index("[[tasks]]")], "tasks: is missing"),
        ("teachers = 3\n" + GOOD[: GOOD.index("[[teachers]]")], "teachers"),
    ],
)
def test_an_error_names_the_file_the_key_and_what_would_do(write, wrong, named):
    path = write(wrong)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert named in str(caught.value)


def test_an_error_names_the_variable_that_it_comes_from(write, monkeypatch):
    monkeypatch.setenv("HEADRACE_CLOUD_DOOR__MAX_WAITING", "many")
    with pytest.raises(ConfigError, match=r"HEADRACE_CLOUD_DOOR__MAX_WAITING: door\.max_waiting"):
        read_config(write(GOOD))


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_config(tmp_path / "none.toml")
