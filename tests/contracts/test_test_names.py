"""Every process that runs tests must name them alike: names come from nothing that changes with the time."""


def test_no_test_is_named_by_packed_bytes(request):
    packed = [item.nodeid for item in request.session.items if r"\x1f\x8b" in item.nodeid]
    assert not packed, "gzip writes the time into its head"
