"""Folders and names that libraries take for something else, and a database that another holds."""

import sqlite3

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.log.distillation_log import DistillationLog, records_of
from cloud_worker.startup.preflight import check_data_folder
from cloud_worker.state.store import Store
from router.core.domain.plain_names import why_no_folder
from router.core.domain.record import Record
from router.core.errors import ConfigError, UnavailableError

FILE = """
data = {data}
[[teachers]]
name = {teacher}
kind = "recorded"
answers = "answers.jsonl"
[[tasks]]
name = {task}
reference = {teacher}
"""


def write(folder, data="'data'", task='"home"', teacher='"big"'):
    (folder / "answers.jsonl").write_text("")
    path = folder / "cloud.toml"
    path.write_text(FILE.format(data=data, task=task, teacher=teacher))
    return path


@pytest.mark.parametrize("name", ["100% sure? ü #1", "a'b\"c", "x;y&z=1", "~ $HOME {a}", "日本", "a%zz", "file:x"])
def test_all_works_inside_exactly_that_folder(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    assert why_no_folder(str(folder)) == ""
    config = read_config(write(folder))
    config.data.mkdir()
    Store(config.store_url)
    log = DistillationLog(config.log_folder)
    log.append([Record("kitchen", "q1", "big", "v1", "home", 1, 1e9, 1e9, "text", "on")], "spool", 1)
    assert len(records_of(log.read("home"))) == 1
    assert {path.name for path in config.data.iterdir()} >= {"fleet.sqlite", "log"}
    assert {path.name for path in tmp_path.iterdir()} == {name}


@pytest.mark.parametrize("name", ["[a]", "a|b", "a^b", "a%20b", "a\\\\b", "a\\nb", "a\\u007fb", "a\\tb"])
def test_a_folder_where_the_log_could_not_be_is_refused_by_its_key(tmp_path, name):
    with pytest.raises(ConfigError, match="data: holds"):
        read_config(write(tmp_path, data=f'"{name}"'))


def test_a_folder_too_long_for_a_database_is_refused_by_its_key_behind_a_link_too(tmp_path):
    long = tmp_path / ("long" * 50) / ("long" * 50)
    long.mkdir(parents=True)
    (tmp_path / "link").symlink_to(long)
    for name in (f"{long}", f"{tmp_path}/link"):
        with pytest.raises(ConfigError, match=r"data: has a path of \d+ bytes"):
            read_config(write(tmp_path, data=f'"{name}"'))


@pytest.mark.parametrize("url", ["s3://bucket/x", "memory://x", "file:///tmp/x", "gs://a"])
def test_a_url_is_no_folder(tmp_path, url):
    with pytest.raises(ConfigError, match=r"data: holds .* as a URL does"):
        read_config(write(tmp_path, data=f'"{url}"'))


def test_a_circle_of_links_is_refused_before_anything_starts(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    config = read_config(write(tmp_path, data='"circle/data"'))
    with pytest.raises(ConfigError, match="can't be made: Too many levels of symbolic links"):
        check_data_folder(config)


NAMES = (
    "-x",
    "--help",
    "\\u3164",
    "\\ufe0f",
    "ho\\u115fme",
    "",
    " ",
    ".",
    "..",
    "a/b",
    "../../../esc",
    "a\\\\b",
    "a\\nb",
    "a\\u001bb",
    "a\\u0000b",
    "a\\u202eb",
    "ü" * 40,
    " a",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["task", "teacher"])
def test_a_name_that_is_no_plain_one_is_refused_by_its_key(tmp_path, key, name):
    with pytest.raises(ConfigError, match=f"{key}s"):
        read_config(write(tmp_path, **{key: f'"{name}"'}))


@pytest.mark.parametrize(
    ("one", "other"), [("home", "Home"), ("home", "ho\u034fme"), ("my home", "my  home"), ("a", "ａ")]
)
def test_names_that_look_alike_are_refused(tmp_path, one, other):
    path = write(tmp_path, task=f'"{one}"')
    path.write_text(path.read_text() + f'[[tasks]]\nname = "{other}"\nreference = "big"\n')
    with pytest.raises(ConfigError, match="tasks"):
        read_config(path)


def test_a_database_that_another_holds_is_told_in_one_line_after_a_bounded_wait(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/fleet.sqlite")
    with sqlite3.connect(tmp_path / "fleet.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="another program"):
            store.update_task("home", phase="idle")
        assert store.task_states() == []
        other.execute("ROLLBACK")
    store.update_task("home", phase="idle")


def test_a_damaged_database_is_told_in_one_line(tmp_path):
    (tmp_path / "fleet.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(UnavailableError, match="damaged"):
        Store(f"sqlite:///{tmp_path}/fleet.sqlite")
