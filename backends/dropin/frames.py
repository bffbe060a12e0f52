"""What is known of one image: its detections and what its faces' fields turned out to be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
import xxhash
from cachetools import TTLCache

from ...utils.faces import Faces
from ...utils.images import Images
from ..analyzer import Analyzer

#: InsightFace's names for the fields of each task, and ours in `Faces`.
FACE_KEYS: dict[str, dict[str, str]] = {
    "landmark_3d_68": {"landmark_3d_68": "landmarks_68", "pose": "pose"},
    "landmark_2d_106": {"landmark_2d_106": "landmarks_106"},
    "genderage": {"gender": "gender", "age": "age"},
    "recognition": {"embedding": "embeddings"},
    "verification": {"verification_score": "verification"},
}
_TASK_OF_KEY = {key: task for task, keys in FACE_KEYS.items() for key in keys}

Value = TypeVar("Value")


def image_key(image: np.ndarray) -> bytes:
    """A 128-bit hash of a uint8 image's shape and content."""
    digest = xxhash.xxh3_128(np.ascontiguousarray(image).data)
    digest.update(repr(image.shape).encode())
    return digest.digest()


class ResultCache:
    """Results by image content, bounded in number and age, shared by all threads."""

    def __init__(self, entries: int = 500, seconds: float = 1800.0) -> None:
        self._entries: TTLCache = TTLCache(entries, seconds)
        self._lock = threading.Lock()

    def get_or_make(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key; `make` is called outside the lock when there is none."""
        # Asked for in one step: between two, an entry's time may run out.
        with self._lock, suppress(KeyError):
            return self._entries[key]
        value = make()
        with self._lock:
            with suppress(KeyError):
                return self._entries[key]
            self._entries[key] = value
        return value

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()


#: Boxes and landmarks by image content and settings, for every object of every pack.
DETECTIONS = ResultCache()
#: What was found out about the faces of an image, by its content and their boxes.
RECORDS = ResultCache()


def forget_results() -> None:
    """Empties the caches: the next image is analysed even if it was analysed before."""
    DETECTIONS.clear()
    RECORDS.clear()


@dataclass
class FrameRecord:
    """The faces of one image on the CPU, and their fields as far as they have been read."""

    faces: Faces
    fields: dict[str, dict[int, Mapping[str, Any]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def rows_to_read(self, task: str, row: int) -> list[int]:
        """The faces to describe when a field of `row` is read first.

        Most consumers read one face of an image. Whoever reads a second one reads them all, and
        all the rest in one batch is cheaper than one by one.
        """
        known = self.fields.setdefault(task, {})
        if not known:
            return [row]
        return [other for other in range(len(self.faces)) if other not in known]


class Frame:
    """One image handed to `FaceAnalysis.get`, from which unread fields can still be worked out."""

    def __init__(self, image: np.ndarray, record: FrameRecord, analyzer: Analyzer) -> None:
        """`image` is copied: its owner may draw on it before a field is read."""
        self._images = Images.from_bgr(image.copy())
        self._record = record
        self._analyzer = analyzer

    def read(self, row: int, key: str) -> Mapping[str, Any]:
        """InsightFace's fields of one face that come with `key`."""
        task = _TASK_OF_KEY[key]
        with self._record.lock:
            rows = self._record.rows_to_read(task, row)
            known = self._record.fields[task]
            if row not in known:
                faces = self._record.faces[rows]
                described = self._analyzer.describe(self._images, faces, [task])
                for position, values in zip(rows, face_fields(described, task), strict=True):
                    known[position] = values
            values = known[row]
        # Callers own what they get: the cache must not change when they do.
        return {name: np.copy(v) if isinstance(v, np.ndarray) else v for name, v in values.items()}


def face_fields(faces: Faces, task: str) -> list[dict[str, Any]]:
    """InsightFace's fields of a task for every face: float32 arrays, or integers."""
    columns = {}
    for key, name in FACE_KEYS[task].items():
        column = getattr(faces, name).cpu().numpy()
        columns[key] = column if column.ndim > 1 else column.tolist()
    return [{key: column[row] for key, column in columns.items()} for row in range(len(faces))]


def faces_from_arrays(
    boxes: np.ndarray, landmarks: np.ndarray | None, size_hw: Sequence[int]
) -> Faces:
    """`Faces` of one image from arrays: `[N,5]` boxes with scores, `[N,5,2]` landmarks."""
    rows = torch.from_numpy(np.array(boxes, dtype=np.float32)).reshape(-1, 5)
    return Faces(
        boxes=rows[:, :4],
        scores=rows[:, 4],
        image_index=torch.zeros(len(rows), dtype=torch.int64),
        image_sizes=((int(size_hw[0]), int(size_hw[1])),),
        landmarks=(
            None if landmarks is None else torch.from_numpy(np.array(landmarks, dtype=np.float32))
        ),
    )
