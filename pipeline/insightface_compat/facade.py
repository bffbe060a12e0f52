"""`FaceAnalysis`: the drop-in for InsightFace's object of the same name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np

from ...backends.interfaces import DetectionOptions
from ...backends.residency.batches import batch_of_work
from ...utils.content import image_key
from ...utils.draw import draw_like_insightface
from ...utils.errors import InvalidInput, ModelReplaced
from ...utils.faces import Faces
from ...utils.images import Images, checked_bgr
from ...utils.insightface_fields import FACE_KEYS, faces_from_arrays
from ...utils.isolation import engine_call
from ...utils.metrics import METRICS
from ...utils.packs.manifest import has_manifest
from ...utils.progress import Progress
from ..analyzer import Analyzer
from ..pool import renewed, shared_analyzer
from .access_predictor import AccessPredictor
from .addons import DEFAULT_LIVENESS_THRESHOLD, LIVENESS, NORMAL_MODE, is_not_live
from .batches import analyze_batch, describe_batch
from .face import Face, imported_class
from .lazy_faces import (
    FrameRecord,
    LazyImageFaces,
    SharedImage,
)
from .models import DetectionModel, HeadModel, LandmarkModel, RecognitionModel
from .portable import Portable
from .results import PICTURES, RECORDS, Found
from .sizes import parse_sizes
from .verification_model import VerificationModel

#: The tasks whose models offer more than every head does.
_HEADS: dict[str, type[HeadModel]] = {
    "recognition": RecognitionModel,
    "landmark_2d_106": LandmarkModel,
    "landmark_3d_68": LandmarkModel,
    "verification": VerificationModel,
}

Result = TypeVar("Result")

#: Files that are replaced again and again while they are being read are not waited for longer.
_MOST_RENEWALS = 3


class FaceAnalysis(Portable):
    """What consumers of InsightFace call: same calls, same fields, same order.

    Every loader call makes its own object, since consumers write to it and patch it; the models
    behind it are shared. Detection runs in `get`; everything else when a field is first read. The
    same image is analysed once.

    Attributes:
        det_model: The detector; setting its `input_size` takes effect with the next call.
        models: By task, `detection` first.
        analyzer: The shared models. Another one takes its place when a model file was replaced on
            disk and the old content is not in memory any more.
        max_faces: Most faces an image when a call gives no `max_num`; 0 is no limit.
        why: Why this backend was chosen, for people.
        tasks: Tasks of the pack that are offered; None offers all.
        addons: insightface 2.x's, by name; none to begin with.
        liveness_mode, liveness_threshold, det_thresh, det_size, model_dir: As upstream.
    """

    _made_anew: ClassVar = {"_habits": AccessPredictor, "model_package": None}

    def __init__(
        self,
        analyzer: Analyzer,
        options: DetectionOptions | None = None,
        max_faces: int = 0,
        embedding_refusal: str | None = None,
        why: str = "as given",
        tasks: Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            analyzer: The models to use.
            options: Detection settings to begin with; by default 640 x 640 at 0.5.
            max_faces: See the attribute.
            embedding_refusal: Why `embedding` can't be read from these faces, if it can't.
            why: Why this backend was chosen, for people.
            tasks: See the attribute; detection is offered always.
        """
        self.analyzer = analyzer
        self.max_faces = max_faces
        self.why = why
        self.tasks = tasks
        self._loaded_options = options or DetectionOptions()
        self.det_model = DetectionModel(self, self._loaded_options)
        self.models: dict[str, Any] = {"detection": self.det_model}
        for task in analyzer.pack.tasks:
            if tasks is not None and task not in tasks:
                continue
            if task == "recognition" and embedding_refusal:
                # Whoever walks the models would take its embeddings for ArcFace's.
                continue
            if task in FACE_KEYS:
                self.models[task] = _HEADS.get(task, HeadModel)(self, task)
        self.model_dir = str(analyzer.pack.folder)
        self.addons: dict[str, Any] = {}
        self.liveness_mode = NORMAL_MODE
        self.liveness_threshold = DEFAULT_LIVENESS_THRESHOLD
        self._embedding_refusal = embedding_refusal
        self._absent = self._reasons_of_absence()
        self._habits = AccessPredictor()

    @property
    def __class__(self) -> type:  # type: ignore[override]
        """insightface's own class where that is imported; see `imported_class`."""
        return imported_class("insightface.app.face_analysis", "FaceAnalysis") or type(self)

    @cached_property
    def model_package(self) -> Any:
        """insightface 2.x's description of a pack with a manifest; None of others, and without it.

        Read anew from the manifest by insightface itself.
        """
        if not has_manifest(self.analyzer.pack.folder):
            return None
        try:
            from insightface.model_zoo.package_manifest import load_model_package
        except ImportError:
            return None
        return load_model_package(self.model_dir)

    @property
    def det_thresh(self) -> float:
        return self.det_model.det_thresh

    @det_thresh.setter
    def det_thresh(self, value: float) -> None:
        self.det_model.det_thresh = value

    @property
    def det_size(self) -> Any:
        sizes = self.det_model.input_sizes
        return sizes[0] if len(sizes) == 1 else list(sizes)

    @det_size.setter
    def det_size(self, value: Any) -> None:
        self.det_model.input_sizes = value

    def prepare(self, ctx_id: int = 0, det_thresh: float = 0.5, det_size: Any = None) -> None:
        """Sets threshold and size, as often as one likes; the last call counts.

        Args:
            ctx_id: Below 0 moves the models to the CPU.
            det_thresh: Lowest score of a face, 0..1.
            det_size: Width and height, a list of such pairs, or None for 128 and 640 merged.

        Raises:
            InvalidInput: No such size.
        """
        model = self.det_model
        ours = isinstance(model, DetectionModel)
        sizes = model.sizes_of(det_size) if ours else parse_sizes(det_size)
        for task, model in self.models.items():
            if task == "detection":
                model.prepare(ctx_id, input_size=sizes, det_thresh=det_thresh)
            else:
                model.prepare(ctx_id)
        for addon in self.addons.values():
            addon.prepare(ctx_id)

    def to_cpu(self) -> None:
        """Moves this object, and no other, to models on the CPU."""
        old = self.analyzer
        if old.placement.device != "cpu":
            self.analyzer = shared_analyzer(
                old.pack, old.backend, replace(old.placement, device="cpu", precision="fp32")
            )

    def with_models(self, work: Callable[[Analyzer], Result]) -> Result:
        """What some work gives with the models of the files that are there now.

        What is in memory is used as long as it is, whatever happens to its file.

        Args:
            work: Called with the analyzer, and again with another one when a file was replaced.

        Raises:
            ModelError: The files of the pack can't be used any more, or change all the time.
        """
        renewals = 0
        while True:
            analyzer = self.analyzer
            if not analyzer.is_current():
                analyzer = self.renew(analyzer)
            try:
                return work(analyzer)
            except ModelReplaced:
                if renewals == _MOST_RENEWALS:
                    raise
            renewals += 1
            self.renew(analyzer)

    def renew(self, old: Analyzer) -> Analyzer:
        """Moves on to the files that are there now, unless it did already; gives the analyzer."""
        if self.analyzer is old:
            self.analyzer = renewed(old)
        return self.analyzer

    @engine_call()
    def get(
        self,
        img: np.ndarray,
        max_num: int = 0,
        det_metric: str = "default",
        det_size: Any = None,
    ) -> list[Face]:
        """Finds the faces of one image.

        Args:
            img: `[H,W,3]` uint8 BGR.
            max_num: Most faces to give back; 0 is no limit but the object's own.
            det_metric: How to choose among too many: `default` weighs size and nearness to the
                centre, `max` size alone.
            det_size: For this call only: width and height, or a list of such pairs.

        Returns:
            Faces, best score first; an empty list when there are none.

        Raises:
            InvalidInput: Not such an image, or no such size.
            OutOfMemory: The image does not fit into the memory that is left.
        """
        with METRICS.call("get") as call:
            img = checked_bgr(img)
            key = image_key(img)
            boxes, landmarks = self._found(img, key, max_num, det_metric, det_size)
            call.images, call.faces = 1, len(boxes)
            if len(boxes) == 0:
                return []
            frame = self._frame(img, key, boxes, landmarks)
            return [
                self._face(img, frame, row, box, None if landmarks is None else landmarks[row])
                for row, box in enumerate(boxes)
            ]

    def _found(
        self, img: np.ndarray, key: bytes, max_num: int, metric: str, det_size: Any
    ) -> Found:
        model = self.det_model
        if isinstance(model, DetectionModel) and "detect" not in vars(model):
            # The image was looked at once to make its key, and is not looked at again.
            return model.found(img, key, model.options(det_size), max_num, metric)
        # What a consumer put there may know upstream's arguments alone.
        size = {} if det_size is None else {"input_size": det_size}
        return model.detect(img, max_num=max_num, metric=metric, **size)

    def _frame(
        self, img: np.ndarray, key: bytes, boxes: np.ndarray, landmarks: np.ndarray | None
    ) -> LazyImageFaces:
        analyzer = self.analyzer
        found = boxes.tobytes() if landmarks is None else boxes.tobytes() + landmarks.tobytes()
        record = RECORDS.get_or_make(
            (analyzer.serial, key, found),
            lambda: FrameRecord(faces_from_arrays(boxes, landmarks, img.shape[:2])),
        )
        heads = [model.taskname for model in self.models.values() if _is_lazy(model)]
        frame = LazyImageFaces(record, analyzer, heads, self._habits, self.renew)
        if frame.needs_picture():
            frame.look_at(PICTURES.get_or_make(key, lambda: SharedImage(img)))
            if key not in PICTURES:
                frame.shrink()
        return frame

    def _face(
        self,
        img: np.ndarray,
        frame: LazyImageFaces,
        row: int,
        box: np.ndarray,
        kps: np.ndarray | None,
    ) -> Face:
        face = Face(bbox=box[:4].copy(), kps=None if kps is None else kps.copy(), det_score=box[4])
        if self._embedding_refusal:
            face.refuse("embedding", self._embedding_refusal)
        face.explain(self._absent)
        if LIVENESS in self.addons:
            self.addons[LIVENESS].get(img, face)
        not_live = is_not_live(face, self.addons, self.liveness_mode)
        for task, model in self.models.items():
            if task == "recognition" and not_live:
                face.explain({**self._absent, "embedding": not_live})
            elif _is_lazy(model):
                face.expect(FACE_KEYS[model.taskname], frame, row)
            elif task != "detection":
                model.get(img, face)  # a model, method or session that the consumer put there
        return face

    # The pack's own nodes ------------------------------------------------------------------------

    def options(self) -> DetectionOptions:
        """The detection settings it was loaded with.

        What consumers set on `det_model` is for `get` alone: it must not change what a node finds
        that happens to run after them.
        """
        return self._loaded_options

    @engine_call()
    def analyze(
        self,
        images: Images,
        tasks: Sequence[str] = (),
        on_progress: Progress | None = None,
        remember: bool = True,
    ) -> Faces:
        """Detects the faces of a batch of images and describes them.

        Args:
            images: Any sizes, any device.
            tasks: What to add, such as `recognition`.
            on_progress: Called with work done and work in all between pieces of work; what it
                raises passes through.
            remember: Whether the results are kept for when the same images come again; frames of
                films don't.

        Returns:
            Faces on the model's device.
        """
        self._refuse_left_out(tasks)
        with batch_of_work():
            return self.with_models(
                lambda analyzer: analyze_batch(
                    analyzer, images, self.options(), self.max_faces, tasks, on_progress, remember
                )
            )

    @engine_call()
    def describe(
        self,
        images: Images,
        faces: Faces,
        tasks: Iterable[str],
        on_progress: Progress | None = None,
    ) -> Faces:
        """Adds what the models of these tasks tell about faces that were found.

        Raises:
            InvalidInput: A task was left out when this object was loaded.
        """
        tasks = list(tasks)
        self._refuse_left_out(tasks)
        return self.with_models(
            lambda analyzer: describe_batch(analyzer, images, faces, tasks, on_progress)
        )

    def _refuse_left_out(self, tasks: Sequence[str]) -> None:
        reason = self._left_out(tasks)
        if reason:
            raise InvalidInput(reason)

    def _left_out(self, tasks: Sequence[str]) -> str | None:
        """Which of these tasks were left out when this object was loaded, for people."""
        left_out = [task for task in tasks if self.tasks is not None and task not in self.tasks]
        if not left_out:
            return None
        return (
            f"{', '.join(left_out)} was left out by heads, or by FASTFACE_HEADS; the tasks "
            f"here are {', '.join(self.tasks or ())}: add it, or choose all"
        )

    def _reasons_of_absence(self) -> dict[str, str]:
        """Why faces lack the fields of tasks that are not offered, by field."""
        pack = self.analyzer.pack
        return {
            key: self._left_out([task]) or pack.lacks(task)
            for task, keys in FACE_KEYS.items()
            if task not in self.models
            for key in keys
        }

    def draw_on(self, img: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """A copy of the image `[H,W,3]` uint8 BGR with boxes, landmarks, sex and age drawn in."""
        return draw_like_insightface(img, faces)


def _is_lazy(model: Any) -> bool:
    """Whether a model of `FaceAnalysis.models` may wait until its fields are read."""
    return isinstance(model, HeadModel) and "get" not in vars(model) and not model.has_own_network
