"""The engine folder: what was built, found again by what it was built of and for."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...utils import host
from ...utils.checksummed_file import (
    DamagedFile,
    checksum,
    read_checksummed,
    read_header,
    write_checksummed,
)
from ...utils.errors import InvalidInput
from ...utils.files import write_whole
from ...utils.packs import Task
from ...utils.precision import Precision
from .profile import Shape, shape_range

_log = logging.getLogger("FastFace")
_SUFFIX = ".engine"


@dataclass(frozen=True)
class EngineKey:
    """What an engine was built of, for, and by; another in any respect is another engine.

    Attributes:
        model: File name of the network, for people.
        content: SHA-256 of that file.
        task: What it is for.
        precision: `fp32` or `fp16`.
        graph: Version of the graph's preparation.
        shapes: Least, best and most input shape.
        takes_batches: Whether the graph takes any number of images.
        library: Name and version of what built it.
        device: What it runs on.
    """

    model: str
    content: str
    task: Task
    precision: Precision
    graph: str
    shapes: tuple[Shape, Shape, Shape]
    takes_batches: bool
    library: str
    device: str

    def as_json(self) -> dict[str, Any]:
        record = dataclasses.asdict(self)
        return {**record, "shapes": [list(shape) for shape in self.shapes]}

    @staticmethod
    def from_json(record: dict[str, Any]) -> EngineKey:
        """
        Raises:
            DamagedFile: It is no such key.
        """
        try:
            least, best, most = (tuple(map(int, shape)) for shape in record["shapes"])
            return EngineKey(**{**record, "shapes": (least, best, most)})
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DamagedFile(f"its header names no engine ({error})") from error

    @property
    def file_name(self) -> str:
        digest = checksum(json.dumps(self.as_json(), sort_keys=True).encode())
        return f"{Path(self.model).stem}-{self.precision}-{digest[:20]}{_SUFFIX}"

    def __str__(self) -> str:
        return (
            f"{self.model} in {self.precision} for {shape_range(self.shapes)}, by "
            f"{self.library} for {self.device}"
        )


class EngineStore:
    """Engines in one folder. Nothing is read from anywhere else."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: by default, one among what can be made again."""
        self.folder = (folder or host.cache_folder() / "tensorrt").resolve()

    def path(self, key: EngineKey) -> Path:
        return self.folder / key.file_name

    def save(self, key: EngineKey, engine: bytes, facts: dict[str, Any]) -> Path:
        """Writes an engine and what is known of it; either is there whole or not at all.

        Engines of the same network, precision, profile and kind of device that another version
        built go: they can't be used any more.

        Raises:
            FileError: It can't be written.
        """
        path = self.path(key)
        # In this order, so that no note is ever left without its engine.
        write_checksummed(path, key.as_json(), engine)
        self.note(key, engine, facts)
        for other in self.listed():
            same = dataclasses.replace(other, library=key.library, graph=key.graph) == key
            if same and other != key and _name(other.library) == _name(key.library):
                self._remove(other)
        return path

    def load(self, key: EngineKey) -> bytes:
        """A serialised engine, exactly as it was built.

        Raises:
            DamagedFile: It is not there, not whole, or another one.
            InvalidInput: Its file lies outside the folder.
        """
        return read_checksummed(self._inside(self.path(key)), key.as_json())

    def is_whole(self, key: EngineKey) -> bool:
        """Whether an engine is there and undamaged; the log says what is wrong with one that is."""
        if not self.path(key).exists():
            return False
        try:
            self.load(key)
        except DamagedFile as error:
            _log.warning("%s; it is built again", error)
            return False
        return True

    def listed(self) -> Iterator[EngineKey]:
        """The engines that are there, by their headers, newest first; damaged ones are left out."""
        found = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            try:
                key = EngineKey.from_json(read_header(self._inside(path))["key"])
                if key.file_name != path.name:
                    raise DamagedFile(f"{path.name} is not its own name, but {key.file_name}")
                found.append((path.stat().st_mtime_ns, key))
            except (DamagedFile, InvalidInput, OSError) as error:
                _log.warning("engine folder %s: %s", self.folder, error)
        found.sort(key=lambda each: each[0], reverse=True)
        return (key for _, key in found)

    def note(self, key: EngineKey, engine: bytes, facts: dict[str, Any]) -> None:
        """Writes down beside an engine what was found out about it."""
        record = {**facts, "engine_sha256": checksum(engine)}
        text = json.dumps({**record, "sha256": _checksum_of(record)}, indent=1)
        write_whole(self._notes(key), text.encode())

    def facts(self, key: EngineKey) -> dict[str, Any]:
        """What was noted of this very engine; empty where nothing was, or it was changed since."""
        path = self._notes(key)
        try:
            record = dict(json.loads(self._inside(path).read_text(encoding="utf-8")))
            written = read_header(self._inside(self.path(key)))["sha256"]
        except (OSError, ValueError, TypeError, RecursionError, DamagedFile):
            return {}
        if record.pop("sha256", None) != _checksum_of(record):
            _log.warning("%s is not what was written and says nothing of its engine", path.name)
            return {}
        return record if record.get("engine_sha256") == written else {}

    def timings(self, library: str, device: str) -> bytes:
        """What builds by a library on a device have timed so far."""
        path = self._timings(library, device)
        try:
            return read_checksummed(self._inside(path), {"library": library, "device": device})
        except DamagedFile as error:
            if path.exists():
                _log.warning("%s; kernels are timed anew", error)
            return b""

    def save_timings(self, library: str, device: str, timings: bytes) -> None:
        path = self._timings(library, device)
        write_checksummed(path, {"library": library, "device": device}, timings)

    def _timings(self, library: str, device: str) -> Path:
        return self.folder / f"{checksum(f'{library} {device}'.encode())[:20]}.timings"

    def _notes(self, key: EngineKey) -> Path:
        return self.path(key).with_suffix(".json")

    def _inside(self, path: Path) -> Path:
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError) as error:  # before Python 3.13, for links in a circle
            raise DamagedFile(f"{path.name} can't be read ({error})") from error
        if not resolved.is_relative_to(self.folder):
            raise InvalidInput(
                f"{path} leads to {resolved}, outside the engine folder {self.folder}; "
                "engines are read from there alone: delete it and build the engine again"
            )
        return path

    def _remove(self, key: EngineKey) -> None:
        for path in (self._notes(key), self.path(key)):
            with contextlib.suppress(OSError):  # another process may be reading it
                path.unlink()


def _checksum_of(record: dict[str, Any]) -> str:
    return checksum(json.dumps(record, sort_keys=True).encode())


def _name(library: str) -> str:
    return library.partition(" ")[0]
