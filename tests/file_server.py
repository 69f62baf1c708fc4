"""A web server on this machine that serves files the way real ones do, and fails the way real ones do."""

import contextlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """How one address answers.

    drops: for one request after the other, after how many bytes the connection ends; None or no entry: it doesn't
    claims: the length it tells, None for the true one, -1 for none at all
    ranges, conditions: whether it knows Range and If-Range
    """

    content: bytes = b""
    status: int = 200
    etag: str = ""
    drops: list = field(default_factory=list)
    claims: int | None = None
    ranges: bool = True
    conditions: bool = True
    kind: str = "application/octet-stream"


class FileServer:
    """files: Served by path    asked: (path, Range, If-Range) of every request    sent: bytes of content sent"""

    def __init__(self, address: str):
        self.address = address
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.sent = 0

    def serve(self, path: str, content: bytes = b"", **how) -> str:
        """Add a file; returns its URL."""
        self.files[path] = Served(content, **how)
        return f"{self.address}/{path}"


@contextlib.contextmanager
def running():
    """A FileServer that answers until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.state = FileServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        state, path = self.server.state, self.path.lstrip("/")
        asked, condition = self.headers["Range"] or "", self.headers["If-Range"] or ""
        state.asked.append((path, asked, condition))
        served = state.files.get(path, Served(status=404))
        if served.status != 200:
            return self.send_error(served.status)
        fits = served.ranges and (not served.conditions or condition in ("", served.etag))
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and fits else 0
        if start and start >= len(served.content):
            return self.send_error(416)
        self._head(served, start)
        stop = served.drops.pop(0) if served.drops else None
        body = served.content[start:][:stop]
        state.sent += len(body)
        self.wfile.write(body)

    def _head(self, served: Served, start: int) -> None:
        size = len(served.content) if served.claims is None else served.claims
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", served.kind)
        if size >= 0:
            self.send_header("Content-Length", str(size - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if served.etag:
            self.send_header("ETag", served.etag)
        self.end_headers()

    def log_message(self, *arguments):
        pass
