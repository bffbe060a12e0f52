"""`FaceAnalysis`: the drop-in for InsightFace's object of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ...backends.interfaces import DetectionOptions
from ...utils.draw import draw_like_insightface
from ...utils.embedding import require_space
from ...utils.images import checked_bgr
from ...utils.isolation import engine_call
from ...utils.metrics import METRICS
from ...utils.packs import Task
from ...utils.packs.manifest import has_manifest
from ...utils.person import Person
from ..analyzer import Analyzer
from ..pool import shared_analyzer
from .access_predictor import AccessPredictor
from .addons import DEFAULT_LIVENESS_THRESHOLD, NORMAL_MODE
from .det_sizes import parse_sizes
from .face import Face, imported_class
from .face_order import FaceOrder
from .image_faces import ChosenFaces, chosen_faces, faces_of_image
from .loaded_pack import LoadedPack
from .models import DetectionModel, HeadModel, LandmarkModel, RecognitionModel
from .offered_tasks import OfferedTasks
from .portable import Portable
from .result_cache import Found
from .verification_model import VerificationModel

#: The tasks whose models offer more than every head does.
_HEADS: dict[Task, type[HeadModel]] = {
    "recognition": RecognitionModel,
    "landmark_2d_106": LandmarkModel,
    "landmark_3d_68": LandmarkModel,
    "verification": VerificationModel,
}


class FaceAnalysis(LoadedPack, Portable):
    """What consumers of InsightFace call: same calls, same fields, same order.

    Every loader call makes its own object, since consumers write to it and patch it; the models
    behind it are shared. Detection runs in `get`; everything else when a field is first read. The
    same image is analysed once.

    Attributes:
        det_model: The detector; setting its `input_size` takes effect with the next call.
        why: Why this backend was chosen, for people.
        absent_fields: Why faces lack the fields of tasks that are not offered, by field.
        habits: What its callers read of faces.
        addons: insightface 2.x's, by name; none to begin with.
        liveness_mode, liveness_threshold, det_thresh, det_size, model_dir: As upstream.
    """

    _made_anew: ClassVar = {"habits": AccessPredictor, "model_package": None}

    def __init__(
        self,
        analyzer: Analyzer,
        options: DetectionOptions | None = None,
        max_faces: int = 0,
        embedding_refusal: str | None = None,
        why: str = "as given",
        tasks: Sequence[Task] | None = None,
        order: FaceOrder | None = None,
        *,
        other_embeddings: bool = False,
    ) -> None:
        """
        Args:
            analyzer: The models to use.
            options: Detection settings to begin with; by default 640 x 640 at 0.5.
            max_faces: See the attribute.
            embedding_refusal: See the attribute.
            why: Why this backend was chosen, for people.
            tasks: Tasks of the pack that are offered besides detection; None offers all.
            order: See the attribute; by default the detector's order, best score first.
            other_embeddings: See the attribute.
        """
        self.analyzer = analyzer
        self.max_faces = max_faces
        self.why = why
        self.offered = OfferedTasks(tasks)
        if order is not None:
            self.order = order
        self._loaded_options = options or DetectionOptions()
        self.det_model = DetectionModel(self, self._loaded_options)
        self.models: dict[Task, Any] = {"detection": self.det_model}
        for task in self.offered.of_pack(analyzer.pack):
            if task == "recognition" and embedding_refusal:
                # Whoever walks the models would take its embeddings for ArcFace's.
                continue
            self.models[task] = _HEADS.get(task, HeadModel)(self, task)
        self.model_dir = str(analyzer.pack.folder)
        self.addons: dict[str, Any] = {}
        self.liveness_mode = NORMAL_MODE
        self.liveness_threshold = DEFAULT_LIVENESS_THRESHOLD
        self.embedding_refusal = embedding_refusal
        self.other_embeddings = other_embeddings
        self.absent_fields = self.offered.reasons_of_absence(analyzer.pack, self.models)
        self.habits = AccessPredictor()

    def for_person(self, person: Person) -> FaceAnalysis:
        """Another object over the same models, as this one was loaded, that looks for a person.

        What consumers set on this one is left behind: it must not depend on which node ran first.

        Args:
            person: Is looked for among the faces that this object gives.

        Raises:
            InvalidInput: The reference is of another embedding space, or recognition was left out.
            ModelError: The pack has no recognition to find a reference by.
        """
        if person.needs_embeddings:
            self.offered.require(["recognition"])
            self.analyzer.pack.model("recognition")
            require_space(person.reference, self.analyzer.embedding_space)
        return FaceAnalysis(
            self.analyzer,
            self._loaded_options,
            self.max_faces,
            self.embedding_refusal,
            self.why,
            self.tasks,
            self.order.narrowed(person),
            other_embeddings=self.other_embeddings,
        )

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
            faces = faces_of_image(self, checked_bgr(img), max_num, det_metric, det_size)
            call.images, call.faces = 1, len(faces)
            return faces

    def chosen(
        self, img: np.ndarray, key: bytes, found: Found, limit: int, metric: str
    ) -> ChosenFaces:
        """Which of the faces that were found in an image callers get; see `chosen_faces`."""
        return chosen_faces(self, img, key, found, limit, metric)

    def draw_on(self, img: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """A copy of the image `[H,W,3]` uint8 BGR with boxes, landmarks, sex and age drawn in."""
        return draw_like_insightface(img, faces)
