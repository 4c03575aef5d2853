"""What a device says of itself reaches ``status`` and ``feedback list`` as text."""

import io

from cloud_worker.reports.status_text import show_report
from router.io.terminal import Screen


def test_a_device_that_writes_escapes_and_markup_into_its_state_steers_no_terminal():
    hostile = "ok\x1b[2J\x9b31m[red]x[/red][link=http://evil]y[/link]\r\u202e"
    device = {"device": hostile, "last_seen": 0.0, "state": hostile, "said": hostile, "tasks": [{"task": hostile}]}
    turned = {key: {"times": 1, "last": hostile, "at": 0.0, "why": hostile} for key in ("devices", "tasks")}
    log = {"rows": 0, "version": -1, "spool_pending": 0, "state": hostile, "put_aside": [hostile]}
    log |= {"quarantined": 0, "unreadable_spools": 0}
    out = io.StringIO()
    screen = Screen(file=out, force_terminal=True, color_system="truecolor", width=400)
    report = {"ready": False, "running": False, "log": log, "tasks": [], "devices": [device], "turned_away": turned}
    show_report(
        screen,
        {
            **report,
            "state_lost": {hostile: 0.0},
            "config_differs": [{"key": hostile, "runs": hostile, "file": hostile}],
        },
    )
    for piece in ("\x1b[2J", "\x1b]8", "\x9b", "\r", "\u202e"):
        assert piece not in out.getvalue()
    assert "[red]x[/red][link=http://evil]y[/link]" in out.getvalue()
