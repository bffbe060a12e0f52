"""`SpilledEmbeddings`: most of what is found in a film waits on disk until the film ends."""

from __future__ import annotations

import logging
import tempfile
from typing import Any

import numpy as np
import torch

from ...utils.errors import FileError, InvalidInput
from ...utils.faces import Faces
from .segments import films_folder

_log = logging.getLogger("FastFace")


class SpilledEmbeddings:
    """Embeddings in the order in which they come, in a file without a name: nothing is left of it.

    Together with the segments' own they would be in memory twice when they are put together. Where
    no file can be written they stay in memory.
    """

    def __init__(self) -> None:
        self._file: Any = None
        self._on_disk = 0  # bytes
        self._in_memory: list[np.ndarray] = []
        self._has_begun = self._is_full = False
        self._width: int | None = None
        self._space: str | None = None

    def take(self, faces: Faces) -> Faces:
        """The faces, on the CPU, without their embeddings, which are kept here.

        Raises:
            InvalidInput: They are of another space than those before.
        """
        width = None if faces.embeddings is None else faces.embeddings.shape[1]
        if not self._has_begun:
            self._has_begun, self._width, self._space = True, width, faces.embedding_space
        elif (width, faces.embedding_space) != (self._width, self._space):
            raise InvalidInput(
                f"got embeddings of {faces.embedding_space} behind those of {self._space}: the "
                "pack was replaced in between; analyse the film again"
            )
        if faces.embeddings is None:
            return faces
        rows = faces.embeddings.contiguous().numpy()
        if self._is_full or not self._is_written(rows):
            self._in_memory.append(rows.copy())
        return faces.with_fields(embeddings=None, embedding_space=None)

    def _is_written(self, rows: np.ndarray) -> bool:
        """Whether they could be written; if not, nothing more is."""
        try:
            if self._file is None:
                folder = films_folder()
                folder.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  see close
            left = _bytes_of(rows)
            while left:
                left = left[self._file.write(left) :]
        except (OSError, FileError) as error:
            _log.debug("the embeddings that follow stay in memory: %s", error)
            self._is_full = True
            return False
        self._on_disk += rows.nbytes
        return True

    def give(self, faces: Faces) -> Faces:
        """All faces, with the embeddings that were taken off them; nothing is kept here then.

        Args:
            faces: Those that `take` gave, joined in their order.
        """
        if self._width is None:
            return faces
        rows = np.empty((len(faces), self._width), np.float32)
        written = self._on_disk // (rows.itemsize * self._width)
        if written:
            self._file.seek(0)
            _read_into(self._file, rows[:written])
        if self._in_memory:
            np.concatenate(self._in_memory, out=rows[written:])
        self.close()
        return faces.with_fields(embeddings=torch.from_numpy(rows), embedding_space=self._space)

    def close(self) -> None:
        """Lets go of what is kept."""
        if self._file is not None:
            self._file.close()
        self._file, self._in_memory = None, []


def _bytes_of(rows: np.ndarray) -> memoryview:
    """The memory of an array in C order."""
    return rows.reshape(-1).view(np.uint8).data


def _read_into(file: Any, rows: np.ndarray) -> None:
    left = _bytes_of(rows)
    while left:
        count = file.readinto(left)
        if not count:
            raise FileError(
                "the file of the film's embeddings ended early, though it was written a moment "
                "ago: check the disk, then run the node again"
            )
        left = left[count:]
