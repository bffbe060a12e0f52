"""The files of folders: walked without being led astray, opened only where they are files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ...utils.errors import InvalidInput
from ...utils.progress import may_stop

_SPECIAL = (
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_LINK = "a link, which is not followed; the option --follow-links does"


@dataclass(frozen=True)
class FoundFile:
    """Something that lies in a folder.

    Attributes:
        path: From the root, with `/` between folders. Names that are no Unicode have lone
            surrogates in them, as Python gives them.
        size: In bytes.
        mtime_ns: When it was last changed, in nanoseconds since 1970.
        problem: Why it is not opened; empty where it may be.
    """

    path: str
    size: int = 0
    mtime_ns: int = 0
    problem: str = ""


def common_root(paths: Sequence[Path]) -> Path:
    """The folder that paths are given relative to: the deepest one that holds them all.

    Raises:
        InvalidInput: One of them is not there, or they lie on several drives.
    """
    absolute = [_normal(path) for path in paths]
    for path, given in zip(absolute, paths, strict=True):
        if not os.path.lexists(path):
            raise InvalidInput(f"got {str(given)!r}, which is not there; name a folder or a file")
    folders = [path if path.is_dir() else path.parent for path in absolute]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError as error:
        raise InvalidInput(
            f"got paths that no folder holds all of ({error}); run the command for each of them"
        ) from error


def walk(
    root: Path, paths: Sequence[Path], follow_links: bool = False, left_out: Path | None = None
) -> Iterator[FoundFile]:
    """All that lies in some folders and below, each once.

    Nothing is opened. A folder that can't be listed is given with the reason.

    Args:
        root: The folder that all paths lie in; `common_root`.
        paths: Folders and files.
        follow_links: Whether links are followed; no folder is walked twice, wherever links lead.
        left_out: A folder that is not walked: the results lie in it.
    """
    seen: set[tuple[int, int]] = set()
    if left_out is not None:
        _note(left_out, seen)
    given: set[str] = set()
    named = [_normal(path) for path in paths]
    # From the last to the first, so that the first is taken next.
    waiting, linked = named[::-1], []
    while waiting or linked:
        may_stop()
        # Folders are walked where they lie, before any that links lead to.
        at = (waiting or linked).pop()
        name = at.relative_to(root).as_posix()
        try:
            # What was named on the command line was meant, link or not.
            is_link = at not in named and at.is_symlink()
            if is_link and not follow_links:
                yield FoundFile(name, problem=_LINK)
                continue
            status = at.stat()
            if stat.S_ISDIR(status.st_mode):
                key = (status.st_dev, status.st_ino)
                if is_link and waiting:
                    linked.insert(0, at)
                elif key not in seen:
                    seen.add(key)
                    waiting += sorted(at.iterdir(), reverse=True)
                elif is_link:
                    yield FoundFile(name, problem="a link to a folder that is walked anyway")
                continue
        except OSError as error:
            yield FoundFile(name, problem=f"it can't be looked at: {error.strerror or error}")
            continue
        if name not in given:
            given.add(name)
            problem = why_not_opened(status)
            yield FoundFile(name, status.st_size, status.st_mtime_ns, problem)


def _normal(path: Path) -> Path:
    """An absolute path without `..`; links in it stay."""
    return Path(os.path.normpath(path.absolute()))


def _note(folder: Path, seen: set[tuple[int, int]]) -> None:
    try:
        status = folder.stat()
    except OSError:
        return
    seen.add((status.st_dev, status.st_ino))


def why_not_opened(status: os.stat_result) -> str:
    """Why something is never opened; empty for a plain file."""
    if stat.S_ISREG(status.st_mode):
        return "" if status.st_size else "it is empty"
    what = next((what for test, what in _SPECIAL if test(status.st_mode)), "no plain file")
    return f"{what}, which is never opened"


def open_file(path: Path, follow_links: bool) -> BinaryIO:
    """Opens a plain file, and nothing else that may have taken its place meanwhile.

    Raises:
        InvalidInput: It is none any more.
        OSError: It can't be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    if not follow_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(path, flags)
    try:
        if problem := why_not_opened(os.fstat(handle)):
            raise InvalidInput(problem)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
