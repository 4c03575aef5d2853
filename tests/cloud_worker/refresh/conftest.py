"""A small world around a refresher."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture
def world(tmp_path, record):
    """A log, a fleet that asks, and a refresher; see ``world.py``."""
    spec = importlib.util.spec_from_file_location("world", Path(__file__).with_name("world.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.World(tmp_path, record)
