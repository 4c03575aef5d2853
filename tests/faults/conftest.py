"""What tests of faults share."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def waits():
    """The module ``waits``, which is a script too."""
    spec = importlib.util.spec_from_file_location("waits", Path(__file__).with_name("waits.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
