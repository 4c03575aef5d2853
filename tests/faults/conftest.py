"""What tests of faults share."""

import pytest


@pytest.fixture(scope="session")
def waits(shared):
    """The module ``waits``, which is a script too."""
    return shared("faults/waits")


@pytest.fixture(scope="session")
def networks(shared):
    """The module ``networks``."""
    return shared("faults/networks")
