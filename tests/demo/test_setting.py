"""What a demo is asked to do is checked, file and line named, before anything starts."""

import json
from dataclasses import replace

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.training.curriculum import curriculum_of
from cloud_worker.training.text_students import schedule_of
from demo.configs import MOST_TOKENS, Models
from demo.setting import Setting, free_ports, read_lines, workload, write_configs
from demo.workload import Line
from edge_agent.config import load_config
from router.core.domain.agreement import parse_calls
from router.core.domain.task import Judge, Kind
from router.core.errors import ConfigError, DataError


@pytest.fixture
def lines(tmp_path):
    def write(*rows, name="lines.jsonl"):
        path = tmp_path / name
        path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
        return path

    return write


def setting(tmp_path, **changes):
    known = {
        "folder": tmp_path / "run",
        "stream": (Line("lights on", "on"), Line("lights off", "off")),
        "examples": (Line("light please", "on"),),
        "teacher": "encoder",
        "student": "compact",
        "promise": 0.03,
        "assurance": 0.9,
        "agents": 2,
        "rate": 0.0,
        "lockstep": False,
        "is_own": False,
    }
    return Setting(**{**known, **changes})


def test_lines_keep_their_order_and_empty_ones_are_skipped(lines):
    path = lines('{"text": "a", "label": "x"}', "", '{"text": "b", "label": "y", "more": 1}')
    assert read_lines(path) == (Line("a", "x"), Line("b", "y"))


def test_a_line_separator_inside_a_text_ends_no_line(lines):
    assert read_lines(lines('{"text": "a\u2028b\x85c", "label": "x"}')) == (Line("a\u2028b\x85c", "x"),)


@pytest.mark.parametrize(
    "wrong",
    [
        "not json",
        "[]",
        '"text"',
        "{}",
        '{"text": "a"}',
        '{"label": "x"}',
        '{"text": "  ", "label": "x"}',
        '{"text": 3, "label": "x"}',
        '{"text": "a", "label": null}',
        '{"text": "a", "label": ""}',
    ],
)
def test_a_wrong_line_is_named_by_file_and_number(lines, wrong):
    path = lines('{"text": "a", "label": "x"}', "", wrong)
    with pytest.raises(DataError) as raised:
        read_lines(path)
    assert str(raised.value).startswith(f"{path}:3:")
    assert raised.value.exit_code == 82


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        read_lines(tmp_path / "nowhere.jsonl")


def test_a_file_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "binary.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary\.jsonl"):
        read_lines(path)


def test_a_file_without_lines_is_refused(lines):
    with pytest.raises(DataError, match="no lines"):
        read_lines(lines("", " "))


def test_examples_without_a_stream_are_refused(lines):
    with pytest.raises(ConfigError, match="--stream"):
        workload(lines('{"text": "a", "label": "x"}'), None, "encoder", 0, 0)


def test_an_encoder_needs_examples_beside_a_stream_of_ones_own(lines):
    with pytest.raises(ConfigError, match="--examples"):
        workload(None, lines('{"text": "a", "label": "x"}'), "encoder", 0, 0)


def test_a_recorded_teacher_needs_no_examples_and_reads_none(lines, tmp_path):
    stream = lines('{"text": "a", "label": "x"}')
    assert workload(tmp_path / "never-read.jsonl", stream, "recorded", 0, 0) == ((), (Line("a", "x"),))


def test_a_limit_cuts_the_stream_only(lines):
    stream = lines(*(json.dumps({"text": f"t{n}", "label": "x"}) for n in range(5)), name="stream.jsonl")
    examples = lines(*(json.dumps({"text": f"e{n}", "label": "x"}) for n in range(4)), name="examples.jsonl")
    known, asked = workload(examples, stream, "encoder", 2, 0)
    assert (len(known), len(asked)) == (4, 2)


def test_the_demos_own_workload_takes_its_length_from_the_limit():
    assert len(workload(None, None, "encoder", 120, 0)[1]) == 120


@pytest.mark.parametrize("teacher", ["encoder", "recorded"])
@pytest.mark.parametrize("student", ["compact", "encoder-head"])
def test_the_files_that_are_written_can_be_read_by_the_real_commands(tmp_path, teacher, student):
    positions = write_configs(setting(tmp_path, teacher=teacher, student=student))
    cloud = read_config(positions.cloud_config)
    assert cloud.door.listen == positions.cloud_target
    assert cloud.data.is_relative_to(tmp_path / "run")
    [task] = cloud.tasks
    assert (task.objective.max_disagreement, task.objective.assurance) == (0.03, 0.9)
    assert (task.student, task.reference) == (student, cloud.teachers[0].name)
    agents = [load_config(path) for path in positions.agent_configs]
    assert [agent.door.listen for agent in agents] == list(positions.agent_targets)
    assert [agent.device for agent in agents] == list(positions.devices) == ["edge-1", "edge-2"]
    assert {agent.upstream.target for agent in agents} == {positions.cloud_target}


def test_a_secure_cloud_enrols_at_a_port_of_its_own(tmp_path):
    positions = write_configs(setting(tmp_path, secure=True))
    cloud = read_config(positions.cloud_config)
    assert positions.is_secure and cloud.identity.listen == positions.enrolment_target != positions.cloud_target
    assert cloud.identity.passphrase_file.parent == positions.cloud_config.parent
    assert not write_configs(replace(setting(tmp_path), folder=tmp_path / "plain")).is_secure


def test_a_cloud_of_models_that_write_can_be_read_by_the_real_command(tmp_path):
    models = Models(tmp_path / "teacher", tmp_path / "base")
    positions = write_configs(setting(tmp_path, teacher="generating", student="generator", models=models))
    cloud = read_config(positions.cloud_config)
    [task], [teacher] = cloud.tasks, cloud.teachers
    assert (teacher.kind, teacher.model) == ("generating", str(models.teacher))
    assert (task.kind, task.judge, task.recipe) == (Kind.TEXT, Judge.TOOL_CALL, "responses")
    assert (task.reference, task.student, task.base) == (teacher.name, "generator", str(models.base))
    assert task.limits.max_tokens == MOST_TOKENS
    assert curriculum_of(task).prompt.wording == "{text}"
    assert schedule_of(task, seed=3).seed == 3


def test_answers_are_compared_as_the_task_compares_them(tmp_path):
    models = Models(tmp_path / "teacher", tmp_path / "base")
    assert setting(tmp_path).judge is Judge.LABEL
    assert setting(tmp_path, models=models).judge is Judge.TOOL_CALL


def test_a_stream_of_ones_own_is_refused_for_models_that_know_their_own_requests(lines):
    with pytest.raises(ConfigError, match="--stream"):
        workload(None, lines('{"text": "a", "label": "x"}'), "generating", 0, 0)


def test_a_teacher_that_writes_is_asked_requests(tmp_path):
    examples, asked = workload(None, None, "generating", 60, 0)
    assert len(asked) == 60
    assert all(parse_calls(line.label) for line in (*examples[:50], *asked))


def test_the_workload_is_kept_beside_what_came_of_it(tmp_path):
    odd = (Line("a\u2028b", "x"), Line("ça va", "y"))
    write_configs(setting(tmp_path, stream=odd))
    assert read_lines(tmp_path / "run" / "stream.jsonl") == odd


def test_ports_are_all_different():
    assert len(set(free_ports(20))) == 20


def test_ports_are_not_those_that_the_system_hands_out():
    """Ray takes dozens of those between the choice and the start of an agent."""
    assert all(20_000 <= port < 32_000 for port in free_ports(5))


def test_a_text_over_the_limit_is_named_before_anything_starts(lines):
    path = lines(json.dumps({"text": "a" * 4097, "label": "x"}))
    with pytest.raises(DataError, match=r"lines\.jsonl:1: has 4097 bytes"):
        read_lines(path)


def test_a_folder_of_another_run_is_refused(tmp_path):
    write_configs(setting(tmp_path))
    with pytest.raises(ConfigError, match="not empty"):
        write_configs(setting(tmp_path))


def test_a_folder_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ConfigError, match="--run"):
        write_configs(setting(tmp_path))
