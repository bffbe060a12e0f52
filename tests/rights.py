"""Folders that can't be written to, for root too, who may write anywhere else."""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

#: Of <linux/capability.h>: the third version of the calls, and root's rights over those of files.
_VERSION = 0x20080522
_OVERRIDE = (1 << 1) | (1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
#: Of <linux/prctl.h> and <linux/securebits.h>.
_GET_SECUREBITS, _SET_SECUREBITS, _NO_ROOT = 27, 28, 1


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Rights(ctypes.Structure):
    """Capabilities 0 to 31 or 32 to 63."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextmanager
def bound_by_rights() -> Iterator[None]:
    """Has the rights of files hold for this thread, and for threads and processes it starts.

    Root is asked like everybody else: of its own files and folders it may do what their owner may.
    """
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no rights of files as they are meant here")
    if os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("root may write everywhere, and lays down that right on Linux alone")
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> int:
        if (answer := getattr(libc, name)(*arguments)) < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"root's rights, {name}: {os.strerror(number)}")
        return answer

    header, rights = ctypes.byref(_Header(_VERSION, 0)), (_Rights * 2)()
    with ExitStack() as taken_up_again:
        try:
            call("capget", header, rights)
            before = rights[0].effective
            rights[0].effective &= ~_OVERRIDE
            call("capset", header, rights)
            rights[0].effective = before  # which is permitted still
            taken_up_again.callback(call, "capset", header, rights)
            # Programs that root starts from now on are not given all rights anew.
            bits = call("prctl", _GET_SECUREBITS, 0, 0, 0, 0)
            call("prctl", _SET_SECUREBITS, bits | _NO_ROOT, 0, 0, 0)
            taken_up_again.callback(call, "prctl", _SET_SECUREBITS, bits, 0, 0, 0)
        except OSError as error:
            pytest.skip(f"root can't lay down its rights here: {error}")
        yield


@contextmanager
def read_only(*folders: Path) -> Iterator[None]:
    """Lets nobody write in some folders and all below; skips where that can't be had.

    Args:
        folders: Of this user; their files can be read as before.
    """
    below = [each for folder in folders for each in (folder, *folder.rglob("*")) if each.is_dir()]
    modes = {each: stat.S_IMODE(each.stat().st_mode) for each in below}
    with bound_by_rights():
        try:
            for each in below:
                each.chmod(0o555)
            if any(os.access(each, os.W_OK, effective_ids=True) for each in folders):
                pytest.skip("this file system lets everybody write")
            yield
        finally:
            for each, mode in modes.items():
                each.chmod(mode)


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
