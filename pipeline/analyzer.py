"""`Analyzer`: detect, align, describe, with the models of one pack on one backend."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..backends.base import Backend
from ..backends.interfaces import DetectionOptions
from ..backends.placement import Placement, RunsOn
from ..backends.residency.idle_evictor import batch_of_work
from ..utils.crop_spec import CropSource
from ..utils.faces import Faces, empty_rows
from ..utils.images import Images
from ..utils.insightface_fields import FACE_KEYS
from ..utils.isolation import engine_call
from ..utils.packs import ModelPack, Task
from ..utils.progress import Progress, part
from .listeners import listened_to
from .model_batches import describe_faces, detect_batches, detect_images
from .opened_models import OpenedModels

if TYPE_CHECKING:
    from ..models.multiview.inside_boxes import BoxesOfImages

#: The first pass as a share of the work of a search in images without a sure face.
_FIRST_PASS_SHARE = 0.05
#: The boxes as a share of the work where their landmarks are found by another detector.
_BOXES_SHARE = 0.5

_serials = itertools.count()


class Analyzer(OpenedModels):
    """Detects and describes faces.

    One analyzer may be shared by any number of threads and facades: it holds no settings. It never
    gives answers of two contents of one model: `pool.renewed` gives the analyzer of a new content.
    """

    def __init__(self, pack: ModelPack, backend: Backend, placement: Placement) -> None:
        super().__init__(pack, backend, placement)
        #: Names this analyzer in cache keys; never used twice, unlike `id`.
        self.serial = next(_serials)
        #: Of the pack's own detector, where that finds the landmarks for another one's boxes.
        self._landmarks: Analyzer | None = None

    def is_current(self) -> bool:
        landmarks = self._landmarks
        return super().is_current() and (landmarks is None or landmarks.is_current())

    def takes_over(self, pack: ModelPack) -> bool:
        own = pack.detector and pack.detector.landmarks_from
        with self._lock:
            other, landmarks = pack != self.pack, self._landmarks
            if other and landmarks is not None and not (own and landmarks.takes_over(own)):
                return False
            return super().takes_over(pack)

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
        detector = self.detector()
        if not options.robust:
            return detect_images(detector, images, options)
        from ..models.multiview.robust import search_wider  # see `OpenedModels`

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
        from ..models.multiview.inside_boxes import BoxesOfImages  # see `OpenedModels`

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
        from ..models.multiview.inside_boxes import faces_inside  # see `OpenedModels`

        detector = self.detector()
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
                columns = describe_faces(self.head(task), images, faces, task)
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


def _with_thresholds(options: DetectionOptions, pack: ModelPack) -> DetectionOptions:
    """Options for the detector of a pack, of those for another one, whose scores mean another."""
    return replace(options, threshold=pack.det_threshold, nms_threshold=pack.nms_threshold)
