"""Fetches a file over HTTP into a part file, going on where an earlier transfer broke off."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import DownloadError, InvalidInput
from ..files import write_out_folder, write_whole
from .disk import BLOCK_BYTES, append_blocks, disk_errors, megabytes, require_space
from .waiting import ServerWait

logger = logging.getLogger("FastFace")

ATTEMPTS = 4
RETRY_PAUSE_SECONDS = 1.0
_LOOK_SECONDS = 0.1
SCHEMES = ("http", "https")
#: Answers that another try may change.
PASSING_STATUS = (408, 429, 500, 502, 503, 504)

#: Gets `(done_bytes, total_bytes)`; the total is 0 while unknown. What it raises ends the transfer.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Transfer:
    """One file on its way.

    Attributes:
        url: http or https address.
        target: What the file will be called; what arrived lies in `<name>.part` beside it.
        on_progress: Called for every block.
        timeout_seconds: Longest silence of the server.
        unpacked_ratio: Space needed afterwards for unpacking, as a multiple of the file's size.

    Raises:
        InvalidInput: The address is neither http nor https.
    """

    url: str
    target: Path
    on_progress: Progress
    timeout_seconds: float
    unpacked_ratio: float = 0.0

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in SCHEMES:
            raise InvalidInput(f"can't download {self.url!r}: expected an http or https address")

    @property
    def part(self) -> Path:
        return self.target.with_name(self.target.name + ".part")

    @property
    def _note(self) -> Path:
        return self.target.with_name(self.target.name + ".part.json")

    def complete_part(self) -> None:
        """Makes the part whole, in several attempts if the connection breaks.

        Raises:
            DownloadError: Unreachable, refused, broken off again and again, or the disk is full or
                can't be written.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt()
            except _BrokenError as error:
                unreachable = isinstance(error, _UnreachableError)
                if attempt == ATTEMPTS or (unreachable and attempt == 1):
                    raise self.error(f"{error}{self._kept()}") from error
                logger.info("download of %s: %s; trying again", self.url, error)
            self._pause(RETRY_PAUSE_SECONDS * attempt)

    def discard(self) -> None:
        """Removes the part, so that the next attempt starts afresh."""
        with disk_errors(self.target.parent):
            self._note.unlink(missing_ok=True)
            self.part.unlink(missing_ok=True)

    def put_in_place(self) -> None:
        """Gives the whole part its final name."""
        with disk_errors(self.target.parent):
            self.part.replace(self.target)
            write_out_folder(self.target.parent)
            self._note.unlink(missing_ok=True)

    def discard_useless(self) -> None:
        """Removes a part that no later attempt can go on from, or that has nothing to become."""
        if self.target.exists() or self._resumable() is None:
            self.discard()

    def report_waiting(self) -> None:
        """Reports how far another process has come with the same file."""
        self.on_progress(self._arrived_bytes(), 0)

    def _pause(self, seconds: float) -> None:
        """Waits; may be left."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.report_waiting()
            time.sleep(min(left, _LOOK_SECONDS))

    def error(self, reason: str) -> DownloadError:
        """The error that also says how to do without this download."""
        return DownloadError(
            f"could not download {self.url}: {reason}. To do it by hand, put the file into the "
            f"folder {self.target.parent} under the name {self.target.name} and run again"
        )

    def _arrived_bytes(self) -> int:
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def _kept(self) -> str:
        if not (self._resumable() and self._arrived_bytes()):
            return ""
        return f"; {megabytes(self._arrived_bytes())} arrived, and running again goes on from there"

    def _resumable(self) -> _Origin | None:
        """What the part is a part of, if just the rest of the very same file can be asked for."""
        origin = _read_note(self._note)
        if origin is None or origin.url != self.url or origin.total_bytes is None:
            return None
        return origin if self._arrived_bytes() <= origin.total_bytes else None

    def _attempt(self) -> None:
        known = self._resumable()
        offset = self._arrived_bytes() if known else 0
        if known and offset == known.total_bytes:
            return
        with contextlib.ExitStack() as opened:
            server = opened.enter_context(ServerWait(self.report_waiting))
            response = server.result_of(lambda: self._open(offset, known))
            opened.callback(_let_go, server, response)
            origin = self._origin_of(response, known)
            if response.status == HTTPStatus.PARTIAL_CONTENT:
                start = response.headers.get("Content-Range", "").partition("-")[0]
                if origin != known or start != f"bytes {offset}":
                    self.discard()
                    raise _BrokenError("the file on the server has changed")
            elif response.status == HTTPStatus.OK:
                offset = 0
            else:
                raise self.error(f"the server answered HTTP {response.status}, expected the file")
            self._receive(server, response, offset, origin)

    def _open(self, offset: int, known: _Origin | None) -> http.client.HTTPResponse:
        headers = {"User-Agent": "ComfyUI-FastFace", "Accept-Encoding": "identity"}
        if known and known.validator and offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": known.validator}
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310  checked above
        opener = urllib.request.build_opener(_WebOnlyRedirects)
        try:
            return opener.open(request, timeout=self.timeout_seconds)
        except urllib.error.HTTPError as error:
            with error:
                status = f"the server answered HTTP {error.code} {error.reason}"
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.discard()
            elif error.code not in PASSING_STATUS:
                raise self.error(status) from error
            raise _BrokenError(status) from error
        except urllib.error.URLError as error:
            raise _UnreachableError(f"no connection ({error.reason})") from error
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(f"the connection broke ({error!r})") from error

    def _origin_of(self, response: http.client.HTTPResponse, known: _Origin | None) -> _Origin:
        headers = response.headers
        validator = headers.get("ETag")
        if validator is None or validator.startswith("W/"):  # weak: the bytes may differ
            validator = headers.get("Last-Modified")
        length = headers.get("Content-Length", "")
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            length = headers.get("Content-Range", "").rpartition("/")[2]
            if validator is None and known:  # the answer to If-Range needn't repeat it
                validator = known.validator
        return _Origin(self.url, validator, int(length) if length.isdecimal() else None)

    def _receive(
        self,
        server: ServerWait,
        response: http.client.HTTPResponse,
        offset: int,
        origin: _Origin,
    ) -> None:
        folder = self.target.parent
        total = origin.total_bytes
        if total is None and "Transfer-Encoding" not in response.headers:
            raise self.error("the server doesn't say how long it is, so a cut would go unnoticed")
        if total is not None:
            require_space(folder, total - offset + int(total * self.unpacked_ratio))
        if not offset:
            self.discard()
            if origin.validator:
                with disk_errors(folder):
                    write_whole(self._note, json.dumps(asdict(origin)).encode())
        server.on_wait = lambda: self.on_progress(self._arrived_bytes(), total or 0)
        blocks = _blocks(server, response, None if total is None else total - offset)
        append_blocks(self.part, blocks, lambda done: self.on_progress(done, total or 0))
        if total is not None and self._arrived_bytes() != total:
            raise _BrokenError(
                f"the connection ended after {self._arrived_bytes()} of {total} bytes"
            )


@dataclass(frozen=True)
class _Origin:
    """Which version of which file a part belongs to, as written down beside the part."""

    url: str
    validator: str | None
    total_bytes: int | None


def _read_note(path: Path) -> _Origin | None:
    """What is written down beside a part; None where that is missing or damaged."""
    try:
        record = json.loads(path.read_bytes())
        url, validator, total = record["url"], record["validator"], record["total_bytes"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    # It goes into the headers of a request.
    plain = isinstance(validator, str) and validator.isascii() and validator.isprintable()
    if not plain or not validator or type(total) is not int:
        return None
    return _Origin(str(url), validator, total)


class _BrokenError(Exception):
    """The transfer broke off; another attempt may go on from there."""


class _UnreachableError(_BrokenError):
    """There was no connection at all."""


class _WebOnlyRedirects(urllib.request.HTTPRedirectHandler):
    """The standard handler would also follow to ftp, and from https down to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        allowed = ("https",) if urlsplit(req.full_url).scheme == "https" else SCHEMES
        if urlsplit(newurl).scheme not in allowed:
            reason = f"{msg}: redirection to {newurl} is not allowed"
            raise urllib.error.HTTPError(newurl, code, reason, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _let_go(server: ServerWait, response: http.client.HTTPResponse) -> None:
    """Ends a connection, and with it the read that the thread may be in; that closes it then."""
    if not response.isclosed():
        with contextlib.suppress(OSError):
            connection = socket.socket(fileno=response.fileno())
            try:
                connection.shutdown(socket.SHUT_RDWR)
            finally:
                connection.detach()
    server.leave_to_thread(response.close)


def _blocks(
    server: ServerWait, response: http.client.HTTPResponse, left_bytes: int | None
) -> Iterator[bytes]:
    """The body as it comes in, up to `left_bytes` or its own end."""

    def read() -> bytes:
        try:
            # read() would wait for a whole block: no progress on a slow line.
            return response.read1(BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(f"the connection broke ({error!r})") from error

    while left_bytes != 0:
        block = server.result_of(read)
        if not block:
            return
        if left_bytes is not None:
            left_bytes -= len(block)
        yield block
