"""Loopback is never asked through a proxy; what is elsewhere is, where the environment names one."""

import http.server
import json
import os
import subprocess
import sys
import threading

import pytest

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
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=given)


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
