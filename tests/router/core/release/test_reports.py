"""What stands in a report of a device that said nothing, and which names devices may have."""

import pytest

from router.core.release.reports import DeviceReport, TaskReport, is_device_name


def test_a_device_that_says_nothing_has_done_nothing():
    report = TaskReport(task="commands")
    assert report.active_release == report.answered == report.failed == 0
    assert report.refused == ()
    assert DeviceReport(device="d").state == "ok"


@pytest.mark.parametrize("name", ["a", "7", "Kitchen-2.left_door", "a" * 64])
def test_names_that_devices_may_have(name):
    assert is_device_name(name)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a" * 65, "a b", "a/b", "ä", "a\n"])
def test_names_that_no_device_has(name):
    assert not is_device_name(name)
