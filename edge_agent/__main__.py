"""``python -m edge_agent`` is ``headrace-edge``."""

from edge_agent.cli import app

app(prog_name="headrace-edge")
