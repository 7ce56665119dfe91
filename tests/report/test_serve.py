"""The server of one page refuses all else. Oracle: what HTTP says of each request."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from edgegd.errors import MissingArtifactError, PortError
from edgegd.report import serve
from edgegd.report.serve import PageServer

PAGE = "<!DOCTYPE html><p>the page é</p>"


@pytest.fixture
def server() -> Iterator[PageServer]:
    """A running server of PAGE."""
    with PageServer(lambda: PAGE) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


def ask(server: PageServer, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.getheaders())


@pytest.mark.parametrize("path", ["/", "/report.html"])
def test_the_page_is_there(server: PageServer, path: str) -> None:
    status, text, headers = ask(server, path)
    assert (status, text) == (200, PAGE) and headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert server.address == f"http://127.0.0.1:{server.server_port}/" and server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "path",
    [
        "/report.json",
        "/../report.html",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/manifests/",
        "/?a=<b>",
        "/report.html/",
    ],
)
def test_nothing_else_is_there(server: PageServer, path: str) -> None:
    status, text, _ = ask(server, path)
    assert status == 404 and text == "There is nothing."


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD"])
def test_only_get_is_allowed(server: PageServer, method: str) -> None:
    status, text, headers = ask(server, "/", method)
    assert status == 405 and headers["Allow"] == "GET" and PAGE not in text


@pytest.mark.parametrize(
    "host", ["example.org", "example.org:{port}", "127.0.0.1", "localhost:1", "127.0.0.1:{port}.x"]
)
def test_a_request_by_another_name_is_refused(server: PageServer, host: str) -> None:
    assert ask(server, Host=host.format(port=server.server_port))[0] == 421
    assert ask(server, Host=f"localhost:{server.server_port}")[0] == 200


@pytest.mark.parametrize("hosts", ["", "Host: 127.0.0.1:{port}\r\nHost: example.org\r\n"])
def test_a_request_without_a_name_or_with_two_is_refused(server: PageServer, hosts: str) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\n{hosts.format(port=server.server_port)}\r\n".encode())
        answer = connection.makefile("rb").read()
    assert b" 421 " in answer.splitlines()[0] and b"the page" not in answer


def connected(server: PageServer, timeout: float) -> socket.socket:
    """A connection on which half a request was sent."""
    connection = socket.create_connection(("127.0.0.1", server.server_port), timeout)
    connection.sendall(b"GET / HT")
    return connection


def test_a_request_that_never_ends_is_cut(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert serve._Handler.timeout == serve._TIMEOUT_S
    monkeypatch.setattr(serve._Handler, "timeout", 0.2)
    with connected(server, 60) as connection:
        assert connection.recv(1) == b""


def test_of_too_many_requests_the_last_is_closed_at_once(server: PageServer) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(serve._REQUESTS):
            stack.enter_context(connected(server, 60))
        last = stack.enter_context(socket.create_connection(("127.0.0.1", server.server_port), serve._TIMEOUT_S / 2))
        assert last.recv(1) == b""
    while server._free._value < serve._REQUESTS:
        time.sleep(0.01)
    assert ask(server)[0] == 200


def test_what_is_wrong_with_the_folder_is_said() -> None:
    def broken() -> str:
        raise MissingArtifactError("report.json is damaged.", mend="<run it again>")

    with PageServer(broken) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        status, text, headers = ask(running)
        running.shutdown()
        thread.join()
    assert status == 503 and "report.json is damaged." in text and headers["Content-Type"].startswith("text/plain")


def test_a_port_in_use_is_one_error(server: PageServer) -> None:
    with pytest.raises(PortError, match=f"Port {server.server_port} of 127.0.0.1 cannot be used"):
        PageServer(lambda: PAGE, server.server_port)
