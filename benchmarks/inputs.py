"""Types of arguments that are files and folders: what isn't there is refused by the parser."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path


def existing_file(text: str) -> Path:
    """
    Raises:
        ArgumentTypeError: There is no such file.
    """
    path = Path(text)
    if not path.is_file():
        raise ArgumentTypeError(f"{text!r} is no file")
    return path


def existing_folder(text: str) -> Path:
    """
    Raises:
        ArgumentTypeError: There is no such folder.
    """
    path = Path(text)
    if not path.is_dir():
        raise ArgumentTypeError(f"{text!r} is no folder")
    return path


def pack_folder(text: str) -> Path:
    """
    Raises:
        ArgumentTypeError: There is no such folder, or there are no ONNX files in it.
    """
    path = existing_folder(text)
    if not any(path.glob("*.onnx")):
        raise ArgumentTypeError(f"{text!r} holds no .onnx files; give the folder of a pack")
    return path
