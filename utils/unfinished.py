"""Files and folders that are being written, and those that killed writers left behind.

They lie beside their later place under a name of their own (`.fastface-HOST-PID-...tmp`) and are
locked while they are worked on. The system drops the lock of a process that died: so what nobody
works on any more can be told from what another process is writing, in other containers too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from .locks import try_lock

_log = logging.getLogger("FastFace")

_ON_WINDOWS = os.name == "nt"

_NAME = re.compile(r"\.fastface-(?P<host>[A-Za-z0-9]*)-(?P<pid>\d+)-[0-9a-f]{12}\.tmp")
#: Where nothing tells whether a writer lives, its file is taken for abandoned after this time.
_LONGEST_WRITE_SECONDS = 24 * 3600.0

#: Makes a file or folder, and gives a handle of it to lock where there are locks.
_Maker = Callable[[Path], "int | None"]


@contextlib.contextmanager
def unfinished_file(folder: Path) -> Iterator[Path]:
    """An empty file in `folder`, to write into and then to move where it belongs.

    It must not be replaced by another while it is written. It gets the rights that new files have
    here (the umask's). What of it is still there at the end is removed: at once or, after a kill,
    by `clear_leftovers`, which is also done once in each folder before the first of these.

    Raises:
        OSError: It can't be made.
    """
    _clear_once(folder)
    with _unfinished(folder, _make_file) as made:
        yield made


@contextlib.contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """As `unfinished_file`, a folder."""
    _clear_once(folder)
    with _unfinished(folder, _make_folder) as made:
        yield made


def clear_leftovers(folder: Path) -> int:
    """Removes what killed writers left in a folder; nothing that a living one is writing.

    Args:
        folder: May be missing. Folders in it are not searched.

    Returns:
        How many files and folders were removed.
    """
    try:
        found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    except OSError:  # not there, or nothing of ours can be in it
        return 0
    removed = sum(map(_remove_abandoned, found))
    if removed:
        _log.info("%d unfinished file(s) of earlier runs were removed from %s", removed, folder)
    return removed


@cache
def _clear_once(folder: Path) -> None:
    clear_leftovers(folder)


@contextlib.contextmanager
def _unfinished(folder: Path, make: _Maker) -> Iterator[Path]:
    """Something new in a folder, locked; what of it is still there at the end is removed."""
    handle, path = _made_and_locked(folder, make)
    try:
        yield path
    finally:
        _remove(path)
        if handle is not None:
            os.close(handle)


def _made_and_locked(folder: Path, make: _Maker) -> tuple[int | None, Path]:
    while True:
        token = uuid.uuid4().hex[:12]
        path = folder / f".fastface-{_host()}-{os.getpid()}-{token}.tmp"
        handle = make(path)
        if (handle is None or try_lock(handle) is not False) and path.exists():
            return handle, path
        # Somebody who clears left-overs came between the making and the lock.
        if handle is not None:
            os.close(handle)


def _make_file(path: Path) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    if not _ON_WINDOWS:
        return handle
    os.close(handle)  # no open file can be renamed there
    return None


def _make_folder(path: Path) -> int | None:
    path.mkdir()
    try:
        return None if _ON_WINDOWS else os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # cleared away as what nobody works on
        return None


def _remove_abandoned(path: Path) -> bool:
    """Removes an unfinished file or folder whose writer lives no more; whether it did."""
    if _ON_WINDOWS:
        return _writer_is_gone(path) and _remove(path)
    try:
        access = os.O_RDONLY if path.is_dir() else os.O_RDWR
        handle = os.open(path, access | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        nobody_has_it = try_lock(handle)
        if nobody_has_it is None:
            nobody_has_it = _writer_is_gone(path)
        return nobody_has_it and _remove(path)
    finally:
        os.close(handle)


def _writer_is_gone(path: Path) -> bool:
    """Whether the process that a name tells of is no more, as far as that can be known here."""
    named = _NAME.fullmatch(path.name)
    if named is None:
        return False
    if named["host"] == _host():
        import psutil

        return not psutil.pid_exists(int(named["pid"]))
    try:
        return time.time() - path.stat().st_mtime > _LONGEST_WRITE_SECONDS
    except OSError:
        return False


def _remove(path: Path) -> bool:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True


@cache
def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", platform.node())[:24]
