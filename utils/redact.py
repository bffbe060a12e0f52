"""Texts that people pass on, without the folders of the machine they come from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_NAME = r"[^\s\\/:\"'<>|()]+"
#: What looks like an absolute path of any system, from its root to its last divider; what follows
#: is a name. Not the path of a URL, nor a division such as `images/s`.
_ABSOLUTE = re.compile(
    rf"(?<![\w.~/\\-])"
    rf"(?:\\\\(?:{_NAME}[\\/])+"  # a share on a network
    rf"|[A-Za-z]:[\\/](?:{_NAME}[\\/])*"
    rf"|(?P<top>/{_NAME})/(?:{_NAME}/)*)"
)


def redact_paths(text: str, roots: Sequence[tuple[Path, str]] = ()) -> str:
    """Replaces every absolute path in a text by one that says nothing of the machine.

    Args:
        text: For people.
        roots: Folders, and what stands for each: `models/a.onnx` for what lies in ("/x", ""), and
            `~/a.onnx` for what lies in ("/home/me", "~"). Of several the deepest counts; the root
            of the file system is none.

    Returns:
        The text; of a path in none of the folders only the last part is left: `.../a.onnx`. What
        begins with a folder that is not here stays: names in graphs look like that (`/head/Conv`).
    """
    folders = [(folder, name) for folder, name in roots if folder != folder.parent]
    for folder, name in sorted(folders, key=lambda root: len(str(root[0])), reverse=True):
        for written in dict.fromkeys((str(folder), folder.as_posix())):
            pattern = re.escape(written.rstrip("\\/")) + r"(?![^\\/\s\"'()\[\]:;,])([\\/]?)"
            text = re.sub(
                rf"(?<![\w.\\/-]){pattern}",
                lambda found, name=name: _below(name, found.group(1)),
                text,
            )
    return _ABSOLUTE.sub(lambda found: ".../" if _is_here(found) else found.group(), text)


def _is_here(path: re.Match[str]) -> bool:
    """Whether the path can be one of this machine: others only look like that."""
    top = path.group("top")
    return top is None or Path(top).is_dir()


def _below(name: str, divider: str) -> str:
    if name:
        return name + divider
    return "" if divider else "."
