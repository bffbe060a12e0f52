"""A web server on loopback that misbehaves on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@dataclass
class FileServer:
    """Serves one file at every path.

    Attributes:
        url: Address of the file.
        content: The file.
        by_path: Other files, at these paths.
        headers: Validators sent with the file.
        honours_range: Whether Range is obeyed, if If-Range allows it.
        cuts: For each coming request, the bytes after which the connection ends; None: no cut.
        statuses: For each coming request, the status to answer instead of the file; 200: the file,
            0: no answer at all.
        location: Where a redirecting status leads.
        length: How the end is told: by `Content-Length`, `chunked`, or not at all: None.
        range_shift: Where a part begins, beyond what was asked for.
        repeats_validators: Whether parts carry the headers too.
        ranges: The Range header of each request so far.
        served_bytes: Bytes of the body sent for each request so far.
    """

    url: str = ""
    content: bytes = b""
    by_path: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    honours_range: bool = True
    cuts: list[int | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    location: str = ""
    length: str | None = "Content-Length"
    range_shift: int = 0
    repeats_validators: bool = True
    ranges: list[str | None] = field(default_factory=list)
    served_bytes: list[int] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            return
        if status != 200:
            request.send_response(status)
            request.send_header("Location", self.location)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = content = self.by_path.get(request.path, self.content)
        version = request.headers.get("If-Range", "")
        unchanged = version in self.headers.values() and not version.startswith("W/")
        partial = self.honours_range and unchanged
        if wanted is not None and partial:
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) + self.range_shift
            body = body[start:]
            request.send_response(206)
            last = len(content) - 1
            request.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        else:
            request.send_response(200)
        if self.repeats_validators or not partial:
            for name, value in self.headers.items():
                request.send_header(name, value)
        if self.length == "Content-Length":
            request.send_header("Content-Length", str(len(body)))
        if self.length == "chunked":
            request.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        request.end_headers()
        body = body[: self.cuts.pop(0) if self.cuts else None]
        self.served_bytes.append(len(body))
        request.wfile.write(body)


@pytest.fixture
def file_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A `FileServer` in a thread; retries against it don't pause."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("fastface.utils.download.transfer.RETRY_PAUSE_SECONDS", 0)
    files = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output clean."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that was interrupted hangs up in the middle: that is meant."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    files.url = f"http://127.0.0.1:{server.server_port}/pack.zip"
    yield files
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where to download to; its folder doesn't exist yet."""
    return tmp_path / "models" / "pack.zip"


@pytest.fixture
def names_in() -> Callable[[Path], list[str]]:
    """Function that lists a folder, without the lock files that always stay."""
    return lambda folder: sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")
