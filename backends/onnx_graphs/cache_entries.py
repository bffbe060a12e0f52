"""Entries of the graph cache: their names, their files, and which of these are of no use any more.

An entry is one checksummed file, `<pass>-v<version>-<digest of the key>.entry`, and the files that
it lists with their SHA-256, `<same name>.<part>`. These are plain ONNX and safetensors files:
engines open them by path and map them into memory. The entry is written last and deleted first, so
what it lists is complete.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...utils.checksummed_file import (
    DamagedFile,
    Key,
    checksum,
    read_checksummed,
    write_checksummed,
)

_log = logging.getLogger("FastFace")

#: What is done to graphs, and the version of the code that does it: raised when its result changes.
VERSIONS = {
    "batched": 1,
    "margins": 1,
    "cpu_optimized": 1,
    "folded_weights": 2,
    "ultralytics": 1,
    "int8": 3,
    "precision_proof": 4,
    "backend_speed": 1,
}

_SUFFIX = ".entry"
_NAME = re.compile(r"(?P<entry>(?P<graph_pass>[a-z_]+)-v(?P<version>\d+)-[0-9a-f]{32})\..+")
#: Files of releases before there was one cache, in its folder and the one beside it; and of a pass
#: that is no more.
_FORMER = re.compile(
    r"\.?[0-9a-f]{32}-[vth]\d+\.(?:batches|txt|json|safetensors|(?:\w+\.)?onnx).*"
    r"|split-v1-[0-9a-f]{32}\..+"
)
_FORMER_FOLDER = "weights"


@dataclass(frozen=True)
class Entry:
    """What is known of a graph, and what was made of it.

    Attributes:
        name: File name without its suffix.
        facts: What was found out, as JSON can hold it.
        unfit: Why what was made of it can't be used, since its answers differ; else empty.
        files: Paths by part, checked.
    """

    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    unfit: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)


def entry_name(key: Key) -> str:
    """The name of the entry of a key with `pass` and `version`."""
    digest = checksum(json.dumps(key, sort_keys=True).encode())
    return f"{key['pass']}-v{key['version']}-{digest[:32]}"


def part_path(folder: Path, name: str, part: str) -> Path:
    """The path of one of an entry's files."""
    return folder / f"{name}.{part}"


def write_entry(folder: Path, entry: Entry, key: Key, checksums: Mapping[str, str]) -> None:
    """Writes an entry whose files are there already.

    Args:
        checksums: SHA-256 of each file by part.

    Raises:
        OSError: It can't be written.
    """
    record = {"facts": entry.facts, "unfit": entry.unfit, "files": checksums}
    write_checksummed(folder / f"{entry.name}{_SUFFIX}", key, json.dumps(record).encode())


def read_entry(folder: Path, key: Key) -> tuple[Entry, dict[str, str]] | None:
    """The entry of a key, and the SHA-256 that each of its files has to have; None without one.

    Raises:
        DamagedFile: It is not what was written.
    """
    name = entry_name(key)
    path = folder / f"{name}{_SUFFIX}"
    if not path.exists():
        return None
    if not path.is_file():
        raise DamagedFile(f"{path.name} is no file")
    try:
        record = json.loads(read_checksummed(path, key))
        checksums = dict(record["files"])
        files = {part: part_path(folder, name, part) for part in checksums}
        return Entry(name, record["facts"], record["unfit"], files), checksums
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFile(f"{path.name} holds something else ({error!r})") from error


def touch_entry(folder: Path, name: str) -> None:
    """Notes that an entry was used just now."""
    with contextlib.suppress(OSError):  # a folder that is only read is not bounded either
        (folder / f"{name}{_SUFFIX}").touch()


def delete_entry(folder: Path, name: str) -> None:
    """Deletes an entry and its files, as far as that can be done: others may be reading them."""
    for path in sorted(folder.glob(f"{name}.*"), key=lambda path: path.suffix != _SUFFIX):
        with contextlib.suppress(OSError):
            path.unlink()


def make_way(path: Path) -> None:
    """Removes a folder that stands where a file is about to be written."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


def clear_useless(folder: Path) -> None:
    """Deletes what earlier versions made, and files whose entry a killed process had not written.

    No other process may be writing meanwhile.
    """
    outdated, unfinished = [], []
    for path in _files(folder):
        match = _NAME.fullmatch(path.name)
        if _FORMER.fullmatch(path.name) or (
            match and int(match["version"]) < VERSIONS.get(match["graph_pass"], 0)
        ):
            outdated.append(path)
        elif match and not (folder / f"{match['entry']}{_SUFFIX}").exists():
            unfinished.append(path)
    former = folder.parent / _FORMER_FOLDER
    outdated += [path for path in _files(former) if _FORMER.fullmatch(path.name)]
    for path in (*outdated, *unfinished):
        with contextlib.suppress(OSError):  # another process may be reading it
            path.unlink()
    with contextlib.suppress(OSError):  # it is not there, or there is something else in it
        former.rmdir()
    if outdated:
        _log.info("graph cache: %d files of earlier versions cleared away", len(outdated))
    if unfinished:
        _log.warning(
            "graph cache: %d files without an entry, as an interrupted run leaves them, cleared "
            "away; they are made again",
            len(unfinished),
        )


def limit_size(folder: Path, limit_bytes: int, keep: Collection[str]) -> None:
    """Deletes the entries that were used longest ago until the rest fits.

    Args:
        limit_bytes: Most bytes of all files; 0 is no limit.
        keep: Names of entries that stay.
    """
    sizes: dict[str, int] = {}
    used: dict[str, float] = {}
    for path in _files(folder):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        with contextlib.suppress(OSError):  # another process has deleted it
            status = path.stat()
            sizes[match["entry"]] = sizes.get(match["entry"], 0) + status.st_size
            if path.suffix == _SUFFIX:
                used[match["entry"]] = status.st_mtime
    total = sum(sizes.values())
    gone = 0
    for name in sorted(used, key=used.__getitem__):
        if limit_bytes == 0 or total <= limit_bytes:
            break
        if name not in keep:
            delete_entry(folder, name)
            total -= sizes[name]
            gone += 1
    if gone:
        _log.info(
            "graph cache: %d entries that were used longest ago deleted, since "
            "FASTFACE_GRAPH_CACHE_LIMIT is %d bytes",
            gone,
            limit_bytes,
        )


def _files(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):  # it is not there yet
        yield from list(folder.iterdir())
