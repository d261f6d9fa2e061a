"""manage.py serve: a real server, asked as a proxy and as a stranger would ask it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from pytest_django import Settings

from apps.core.management.commands.serve import LARGEST_HEADER, LARGEST_REQUEST

PROXY, STRANGER = "127.0.0.2", "127.0.0.1"  # the whole of 127.0.0.0/8 is this machine
FORWARDED = {
    "Host": "127.0.0.1:8000",
    "X-Forwarded-For": "203.0.113.9, 198.51.100.7:50123",  # the last one is the proxy's own word
    "X-Forwarded-Host": "po.example.com",
    "X-Forwarded-Proto": "https",
}


class Server:
    """`manage.py serve` with production's settings, in a process of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.echo_settings",
            "ALLOWED_HOSTS": "po.example.com",
            "ALLOW_SQLITE_IN_PRODUCTION": "true",
            "LOG_DIR": str(folder / "log"),
            "STATIC_ROOT": str(folder),
            "WEB_LISTEN": "127.0.0.1:0",  # any free port
            **environment,
        }
        self.process = self.start()
        while not (line := self.read_line()).startswith("PO Tracking listens on"):
            assert line, "it ended before it listened"
        self.port = int(line.rpartition(":")[2])

    def start(self, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", "serve"],
            cwd=settings.BASE_DIR,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(
        self,
        path: str,
        *,
        of: str,
        headers: dict[str, str] | None = None,
        method: str = "GET",
    ) -> tuple[int, dict[str, str], bytes]:
        """Asks from the given address of this machine: status, headers, body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20, source_address=(of, 0))
        with closing(connection):
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def end(self) -> tuple[int, str, str]:
        """Waits for its end: exit code, and what else it printed on both ways out."""
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Server]:
    server = Server(folder, **environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.terminate()
            server.end()


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("serve"), WEB_TRUSTED_PROXY=PROXY) as server:
        yield server


def echoed(server: Server, *, of: str, headers: dict[str, str]) -> dict[str, Any]:
    status, _, body = server.ask("/echo", of=of, headers=headers)
    assert status == 200, body
    answer: dict[str, Any] = json.loads(body)
    return answer


@pytest.mark.process
def test_the_trusted_proxy_tells_who_asked_for_which_host_over_https(behind_proxy: Server) -> None:
    seen = echoed(behind_proxy, of=PROXY, headers=FORWARDED)
    assert (seen["scheme"], seen["host"], seen["browser"]) == (
        "https",
        "po.example.com",
        "198.51.100.7",
    )


@pytest.mark.process
def test_nobody_else_is_believed_and_plain_http_goes_to_https(behind_proxy: Server) -> None:
    headers = {**FORWARDED, "Host": "po.example.com", "X-Forwarded-Host": "evil.example"}
    status, answer, _ = behind_proxy.ask("/echo", of=STRANGER, headers=headers)
    assert (status, answer["Location"]) == (301, "https://po.example.com/echo")


@pytest.mark.process
def test_without_a_proxy_forwarded_headers_never_reach_the_application(tmp_path: Path) -> None:
    with serving(tmp_path, SECURE_SSL_REDIRECT="false") as server:
        headers = {**FORWARDED, "Host": "po.example.com", "Forwarded": "for=203.0.113.9"}
        seen = echoed(server, of=STRANGER, headers=headers)
    assert (seen["scheme"], seen["browser"], seen["proxy_said"]) == ("http", STRANGER, [])


@pytest.mark.process
def test_a_host_that_is_not_allowed_is_refused_even_from_the_proxy(behind_proxy: Server) -> None:
    headers = {**FORWARDED, "X-Forwarded-Host": "evil.example"}
    assert behind_proxy.ask("/echo", of=PROXY, headers=headers)[0] == 400


@pytest.mark.process
@pytest.mark.parametrize(
    ("origin", "status"), [("https://po.example.com", 200), ("https://evil.example", 403)]
)
def test_a_form_sent_through_the_proxy_passes_only_from_the_own_site(
    behind_proxy: Server, origin: str, status: int
) -> None:
    token = echoed(behind_proxy, of=PROXY, headers=FORWARDED)["token"]
    headers = {
        **FORWARDED,
        "Origin": origin,
        "Cookie": f"csrftoken={token}",
        "X-CSRFToken": token,
    }
    assert behind_proxy.ask("/echo", of=PROXY, headers=headers, method="POST")[0] == status


@pytest.mark.process
def test_a_request_that_is_too_large_is_refused_before_it_is_read(behind_proxy: Server) -> None:
    headers = {**FORWARDED, "Content-Length": str(LARGEST_REQUEST + 1)}
    assert behind_proxy.ask("/echo", of=PROXY, headers=headers)[0] == 413


@pytest.mark.process
def test_an_address_that_no_browser_writes_is_refused_before_it_is_looked_up(
    behind_proxy: Server,
) -> None:
    path = "/echo?x=" + "x" * LARGEST_HEADER
    assert behind_proxy.ask(path, of=PROXY, headers=FORWARDED)[0] == 431


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no polite signal to a process")
@pytest.mark.parametrize("politely", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_answers_what_it_has_begun_and_exits_cleanly(
    tmp_path: Path, politely: signal.Signals
) -> None:
    with serving(tmp_path, SECURE_SSL_REDIRECT="false") as server:
        headers = {"Host": "po.example.com"}
        with ThreadPoolExecutor(1) as browser:
            answer = browser.submit(server.ask, "/slow", of=STRANGER, headers=headers)
            assert server.read_line() == "at work\n"
            server.process.send_signal(politely)
            status, _, body = answer.result()
        assert (status, body) == (200, b"in the end")
        assert server.end() == (0, "PO Tracking has stopped.\n", "")


@pytest.mark.process
def test_a_port_that_is_taken_is_told_in_words(behind_proxy: Server) -> None:
    taken = f"127.0.0.1:{behind_proxy.port}"
    second = behind_proxy.start(WEB_LISTEN=taken)
    out, err = second.communicate(timeout=20)
    assert second.returncode == 1
    assert out == ""
    assert f"{taken} is in use" in err
    assert "set WEB_LISTEN to another port" in err
    assert "Traceback" not in err


@pytest.mark.process
def test_without_a_trusted_proxy_it_warns_that_browsers_would_go_in_circles(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.process.terminate()
        _, _, err = server.end()
    assert "WEB_TRUSTED_PROXY is not set" in err


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WEB_LISTEN", "8000", "Write it as address:port"),
        ("WEB_LISTEN", "127.0.0.1:http", "Write it as address:port"),
        ("WEB_LISTEN", "127.0.0.1:70000", "Write it as address:port"),
        ("WEB_LISTEN", "no such host:8000", "is not known"),
        ("WEB_LISTEN", "203.0.113.1:8000", "has no address 203.0.113.1:8000"),
        ("WEB_THREADS", 0, "At least one thread"),
        ("WEB_TRUSTED_PROXY", "*", "Write the one address"),
        ("WEB_TRUSTED_PROXY", "proxy.example.com", "Write the one address"),
    ],
)
def test_a_setting_that_makes_no_sense_is_told_in_words(
    settings: Settings, name: str, value: object, said: str
) -> None:
    setattr(settings, name, value)
    with pytest.raises(CommandError, match=said):
        call_command("serve")


@pytest.mark.parametrize("address", ["127.0.0.1", "", ":8000", "127.0.0.1:http", "[::1]:70000"])
def test_the_probe_tells_a_wrong_address_in_words(settings: Settings, address: str) -> None:
    settings.WEB_LISTEN = address
    with pytest.raises(CommandError, match=f'^WEB_LISTEN is "{re.escape(address)}". Write it as'):
        call_command("serve", "--probe", "0")


def has_ipv6() -> bool:
    try:
        with closing(socket.socket(socket.AF_INET6)) as unused:
            unused.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.process
@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_server_on_ipv6_is_not_reached_over_ipv4(tmp_path: Path) -> None:
    """Else a proxy on IPv4 would have an address that WEB_TRUSTED_PROXY does not name."""
    with serving(tmp_path, WEB_LISTEN="[::]:0") as server:
        with closing(socket.create_connection(("::1", server.port), timeout=10)):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=10)


@pytest.mark.process
def test_the_probe_finds_a_server_that_answers(tmp_path: Path, settings: Settings) -> None:
    with serving(tmp_path) as server:
        settings.WEB_LISTEN = f"127.0.0.1:{server.port}"
        call_command("serve", "--probe", "10")


def test_the_probe_says_that_nobody_answers(settings: Settings) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        settings.WEB_LISTEN = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(CommandError, match="does not answer on"):
            call_command("serve", "--probe", "0")
