"""`GraphCache`: what was made of models' graphs, kept on disk and checked whenever it is used.

Kept are results alone: a graph whose answers were those of the original, or that they differed.
What failed for another reason, such as a full disk or too little memory, is tried again.
"""

from __future__ import annotations

import contextlib
import logging
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from ...utils import host
from ...utils.checksummed_file import DamagedFile, Key
from ...utils.download.disk import file_sha256
from ...utils.errors import OutOfMemory
from ...utils.files import replacing
from ...utils.locks import locked
from ...utils.packs.checksums import content_sha256
from ...utils.settings import settings
from ...utils.unfinished import clear_leftovers
from .cache_entries import (
    VERSIONS,
    Entry,
    clear_useless,
    delete_entry,
    entry_name,
    limit_size,
    make_way,
    part_path,
    read_entry,
    touch_entry,
    write_entry,
)

_log = logging.getLogger("FastFace")

#: Longest time to wait for another process that makes something; then it is made twice.
_WAIT_SECONDS = 300.0
#: What reading something kept may raise when it is not what it should be.
_UNREADABLE = (DamagedFile, OSError, ValueError, LookupError, TypeError, AttributeError)

#: Why something can't be made today and may be tomorrow.
PASSING_TROUBLE = (OSError, MemoryError, OutOfMemory)

#: The path to write a part of an entry to.
NewFile = Callable[[str], Path]
#: Makes the files of an entry and gives its facts.
Make = Callable[[NewFile], Mapping[str, Any]]
Value = TypeVar("Value")


class Unfit(Exception):
    """What was made of a graph gives other answers than the graph: the message says which.

    The only failure that is remembered.
    """


class _NotKept(Exception):
    """The cache has no such entry."""


class _Busy(Exception):
    """Another process holds the lock."""


class GraphCache:
    """One folder of entries, for all threads and processes."""

    def __init__(self, folder: Path) -> None:
        """`folder`: made when something is first kept."""
        self.folder = folder
        # Held while something is made, too: two graphs of 260 MB at once are more than many have.
        self._lock = threading.Lock()
        #: Among the system's temporary files, for what the folder can't take.
        self._scratch: Path | None = None
        self._cleared = self._asked_to_clear = False
        #: Size, time of change and inode of a file when its SHA-256 was worked out, and that.
        self._digests: dict[Path, tuple[tuple[int, int, int], str]] = {}
        #: Entries that this process uses, which are not deleted for want of room; and by file.
        self._used: set[str] = set()
        self._owners: dict[Path, str] = {}
        self._made_here: set[str] = set()
        self._rejected: set[str] = set()

    def obtain(
        self,
        graph_pass: str,
        source: Path,
        name: str,
        make: Make,
        read: Callable[[Entry], Value],
        **conditions: Any,
    ) -> Value:
        """What a pass makes of a graph: found and whole, or made now.

        Whatever is damaged, missing or something else is made again, with one line in the log.

        Args:
            graph_pass: One of `VERSIONS`.
            source: The graph.
            name: File name of the model that it belongs to, for the log.
            make: Writes the files of the entry to the paths that it is given, and returns facts;
                must not use this cache. Raises `Unfit` where the result can't be used.
            read: Makes the result of the entry.
            conditions: What else decides the result, as JSON can hold it.

        Raises:
            OSError: It can't be written, here or in the system's folder of temporary files.
            ModelError: The graph can't be read.
            And what `make` raises, of which nothing is remembered.
        """
        key: Key = {
            "pass": graph_pass,
            "version": VERSIONS[graph_pass],
            "source": self._content(source),
            **conditions,
        }
        self._clear_once()
        try:
            return self._kept(key, read)
        except (_NotKept, DamagedFile):
            pass
        with self._locked(_WAIT_SECONDS):
            try:
                return self._kept(key, read)  # another thread or process made it meanwhile
            except DamagedFile as error:
                _log.warning("graph cache: %s; it is made again, of %s", error, name)
            except _NotKept:
                pass
            return read(self._made(key, make, name))

    def reject(self, path: Path, reason: Exception) -> bool:
        """Forgets the entry of a file that an engine refuses, so that it is made again.

        Args:
            path: The file.
            reason: What the engine said.

        Returns:
            Whether there is any use in making it again: not when it is as it was made just now.
        """
        name = self._owners.get(path)
        if name is None:
            return False
        with self._lock:
            known = self._digests.pop(path, None)
            with contextlib.suppress(OSError, DamagedFile):
                if name in self._made_here and known and self._digest(path) == known[1]:
                    return False
            _log.warning(
                "graph cache: %s is refused (%s); it is made again", path.name, in_one_line(reason)
            )
            self._rejected.add(name)
            delete_entry(path.parent, name)
        return True

    def _kept(self, key: Key, read: Callable[[Entry], Value]) -> Value:
        """What is made of an entry that is there.

        Raises:
            DamagedFile: It is there, but not as it was written.
        """
        damaged: DamagedFile | None = None
        for folder in self._folders():
            try:
                entry = self._checked(folder, key)
                if entry is not None:
                    value = read(entry)
                    self._note_use(folder, entry)
                    return value
            except DamagedFile as error:
                damaged = error
            except _UNREADABLE as error:
                damaged = DamagedFile(f"{entry_name(key)} can't be read ({error!r})")
        if damaged is not None:
            raise damaged
        raise _NotKept

    def _checked(self, folder: Path, key: Key) -> Entry | None:
        """The entry of a key, with files that are what was written; None where there is none."""
        found = read_entry(folder, key)
        if found is None or found[0].name in self._rejected:
            return None
        entry, checksums = found
        for part, path in entry.files.items():
            if self._digest(path) != checksums[part]:
                raise DamagedFile(f"{path.name} is not what was written: its checksum differs")
        return entry

    def _made(self, key: Key, make: Make, name: str) -> Entry:
        try:
            entry = self._make_in(self.folder, key, make)
        except OSError as error:
            # A full or read-only disk.
            self._scratch = self._scratch or host.temporary_folder() / "graphs"
            entry = self._make_in(self._scratch, key, make)
            _log.warning(
                "graph cache: %s; what is made of %s is kept for this run alone", error, name
            )
        else:
            self._limit_size()
        return entry

    def _make_in(self, folder: Path, key: Key, make: Make) -> Entry:
        name = entry_name(key)
        files: dict[str, Path] = {}
        checksums: dict[str, str] = {}
        try:
            with ExitStack() as unfinished:

                def new_file(part: str) -> Path:
                    path = part_path(folder, name, part)
                    make_way(path)
                    files[part] = unfinished.enter_context(replacing(path))
                    return files[part]

                entry = Entry(name, make(new_file))
                checksums = {part: file_sha256(path) for part, path in files.items()}
        except Unfit as error:
            entry, files = Entry(name, unfit=str(error)), {}
        paths = {part: part_path(folder, name, part) for part in files}
        make_way(folder / f"{name}.entry")
        write_entry(folder, entry, key, checksums)
        entry = Entry(name, entry.facts, entry.unfit, paths)
        for part, path in paths.items():
            self._digests[path] = (_mark(path), checksums[part])
        self._made_here.add(name)
        self._rejected.discard(name)
        self._note_use(folder, entry)
        return entry

    def _note_use(self, folder: Path, entry: Entry) -> None:
        if entry.name not in self._used:
            touch_entry(folder, entry.name)
        self._used.add(entry.name)
        self._owners.update(dict.fromkeys(entry.files.values(), entry.name))

    def _folders(self) -> Iterator[Path]:
        if self._scratch is not None:
            yield self._scratch
        yield self.folder

    def _content(self, path: Path) -> str:
        """What identifies the content of a graph; that of a file of this cache is known already."""
        return self._digest(path) if path in self._owners else content_sha256(path)

    def _digest(self, path: Path) -> str:
        """SHA-256 of a file, worked out once until its size, time of change or inode differs."""
        try:
            mark = _mark(path)
            known = self._digests.get(path)
            if known is None or known[0] != mark:
                known = self._digests[path] = (mark, file_sha256(path))
        except FileNotFoundError as error:
            raise DamagedFile(f"{path.name} is missing") from error
        return known[1]

    def _clear_once(self) -> None:
        """Clears away what is of no use, unless another process is writing just now."""
        if self._asked_to_clear or not self.folder.parent.is_dir():
            return
        self._asked_to_clear = True
        with contextlib.suppress(_Busy), self._locked(0):
            pass

    @contextlib.contextmanager
    def _locked(self, wait_seconds: float) -> Iterator[None]:
        """Keeps other threads and processes from writing, and clears away what is of no use once.

        Where the file system has no locks, something is made twice at worst.
        """
        until = time.monotonic() + wait_seconds

        def on_wait() -> None:
            host.check_interrupted()
            if time.monotonic() >= until:
                raise _Busy

        with self._lock, ExitStack() as held:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(self.folder / ".entries.lock", on_wait))
                if not self._cleared:
                    self._cleared = True
                    clear_useless(self.folder)
                    self._limit_size()
                    for folder in (self.folder, Path(tempfile.gettempdir())):
                        clear_leftovers(folder)
            except _Busy:
                if not wait_seconds:
                    raise
                _log.warning(
                    "graph cache: another process has been writing to %s for %d s; this one goes "
                    "on without waiting for it",
                    self.folder,
                    wait_seconds,
                )
            except OSError as error:
                _log.debug("graph cache: %s can't be locked: %s", self.folder, error)
            yield

    def _limit_size(self) -> None:
        limit_size(self.folder, settings().graph_cache_limit, self._used.copy())


_caches: dict[Path, GraphCache] = {}
_caches_lock = threading.Lock()


def graph_cache() -> GraphCache:
    """The cache in the folder for what can be made again.

    Raises:
        OSError: There is no such folder.
    """
    folder = host.cache_folder() / "graphs"
    with _caches_lock:
        return _caches.setdefault(folder, GraphCache(folder))


def _mark(path: Path) -> tuple[int, int, int]:
    """What changes with the content of a file.

    Raises:
        DamagedFile: It is none, but a folder or a device.
        OSError: It can't be looked at.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DamagedFile(f"{path.name} is no file")
    return status.st_size, status.st_mtime_ns, status.st_ino


def in_one_line(error: Exception) -> str:
    """What an error says, or its name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
