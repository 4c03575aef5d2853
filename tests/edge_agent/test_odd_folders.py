"""An agent in folders whose names mean something to a shell, a URL, a database or a terminal; or to nobody."""

import asyncio
import os
import shutil
import subprocess
import sys

import pytest

from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from tests.edge_agent.conftest import EdgeProcess

LONG = "long" * 50
NAMES = ("100% sure? ü #1/%20 state", "[a]|b", 'it\'s "so" \\ $HOME', "new\nline", "space ", "~", "日本", "-x")
NAMES += ("file:x?mode=ro", "tab\t\x1b[31m", os.fsdecode(b"no text \xff"), "d" * 200)

# Reads whatever root could, as the interpreter may lie in root's home; writes what its own user may.
SOMEBODY_UNKNOWN = ("setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "--inh-caps=+dac_read_search")
SOMEBODY_UNKNOWN += ("--ambient-caps=+dac_read_search", "env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME")


async def assert_works(edge, cloud):
    """It fetches a release, answers by it, and what is to be taught goes by its outbox and over a restart."""
    cloud.publish(*tiny_release(TASK, 1, WORDS), exploration=1.0)
    await edge.start()
    await cloud.until_active(1)
    cloud.faults.hang = True
    assert (await edge.ask("light", query_id="q-1")).text == "lights"
    await edge.written(1)
    await edge.kill()
    cloud.faults.hang = False
    cloud.queries.clear()
    await edge.start()
    await cloud.until(lambda: [query.id for query in cloud.queries] == ["q-1"])
    assert "ERROR" not in await edge.stop()


@pytest.mark.parametrize("name", NAMES)
async def test_all_works_inside_exactly_that_folder(tmp_path, cloud, name):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    edge = EdgeProcess(folder, cloud.target)
    try:
        await assert_works(edge, cloud)
    finally:
        await edge.kill()
    assert {path.name for path in edge.data.iterdir()} >= {"outbox.sqlite", "tasks", "standing.json"}
    assert [path.name for path in tmp_path.iterdir()] == [name.split("/")[0]]


@pytest.mark.parametrize("name", ["~", " ", "state ü %20", "a/../b"])
async def test_a_name_in_the_file_is_a_name_beside_it(edge, cloud, name):
    edge.config.write_text(edge.config.read_text().replace('"data"', f'"{name}"'))
    (edge.folder / "a").mkdir()
    edge.data = edge.folder / name
    await assert_works(edge, cloud)
    assert (edge.data / "outbox.sqlite").is_file()


@pytest.mark.parametrize("is_link", [False, True])
async def test_a_folder_too_long_for_a_database_is_refused_in_one_line(edge, tmp_path, is_link):
    long = tmp_path / LONG / LONG
    long.mkdir(parents=True)
    (tmp_path / "link").symlink_to(long)
    edge.config.write_text(edge.config.read_text().replace('"data"', f'"{"link" if is_link else long}"'))
    command = [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(edge.config), "--insecure"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 85
    [line] = done.stderr.splitlines()
    assert "bytes, and a database can be in one of 400 at most; choose another" in line
    assert list(long.iterdir()) == []


@pytest.mark.parametrize("name", ["circle", "circle/data", "file", "file/data", "a\\u0000b"])
async def test_a_folder_that_none_can_be_is_refused_in_one_line(edge, tmp_path, name):
    (edge.folder / "circle").symlink_to(edge.folder / "circle")
    (edge.folder / "file").write_text("")
    edge.config.write_text(edge.config.read_text().replace('"data"', f'"{name}"'))
    command = [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(edge.config), "--insecure"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    [line] = done.stderr.splitlines()
    assert (done.returncode, "can't be used" in line) == (85, True), line


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can become somebody unknown")
async def test_it_works_for_a_user_whom_the_system_does_not_know(edge, tmp_path, cloud, let_others_in):
    edge.becoming = SOMEBODY_UNKNOWN
    let_others_in(tmp_path.parent)
    for path in (tmp_path, edge.config):
        os.chown(path, 4242, 4242)
    await assert_works(edge, cloud)
    assert edge.data.stat().st_uid == 4242
