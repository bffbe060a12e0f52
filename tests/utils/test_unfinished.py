"""What killed writers left goes; what living ones are writing stays."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fastface.utils.files import replacing, write_whole
from fastface.utils.unfinished import clear_leftovers, unfinished_file, unfinished_folder

ROOT = Path(__file__).resolve().parents[2]
_WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from install import import_pack
import types
package = types.ModuleType("fastface"); package.__path__ = [sys.argv[1]]
sys.modules["fastface"] = package
from fastface.utils.unfinished import unfinished_file, unfinished_folder
folder = Path(sys.argv[2])
with unfinished_file(folder) as file, unfinished_folder(folder) as inner:
    file.write_bytes(b"half")
    (inner / "x.onnx").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path: Path):
    """A process that is writing a file and a folder in `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(ROOT), str(tmp_path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    yield process
    process.kill()
    process.wait()


def kill(process: subprocess.Popen) -> None:
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcntl", reason="Windows locks no files that are being written")

    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)


def test_a_living_writer_keeps_what_it_writes(writer: subprocess.Popen, tmp_path: Path) -> None:
    assert clear_leftovers(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_killed_writer_left_goes(writer: subprocess.Popen, tmp_path: Path) -> None:
    kill(writer)
    assert len(list(tmp_path.iterdir())) == 2
    assert clear_leftovers(tmp_path) == 2
    assert list(tmp_path.iterdir()) == []


def test_it_goes_with_the_next_file_in_its_folder(writer: subprocess.Popen, tmp_path: Path) -> None:
    kill(writer)
    write_whole(tmp_path / "file", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_names_tell_where_there_are_no_locks(
    writer: subprocess.Popen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch)
    assert clear_leftovers(tmp_path) == 0
    kill(writer)
    assert clear_leftovers(tmp_path) == 2


def test_another_machines_writer_has_a_day_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch)
    left = tmp_path / ".fastface-elsewhere-1-0123456789ab.tmp"
    left.write_bytes(b"half")
    assert clear_leftovers(tmp_path) == 0
    yesterday = time.time() - 25 * 3600
    os.utime(left, (yesterday, yesterday))
    assert clear_leftovers(tmp_path) == 1


def test_another_machines_killed_writer_is_known_by_its_lock(tmp_path: Path) -> None:
    (tmp_path / ".fastface-elsewhere-1-0123456789ab.tmp").write_bytes(b"half")
    assert clear_leftovers(tmp_path) == 1


def test_a_writer_in_another_thread_keeps_its_file(tmp_path: Path) -> None:
    begun, checked = threading.Event(), threading.Event()

    def write() -> None:
        with replacing(tmp_path / "file") as beside:
            begun.set()
            assert checked.wait(5)
            beside.write_bytes(b"whole")

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(5)
    assert clear_leftovers(tmp_path) == 0
    checked.set()
    thread.join()
    assert (tmp_path / "file").read_bytes() == b"whole"


@pytest.mark.parametrize("new", [unfinished_file, unfinished_folder])
def test_clearing_between_making_and_locking_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="Windows locks no files that are being written")
    lock = fcntl.flock
    cleared = []

    def flock(handle: int, operation: int) -> None:
        if not cleared:
            cleared.append(True)
            monkeypatch.setattr("fcntl.flock", lock)
            assert clear_leftovers(tmp_path) == 1
        lock(handle, operation)

    monkeypatch.setattr("fcntl.flock", flock)
    with new(tmp_path) as made:
        assert cleared and made.exists()
        assert clear_leftovers(tmp_path) == 0


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    for name in (
        ".fastface-notes",
        "x.tmp",
        ".fastface-a-b-c.tmp",
        "fastface-a-1-0123456789ab.tmp",
    ):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "aim").mkdir()
    (tmp_path / "aim" / "kept").write_bytes(b"")
    (tmp_path / ".fastface-a-1-0123456789ab.tmp").symlink_to(tmp_path / "aim")
    assert clear_leftovers(tmp_path) == 0
    assert (tmp_path / "aim" / "kept").exists()
    assert clear_leftovers(tmp_path / "missing") == 0
