"""What whoever deploys an agent may set, and what is said of mistakes."""

import pytest

from edge_agent.config import check_addresses, load_config
from router.core.errors import ConfigError

GOOD = 'device = "kitchen-1"\ndata = "state"\n[upstream]\ntarget = "127.0.0.1:7700"\n'
SERVER = '[[servers]]\nmodel = "tiny"\nurl = "http://127.0.0.1:8080/v1"\n'


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(GOOD)
    return path


def test_three_keys_are_enough(file):
    config = load_config(file)
    assert (config.device, config.data, config.upstream.target) == (
        "kitchen-1",
        file.parent / "state",
        "127.0.0.1:7700",
    )
    assert config.door.listen == "127.0.0.1:7701"
    assert config.outbox.max_rows == 10_000


def test_the_environment_goes_before_the_file(file, monkeypatch):
    monkeypatch.setenv("HEADRACE_EDGE_DEVICE", "hall-2")
    monkeypatch.setenv("HEADRACE_EDGE_OUTBOX__MAX_ROWS", "7")
    config = load_config(file)
    assert (config.device, config.outbox.max_rows) == ("hall-2", 7)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("HEADRACE_EDGE_PRIVACY_LOCAL_ONLY", "HEADRACE_EDGE_PRIVACY__LOCAL_ONLY"),
        ("HEADRACE_EDGE_LOCAL_ONLY", "HEADRACE_EDGE_PRIVACY__LOCAL_ONLY"),
        ("HEADRACE_EDGE_PRIVACI__LOCAL_ONLY", "HEADRACE_EDGE_PRIVACY__LOCAL_ONLY"),
        ("HEADRACE_EDGE__PRIVACY__LOCAL_ONLY", "HEADRACE_EDGE_PRIVACY__LOCAL_ONLY"),
        ("headrace_edge_privacy.local_only", "HEADRACE_EDGE_PRIVACY__LOCAL_ONLY"),
        ("HEADRACE_EDGE_ANYTHING", "unset it"),
    ],
)
def test_a_variable_that_sets_nothing_is_refused_with_the_one_that_was_meant(file, monkeypatch, variable, meant):
    monkeypatch.setenv(variable, "true")
    with pytest.raises(ConfigError, match=f"^{variable}: sets nothing; .*{meant}"):
        load_config(file)


@pytest.mark.parametrize(
    "rest", ["SERVICE_HOST", "SERVICE_PORT_GRPC", "PORT", "PORT_7701_TCP_ADDR", "HALL_SERVICE_PORT", "HALL_PORT_1_UDP"]
)
def test_what_orchestrators_say_of_services_is_let_be(file, monkeypatch, rest):
    monkeypatch.setenv(f"HEADRACE_EDGE_{rest}", "tcp://10.0.0.1:7701")
    assert load_config(file).device == "kitchen-1"


def test_servers_beside_the_agent_are_named_by_model(file):
    file.write_text(GOOD + SERVER + SERVER.replace("tiny", "other").replace("http://127.0.0.1:8080/v1", "unix:/run/m"))
    assert load_config(file).server_urls == {"tiny": "http://127.0.0.1:8080/v1", "other": "unix:/run/m"}


def test_a_server_on_another_machine_is_reached_by_https_or_when_told_to(file):
    far = SERVER.replace("127.0.0.1", "10.0.0.5")
    for server in (far.replace("http:", "https:"), far + "insecure = true\n"):
        file.write_text(GOOD + server)
        assert "10.0.0.5" in load_config(file).server_urls["tiny"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "device: is missing; set it"),
        (GOOD.replace('"kitchen-1"', '"kit chen"'), "device: is 'kit chen': String should match"),
        (GOOD + "port = 3\n", "upstream.port: is not a key here; use others, target"),
        (GOOD + "[door]\nlisten = 7701\n", "door.listen: is 7701: Input should be a valid string"),
        (GOOD + "[outbox]\nmax_rows = 0\n", "outbox.max_rows: is 0: Input should be greater than or equal to 1"),
        (GOOD + "[outbox]\nrows = 1\n", "outbox.rows: is not a key here; use concurrency, max_age_days, max_bytes, "),
        (
            GOOD + '[outbox]\nwhen_full = "stop"\n',
            "outbox.when_full: is 'stop': Input should be 'drop-oldest' or 'drop-newest'",
        ),
        (
            GOOD + "[outbox]\nmax_bytes = 9\n",
            "outbox.max_bytes: is 9: Input should be greater than or equal to 1048576",
        ),
        (GOOD + 'others = ["127.0.0.1:7700"]\n', "upstream.others: names '127.0.0.1:7700' once more"),
        ("device = ", "is not TOML"),
        (
            GOOD + SERVER.replace("http", "ftp"),
            "servers.0.url: 'ftp://127.0.0.1:8080/v1' can't be asked; write http://127",
        ),
        (GOOD + SERVER.replace('model = "tiny"', ""), "servers.0.model: is missing"),
        (GOOD + SERVER.replace("127.0.0.1", "10.0.0.5"), "is another machine, and http leaves it open"),
        (GOOD + SERVER + SERVER, "two servers for one model"),
    ],
)
def test_a_mistake_names_file_key_value_and_what_would_do(file, content, said):
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)


def test_a_mistake_in_the_environment_names_the_variable(file, monkeypatch):
    monkeypatch.setenv("HEADRACE_EDGE_OUTBOX__MAX_ROWS", "many")
    with pytest.raises(ConfigError, match=r"^HEADRACE_EDGE_OUTBOX__MAX_ROWS: outbox.max_rows: is 'many'"):
        load_config(file)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file; give one with --config"):
        load_config(tmp_path / "edge.toml")


@pytest.mark.parametrize(
    ("section", "key"), [('[door]\nlisten = "{}"\n', "door.listen"), ('[upstream]\ntarget = "{}"\n', "upstream.target")]
)
@pytest.mark.parametrize("address", ["nowhere", "192.0.2.1:80", "127.0.0.1:99999"])
def test_addresses_are_checked_before_anything_starts(file, section, key, address):
    good = GOOD if key == "door.listen" else GOOD.partition("[upstream]")[0]
    file.write_text(good + section.format(address))
    with pytest.raises(ConfigError, match=f"edge.toml: {key}: "):
        check_addresses(load_config(file), str(file), insecure=True)


def test_other_machines_are_reached_unless_plain_transport_was_asked_for(file):
    file.write_text(GOOD.replace("127.0.0.1:7700", "cloud.example:7700") + '[door]\nlisten = "0.0.0.0:7701"\n')
    check_addresses(load_config(file), str(file), insecure=False)
    with pytest.raises(ConfigError, match="not on this machine"):
        check_addresses(load_config(file), str(file), insecure=True)


def test_the_devices_below_are_listed_by_name(file):
    file.write_text(GOOD + '[door]\ntiers = ["kitchen-2", "hall"]\n')
    assert load_config(file).door.tiers == ("kitchen-2", "hall")


@pytest.mark.parametrize(
    ("tiers", "said"),
    [('["anonymous"]', "names nobody"), ('["kitchen-1"]', "which is this device"), ('["a b"]', r"door\.tiers\.0")],
)
def test_whoever_names_nobody_or_itself_is_no_tier_below(file, tiers, said):
    file.write_text(GOOD + f"[door]\ntiers = {tiers}\n")
    with pytest.raises(ConfigError, match=said):
        load_config(file)
