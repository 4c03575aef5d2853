"""Loopback is never asked through a proxy; what is elsewhere is, where the environment names one."""

import http.server
import json
import os
import subprocess
import sys
import threading

import pytest

from router.core.domain.generation import Prompt
from router.core.errors import ConfigError, UnavailableError
from router.students.writers.server_address import open_client
from router.students.writers.server_writer import ServedWriter

VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


class Recording(http.server.BaseHTTPRequestHandler):
    """Answers as a model server, and as a proxy to one; remembers what it was asked."""

    def do_POST(self):
        self.server.asked.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"message": {"role": "assistant", "content": "warm"}, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice], "usage": {}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self):
        self.server.asked.append(self.path)
        self.send_error(502)

    def log_message(self, *_):
        pass


@pytest.fixture
def recorder():
    servers = []

    def start():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recording)
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def behind(proxy, script, *words, **more):
    """Run a script with every proxy variable set, and none that exempts anything."""
    bare = {name: value for name, value in os.environ.items() if name.lower() not in {"no_proxy", "no_grpc_proxy"}}
    given = bare | dict.fromkeys(VARIABLES, proxy) | more
    command = [sys.executable, "-c", script, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=given)


ASK_A_SERVER = """
import sys
from router.core.domain.generation import Prompt
from router.students.writers.server_writer import ServedWriter
print(ServedWriter(sys.argv[1], "m").write(Prompt(text="how warm")).text)
"""


def test_a_model_server_on_this_machine_is_asked_straight(recorder):
    server, proxy = recorder(), recorder()
    done = behind(f"http://127.0.0.1:{proxy.server_port}", ASK_A_SERVER, f"http://127.0.0.1:{server.server_port}/v1")
    assert done.stdout.strip() == "warm", done.stderr
    assert proxy.asked == []


def test_a_model_server_elsewhere_is_asked_through_the_proxy(recorder):
    proxy = recorder()
    done = behind(f"http://127.0.0.1:{proxy.server_port}", ASK_A_SERVER, "http://models.invalid/v1")
    assert done.stdout.strip() == "warm", done.stderr
    assert all(path.startswith("http://models.invalid/v1/") for path in proxy.asked)


EXPORT = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
from router.transport.telemetry import Telemetry, TelemetrySettings

class Collector(grpc.GenericRpcHandler):
    def service(self, details):
        print(details.method, flush=True)
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")

server = grpc.server(ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((Collector(),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
telemetry = Telemetry.start("t", TelemetrySettings(otlp=sys.argv[1].format(port=port)))
telemetry.tracer.start_span("one").end()
telemetry.stop()
"""


@pytest.mark.parametrize("url", ["127.0.0.1:{port}", "http://localhost:{port}"])
def test_spans_reach_a_collector_on_this_machine(recorder, url):
    proxy = recorder()
    done = behind(f"http://127.0.0.1:{proxy.server_port}", EXPORT, url)
    assert "/opentelemetry.proto.collector.trace.v1.TraceService/Export" in done.stdout, done.stderr
    assert proxy.asked == []


def test_spans_for_a_collector_elsewhere_go_through_the_proxy(recorder):
    proxy = recorder()
    behind(f"http://127.0.0.1:{proxy.server_port}", EXPORT, "http://collector.invalid:4317")
    assert "collector.invalid:4317" in proxy.asked


@pytest.fixture
def proxies(monkeypatch):
    """Set variables of proxies, and no others."""

    def put(**given):
        for name in (*VARIABLES, "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(
    ("given", "key", "told"),
    [
        ({"ALL_PROXY": "socks5://127.0.0.1:9"}, "all_proxy", "pip install socksio"),
        ({"http_proxy": "socks5h://127.0.0.1:9"}, "http_proxy", "pip install socksio"),
        ({"http_proxy": "foo://bar"}, "http_proxy", "Unknown scheme"),
        ({"HTTP_PROXY": "http://127.0.0.1:9:9"}, "http_proxy", "Invalid port"),
        ({"http_proxy": "http://[::1"}, "http_proxy", "Invalid port"),
    ],
)
def test_a_proxy_that_can_not_be_used_is_told_by_its_variable(proxies, given, key, told):
    proxies(**given)
    with pytest.raises(ConfigError, match=told) as caught:
        ServedWriter("http://models.invalid/v1", "m")
    assert (caught.value.source, caught.value.key) == ("environment", key)
    ServedWriter("http://127.0.0.1:9/v1", "m").close()


@pytest.mark.parametrize(
    ("exempt", "host", "straight"),
    [
        ("fd00::/8", "[fd00::5]", True),
        ("[fd00::5]", "[fd00::5]", True),
        ("fd00::5", "[fd00::5]", True),
        ("10.0.0.0/8,192.0.2.0/24", "192.0.2.7", True),
        ("10.0.0.0/8", "192.0.2.7", False),
        (".invalid", "models.invalid", True),
        ("*.invalid", "models.invalid", True),
        ("models.invalid:8080", "models.invalid:8080", True),
        ("models.invalid:8080", "models.invalid:8081", False),
        ("els.invalid", "models.invalid", False),
        ("*", "models.invalid", True),
        (" , ,", "models.invalid", False),
    ],
)
def test_what_no_proxy_exempts_is_asked_straight(proxies, exempt, host, straight):
    proxies(http_proxy=" 127.0.0.1:9 ", no_proxy=exempt)
    with open_client(f"http://{host}/v1", None, seconds=1.0) as client:
        assert (type(client._transport._pool).__name__ == "ConnectionPool") is straight


def test_authorities_that_are_not_there_are_told_where_they_are_needed_alone(proxies, monkeypatch):
    proxies()
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        ServedWriter("https://models.invalid/v1", "m")
    with pytest.raises(UnavailableError):
        ServedWriter("http://127.0.0.1:9/v1", "m").write(Prompt("x"))
