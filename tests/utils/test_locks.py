"""Locks that the system drops when their process ends."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from fastface.utils import locks
from fastface.utils.locks import left_locked, locked


def never() -> None:
    raise AssertionError("nobody else has the lock")


def test_the_file_is_there_while_the_lock_is_held(tmp_path: Path) -> None:
    path = tmp_path / ".x.lock"
    for _ in range(2):
        with locked(path, never):
            assert path.exists()
        assert not path.exists()


def test_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each removes the file: who waits for the old one must not be let in beside a third."""
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.001)
    inside, most, done = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(40):
            with locked(tmp_path / ".x.lock", lambda: None):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1
                done += 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done, inside) == (1, 240, 0)
    assert list(tmp_path.iterdir()) == []


def test_waiting_ends_with_what_it_is_told(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    with locked(tmp_path / ".x.lock", never):
        with pytest.raises(Stop), locked(tmp_path / ".x.lock", stop):
            never()
        assert (tmp_path / ".x.lock").exists()


def test_a_lock_that_was_left_is_known(tmp_path: Path) -> None:
    path = tmp_path / ".x.lock"
    with left_locked(path) as left:
        assert not left
    path.write_bytes(b"")
    with left_locked(path) as left:
        assert left
    assert not path.exists()
    with locked(path, never), left_locked(path) as left:
        assert not left, "it is held"


def test_where_there_are_no_locks_nobody_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(handle: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks, "_lock", flock)
    with locked(tmp_path / ".x.lock", never), locked(tmp_path / ".x.lock", never):
        pass


def test_no_handle_is_left_open(tmp_path: Path) -> None:
    fds = Path("/proc/self/fd")
    if not fds.is_dir():
        pytest.skip("needs /proc")
    before = len(os.listdir(fds))  # noqa: PTH208
    for _ in range(20):
        with locked(tmp_path / ".x.lock", never), left_locked(tmp_path / ".x.lock"):
            pass
    assert len(os.listdir(fds)) == before  # noqa: PTH208


def test_a_file_that_was_removed_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last holder removes it between our opening and locking it: the next makes another."""
    path, lock, waited = tmp_path / ".x.lock", locks.try_lock, []

    def removed_meanwhile(handle: int) -> bool | None:
        if not waited:
            path.unlink()
        return lock(handle)

    monkeypatch.setattr(locks, "try_lock", removed_meanwhile)
    monkeypatch.setattr(locks, "POLL_SECONDS", 0)
    with locked(path, lambda: waited.append(True)):
        assert waited and path.exists()
