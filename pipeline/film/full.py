"""Every frame of a chunk in full: what the analysis of single images gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...utils.faces import Faces
from ...utils.images import Images
from ...utils.packs import Task
from .chunks import Chunk

if TYPE_CHECKING:
    from ..insightface_compat.facade import FaceAnalysis


class EveryFrame:
    """Detects and describes the faces of each frame on its own."""

    #: Chunks have a multiple of so many frames: what detectors on the CPU take at once.
    multiple = 4
    with_next = False

    def __init__(self, face_analysis: FaceAnalysis, tasks: Sequence[Task]) -> None:
        self._face_analysis = face_analysis
        self._tasks = tasks

    def faces_of(self, chunk: Chunk, is_cut: Sequence[bool]) -> Faces:
        """The faces of a chunk, on the CPU, the embeddings with them.

        Args:
            chunk: Frames of one size.
            is_cut: Of each of its pictures, whether a new scene begins there.
        """
        images = Images.from_comfy(chunk.pixels)
        return self._face_analysis.analyze(images, self._tasks, remember=False).to("cpu")
