"""Files that tell by themselves whether they are whole: a header, and then a content.

A damaged engine may end the process that deserialises it, and a damaged graph gives other answers;
so nothing is handed on whose header is not, to the byte, what is worked out from its content.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .errors import ModelError
from .files import write_whole

_MAGIC = b"ComfyUI-FastFace sealed file 1\n"
#: Longest header that is looked for.
_MOST_HEADER_BYTES = 1 << 16

Key = dict[str, Any]


class DamagedFile(ModelError):
    """A file is not what was once written; its text says how."""


def write_checksummed(path: Path, key: Key, content: bytes) -> None:
    """Writes a file, whole or not at all.

    Args:
        key: What the content is, as JSON can hold it.

    Raises:
        OSError: It can't be written; what was there before is still there.
    """
    write_whole(path, _header(key, content) + content)


def read_header(path: Path) -> dict[str, Any]:
    """What a file says of itself, from its first bytes alone: `key`, `bytes`, `sha256`.

    Raises:
        DamagedFile: Its header can't be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_MOST_HEADER_BYTES)
    except OSError as error:
        raise DamagedFile(f"{path.name} can't be read ({error})") from error
    return _split(path, start)[0]


def read_checksummed(path: Path, key: Key) -> bytes:
    """The content of a file that was written under this key.

    Raises:
        DamagedFile: It is truncated, changed, empty, or something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedFile(f"{path.name} can't be read ({error})") from error
    header, content = _split(path, data)
    if header["key"] != key:
        raise DamagedFile(f"{path.name} is something else: {_differences(header['key'], key)}")
    if len(content) != header["bytes"]:
        raise DamagedFile(f"{path.name} has {len(content)} bytes, of {header['bytes']} written")
    if not data.startswith(_header(key, content)):
        raise DamagedFile(f"{path.name} is not what was written: its checksum differs")
    return content


def checksum(content: bytes) -> str:
    """SHA-256 of a content."""
    return hashlib.sha256(content).hexdigest()


def _header(key: Key, content: bytes) -> bytes:
    header = {"key": key, "bytes": len(content), "sha256": checksum(content)}
    return _MAGIC + json.dumps(header, sort_keys=True).encode() + b"\n"


def _split(path: Path, data: bytes) -> tuple[dict[str, Any], bytes]:
    if not data:
        raise DamagedFile(f"{path.name} is empty")
    if not data.startswith(_MAGIC):
        raise DamagedFile(f"{path.name} does not begin as the files written here do")
    end = data.find(b"\n", len(_MAGIC), _MOST_HEADER_BYTES)
    try:
        header = json.loads(data[len(_MAGIC) : end]) if end >= 0 else None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or {"key", "bytes", "sha256"} - set(header):
        raise DamagedFile(f"{path.name} has a damaged header")
    if not isinstance(header["key"], dict):
        raise DamagedFile(f"{path.name} has a damaged header")
    return header, data[end + 1 :]


def _differences(got: Key, wanted: Key) -> str:
    names = [name for name in wanted if got.get(name) != wanted[name]]
    return ", ".join(f"{name} {got.get(name)!r} instead of {wanted[name]!r}" for name in names)
