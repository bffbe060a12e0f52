"""Files that are there whole or not at all, with errors that say what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastface.utils import files
from fastface.utils.errors import FileError, ModelError
from fastface.utils.files import append_line, file_errors, replacing, write_whole


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert names_in(path.parent) == ["file.bin"]


def test_what_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_whole(path, b"before")
    with pytest.raises(KeyboardInterrupt), replacing(path) as beside:
        beside.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"before"
    assert names_in(tmp_path) == ["file.bin"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_file_gets_the_rights_that_new_files_have(
    umask: None, tmp_path: Path, mask: int, mode: int
) -> None:
    os.umask(mask)
    write_whole(tmp_path / "file.bin", b"")
    assert (tmp_path / "file.bin").stat().st_mode & 0o777 == mode


@pytest.mark.skipif(os.name == "nt", reason="Windows has no handles of folders")
def test_the_file_is_on_the_disk_before_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    sync, move = os.fsync, Path.replace

    def noted_sync(handle: int) -> None:
        done.append(("written out", os.fstat(handle).st_ino))
        sync(handle)

    def noted_move(path: Path, target: Path) -> Path:
        done.append(("moved", path.stat().st_ino))
        return move(path, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_move)
    write_whole(tmp_path / "file.bin", b"content")
    file, folder = (path.stat().st_ino for path in (tmp_path / "file.bin", tmp_path))
    assert done == [("written out", file), ("moved", file), ("written out", folder)]


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    write_whole(tmp_path / ("a" * 255), b"content")
    assert names_in(tmp_path) == ["a" * 255]


@pytest.mark.parametrize("name", ["a" * 256, "é" * 200, "a\0b", "a\ud800b", "folder\0/file"])
def test_an_impossible_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match=r"can't be the name of a file .* choose another name"):
        write_whole(tmp_path / name, b"content")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, r"the disk of .*models is full: file.bin was not written; free some space"),
        (errno.EDQUOT, r"the disk of .*models is full"),
        (errno.EROFS, r"can't write file.bin in the folder .*models: Read-only .* use --output"),
        (errno.EACCES, r"give this user the right to write there, or use --output"),
        (errno.EIO, r"can't write file.bin in the folder .*models: Input/output error"),
        (errno.EFBIG, r"File too large"),
    ],
)
def test_trouble_of_the_disk_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str
) -> None:
    def failing(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "models" / "file.bin"
    write_whole(path, b"before")
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(FileError, match=told):
        write_whole(path, b"content", "use --output")
    assert path.read_bytes() == b"before"
    assert names_in(path.parent) == ["file.bin"]


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(FileError, match=r"models: a part of that path is a file"):
        write_whole(tmp_path / "models" / "file.bin", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match=r"folder is a folder, expected a file"):
        write_whole(tmp_path / "folder", b"")


def test_trouble_with_another_file_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file.bin"):
        (tmp_path / "elsewhere" / "missing").read_bytes()
    with pytest.raises(ValueError, match="no path"), file_errors(tmp_path / "file.bin"):
        raise ValueError("this is about no path")
    with pytest.raises(ModelError), file_errors(tmp_path / "file.bin"):
        raise ModelError("damaged")
    assert names_in(tmp_path) == []


def test_lines_are_added(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lines"
    append_line(path, "one")
    append_line(path, "zwei ü")
    assert path.read_bytes() == "one\nzwei ü\n".encode()


def test_a_line_that_was_cut_off_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntw")
    append_line(path, "three")
    assert path.read_bytes() == b"one\ntw\nthree\n"


def test_a_line_that_does_not_fit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    append_line(tmp_path / "lines", "one")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="is full: lines was not written"):
        append_line(tmp_path / "lines", "two")


def test_a_system_that_syncs_no_folders_still_has_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.os, "open", closed)
    files.write_out_folder(tmp_path)
