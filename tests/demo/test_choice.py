"""Teacher and student follow from the workload, and what does not go together is refused before anything starts."""

import pytest
from typer.testing import CliRunner

from demo.__main__ import StudentKind, TeacherKind, WorkloadKind, _chosen, app


@pytest.mark.parametrize(
    ("own", "teacher", "chosen"),
    [
        (WorkloadKind.COMMANDS, None, (TeacherKind.ENCODER, StudentKind.COMPACT)),
        (WorkloadKind.COMMANDS, TeacherKind.RECORDED, (TeacherKind.RECORDED, StudentKind.ENCODER_HEAD)),
        (WorkloadKind.TOOLS, None, (TeacherKind.GENERATING, StudentKind.GENERATOR)),
    ],
)
def test_teacher_and_student_follow_from_the_workload(own, teacher, chosen):
    assert _chosen(own, teacher, None) == chosen


def test_a_student_that_is_named_is_kept():
    assert _chosen(WorkloadKind.COMMANDS, None, StudentKind.ENCODER_HEAD)[1] is StudentKind.ENCODER_HEAD


@pytest.mark.parametrize(
    "options",
    [
        ("--teacher", "generating"),
        ("--student", "generator"),
        ("--workload", "tools", "--teacher", "recorded"),
        ("--workload", "tools", "--student", "compact"),
    ],
)
def test_what_does_not_go_together_is_refused_by_its_option(options, tmp_path):
    result = CliRunner().invoke(app, [*options, "--no-ui", "--run", str(tmp_path / "run")])
    assert result.exit_code == 81
    assert options[-2] in result.stderr
    assert "does not go with --workload" in result.stderr
    assert not (tmp_path / "run").exists()
