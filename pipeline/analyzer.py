"""`Analyzer`: detect, align, describe, with the models of one pack on one backend."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..backends.base import Backend
from ..backends.interfaces import DetectionOptions, Detector, Head, Recognizer
from ..backends.pending import Pending, read_together
from ..backends.placement import Placement, RunsOn
from ..backends.residency.batches import batch_of_work
from ..utils import host
from ..utils.batching import faces_at_once, images_at_once, run_with_oom_retry
from ..utils.boxes import largest_or_central
from ..utils.errors import ModelError
from ..utils.faces import Faces, empty_rows
from ..utils.images import ImageBatch, Images, check_values
from ..utils.isolation import engine_call
from ..utils.packs import TASK_FIELDS, ModelPack
from ..utils.packs.checksums import content_of, is_replaced, note_content
from ..utils.progress import Progress, heard_by, is_heard, part
from ..utils.stages import stage
from ..utils.views import CropSource

if TYPE_CHECKING:
    from ..models.multiview.inside_boxes import BoxesOfImages
    from ..models.multiview.types import MakeBatch

#: The first pass as a share of the work of a search in images without a sure face.
_FIRST_PASS_SHARE = 0.05

_serials = itertools.count()


class Analyzer:
    """Detects and describes faces; models are opened when first needed, and kept.

    One analyzer may be shared by any number of threads and facades: it holds no settings. It never
    gives answers of two contents of one model: what it opened goes on when the file is replaced or
    deleted, and what would have to be read again raises `ModelReplaced`; `pool.renewed` gives the
    analyzer of the new content then.
    """

    def __init__(self, pack: ModelPack, backend: Backend, placement: Placement) -> None:
        self.pack = pack
        self.backend = backend
        self.placement = placement
        #: Names this analyzer in cache keys; never used twice, unlike `id`.
        self.serial = next(_serials)
        self._models: dict[str, Detector | Head] = {}
        #: Content of each model that was opened.
        self._contents: dict[str, str] = {}
        self._retired = False
        self._lock = threading.RLock()

    @engine_call()
    def model(self, task: str) -> Detector | Head:
        """The opened model of a task; the first call loads it.

        Raises:
            ModelReplaced: The file has another content than when the pack was read.
            ModelError: The pack has none, or its file is damaged.
            BackendUnavailable: The backend can't run it as asked.
        """
        # Here, so that ComfyUI's start does not wait for what opens models.
        from ..models.opening import open_model

        with self._lock:
            if task not in self._models:
                file = self.pack.model(task)
                with self.backend.guard(file) as (content,):
                    model = open_model(self.backend, self.pack, task, self.placement)
                self._models[task], self._contents[task] = model, content
            return self._models[task]

    def is_current(self) -> bool:
        """Whether all that it opened is in memory, or could be opened again.

        Files are looked at only for what is not in memory. Those that are gone change nothing
        before they are needed.
        """
        # Without the lock, which somebody may hold for as long as opening another model takes.
        opened = tuple(self._models.items())
        away = [task for task, model in opened if not self.backend.is_open(model)]
        return not any(is_replaced(self.pack.model(task)) for task in away)

    def takes_over(self, pack: ModelPack) -> bool:
        """Whether it is the analyzer for a pack that was read later, which is its pack then.

        It is while every model that it opened has the same content, as after a file was copied
        over itself.

        Raises:
            ModelError: A file can't be read.
        """
        with self._lock:
            if pack == self.pack:
                return True
            if _without_files(pack) != _without_files(self.pack):
                return False
            contents = self._contents.items()
            if any(content_of(pack.model(task)) != content for task, content in contents):
                return False
            for task, content in contents:
                # What is open goes by the states that its pack was read with.
                note_content(self.pack.model(task), content)
            self.pack = pack
            return True

    @property
    def embedding_space(self) -> str | None:
        """What its embeddings may be compared with; see `ModelPack.embedding_space`.

        Once the recognition model was opened, it is that model's, whatever happens to its file.
        """
        content = self._contents.get("recognition")
        return self.pack.embedding_space if content is None else self.pack.space_of(content)

    def retire(self) -> bool:
        """Notes that another one has taken its place; whether nobody did before."""
        with self._lock:
            was, self._retired = self._retired, True
            return not was

    def runs_on(self) -> dict[str, RunsOn]:
        """What each model opened so far really runs on, by task."""
        with self._lock:
            return {task: model.runs_on for task, model in self._models.items()}

    @engine_call()
    @batch_of_work()
    def detect(
        self, images: Images, options: DetectionOptions, on_progress: Progress | None = None
    ) -> Faces:
        """Finds the faces of all images, chunk by chunk.

        Args:
            images: Any sizes, any device; they go to the model's device a chunk at a time.
            options: Input sizes and thresholds.
            on_progress: Called with images done, as a fraction too, and images in all, between
                chunks and steps within them; what it raises passes through.

        Returns:
            Faces on the model's device, in the images' order, best score first within each.

        Raises:
            InvalidInput: Images hold NaN, infinite or absurd values.
            OutOfMemory: Not even one image fits, on its own, into the memory that is left.
        """
        with listened_to(on_progress, len(images)):
            return self._detect(images, options)

    def _detect(self, images: Images, options: DetectionOptions) -> Faces:
        detector = self._detector()
        if not options.robust:
            return self._detect_once(detector, images, options)
        from ..models.multiview.robust import search_wider  # see `model`

        with part(0.0, _FIRST_PASS_SHARE):
            found = self._detect_once(detector, images, options)
        with part(_FIRST_PASS_SHARE, 1.0):
            return search_wider(images, found, options, partial(_detect_batches, detector))

    def _detect_once(self, detector: Detector, images: Images, options: DetectionOptions) -> Faces:
        sizes = (detector.fixed_size_wh,) if detector.fixed_size_wh else options.sizes_wh
        largest = max(sizes, key=lambda size_wh: size_wh[0] * size_wh[1])
        find = partial(detector.detect, options=options)
        pieces: list[_Piece] = []
        positions: list[int] = []
        done = 0
        pixels = max((height * width for height, width in images.sizes_hw), default=0)
        at_once = images_at_once(detector.device, largest, pixels)

        def look(some: ImageBatch) -> _Piece:
            with stage("upload"):
                batch = some.to(detector.device)
            # The caller's pixels are kept, not the copy on the device: that is to be let go.
            again = partial(some.to, detector.device)
            return _Piece(again, [find(batch)], some, batch.extremes())

        for chunk in images.chunks(at_once, max_bytes=None):
            until = done + len(chunk)
            with part(done / len(images), until / len(images)):
                pieces += run_with_oom_retry(chunk, look)
            positions += chunk.positions
            done = until
        if not pieces:
            return Faces.empty(device=detector.device)
        return Faces.cat(_settled(pieces, find)).placed(positions, images.sizes_hw)

    @engine_call()
    @batch_of_work()
    def detect_inside(
        self,
        images: Images,
        boxes: BoxesOfImages,
        options: DetectionOptions,
        on_progress: Progress | None = None,
    ) -> tuple[Faces, list[int]]:
        """Finds the face in each of some boxes; see `faces_inside`.

        Args:
            images: That the boxes are of; their values are not checked.
            boxes: In pixels of the images, grouped by image.
            options: Thresholds; the sizes are those of the boxes.
            on_progress: As for `detect`, in boxes.

        Returns:
            Faces on the model's device, in the boxes' order, and the number of the box of each.
        """
        from ..models.multiview.inside_boxes import faces_inside  # see `model`

        with listened_to(on_progress, len(boxes)):
            detector = self._detector()
            find = partial(_detect_batches, detector)
            return faces_inside(images, boxes, options, find, detector.device)

    @engine_call()
    @batch_of_work()
    def describe(
        self,
        images: CropSource,
        faces: Faces,
        tasks: Sequence[str],
        on_progress: Progress | None = None,
    ) -> Faces:
        """Adds what the heads of these tasks tell about faces that were found.

        Args:
            images: Those in which `faces` were found.
            faces: On any device; the result stays there.
            tasks: Such as `recognition`, `landmark_2d_106`, `landmark_3d_68`, `genderage`.
            on_progress: Called with face descriptions done, as a fraction too, and in all, between
                runs and steps within them; what it raises passes through.

        Raises:
            OutOfMemory: Not even one face fits, on its own, into the memory that is left.
        """
        with listened_to(on_progress, len(tasks) * len(faces)):
            return self._describe(images, faces, tasks)

    def _describe(self, images: CropSource, faces: Faces, tasks: Sequence[str]) -> Faces:
        at_once = faces_at_once()
        total = len(tasks) * len(faces)
        done = 0
        for task in tasks:
            head = self._head(task)
            parts: list[dict[str, Tensor]] = []
            for start in range(0, len(faces), at_once):
                some = faces if len(faces) <= at_once else faces[start : start + at_once]
                until = done + len(some)
                with stage(task), part(done / total, until / total):
                    parts += run_with_oom_retry(some, partial(_columns, head, images))
                done = until
            if parts:
                columns = parts[0] if len(parts) == 1 else _joined(parts)
            else:
                columns = self._no_rows(task, faces.device)
            if "embeddings" in columns:
                faces = faces.with_fields(**columns, embedding_space=self.embedding_space)
            else:
                faces = faces.with_fields(**columns)
        return faces

    def _no_rows(self, task: str, device: torch.device) -> dict[str, Tensor]:
        """The fields of a task for no faces at all."""
        shapes = self.pack.model(task).output_shapes
        dim = (shapes[0][-1] if shapes else None) or 512
        return {name: empty_rows(name, dim, device) for name in TASK_FIELDS[task]}

    def _detector(self) -> Detector:
        model = self.model("detection")
        if not isinstance(model, Detector):
            raise ModelError(
                f"{self.backend.name} opened {model!r} as a detector of {self.pack.name}"
            )
        return model

    @property
    def fixed_size_wh(self) -> tuple[int, int] | None:
        """The only input size that the detector takes, (width, height); None where it takes any."""
        return self._detector().fixed_size_wh

    def recognizer(self) -> Recognizer:
        """The opened recognition model."""
        model = self.model("recognition")
        if not isinstance(model, Recognizer):
            raise ModelError(f"{self.backend.name} has no recognition for {self.pack.name}")
        return model

    def _head(self, task: str) -> Head:
        model = self.model(task)
        if not isinstance(model, Head):
            raise ModelError(f"{self.backend.name} opened {model!r} as {task} of {self.pack.name}")
        return model


def _without_files(pack: ModelPack) -> ModelPack:
    return replace(pack, models=tuple(replace(model, files=()) for model in pack.models))


@contextmanager
def listened_to(on_progress: Progress | None, total: int) -> Iterator[None]:
    """Hands what is done inside to a callback, in units of which there are so many in all.

    Without a callback it is left to whoever listens already; where nobody does, a node of another
    pack may be waiting in ComfyUI, which then can be stopped.
    """
    listener = None
    if on_progress is not None:
        listener = _counted(on_progress, total)
    elif not is_heard() and (check := host.node_interruption()) is not None:
        listener = partial(_check_only, check)
    with nullcontext() if listener is None else heard_by(listener):
        yield


def _counted(on_progress: Progress, total: int) -> Callable[[float], None]:
    """Calls back with what is done of a total whenever that has grown."""
    known = -1.0

    def listener(share: float) -> None:
        nonlocal known
        done = round(share * total, 3)
        if done > known:
            known = done
            on_progress(done, total)

    return listener


def _check_only(check: Callable[[], None], share: float) -> None:
    check()


def _detect_batches(
    detector: Detector, makers: Sequence[MakeBatch], options: DetectionOptions
) -> list[Faces]:
    """See `DetectBatches`."""
    find = partial(detector.detect, options=options)
    pieces = []
    for number, make in enumerate(makers):
        with part(number / len(makers), (number + 1) / len(makers)):
            pieces.append(_Piece(make, run_with_oom_retry(make(), find)))
    return _settled(pieces, find)


def _columns(head: Head, images: CropSource, faces: Faces) -> dict[str, Tensor]:
    return dict(head.describe(images, faces))


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True)
class _Piece:
    """Some images, and what is being found in them.

    Attributes:
        make: Gives the images on the device once more.
        results: Of the images, or of parts of them in their order.
        chunk: The caller's images, where their values are to be checked.
        extremes: See `ImageBatch.extremes`.
    """

    make: MakeBatch
    results: list[Faces | Pending]
    chunk: ImageBatch | None = None
    extremes: Tensor | None = None


def _settled(
    pieces: Sequence[_Piece], find: Callable[[ImageBatch], Faces | Pending]
) -> list[Faces]:
    """The faces of each piece, after one read of the device for everything the host must know.

    Raises:
        InvalidInput: Images hold NaN, infinite or absurd values.
    """
    checked = [
        (piece.chunk, piece.extremes)
        for piece in pieces
        if piece.chunk is not None and piece.extremes is not None
    ]
    pending = [each for piece in pieces for each in piece.results if not isinstance(each, Faces)]
    values = read_together(
        [limits for _, limits in checked] + [each.host_values for each in pending]
    )
    check_values(
        [(chunk, low, high) for (chunk, _), (low, high) in zip(checked, values, strict=False)]
    )
    answers = iter(values[len(checked) :])
    settled: list[Faces] = []
    for piece in pieces:
        faces = [
            each if isinstance(each, Faces) else each.resolve(next(answers))
            for each in piece.results
        ]
        complete = [each for each in faces if each is not None]
        if len(complete) < len(faces):
            # There was more than was looked for; the detector looks wider now.
            again = run_with_oom_retry(piece.make(), find)
            complete = _settled([_Piece(piece.make, again)], find)
        settled.append(Faces.cat(complete))
    return settled


def limit_faces(faces: Faces, limit: int, metric: str = "default") -> Faces:
    """At most `limit` faces an image, chosen and ordered as InsightFace does; 0 keeps all."""
    rows = rows_within_limit(faces, limit, metric)
    return faces if rows is None else faces[rows]


def rows_within_limit(
    faces: Faces, limit: int, metric: str = "default", wanted: Tensor | None = None
) -> Tensor | None:
    """Rows of at most `limit` faces an image, chosen and ordered as InsightFace does.

    Args:
        faces: On any device.
        limit: 0 is no limit.
        metric: See `largest_or_central`.
        wanted: `[N]` bool, faces that are kept before the others, fewer than the limit; or None.

    Returns:
        `[K]` int64 on the faces' device, grouped by image; None where all stay as they are.
    """
    if limit <= 0 or not len(faces) or max(faces.per_image()) <= limit:
        return None
    kept, first = [], 0
    for count, size_hw in zip(faces.per_image(), faces.image_sizes, strict=True):
        rows = torch.arange(first, first + count, device=faces.device)
        if count > limit:
            others = rows if wanted is None else rows[~wanted[rows]]
            most = limit - (count - len(others))
            others = others[largest_or_central(faces.boxes[others], size_hw, most, metric)]
            rows = others if wanted is None else torch.cat((rows[wanted[rows]], others))
        kept.append(rows)
        first += count
    return torch.cat(kept)
