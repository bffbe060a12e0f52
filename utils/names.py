"""Names that users give to files: the same on every system, or refused."""

from __future__ import annotations

import re

from .errors import InvalidInput

#: Most bytes that a name may have on the usual file systems.
MOST_NAME_BYTES = 255

#: Folders, drive letters and streams of NTFS, patterns, control characters.
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
#: Windows takes these, with any suffix, for devices.
#: Source: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789\u00b9\u00b2\u00b3"]
)


def why_unusable_name(name: str) -> str | None:
    """Why a file or folder can't have this name on every system; None when it can.

    Args:
        name: The whole name, with its suffix and without a folder.
    """
    if name in ("", ".", ".."):
        return "it is no name of a file"
    if found := _NOT_IN_NAMES.search(name):
        return f"it has the character {found[0]!r}, which names of files can't have everywhere"
    if name[-1] in ". ":
        return "it ends in a dot or space, which Windows drops"
    if name.partition(".")[0].rstrip(" ").upper() in _DEVICES:
        return "Windows takes it for a device"
    try:
        size_bytes = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "it is not Unicode text"
    if size_bytes > MOST_NAME_BYTES:
        return f"it has {size_bytes} bytes, at most {MOST_NAME_BYTES} are possible"
    return None


def require_file_name(name: str, suffix: str, what: str) -> str:
    """The name of a file that a user named without its suffix.

    Args:
        name: As typed; spaces around it are dropped.
        suffix: Such as `.safetensors`.
        what: What the file is, for the message: `a face model`.

    Returns:
        Name and suffix.

    Raises:
        InvalidInput: No file can have that name on every system; says why.
    """
    name = name.strip()
    # The suffix must hide neither an empty name nor one that ends in a dot.
    reason = why_unusable_name(name) or why_unusable_name(name + suffix)
    if reason:
        raise InvalidInput(
            f"got the name {name!r} for {what}, but {reason}; expected a plain name such as "
            "anna or anna_2, without folder and suffix"
        )
    return name + suffix
