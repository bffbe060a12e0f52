"""Writing where the disk may be full, forbidden, or shared with another process."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DownloadError, FileError
from ..files import FULL
from ..locks import locked

BLOCK_BYTES = 1 << 18


def megabytes(count: float) -> str:
    """Bytes as text for people, in millions: `343.9 MB`."""
    return f"{count / 1e6:,.1f} MB"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, 64 lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _disk_error(error: OSError, folder: Path) -> DownloadError:
    if error.errno in FULL:
        return DownloadError(
            f"the disk of {folder} is full; free some space and run again: what arrived is kept"
        )
    return DownloadError(
        f"can't write in the folder {folder}: {error.strerror or error}; give this user the right "
        "to write there, or choose another folder (extra_model_paths.yaml, or the environment "
        "variable FASTFACE_MODELS)"
    )


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Says which folder failed and what to do when the code inside can't use the disk.

    Args:
        folder: The folder that the code inside writes to.

    Raises:
        DownloadError: The disk is full, read-only or forbidden.
    """
    try:
        yield
    except DownloadError:
        raise
    except FileError as error:
        raise DownloadError(str(error)) from error
    except OSError as error:
        raise _disk_error(error, folder) from error


def require_space(folder: Path, needed_bytes: int) -> None:
    """Refuses to start what would fill the disk.

    Args:
        folder: An existing folder.
        needed_bytes: What is about to be written there.

    Raises:
        DownloadError: Less than that is free.
    """
    with disk_errors(folder):
        free_bytes = shutil.disk_usage(folder).free
    lacking_bytes = needed_bytes - free_bytes
    if lacking_bytes > 0:
        raise DownloadError(
            f"{megabytes(needed_bytes)} are needed in {folder}, but its disk has only "
            f"{megabytes(free_bytes)} free; free {megabytes(lacking_bytes)} more and run again"
        )


def append_blocks(
    path: Path, blocks: Iterable[bytes], on_size: Callable[[int], None] | None = None
) -> None:
    """Appends to a file and makes sure that all of it is on the disk.

    Args:
        path: The file; made if missing.
        blocks: What to append. What the iteration raises comes out unchanged.
        on_size: Gets the size in bytes before the first and after each block. What it raises comes
            out unchanged, with the file closed after that block.

    Raises:
        DownloadError: The disk is full or can't be written.
    """
    with disk_errors(path.parent):
        file = path.open("ab", buffering=0)  # so that no write is left to fail in close()
    with file:
        if on_size:
            on_size(file.tell())
        for block in blocks:
            with disk_errors(path.parent):
                rest = memoryview(block)
                while rest:
                    rest = rest[file.write(rest) :]
            if on_size:
                on_size(file.tell())
        with disk_errors(path.parent):
            os.fsync(file.fileno())


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Keeps other threads and processes from making the same file at the same time.

    The operating system drops the lock of a process that died; its lock file stays until somebody
    makes the same file again, or clears away what killed downloads left.

    Args:
        path: What is being made; its folder exists.
        on_wait: Called a few times a second while another process holds the lock; what it raises
            ends the waiting.

    Raises:
        DownloadError: The lock file can't be written.
    """
    with contextlib.ExitStack() as held:
        with disk_errors(path.parent):
            held.enter_context(locked(lock_file(path), on_wait))
        yield


def lock_file(path: Path) -> Path:
    """The file that is there, beside `path`, while somebody is making `path`."""
    return path.with_name(f".{path.name}.lock")
