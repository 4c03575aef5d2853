import pytest

from router.core.errors import ConfigError
from router.identity.names import GATEWAY_SERVER, Identity, Role
from router.transport.address import Address, plain_address, read_address, read_target


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


def test_a_target_says_who_is_to_answer_there():
    address, who = read_target("cloud.example:7700", "client", "targets")
    assert (str(address), who.role, who.server) == ("cloud.example:7700", Role.GATEWAY, GATEWAY_SERVER)
    address, who = read_target("kitchen@[::1]:7701", "client", "targets")
    assert (str(address), who) == ("[::1]:7701", Identity(Role.DEVICE, "kitchen"))


@pytest.mark.parametrize(
    "text", ["@host:1", "a b@host:1", "anonymous@host:1", "kitchen@", "kitchen@host", "a@b@host:1"]
)
def test_a_target_that_names_no_device_or_no_address_is_refused(text):
    with pytest.raises(ConfigError, match="client: targets: "):
        read_target(text, "client", "targets")


def test_a_socket_is_on_this_machine_and_needs_no_asking():
    address = plain_address("unix:/run/agent.sock", "door", "listen", insecure=False)
    assert (str(address), address.socket, address.is_loopback) == ("unix:/run/agent.sock", "/run/agent.sock", True)
    for wrong in ("unix:agent.sock", "unix:", f"unix:/{'x' * 107}"):
        with pytest.raises(ConfigError, match="socket"):
            read_address(wrong, "door", "listen")
