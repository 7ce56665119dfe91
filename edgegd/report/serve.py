"""One page on the loopback address, read only.

Whatever runs on this machine, a browser with any site open too, can send requests here. So there is one page under
fixed names and nothing else, only GET, and only where the request names this server as its host: a site whose own name
leads to 127.0.0.1 (DNS rebinding) does not. Threads, seconds and bytes of requests are bounded.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edgegd.errors import EdgegdError, PortError

LOOPBACK = "127.0.0.1"
PATHS = ("/", "/report.html")
_REQUESTS = 16
"""At the same time; others are closed at once."""
_TIMEOUT_S = 10


class PageServer(ThreadingHTTPServer):
    """Serves what `page` returns at `address`; one thread at a time calls it, and its EdgegdErrors are shown.

    `port` 0 is any free one. Raises PortError.
    """

    daemon_threads = True

    def __init__(self, page: Callable[[], str], port: int = 0) -> None:
        self._page, self._lock = page, threading.Lock()
        self._free = threading.BoundedSemaphore(_REQUESTS)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise PortError(
                f"Port {port} of {LOOPBACK} cannot be used.",
                expected="a port that is free and that this user may have",
                found=str(error.strerror),
                mend="choose another --port, or 0 for any",
            ) from error
        self.hosts = {f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost")}

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://{LOOPBACK}:{self.server_port}/"

    def html(self) -> str:
        """The page now."""
        with self._lock:
            return self._page()

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, while there are not too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is nobody's error."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "edgegd", ""
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        """The page, where it was asked for."""
        if self.headers.get_all("Host") not in [[host] for host in self.server.hosts]:
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "This address is another one.")
        elif self.path not in PATHS:
            self._answer(HTTPStatus.NOT_FOUND, "There is nothing.")
        else:
            try:
                html = self.server.html()
            except EdgegdError as error:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, error.message())
                return
            self._answer(HTTPStatus.OK, html, "text/html")

    def _refuse(self) -> None:
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET.", allow=True)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _answer(self, status: HTTPStatus, text: str, kind: str = "text/plain", *, allow: bool = False) -> None:
        content = text.encode()
        self.send_response(status)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Connection": "close",
        } | ({"Allow": "GET"} if allow else {})
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: who looks at the page does not look at the terminal."""
