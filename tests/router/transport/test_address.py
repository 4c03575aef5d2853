import pytest

from router.core.errors import ConfigError
from router.transport.address import Address, plain_address, read_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7600", Address("127.0.0.1", 7600)),
        (" localhost:0 ", Address("127.0.0.1", 0)),
        ("[::1]:7600", Address("::1", 7600)),
        ("example.com:65535", Address("example.com", 65535)),
    ],
)
def test_an_address_is_read_as_people_write_it(text, address):
    assert read_address(text, "edge.toml", "door.listen") == address


@pytest.mark.parametrize("text", ["", ":", ":7600", "host", "host:", "host:-1", "host:65536", "::1:7600", "host:٣"])
def test_what_is_no_address_is_refused_with_where_it_stands(text):
    with pytest.raises(ConfigError, match=r"edge.toml: door.listen: .* write HOST:PORT"):
        read_address(text, "edge.toml", "door.listen")


@pytest.mark.parametrize("text", ["127.0.0.1:1", "127.8.8.8:1", "localhost:1", "[::1]:1"])
def test_plain_transport_is_opened_on_this_machine(text):
    assert plain_address(text, "door", "listen", insecure=True).is_loopback


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1", "192.168.1.5:1", "example.com:1"])
def test_plain_transport_is_opened_nowhere_else(text):
    with pytest.raises(ConfigError, match="not on this machine"):
        plain_address(text, "door", "listen", insecure=True)


def test_nothing_is_opened_without_asking_for_plain_transport():
    with pytest.raises(ConfigError, match="needs an identity"):
        plain_address("127.0.0.1:1", "door", "listen", insecure=False)
