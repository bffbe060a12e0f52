"""`download_file` where the server refuses, redirects, or isn't there."""

from __future__ import annotations

import hashlib
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from fastface.utils.download import transfer
from fastface.utils.download.fetch import download_file
from fastface.utils.errors import DownloadError, InvalidInput

CONTENT = bytes(range(256)) * 4000
HASH = hashlib.sha256(CONTENT).hexdigest()
CUT = 300_000


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, transfer.ATTEMPTS)])
def test_refusing_status_is_told(file_server, target: Path, status: int, requests: int) -> None:
    file_server.statuses = [status] * requests
    with pytest.raises(DownloadError, match=f"HTTP {status}") as raised:
        download_file(file_server.url, target)
    assert file_server.url in str(raised.value)
    assert len(file_server.ranges) == requests


def test_busy_server_is_asked_again(file_server, target: Path) -> None:
    file_server.content, file_server.statuses = CONTENT, [503, 0, 429]
    assert download_file(file_server.url, target).read_bytes() == CONTENT


def test_unknown_length_is_refused(names_in, file_server, target: Path) -> None:
    file_server.content, file_server.length = CONTENT, None
    with pytest.raises(DownloadError, match="how long"):
        download_file(file_server.url, target)
    assert names_in(target.parent) == []


def test_offline_names_the_address_the_folder_and_the_file_name(
    monkeypatch: pytest.MonkeyPatch, target: Path
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{free.getsockname()[1]}/pack.zip"

    asked = []

    def unresolved(*args: object, **options: object) -> None:
        asked.append(args)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(DownloadError, match="no connection") as raised:
        download_file(refused, target)
    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    with pytest.raises(DownloadError, match="Name or service not known") as unnamed:
        download_file("https://weights.invalid/pack.zip", target)
    assert len(asked) == 1, "asking again only keeps the user waiting"
    for error, url in ((raised, refused), (unnamed, "https://weights.invalid/pack.zip")):
        for part in (url, f"folder {target.parent} ", f"name {target.name} "):
            assert part in str(error.value)


@pytest.mark.parametrize("url", ["", "file:///etc/hostname", "ftp://127.0.0.1/x", "pack.zip"])
def test_other_schemes_are_refused(target: Path, url: str) -> None:
    with pytest.raises(InvalidInput, match="http or https"):
        download_file(url, target)


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"])
def test_redirect_out_of_the_web_is_refused(
    names_in, file_server, target: Path, location: str
) -> None:
    file_server.statuses, file_server.location = [302], location
    with pytest.raises(DownloadError, match="not allowed"):
        download_file(file_server.url, target)
    assert names_in(target.parent) == []


def test_redirect_is_followed_with_its_range(file_server, target: Path) -> None:
    file_server.content, file_server.cuts = CONTENT, [CUT]
    file_server.statuses, file_server.location = [302, 200, 302, 200], "/elsewhere"
    download_file(file_server.url, target, sha256=HASH)
    assert target.read_bytes() == CONTENT
    assert file_server.ranges == [None, None, f"bytes={CUT}-", f"bytes={CUT}-"]


def test_redirect_from_https_to_http_is_refused() -> None:
    request = urllib.request.Request("https://weights.invalid/pack.zip")
    with pytest.raises(urllib.error.HTTPError, match="not allowed"):
        transfer._WebOnlyRedirects().redirect_request(
            request, None, 302, "Found", {}, "http://weights.invalid/pack.zip"
        )
