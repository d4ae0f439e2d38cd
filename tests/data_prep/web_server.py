"""A web server whose answers a test can spoil, and which remembers what it was asked."""

import re
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class File:
    """The content of a path, and how it is served."""

    content: bytes
    etag: str = '"first"'
    modified: str = ""
    """Last-Modified; none if empty."""
    ranges: bool = True
    if_range: bool = True
    """Whether If-Range is heeded."""
    statuses: deque[int] = field(default_factory=deque)
    """Status codes of the next answers, before the file is served."""
    cuts: deque[int] = field(default_factory=deque)
    """Numbers of bytes after which the connections of the next requests break off."""
    goes_on: threading.Event | None = None
    """Half of the content is sent, and the rest when this is set."""
    retry_after: str = ""


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Stays silent: clients that are killed, or throw away the rest of an answer, belong to the tests."""


class Server:
    """Serves `files` on 127.0.0.1 while the context lasts."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.requests: list[tuple[str, str | None]] = []
        """Path and Range of every request."""
        self.sent = 0
        """Bytes of content."""
        self._httpd = _Quiet(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.01,))

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()
        self._thread.join()

    def put(self, path: str, content: bytes, **how: object) -> str:
        """Serves `content` from now on; returns its URL."""
        self.files[path] = File(content, **how)  # type: ignore[arg-type]
        return self.url(path)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._httpd.server_port}{path}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.requests.append((self.path, self.headers.get("Range")))
                file = server.files.get(self.path)
                if file is None or file.statuses:
                    self._answer(404 if file is None else file.statuses.popleft(), b"", file)
                    return
                start = self._start(file)
                if start is None:
                    self._answer(200, file.content, file)
                elif start >= len(file.content):
                    self._answer(416, b"", file, f"bytes */{len(file.content)}")
                else:
                    whole = len(file.content)
                    self._answer(206, file.content[start:], file, f"bytes {start}-{whole - 1}/{whole}")

            def _start(self, file: File) -> int | None:
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                unchanged = self.headers.get("If-Range", file.etag) in (file.etag, file.modified)
                return int(asked[1]) if asked and file.ranges and (unchanged or not file.if_range) else None

            def _answer(self, status: int, content: bytes, file: File | None, content_range: str = "") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                if content_range:
                    self.send_header("Content-Range", content_range)
                if file and file.etag and status < 400:
                    self.send_header("ETag", file.etag)
                if file and file.modified and status < 400:
                    self.send_header("Last-Modified", file.modified)
                if file and file.retry_after:
                    self.send_header("Retry-After", file.retry_after)
                self.end_headers()
                if file and file.cuts and content:
                    content = content[: file.cuts.popleft()]
                    self.close_connection = True
                try:
                    self._send(content, file.goes_on if file else None)
                except OSError:
                    self.close_connection = True  # the client was killed

            def _send(self, content: bytes, goes_on: threading.Event | None) -> None:
                half = len(content) // 2 if goes_on else 0
                self._write(content[:half])
                if goes_on:
                    goes_on.wait(300)
                self._write(content[half:])

            def _write(self, chunk: bytes) -> None:
                server.sent += len(chunk)  # before: who reads the last byte may look at it at once
                self.wfile.write(chunk)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
