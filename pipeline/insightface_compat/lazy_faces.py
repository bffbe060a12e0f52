"""What is known of one image: its detections and what its faces' fields turned out to be."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from ...utils.crop_spec import CropSource, CropSpec, PrecomputedCrops, bytes_of_crops
from ...utils.errors import ModelReplaced
from ...utils.faces import Faces
from ...utils.images import Images
from ...utils.insightface_fields import FACE_KEYS
from ...utils.isolation import engine_call
from ...utils.packs import Task
from .access_predictor import AccessPredictor

if TYPE_CHECKING:
    from ..analyzer import Analyzer

Result = TypeVar("Result")

_TASK_OF_KEY: dict[str, Task] = {key: task for task, keys in FACE_KEYS.items() for key in keys}

#: What a face takes once all its fields have been read: 512 numbers of an embedding, 416 of
#: landmarks, and the objects around them.
_BYTES_OF_FACE = 6 << 10


@dataclass
class FrameRecord:
    """The faces of one image on the CPU, and their fields as far as they have been read."""

    faces: Faces
    fields: dict[Task, dict[int, Mapping[str, Any]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def most_bytes(self) -> int:
        """What it takes once all fields of all faces have been read."""
        return len(self.faces) * _BYTES_OF_FACE

    def rows_to_read(
        self, task: Task, row: int, expects_all: bool = False, among: Sequence[int] | None = None
    ) -> list[int]:
        """The faces to describe when a field of `row` is read first.

        Most consumers read one face of an image. Whoever reads a second one reads them all, and
        all the rest in one batch is cheaper than one by one.

        Args:
            task: Of the field.
            row: The face.
            expects_all: Whether the others are likely to be read too.
            among: The faces that the caller has, if not all.
        """
        known = self.fields.setdefault(task, {})
        if not known and not expects_all:
            return [row]
        offered = range(len(self.faces)) if among is None else among
        return [other for other in offered if other not in known]

    def described(
        self, analyzer: Analyzer, images: CropSource, rows: Sequence[int], task: Task
    ) -> dict[int, Mapping[str, Any]]:
        """What is known of a task by row, with these rows worked out where they were not.

        The caller holds the lock.
        """
        known = self.fields.setdefault(task, {})
        unknown = [row for row in rows if row not in known]
        if unknown:
            faces = analyzer.describe(images, self.faces[unknown], [task])
            known.update(zip(unknown, face_fields(faces, task), strict=True))
        return known


class SharedImage:
    """The pixels of one image, whole, for the frames that need them."""

    def __init__(self, image: np.ndarray) -> None:
        """`image` is copied: its owner may draw on it before a field is read."""
        self.images = Images.from_bgr(image.copy())
        self.size_bytes = image.nbytes
        self._frames: weakref.WeakSet[LazyImageFaces] = weakref.WeakSet()
        self._lock = threading.Lock()

    def used_by(self, frame: LazyImageFaces) -> None:
        with self._lock:
            self._frames.add(frame)

    def let_go(self) -> None:
        """Makes those that still need it do with less."""
        with self._lock:
            frames = list(self._frames)
        for frame in frames:
            frame.shrink()


class LazyImageFaces:
    """One image handed to `FaceAnalysis.get`, from which unread fields can still be worked out.

    It begins with the whole picture, which costs nothing but a copy. Once the picture is kept for
    nobody else, what is left are the crops that the networks would see, if these are lighter:
    somebody may keep the faces of thousands of images and never read a field.
    """

    def __init__(
        self,
        record: FrameRecord,
        analyzer: Analyzer,
        tasks: Sequence[Task],
        habits: AccessPredictor,
        renew: Callable[[Analyzer], Analyzer],
    ) -> None:
        """
        Args:
            record: The image's faces.
            analyzer: Whose models tell more about them.
            tasks: Of which fields may be read.
            habits: Of those who read them.
            renew: Gives the analyzer of the files that are there now, where one was replaced.
        """
        self._images: CropSource | None = None
        self._record = record
        self._analyzer = analyzer
        self._tasks: Sequence[Task] = tasks
        self._habits = habits
        self._renew = renew
        self._offered: Sequence[int] = range(len(record.faces))
        self._is_late = False

    @property
    def faces(self) -> Faces:
        """All that were found, on the CPU."""
        return self._record.faces

    def offer(self, rows: Sequence[int]) -> None:
        """Says which faces the caller gets; fields of others are not asked for."""
        self._offered = rows

    def needs_picture(self) -> bool:
        """Whether there is anything that is not known yet."""
        with self._record.lock:
            return bool(self._unread())

    def look_at(self, picture: SharedImage) -> None:
        """Gives it the picture it needs."""
        self._images = picture.images
        picture.used_by(self)

    def _unread(self) -> list[Task]:
        """Tasks of which some offered face's fields are not known."""
        offered, fields = set(self._offered), self._record.fields
        return [task for task in self._tasks if not offered <= fields.get(task, {}).keys()]

    @engine_call()
    def shrink(self) -> None:
        """Keeps the crops alone, where the networks need no more and they are lighter."""
        # Never waited for: it may be a model of this very face that is making room.
        if not self._record.lock.acquire(blocking=False):
            self._is_late = True
            return
        try:
            self._cut_out()
        finally:
            self._record.lock.release()

    def _cut_out(self) -> None:
        images, faces = self._images, self._record.faces[list(self._offered)]
        if images is None or isinstance(images, PrecomputedCrops):
            return
        views = [self._view(task) for task in self._unread()]
        known = {view for view in views if view is not None}
        picture_bytes = sum(source.nbytes for source in images.sources)
        if None not in views and bytes_of_crops(len(faces), known) < picture_bytes:
            self._images = PrecomputedCrops(images, faces, known)

    def _view(self, task: Task) -> CropSpec | None:
        """What the model of a task looks at, if it can be cut out now."""
        from ...models.opening import view_of  # see `Analyzer._open`

        view = view_of(self._analyzer.backend, self._analyzer.pack.model(task))
        can_align = self._record.faces.landmarks is not None
        return view if view is not None and (can_align or view.expansion is not None) else None

    @engine_call()
    def read(self, row: int, key: str) -> Mapping[str, Any]:
        """InsightFace's fields of one face that come with `key`.

        Raises:
            ModelReplaced: The file of the model that they come from was replaced after fields of
                other faces of the image had been read.
        """
        task = _TASK_OF_KEY[key]
        return self._with_current_model(task, lambda: self._read(row, task))

    @engine_call()
    def embedded(self, rows: Sequence[int], images: Images) -> Faces:
        """These faces with their embeddings, on the CPU; what is known of them is not worked out.

        Args:
            rows: The faces.
            images: The picture, which is looked at now alone.

        Raises:
            ModelReplaced: As `read`.
        """
        task: Task = "recognition"

        def embed() -> Faces:
            with self._record.lock:
                known = self._record.described(self._analyzer, images, rows, task)
            vectors = torch.from_numpy(np.stack([known[row]["embedding"] for row in rows]))
            space = self._analyzer.embedding_space
            faces = self._record.faces[list(rows)]
            return faces.with_fields(embeddings=vectors, embedding_space=space)

        return self._with_current_model(task, embed)

    def _with_current_model(self, task: Task, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except ModelReplaced:
            self._move_on(task)
        return work()

    def _move_on(self, task: Task) -> None:
        """Has the fields that are not known yet computed by the model that is there now."""
        with self._record.lock:
            if self._record.fields.get(task):
                raise ModelReplaced(
                    f"the {task} model of pack {self._analyzer.pack.name!r} was replaced while the "
                    "faces of this image were being read; analyse the image again"
                )
        self._analyzer = self._renew(self._analyzer)
        self._record = FrameRecord(self._record.faces)

    def _read(self, row: int, task: Task) -> Mapping[str, Any]:
        with self._record.lock:
            expects_all = self._habits.expects_all(task, self._record)
            rows = self._record.rows_to_read(task, row, expects_all, self._offered)
            known = self._record.fields[task]
            if row not in known and self._images is not None:
                known = self._record.described(self._analyzer, self._images, rows, task)
            values = known[row]
            if len(self._offered) > 1:
                self._habits.note(task, self._record, row)
        if self._is_late:
            self._is_late = False
            self.shrink()
        # Callers own what they get: the cache must not change when they do.
        return {name: np.copy(v) if isinstance(v, np.ndarray) else v for name, v in values.items()}


def face_fields(faces: Faces, task: Task) -> list[dict[str, Any]]:
    """InsightFace's fields of a task for every face: float32 arrays, or integers."""
    columns = {}
    for key, name in FACE_KEYS[task].items():
        column = getattr(faces, name).cpu().numpy()
        columns[key] = column if column.ndim > 1 else column.tolist()
    return [{key: column[row] for key, column in columns.items()} for row in range(len(faces))]
