"""The error tree: one status and one exit code each."""

from __future__ import annotations

import inspect

import grpc
import pytest

from router.core import errors
from router.core.errors import (
    BadInputError,
    CallerError,
    ConfigError,
    DataError,
    HeadraceError,
    OverloadedError,
    ServiceError,
    error_for_status,
)

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, HeadraceError)]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_a_status_that_grpc_knows(cls):
    assert cls.status in grpc.StatusCode.__members__


def test_every_error_that_is_raised_has_an_exit_code_of_its_own():
    codes = [cls.exit_code for cls in CLASSES if not cls.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert all(1 < code < 126 for code in codes)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_stands_in_the_drawn_tree(cls):
    assert cls.__name__ in errors.__doc__


@pytest.mark.parametrize("status", grpc.StatusCode.__members__)
def test_every_status_becomes_an_error_with_its_message(status):
    error = error_for_status(status, "the public message")
    assert isinstance(error, HeadraceError)
    assert str(error) == "the public message" or isinstance(error, OverloadedError)


@pytest.mark.parametrize("status", ["NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "UNIMPLEMENTED"])
def test_what_the_caller_must_change_is_told_from_what_may_be_tried_again(status):
    assert isinstance(error_for_status(status, ""), CallerError)
    assert error_for_status(status, "").status == status


@pytest.mark.parametrize("status", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"])
def test_what_may_pass_may_be_tried_again(status):
    assert isinstance(error_for_status(status, ""), ServiceError)


def test_messages_name_field_file_line_and_key():
    assert str(BadInputError("task", "is empty")) == "task is empty"
    assert str(ConfigError("cloud.toml", "door.listen", "use host:port")) == "cloud.toml: door.listen: use host:port"
    assert str(DataError("rows.jsonl", 7, "is no JSON")) == "rows.jsonl:7: is no JSON"
    assert str(DataError("rows.jsonl", 0, "is empty")) == "rows.jsonl: is empty"
    assert OverloadedError("full", retry_after=2.0).retry_after == 2.0
