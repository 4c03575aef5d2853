"""A whole cluster whose state lies on a PostgreSQL: started, asked, ordered, looked at, and started again."""

import json

import pytest

from cloud_worker.state.store import Store


@pytest.mark.slow
def test_a_cluster_runs_on_a_postgresql_and_is_taken_up_again(cloud_folder, postgres):
    with postgres.database() as url:
        with_password = url.replace("headrace@", "headrace:word@")
        with (cloud_folder.folder / "cloud.toml").open("a") as stream:
            stream.write(f'[store]\nurl = "{with_password}"\n')
        for words in (("status",), ("audit",), ("devices", "list")):  # before the first start they make nothing
            assert "Traceback" not in cloud_folder.run(*words).stderr
        for number in range(2):
            up = cloud_folder.run("up", "--insecure", "--detach")
            assert up.returncode == 0, up.stderr
            assert cloud_folder.ask() == "light_on"
            assert cloud_folder.run("freeze" if number else "observe", "home", "--why", "a test").returncode == 0
            status = cloud_folder.run("status", "--json")
            assert (status.returncode, "word" in status.stdout) == (0, False), status.stderr
            (task,) = json.loads(status.stdout)["tasks"]
            assert task["promise"]["hand"] == {
                "mode": "observe",
                "frozen": bool(number),
                "pinned": None,
                "forced": False,
            }
            cloud_folder.end()
        assert [row.number for row in Store(url).releases("home")] == [0]
        assert not (cloud_folder.folder / "data" / "fleet.sqlite").exists()
        assert "a test" in cloud_folder.run("audit").stdout
