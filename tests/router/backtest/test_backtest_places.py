"""``headrace backtest`` on logs in folders with odd names, and for users without a home."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from router.backtest.logs.reader import Columns, read_log
from router.cli import app
from router.core.errors import DataError

HEADRACE = Path(sys.executable).with_name("headrace")
NAMES = (
    "100% sure? ü #1/%20 state",
    "[a]|b*",
    'it\'s "so" \\ $HOME',
    "new\nline",
    "space ",
    "~",
    "a=b",
    "tab\t\x1b[31m",
)
NAMES += ("s3:", "d" * 200, os.fsdecode(b"no text \xff"))

# Reads whatever root could, as the interpreter may lie in root's home; writes what its own user may.
SOMEBODY_UNKNOWN = ("setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "--inh-caps=+dac_read_search")
SOMEBODY_UNKNOWN += ("--ambient-caps=+dac_read_search", "env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME")


@pytest.fixture(params=NAMES)
def folder(request, tmp_path):
    (made := tmp_path / request.param).mkdir(parents=True)
    return made


def test_all_is_read_and_written_in_exactly_that_folder(folder, write_log, make_rows, tmp_path):
    log = Path(shutil.move(write_log(make_rows(200)), folder / "log.jsonl"))
    given = ["backtest", log, "--json", "--out", folder / "out.json", "--picture", folder / "saved.svg"]
    done = CliRunner().invoke(app, list(map(str, given)))
    assert done.exit_code == 0, done.output
    assert json.loads((folder / "out.json").read_text())["queries"] == 200
    assert "<svg" in (folder / "saved.svg").read_text()
    assert {path.name for path in folder.iterdir()} == {"log.jsonl", "out.json", "saved.svg"}
    assert [path.name for path in tmp_path.iterdir()] == [folder.relative_to(tmp_path).parts[0]]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_every_kind_of_file_is_read_there(folder, write_log, make_rows, kind):
    assert len(read_log(Path(shutil.move(write_log(make_rows(3), kind), folder / "log")), Columns()).rows) == 3


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_folder_of_files_is_read_there(folder, write_log, make_rows, kind):
    for name in ("1", "2"):
        shutil.move(write_log(make_rows(3), kind, name), folder / f"part {name}%20.{kind}")
    if kind == "parquet" and "\udcff" in str(folder):
        with pytest.raises(DataError, match="bytes in its path that are no text"):
            read_log(folder, Columns())
    else:
        assert len(read_log(folder, Columns()).rows) == 6


def test_what_is_wrong_there_is_told_in_one_line(folder):
    (folder / "log.jsonl").write_text('{"text": "a", "answer": "b"}\n{"text": ""}\n')
    done = CliRunner().invoke(app, ["backtest", str(folder / "log.jsonl")])
    assert done.exit_code == 82
    assert len(done.stderr.splitlines()) == 1
    assert "log.jsonl:2: column text: is empty" in done.stderr


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can become somebody unknown")
def test_a_user_without_a_home_is_asked_for_a_cache_where_one_is_needed(write_log, make_rows):
    with tempfile.TemporaryDirectory(prefix="headrace-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        log = shutil.move(write_log(make_rows(200)), name)

        def run(*arguments):
            command = [*SOMEBODY_UNKNOWN, HEADRACE, "backtest", log, "--json", *arguments]
            return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=name)

        assert (plain := run()).returncode == 0, plain.stderr
        refused = run("--encoder", "minilm")
    assert refused.returncode == 81
    assert refused.stderr.splitlines()[-1].startswith("headrace: --cache: has to be named")
    assert "Traceback" not in refused.stderr
