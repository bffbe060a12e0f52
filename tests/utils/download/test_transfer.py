"""`download_file`: a transfer that breaks off, is interrupted, or brings the wrong file."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from fastface.utils.download import transfer
from fastface.utils.download.fetch import download_file
from fastface.utils.errors import DownloadError

CONTENT = bytes(range(256)) * 4000
HASH = hashlib.sha256(CONTENT).hexdigest()
CUT = 300_000


class Stop(Exception):
    """ComfyUI's interruption as in old versions."""


class BaseStop(BaseException):
    """ComfyUI's interruption as in new versions."""


class DiskLikeStop(OSError):
    """An interruption that could be mistaken for a disk or network error."""


@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=["empty", "one byte", "1 MB"])
def test_whole_file_arrives(names_in, file_server, target: Path, content: bytes) -> None:
    file_server.content = content
    seen = []
    path = download_file(
        file_server.url,
        target,
        sha256=hashlib.sha256(content).hexdigest().upper(),
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert path == target
    assert target.read_bytes() == content
    assert names_in(target.parent) == ["pack.zip"]
    # A server that answers late is waited for aloud: nothing of an unknown size.
    told = [each for each in seen if each != (0, 0)] or seen
    assert told[0] == (0, len(content)) and told[-1] == (len(content), len(content))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


DATE = "Sun, 01 Nov 2026 00:00:00 GMT"


@pytest.mark.parametrize(
    "headers",
    [{"ETag": '"1"'}, {"Last-Modified": DATE}, {"ETag": 'W/"1"', "Last-Modified": DATE}],
    ids=["strong tag", "date", "weak tag and date"],
)
@pytest.mark.parametrize("repeats_validators", [True, False])
def test_broken_transfer_goes_on_where_it_broke(
    file_server, target: Path, headers: dict[str, str], repeats_validators: bool
) -> None:
    file_server.content, file_server.cuts = CONTENT, [CUT]
    file_server.headers, file_server.repeats_validators = headers, repeats_validators
    download_file(file_server.url, target, sha256=HASH)
    assert target.read_bytes() == CONTENT
    assert file_server.ranges == [None, f"bytes={CUT}-"]
    assert file_server.served_bytes == [CUT, len(CONTENT) - CUT]


@pytest.mark.parametrize(
    ("options", "ranges"),
    [
        ({"headers": {}}, [None, None]),
        ({"headers": {"ETag": 'W/"1"'}}, [None, None]),
        ({"length": "chunked"}, [None, None]),
        ({"honours_range": False}, [None, f"bytes={CUT}-"]),
        ({"range_shift": 1}, [None, f"bytes={CUT}-", None]),
    ],
    ids=["no validator", "weak tag", "unknown length", "Range ignored", "another range"],
)
def test_what_cannot_be_resumed_starts_again(
    file_server, target: Path, options: dict, ranges: list[str | None]
) -> None:
    file_server.content, file_server.cuts = CONTENT, [CUT]
    for name, value in options.items():
        setattr(file_server, name, value)
    download_file(file_server.url, target)
    assert target.read_bytes() == CONTENT
    assert file_server.ranges == ranges


def test_giving_up_tells_what_arrived_and_the_next_call_goes_on(file_server, target: Path) -> None:
    file_server.content, file_server.cuts = CONTENT, [100_000] * transfer.ATTEMPTS
    with pytest.raises(
        DownloadError, match=r"0\.4 MB arrived, and running again goes on"
    ) as raised:
        download_file(file_server.url, target)
    assert file_server.url in str(raised.value) and str(target.parent) in str(raised.value)
    assert not target.exists()
    download_file(file_server.url, target, sha256=HASH)
    assert target.read_bytes() == CONTENT
    assert sum(file_server.served_bytes) == len(CONTENT)


@pytest.mark.parametrize("stop", [Stop, BaseStop, DiskLikeStop])
def test_interruption_passes_and_leaves_a_resumable_part(
    file_server, target: Path, stop: type[BaseException]
) -> None:
    file_server.content = CONTENT
    interruption = stop("stop")

    def stop_in_the_middle(done: int, total: int) -> None:
        assert not target.exists()
        if done:
            raise interruption

    with pytest.raises(stop) as raised:
        download_file(file_server.url, target, on_progress=stop_in_the_middle)
    assert raised.value is interruption
    arrived = (target.parent / "pack.zip.part").stat().st_size
    assert 0 < arrived <= len(CONTENT) and not target.exists()
    download_file(file_server.url, target, sha256=HASH)
    assert target.read_bytes() == CONTENT
    assert file_server.ranges[1:] in ([f"bytes={arrived}-"], [])


def test_part_that_is_already_whole_needs_no_request(file_server, target: Path) -> None:
    file_server.content = CONTENT

    def stop_at_the_end(done: int, total: int) -> None:
        if done == total:
            raise Stop

    with pytest.raises(Stop):
        download_file(file_server.url, target, on_progress=stop_at_the_end)
    download_file(file_server.url, target, sha256=HASH)
    assert target.read_bytes() == CONTENT
    assert len(file_server.ranges) == 1


@pytest.mark.parametrize("obeys_if_range", [True, False])
def test_changed_file_on_the_server_starts_again(
    file_server, target: Path, obeys_if_range: bool
) -> None:
    file_server.content, file_server.cuts = b"old" * 200_000, [CUT] + [0] * 3
    with pytest.raises(DownloadError):
        download_file(file_server.url, target)
    file_server.content, file_server.headers = CONTENT, {"ETag": '"2"'}
    if not obeys_if_range:
        file_server.headers["X-Old"] = '"1"'  # the server takes the old tag for good
    download_file(file_server.url, target, sha256=HASH)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{",
        "[1]",
        '{"url": 1}',
        "[" * 100_000,
        '{"url": "%s", "validator": "\\"1\\"", "total_bytes": "many"}',
        '{"url": "%s", "validator": "\\"1\\"", "total_bytes": Infinity}',
        '{"url": "%s", "validator": 1, "total_bytes": 1024000}',
        '{"url": "%s", "validator": "\\n", "total_bytes": 1024000}',
        '{"url": "%s", "validator": "\u00fc", "total_bytes": 1024000}',
        '{"url": "%s", "validator": "", "total_bytes": 1024000}',
    ],
)
def test_damaged_note_starts_again(file_server, target: Path, note: str) -> None:
    note = note.replace("%s", file_server.url)
    file_server.content = CONTENT
    target.parent.mkdir()
    (target.parent / "pack.zip.part").write_bytes(b"rubbish")
    (target.parent / "pack.zip.part.json").write_text(note)
    download_file(file_server.url, target)
    assert target.read_bytes() == CONTENT
    assert file_server.ranges == [None]


@pytest.mark.parametrize("address", ["/pack.zip", "/other.zip"])
@pytest.mark.parametrize("added", [0, len(CONTENT)])
def test_part_of_another_file_is_not_resumed(
    file_server, target: Path, address: str, added: int
) -> None:
    file_server.content, file_server.cuts = CONTENT, [CUT] + [0] * (transfer.ATTEMPTS - 1)
    with pytest.raises(DownloadError):
        download_file(file_server.url, target)
    with (target.parent / "pack.zip.part").open("ab") as part:
        part.write(bytes(added))
    download_file(file_server.url.replace("/pack.zip", address), target, sha256=HASH)
    own = address == "/pack.zip" and not added
    assert file_server.ranges[transfer.ATTEMPTS] == (f"bytes={CUT}-" if own else None)


def test_part_the_server_finds_too_long_starts_again(file_server, target: Path) -> None:
    file_server.content, file_server.cuts = CONTENT, [CUT]
    file_server.statuses = [200, 416]
    download_file(file_server.url, target, sha256=HASH)
    assert target.read_bytes() == CONTENT
    assert file_server.ranges == [None, f"bytes={CUT}-", None]


def test_wrong_hash_deletes_the_part_and_says_what_to_do(
    names_in, file_server, target: Path
) -> None:
    file_server.content = b"another file"
    with pytest.raises(DownloadError) as raised:
        download_file(file_server.url, target, sha256=HASH)
    got = hashlib.sha256(b"another file").hexdigest()
    assert got in str(raised.value) and HASH in str(raised.value)
    assert "run again" in str(raised.value)
    assert names_in(target.parent) == []


@pytest.mark.parametrize(("sha256", "refused"), [(None, False), (HASH, False), ("0" * 64, True)])
def test_file_put_there_by_hand_is_verified_and_kept(
    file_server, target: Path, sha256: str | None, refused: bool
) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    if refused:
        with pytest.raises(DownloadError, match="delete it and run again"):
            download_file(file_server.url, target, sha256=sha256)
    else:
        download_file(file_server.url, target, sha256=sha256)
    assert target.read_bytes() == CONTENT
    assert file_server.ranges == []


@pytest.fixture(params=["before the headers", "in the middle"])
def silent_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that says nothing any more, at some moment, and stays connected."""
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as connections:

        def serve() -> None:
            with suppress(OSError):
                connection = connections.enter_context(server.accept()[0])
                connection.recv(1 << 16)
                if request.param == "in the middle":
                    connection.sendall(
                        b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 1000000\r\n\r\n'
                        + b"x" * 1000
                    )

        threading.Thread(target=serve, daemon=True).start()
        name = "middle" if request.param == "in the middle" else "headers"
        yield f"http://127.0.0.1:{server.getsockname()[1]}/{name}.zip"


@pytest.mark.parametrize("stop", [Stop, BaseStop, DiskLikeStop])
def test_a_server_that_says_nothing_can_be_left(
    silent_server: str, target: Path, stop: type[BaseException]
) -> None:
    began = time.monotonic()

    def stop_soon(done: int, total: int) -> None:
        if time.monotonic() - began > 0.5:
            raise stop

    with pytest.raises(stop):
        download_file(silent_server, target, on_progress=stop_soon)
    assert time.monotonic() - began < 2
    if silent_server.endswith("middle.zip"):  # the thread that reads ends with the connection
        while any(thread.name == "FastFace download" for thread in threading.enumerate()):
            assert time.monotonic() - began < 10
            time.sleep(0.01)


@pytest.mark.parametrize("stop", [Stop, BaseStop])
def test_the_pause_before_another_try_can_be_left(
    file_server, target: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    monkeypatch.setattr(transfer, "RETRY_PAUSE_SECONDS", 30.0)
    file_server.content, file_server.cuts = CONTENT, [CUT]
    began = time.monotonic()

    def stop_soon(done: int, total: int) -> None:
        if time.monotonic() - began > 1:
            raise stop

    with pytest.raises(stop):
        download_file(file_server.url, target, on_progress=stop_soon)
    assert time.monotonic() - began < 3
