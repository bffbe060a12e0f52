"""`Analyzer`: detect, align, describe, with the models of one pack on one backend."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..backends.base import Backend
from ..backends.interfaces import DetectionOptions, Detector, Head, Recognizer
from ..backends.placement import Placement, RunsOn
from ..backends.residency.evictable_model import HoldsNetworks
from ..backends.residency.idle_evictor import batch_of_work
from ..utils.errors import ModelError
from ..utils.faces import Faces, empty_rows
from ..utils.images import Images
from ..utils.insightface_fields import FACE_KEYS
from ..utils.isolation import engine_call
from ..utils.packs import ModelPack, Task
from ..utils.packs.checksums import content_of, is_replaced, note_content
from ..utils.packs.provenance import arcface_refusal
from ..utils.progress import Progress, part
from ..utils.views import CropSource
from .listeners import listened_to
from .model_batches import describe_faces, detect_batches, detect_images

if TYPE_CHECKING:
    from ..models.multiview.inside_boxes import BoxesOfImages

#: The first pass as a share of the work of a search in images without a sure face.
_FIRST_PASS_SHARE = 0.05
#: The boxes as a share of the work where their landmarks are found by another detector.
_BOXES_SHARE = 0.5

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
        self._models: dict[Task, Detector | Head] = {}
        #: Content of each model that was opened.
        self._contents: dict[Task, str] = {}
        #: Of the pack's own detector, where that finds the landmarks for another one's boxes.
        self._landmarks: Analyzer | None = None
        self._retired = False
        self._lock = threading.RLock()

    def model(self, task: Task) -> Detector | Head:
        """The opened model of a task; the first call loads it.

        Raises:
            ModelReplaced: The file has another content than when the pack was read.
            ModelError: The pack has none, or its file is damaged.
            BackendUnavailable: The backend can't run it as asked.
        """
        model = self._models.get(task)
        return self._open(task) if model is None else model

    @engine_call()
    def _open(self, task: Task) -> Detector | Head:
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
        away: list[Task] = [task for task, model in opened if not _is_open(model)]
        if any(is_replaced(self.pack.model(task)) for task in away):
            return False
        return self._landmarks is None or self._landmarks.is_current()

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
            own = pack.detector and pack.detector.landmarks_from
            if self._landmarks is not None and not (own and self._landmarks.takes_over(own)):
                return False
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

    def embedding_refusal(self, other_embeddings: bool) -> str | None:
        """Why InstantID, IPAdapter and PuLID must not read its embeddings, or None.

        Args:
            other_embeddings: See `arcface_refusal`.

        Raises:
            ModelError: The recognition file can't be read, or was replaced since the pack was read.
        """
        return self.backend.embedding_refusal(self.pack) or arcface_refusal(
            self.pack, other_embeddings
        )

    def retire(self) -> bool:
        """Notes that another one has taken its place; whether nobody did before."""
        with self._lock:
            was, self._retired = self._retired, True
            return not was

    def runs_on(self) -> dict[Task, RunsOn]:
        """What each model opened so far really runs on, by task."""
        with self._lock:
            return {task: model.runs_on for task, model in self._models.items()}

    def landmarks_run_on(self) -> RunsOn | None:
        """What the detector runs on that finds landmarks in another one's boxes, once opened."""
        landmarks = self._landmarks
        return None if landmarks is None else landmarks.runs_on().get("detection")

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
        own = self.pack.detector and self.pack.detector.landmarks_from
        if own is None:
            return self._detect_once(images, options)
        with part(0.0, _BOXES_SHARE):
            found = self._detect_once(images, options)
        with part(_BOXES_SHARE, 1.0):
            return self._with_landmarks(images, found, options, own)

    def _detect_once(self, images: Images, options: DetectionOptions) -> Faces:
        """What the detector finds, and only that."""
        detector = self._detector()
        if not options.robust:
            return detect_images(detector, images, options)
        from ..models.multiview.robust import search_wider  # see `_open`

        with part(0.0, _FIRST_PASS_SHARE):
            found = detect_images(detector, images, options)
        with part(_FIRST_PASS_SHARE, 1.0):
            return search_wider(images, found, options, partial(detect_batches, detector))

    def _with_landmarks(
        self, images: Images, found: Faces, options: DetectionOptions, own: ModelPack
    ) -> Faces:
        """Faces with the landmarks that the pack's own detector sees in their boxes.

        Those in whose box it sees no face are left out: they could not be aligned.
        """
        from ..models.multiview.inside_boxes import BoxesOfImages  # see `_open`

        boxes = BoxesOfImages(found.boxes.cpu(), tuple(found.images_of_faces()))
        near = _with_thresholds(options, own)
        seen, rows = self._landmarks_of(own).inside(images, boxes, near)
        kept = found[torch.tensor(rows, dtype=torch.int64, device=found.device)]
        points = Faces.empty(images.sizes_hw, found.device).landmarks
        if seen.landmarks is not None:
            points = seen.landmarks.to(found.device)
        return kept.with_fields(landmarks=points)

    def _landmarks_of(self, own: ModelPack) -> Analyzer:
        with self._lock:
            if self._landmarks is None:
                # What is proven is proven of this pack's networks.
                placement = self.placement
                if placement.proven is not None:
                    placement = replace(placement, precision="fp32", proven=None)
                self._landmarks = Analyzer(own, self.backend, placement)
            return self._landmarks

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
        with listened_to(on_progress, len(boxes)):
            own = self.pack.detector and self.pack.detector.landmarks_from
            if own is None:
                return self.inside(images, boxes, options)
            return self._landmarks_of(own).inside(images, boxes, _with_thresholds(options, own))

    def inside(
        self, images: Images, boxes: BoxesOfImages, options: DetectionOptions
    ) -> tuple[Faces, list[int]]:
        """`detect_inside` for whoever is listened to already."""
        from ..models.multiview.inside_boxes import faces_inside  # see `_open`

        detector = self._detector()
        find = partial(detect_batches, detector)
        return faces_inside(images, boxes, options, find, detector.device)

    @engine_call()
    @batch_of_work()
    def describe(
        self,
        images: CropSource,
        faces: Faces,
        tasks: Sequence[Task],
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

    def _describe(self, images: CropSource, faces: Faces, tasks: Sequence[Task]) -> Faces:
        for number, task in enumerate(tasks):
            with part(number / len(tasks), (number + 1) / len(tasks)):
                columns = describe_faces(self._head(task), images, faces, task)
            columns = columns or self._no_rows(task, faces.device)
            if "embeddings" in columns:
                faces = faces.with_fields(**columns, embedding_space=self.embedding_space)
            else:
                faces = faces.with_fields(**columns)
        return faces

    def _no_rows(self, task: Task, device: torch.device) -> dict[str, Tensor]:
        """The fields of a task for no faces at all."""
        dim = self.embedding_dim if task == "recognition" else 0
        return {name: empty_rows(name, dim, device) for name in FACE_KEYS[task].values()}

    @property
    def embedding_dim(self) -> int:
        """Length of its embeddings, by the header of the recognition network."""
        shapes = self.pack.model("recognition").output_shapes
        return (shapes[0][-1] if shapes else None) or 512

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

    def _head(self, task: Task) -> Head:
        model = self.model(task)
        if not isinstance(model, Head):
            raise ModelError(f"{self.backend.name} opened {model!r} as {task} of {self.pack.name}")
        return model


def _is_open(model: Detector | Head) -> bool:
    """Whether its weights are in memory, and its file is needed no more."""
    return not isinstance(model, HoldsNetworks) or all(each.is_open for each in model.networks)


def _without_files(pack: ModelPack) -> ModelPack:
    detector = pack.detector
    if detector is not None and detector.landmarks_from is not None:
        detector = replace(detector, landmarks_from=_without_files(detector.landmarks_from))
    models = tuple(replace(model, files=()) for model in pack.models)
    return replace(pack, models=models, detector=detector)


def _with_thresholds(options: DetectionOptions, pack: ModelPack) -> DetectionOptions:
    """Options for the detector of a pack, of those for another one, whose scores mean another."""
    return replace(options, threshold=pack.det_threshold, nms_threshold=pack.nms_threshold)
