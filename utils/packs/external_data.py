"""Weights that an ONNX graph keeps in files beside it: which files, and whether they are there.

Source: docs/ExternalData.md of https://github.com/onnx/onnx
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import ModelError


@dataclass(frozen=True)
class ExternalData:
    """Where a graph says that some of its weights lie.

    Attributes:
        location: The file, by its path from the folder of the graph.
        end: How many bytes of it are needed at least.
        tensor: The tensor that needs so many, for messages.
    """

    location: str
    end: int
    tensor: str


def external_files(path: Path, external: Sequence[ExternalData]) -> tuple[Path, ...]:
    """The files that a graph names, which must lie in its own folder or below.

    Args:
        path: The graph.
        external: What it says of them, one for each file.

    Raises:
        ModelError: A file lies elsewhere, is a link, is not there, or is too short.
    """
    return tuple(_external_file(path, data) for data in external)


def _external_file(path: Path, data: ExternalData) -> Path:
    keeps = f"{path} keeps {data.tensor} in {data.location!r}"
    relative = PurePosixPath(data.location)
    forbidden = any(letter in data.location for letter in "\\:\0")
    if relative.is_absolute() or ".." in relative.parts or forbidden or not relative.parts:
        raise ModelError(
            f"{keeps}, expected a file in its own folder; get the pack from its authors again"
        )
    file = path.parent / relative
    try:
        leaves = file.is_symlink() or not file.parent.resolve().is_relative_to(
            path.parent.resolve()
        )
        is_there = file.is_file()
        size = file.stat().st_size if is_there else 0
    except (OSError, RuntimeError) as error:  # no right to look, a long name, links in a circle
        raise ModelError(
            f"{keeps}, which can't be read: {error}; check the rights to it"
        ) from error
    if leaves:
        raise ModelError(f"{keeps}, which is a link; put the file itself there")
    if not is_there:
        raise ModelError(
            f"{keeps}, which is not beside it; put it into {file.parent}, or download the pack "
            "again"
        )
    if size < data.end:
        raise ModelError(
            f"{keeps}, up to byte {data.end:,}, but it has {size:,} bytes; download the pack again"
        )
    return file
