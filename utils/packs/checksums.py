"""Compares model files with the hashes their packs declare."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ..download.disk import file_sha256
from ..errors import ModelError
from . import ModelFile


def verify_sha256(model: ModelFile) -> None:
    """Reads a model file and compares it with the hash its pack declares, if it declares one.

    Args:
        model: The file; verified once until its size or time of change differs.

    Raises:
        ModelError: It differs, or can't be read.
    """
    if model.sha256 is None:
        return
    got = content_sha256(model.path)
    if got != model.sha256:
        raise ModelError(
            f"{model.path} has the sha256 {got}, its pack declares {model.sha256}: the file is "
            "damaged or was replaced; download the pack again"
        )


def content_sha256(path: Path) -> str:
    """SHA-256 of a file, worked out once until its size or time of change differs.

    Raises:
        ModelError: It can't be read.
    """
    try:
        status = path.stat()
        return _hash(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ModelError(
            f"{path} can't be read: {error}; check the rights to the file, or download the pack "
            "again"
        ) from error


@lru_cache(maxsize=64)
def _hash(path: Path, size: int, mtime_ns: int) -> str:
    return file_sha256(path)
