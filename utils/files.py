"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write instead of `path`, whose place it takes at the end.

    No reader ever meets half of it. Several processes may write the same file at once: the last one
    wins.

    Args:
        path: The file; its folder is made if need be.

    Yields:
        An empty file beside it.

    Raises:
        OSError: It can't be written; what was there before is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
    os.close(handle)
    try:
        yield Path(name)
        Path(name).replace(path)
    finally:
        with contextlib.suppress(OSError):  # it has moved when all went well
            Path(name).unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file by `replacing` it.

    Raises:
        OSError: It can't be written; what was there before is still there.
    """
    with replacing(path) as beside:
        beside.write_bytes(content)
