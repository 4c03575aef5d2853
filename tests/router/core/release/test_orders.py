"""Orders: what stands in them when nothing was said."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from router.core.domain.task import Mode
from router.core.release.orders import Order, Orders


def test_an_order_serves_by_the_policy_unless_the_operator_says_otherwise():
    order = Order(task="commands", release=1, manifest_sha256="", exploration=0.05)
    assert order.mode is Mode.SERVE
    assert order.watch == "unproven"
    assert order.threshold is None


def test_no_orders_leave_a_device_as_it_is():
    assert Orders().tasks == ()
    assert Orders().seed == b""
    with pytest.raises(FrozenInstanceError):
        Orders().interval_seconds = 1.0
