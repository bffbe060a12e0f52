"""`download_file` on a disk that is full, forbidden, or used by two at once."""

from __future__ import annotations

import errno
import hashlib
import threading
from io import FileIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastface.utils.download.disk import disk_errors
from fastface.utils.download.fetch import download_file
from fastface.utils.errors import DownloadError

CONTENT = bytes(range(256)) * 4000
HASH = hashlib.sha256(CONTENT).hexdigest()


class Stop(Exception):
    """ComfyUI's interruption as in old versions."""


def test_too_small_disk_is_refused_before_the_first_byte(
    names_in, file_server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.content = CONTENT
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=24_000))
    with pytest.raises(DownloadError, match=r"1\.0 MB are needed .* free 1\.0 MB more") as raised:
        download_file(file_server.url, target)
    assert str(target.parent) in str(raised.value)
    assert names_in(target.parent) == []


class RationedFile:
    """A file on a disk with little room, which takes little at once."""

    def __init__(self, file: FileIO, room_bytes: int, bytes_at_once: int) -> None:
        self.file, self.room_bytes, self.bytes_at_once = file, room_bytes, bytes_at_once
        self.tell, self.fileno = file.tell, file.fileno

    def __enter__(self) -> RationedFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, block: memoryview) -> int:
        if not self.room_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.file.write(block[: min(self.room_bytes, self.bytes_at_once)])
        self.room_bytes -= written
        return written


def ration(monkeypatch: pytest.MonkeyPatch, room_bytes: int, bytes_at_once: int) -> None:
    open_really = Path.open

    def open_rationed(path: Path, *args, **options):
        file = open_really(path, *args, **options)
        return RationedFile(file, room_bytes, bytes_at_once) if path.suffix == ".part" else file

    monkeypatch.setattr(Path, "open", open_rationed)


def test_disk_that_fills_up_is_told_and_the_part_is_kept(
    file_server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.content = CONTENT
    with monkeypatch.context() as patch:
        ration(patch, room_bytes=50_000, bytes_at_once=40_000)
        with pytest.raises(DownloadError, match=r"disk of .* is full; free some space"):
            download_file(file_server.url, target)
    assert not target.exists()
    download_file(file_server.url, target, sha256=HASH)
    assert target.read_bytes() == CONTENT
    assert file_server.ranges == [None, "bytes=50000-"]


def test_disk_that_takes_little_at_once_gets_it_all(
    file_server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.content = CONTENT
    ration(monkeypatch, room_bytes=len(CONTENT), bytes_at_once=1_000)
    download_file(file_server.url, target)
    assert target.stat().st_size == len(CONTENT) and target.read_bytes() == CONTENT


def test_disk_error_keeps_its_own_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(DownloadError, match="inner") as raised,
        disk_errors(tmp_path / "outer"),
        disk_errors(tmp_path / "inner"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert "outer" not in str(raised.value)


def test_folder_that_cannot_be_made_is_named(file_server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    folder = tmp_path / "file" / "models"
    with pytest.raises(DownloadError, match="can't write in the folder") as raised:
        download_file(file_server.url, folder / "pack.zip")
    assert str(folder) in str(raised.value) and "FASTFACE_MODELS" in str(raised.value)
    assert file_server.ranges == []


def test_folder_that_forbids_writing_is_named(
    file_server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.content = CONTENT

    def forbidden(path: Path, *args, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(DownloadError, match="Permission denied; give this user") as raised:
        download_file(file_server.url, target)
    assert str(target.parent) in str(raised.value)


def test_two_at_once_make_one_download(file_server, target: Path) -> None:
    file_server.content = CONTENT
    started, waited = threading.Event(), threading.Event()
    errors = []

    def first_progress(done: int, total: int) -> None:
        started.set()
        assert waited.wait(5)

    def second_progress(done: int, total: int) -> None:
        assert total == 0, "only waiting is reported"
        waited.set()

    def download(on_progress) -> None:
        try:
            download_file(file_server.url, target, sha256=HASH, on_progress=on_progress)
        except BaseException as error:  # noqa: BLE001 - shown by the main thread
            errors.append(error)

    first = threading.Thread(target=download, args=(first_progress,))
    first.start()
    assert started.wait(5)
    second = threading.Thread(target=download, args=(second_progress,))
    second.start()
    first.join(5)
    second.join(5)
    assert errors == []
    assert target.read_bytes() == CONTENT
    assert len(file_server.ranges) == 1


def test_waiting_for_another_download_can_be_interrupted(file_server, target: Path) -> None:
    import filelock

    target.parent.mkdir()

    def stop(done: int, total: int) -> None:
        raise Stop

    with filelock.FileLock(target.parent / ".pack.zip.lock"):
        thread_error = []

        def download() -> None:
            try:
                download_file(file_server.url, target, on_progress=stop)
            except Stop as error:
                thread_error.append(error)

        thread = threading.Thread(target=download)
        thread.start()
        thread.join(5)
    assert len(thread_error) == 1
    assert file_server.ranges == []
