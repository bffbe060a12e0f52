"""What was found in an album so far, kept on disk: a run goes on where one was ended.

It is a folder of parts, some hundred files each: checksummed, and there whole or not at all. A
later run goes through all of them; of a file that changed, the record in the last part counts.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...utils.checksummed_file import DamagedFile, Key, read_checksummed, write_checksummed
from ...utils.files import file_errors
from ...utils.pictures import USE_OUTPUT
from .found_files import FoundFile
from .records import FileRecord, records_from_bytes, records_to_bytes

_log = logging.getLogger("FastFace")

#: Part of every key; another number where the same files would give other results.
VERSION = 1
_SUFFIX = ".part"
#: Parts that are held in memory at a time.
_HELD = 4


@dataclass(frozen=True)
class RecordPlace:
    """Where a record lies: the number of its part, and its place there."""

    part: int
    row: int


class AlbumStore:
    """The parts of one album."""

    def __init__(self, folder: Path, key: Key) -> None:
        """
        Args:
            folder: Of the parts alone.
            key: What decides the results, as JSON can hold it.
        """
        self._folder = folder
        self._key = {**key, "version": VERSION}
        self._held: OrderedDict[int, list[FileRecord]] = OrderedDict()
        self._states: dict[str, tuple[int, int, RecordPlace]] = {}
        self._contents: dict[str, RecordPlace] = {}
        self._next = 0
        # Threads that read files ask for records too.
        self._lock = threading.Lock()

    def open(self) -> int:
        """Reads what is kept; parts of other settings, and damaged ones, are left out.

        Returns:
            How many records there are.
        """
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            if not path.stem.isdecimal():
                continue
            number = int(path.stem)
            self._next = max(self._next, number + 1)
            try:
                records = self._read(number)
            except DamagedFile as error:
                _log.info("a part of what was kept is not used: %s", error)
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            self._note(number, records)
        return len(self._states)

    def clear(self) -> None:
        """Forgets all that is kept.

        Raises:
            FileError: It can't be removed.
        """
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with file_errors(path, USE_OUTPUT):
                path.unlink()

    def place_of(self, file: FoundFile) -> RecordPlace | None:
        """Where the record of a file is, if the file did not change since it was made.

        What could not be analysed is tried again: the reason may have gone.
        """
        size, mtime_ns, place = self._states.get(file.path, (0, 0, None))
        return place if (size, mtime_ns) == (file.size, file.mtime_ns) else None

    def of_content(self, content: str) -> FileRecord | None:
        """The record of a file in which the same is, under whatever name."""
        with self._lock:
            place = self._contents.get(content)
        return None if place is None else self.record(place)

    def add(self, records: Sequence[FileRecord]) -> list[RecordPlace]:
        """Keeps records as one part.

        Raises:
            FileError: It can't be written; all parts before are still there.
        """
        number = self._next
        write_checksummed(self._path(number), self._key, records_to_bytes(records))
        self._next += 1
        with self._lock:
            self._note(number, records)
        return [RecordPlace(number, row) for row in range(len(records))]

    def record(self, place: RecordPlace) -> FileRecord:
        """A record that was kept.

        Raises:
            DamagedFile: Its part was damaged since.
        """
        with self._lock:
            return self._part(place.part)[place.row]

    def keep_only(self, places: Iterable[RecordPlace]) -> None:
        """Removes the parts that none of some places is in."""
        kept = {place.part for place in places}
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if path.stem.isdecimal() and int(path.stem) not in kept:
                with contextlib.suppress(OSError):  # the next run tries again
                    path.unlink()

    def _note(self, number: int, records: Sequence[FileRecord]) -> None:
        for row, record in enumerate(records):
            place = RecordPlace(number, row)
            if record.problem:
                self._states.pop(record.path, None)
                continue
            self._states[record.path] = (record.size, record.mtime_ns, place)
            if record.content:
                self._contents[record.content] = place

    def _part(self, number: int) -> list[FileRecord]:
        if number not in self._held:
            self._held[number] = self._read(number)
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(number)
        return self._held[number]

    def _read(self, number: int) -> list[FileRecord]:
        return records_from_bytes(read_checksummed(self._path(number), self._key))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}{_SUFFIX}"
