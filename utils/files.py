"""Files that are there whole or not at all, and errors that say why one could not be written."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from .errors import FastFaceError, FileError
from .names import MOST_NAME_BYTES
from .text import readable
from .unfinished import unfinished_file

#: Errors of a disk that has no room, or none for this user.
FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
#: What to do where a folder can't be written to, unless a caller knows better.
ELSEWHERE = "choose another folder"


@contextlib.contextmanager
def replacing(path: Path, elsewhere: str = ELSEWHERE) -> Iterator[Path]:
    """A file to write instead of `path`, whose place it takes at the end, with all it needs.

    No reader ever meets half of it, and it is on the disk before it takes its place. Several
    processes may write the same file at once: the last one wins. It gets the rights that new files
    have here (the umask's).

    Args:
        path: The file; its folder is made if need be.
        elsewhere: What to do, for the message, where the folder can't be written to.

    Yields:
        An empty file beside it, to write into; it must not be replaced by another.

    Raises:
        FileError: It can't be written; what was there before is still there.
    """
    with file_errors(path, elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished_file(path.parent) as beside:
            yield beside
            _write_out(beside)
            beside.replace(path)
    write_out_folder(path.parent)


def write_whole(path: Path, content: bytes, elsewhere: str = ELSEWHERE) -> None:
    """Writes a file by `replacing` it.

    Raises:
        FileError: It can't be written; what was there before is still there.
    """
    with replacing(path, elsewhere) as beside:
        beside.write_bytes(content)


def append_line(path: Path, line: str) -> None:
    """Adds a line to a text file, in a line of its own even where an earlier one was cut off.

    Args:
        path: The file; made, with its folder, if need be.
        line: Without a line break.

    Raises:
        FileError: It can't be written; the lines before are still there.
    """
    with file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            cut_off = False
            if size := file.seek(0, os.SEEK_END):
                file.seek(size - 1)
                cut_off = file.read(1) != b"\n"
            # At once, as far as the system takes it, so that lines of two processes don't mix.
            rest = memoryview(b"\n" * cut_off + readable(line).encode() + b"\n")
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())


@contextlib.contextmanager
def file_errors(path: Path, elsewhere: str = ELSEWHERE) -> Iterator[None]:
    """Says what to do when the code inside can't write a file.

    Args:
        path: What the code inside writes.
        elsewhere: What to do where its folder can't be written to.

    Raises:
        FileError: Instead of an OSError, or of what Python raises for names that no file can have.
    """
    try:
        yield
    except FastFaceError:
        raise
    except (OSError, ValueError) as error:
        if not _is_about(path, error):
            raise
        raise FileError(why_unwritable(path, error, elsewhere)) from error


def _is_about(path: Path, error: OSError | ValueError) -> bool:
    """Whether an error is about a file or one that is becoming it, or does not say about which."""
    if isinstance(error, ValueError):
        return not is_possible(path)
    name = error.filename
    if not isinstance(name, (str, Path)):
        return True
    return Path(name) in (path, *path.parents) or Path(name).parent == path.parent


def is_possible(path: str | os.PathLike[str]) -> bool:
    """Whether the system can be asked for a path at all: not with a zero byte, say, in it."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def is_text(path: str | os.PathLike[str]) -> bool:
    """Whether a path is Unicode text, as most libraries in C++ want it: on Linux not all are."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def source_for_libraries(path: Path) -> str | bytes:
    """What a library in C++ opens: the path, or the content where it could not take the path.

    Raises:
        OSError: The content has to be read, and can't be.
    """
    return str(path) if is_text(path) else path.read_bytes()


def why_unwritable(path: Path, error: Exception, elsewhere: str = ELSEWHERE) -> str:
    """Why a file could not be written, and what to do, in one line.

    Args:
        path: The file.
        error: What the system raised.
        elsewhere: What to do where its folder can't be written to.
    """
    number = error.errno if isinstance(error, OSError) else None
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if number in FULL:
        return f"the disk of {path.parent} is full: {path.name} was not written; free some space"
    if number in _FORBIDDEN:
        return (
            f"can't write {path.name} in the folder {path.parent}: {reason}; give this user the "
            f"right to write there, or {elsewhere}"
        )
    if number == errno.ENAMETOOLONG or not isinstance(error, OSError):
        return (
            f"{str(path)!r} can't be the name of a file here ({reason}): expected at most "
            f"{MOST_NAME_BYTES} bytes in each of its parts, and no zero byte; choose another name"
        )
    if number in (errno.ENOTDIR, errno.EEXIST):
        return (
            f"can't write in the folder {path.parent}: a part of that path is a file, expected "
            f"folders; move that file away, or {elsewhere}"
        )
    if number == errno.EISDIR:
        return f"{path} is a folder, expected a file or nothing there; move it away"
    return f"can't write {path.name} in the folder {path.parent}: {reason}; {elsewhere}"


def write_out_folder(folder: Path) -> None:
    """Makes sure that names given in a folder are on the disk, where the system can do that."""
    if sys.platform == "win32":
        return
    # The file itself is safe; some network file systems can't do this for a folder.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write_out(path: Path) -> None:
    # Opened anew: a library may have written through a handle of its own.
    with path.open("r+b") as file:
        os.fsync(file.fileno())
