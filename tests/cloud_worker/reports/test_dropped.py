"""What devices dropped of what was to be taught is told of each, by reason."""

import io
import json

from rich.console import Console
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.releases.recovered_state import open_at_start
from cloud_worker.reports.devices import MOST_DROPPING, devices_of, show_devices
from router.core.release.reports import DeviceReport

CONFIG = cloud_toml()


def test_reasons_are_told_on_the_screen_and_in_json(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    path = tmp_path / "cloud.toml"
    path.write_text(CONFIG)
    config = read_config(path)
    config.data.mkdir()
    store = open_at_start(config)
    for name in ("kitchen", "old", "garage"):
        store.device(name)
    dropped = (("age", 3), ("\x1b[2Jrows", 1200))
    store.save_report(DeviceReport("kitchen", outbox_dropped=1203, outbox_dropped_because=dropped), 1.0)
    store.save_report(DeviceReport("old", outbox_dropped=7), 1.0)  # of an older version
    store.save_report(DeviceReport("garage"), 1.0)
    said = CliRunner().invoke(app, ["devices", "list", "-c", str(path), "--json"])
    told = {one["device"]: one["outbox_dropped_because"] for one in json.loads(said.stdout)["devices"]}
    assert told == {"kitchen": dict(dropped), "old": {}, "garage": {}}
    screen = io.StringIO()
    devices = devices_of(config, store, None)
    show_devices(Console(file=screen, width=200), devices)
    assert "kitchen has dropped 1,203 queries untaught: age 3, \\x1b[2Jrows 1,200" in screen.getvalue()
    assert "old has dropped 7 queries untaught: unknown why" in screen.getvalue()
    assert "garage has dropped" not in screen.getvalue()
    many = [{**devices[-1], "device": f"d{number}", "outbox_dropped": 1} for number in range(MOST_DROPPING + 2)]
    show_devices(Console(file=screen, width=200), many)
    assert "and 2 more devices have dropped queries" in screen.getvalue()
