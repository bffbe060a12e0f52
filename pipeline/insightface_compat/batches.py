"""Whole batches of images for the pack's own nodes; the same batch is analysed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...backends.interfaces import DetectionOptions
from ...utils.content import faces_key, images_key
from ...utils.faces import Faces
from ...utils.images import Images
from ...utils.metrics import METRICS
from ...utils.packs import Task
from ...utils.progress import Progress, part
from ..analyzer import Analyzer
from ..listeners import listened_to
from .face_order import FaceOrder
from .result_cache import BATCHES

#: Stands for all frames of a film where one line in the log is enough.
_FILM = b"film"


def analyze_batch(
    analyzer: Analyzer,
    images: Images,
    options: DetectionOptions,
    order: FaceOrder,
    max_faces: int,
    tasks: Sequence[Task],
    on_progress: Progress | None,
    remember: bool = True,
) -> Faces:
    """Detects the faces of a batch and describes them; see `FaceAnalysis.analyze`."""
    with METRICS.call("analyze") as call:
        steps = 1 + order.needs_embeddings + len(tasks)
        with listened_to(on_progress, steps * max(1, len(images))):
            key = _batch_key(analyzer, images) if remember else None
            with part(0.0, 1 / steps):
                faces = _known(
                    analyzer,
                    None if key is None else ("detection", options, key),
                    lambda: analyzer.detect(images, options),
                )
            done = 1 + order.needs_embeddings
            with part(1 / steps, done / steps):
                rows = order.rows(
                    faces,
                    lambda some: _described(analyzer, images, key, faces[some], "recognition"),
                    max_faces,
                    # Of a film it is said once that frames lack the person.
                    image_key=None if remember else _FILM,
                )
            faces = faces if rows is None else faces[rows]
            for number, task in enumerate(tasks, start=done):
                with part(number / steps, (number + 1) / steps):
                    faces = _described(analyzer, images, key, faces, task)
        call.images, call.faces = len(images), len(faces)
        return faces


def describe_batch(
    analyzer: Analyzer,
    images: Images,
    faces: Faces,
    tasks: Sequence[Task],
    on_progress: Progress | None,
) -> Faces:
    """Adds what the models of these tasks tell about faces that were found."""
    with METRICS.call("describe") as call:
        steps = len(tasks)
        with listened_to(on_progress, steps * max(1, len(faces))):
            key = _batch_key(analyzer, images)
            for number, task in enumerate(tasks):
                with part(number / steps, (number + 1) / steps):
                    faces = _described(analyzer, images, key, faces, task)
        call.images, call.faces = len(images), len(faces)
        return faces


def _described(
    analyzer: Analyzer,
    images: Images,
    key: bytes | None,
    faces: Faces,
    task: Task,
) -> Faces:
    known = key is not None and faces.device.type == "cpu"
    return _known(
        analyzer,
        (task, faces_key(faces), key) if known else None,
        lambda: analyzer.describe(images, faces, [task]),
    )


def _batch_key(analyzer: Analyzer, images: Images) -> bytes | None:
    """What stands for a batch in the cache; None if it is not looked up.

    Where the models run on the CPU a key costs a percent or two of what it may spare. A GPU is done
    with an image before the CPU has read it once.
    """
    return images_key(images) if analyzer.placement.device == "cpu" else None


def _known(analyzer: Analyzer, key: tuple[Any, ...] | None, find: Callable[[], Faces]) -> Faces:
    if key is None:
        return find()
    # Callers own what they get: the cache must not change when they do.
    return BATCHES.get_or_make((analyzer.serial, *key), find).clone()
