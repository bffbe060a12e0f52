"""The entries of `FaceAnalysis.models`: what consumers call on single networks."""

from __future__ import annotations

import math
import reprlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...backends.interfaces import DetectionOptions
from ...utils.content import image_key
from ...utils.errors import InvalidInput
from ...utils.free_memory import run_with_oom_retry
from ...utils.images import ImageBatch, Images, checked_bgr
from ...utils.insightface_fields import FACE_KEYS, faces_from_arrays
from ...utils.isolation import engine_call
from ...utils.letterbox import stretch
from ...utils.pose import MEAN_FACE_68
from ..analyzer import Analyzer
from .det_sizes import Sizes, parse_sizes
from .lazy_faces import (
    face_fields,
)
from .model_view import ModelView
from .overridable import overridable
from .result_cache import DETECTIONS, Found
from .scrfd_calls import ScrfdCalls

if TYPE_CHECKING:
    from .facade import FaceAnalysis


class DetectionModel(ScrfdCalls):
    """The detector.

    Attributes:
        det_thresh: Lowest score of a face, 0..1.
        nms_thresh: Overlap above which the weaker of two faces goes, 0..1.
        input_sizes: Every input size in use, `((width, height), ...)`. With detection `robust` it
            is kept, but the search has sizes of its own: consumers that go through smaller and
            smaller sizes until they find a face are answered from what is known.
    """

    def __init__(self, owner: FaceAnalysis, options: DetectionOptions) -> None:
        super().__init__(owner)
        self.det_thresh = options.threshold
        self.nms_thresh = options.nms_threshold
        self._input_sizes = self._asked_last = options.sizes_wh
        self._searched = options.sizes_wh if options.robust else None

    @property
    def input_sizes(self) -> tuple[tuple[int, int], ...]:
        analyzer = self._owner.analyzer
        chosen = DetectionOptions(self._input_sizes)
        return analyzer.backend.detection_sizes(analyzer.pack, chosen)

    @input_sizes.setter
    def input_sizes(self, value: Any) -> None:
        self._input_sizes = self.sizes_of(value)

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the (largest) input; setting it makes it the only one."""
        return self.input_sizes[-1]

    @input_size.setter
    def input_size(self, value: Any) -> None:
        self._input_sizes = self.sizes_of(value)

    def sizes_of(self, value: Any) -> Sizes:
        """Sizes as callers give them, for all calls or for one; see `parse_sizes`.

        Raises:
            InvalidInput: No such size.
        """
        self._asked_last = sizes = parse_sizes(value, self._asked_last)
        return sizes

    def options(self, input_size: Any = None, det_thresh: Any = None) -> DetectionOptions:
        """What is set now, with another input size or threshold where one is given.

        Raises:
            InvalidInput: No such size, or no such threshold.
        """
        sizes = self._input_sizes if input_size is None else self.sizes_of(input_size)
        return DetectionOptions(
            self._searched or sizes,
            _number("det_thresh", self.det_thresh if det_thresh is None else det_thresh),
            _number("nms_thresh", self.nms_thresh),
            robust=self._searched is not None,
        )

    def prepare(self, ctx_id: int, **kwargs: Any) -> None:
        """Sets `input_size`, `det_thresh`, `nms_thresh` as far as given."""
        super().prepare(ctx_id)
        if kwargs.get("nms_thresh") is not None:
            self.nms_thresh = kwargs["nms_thresh"]
        if kwargs.get("det_thresh") is not None:
            self.det_thresh = kwargs["det_thresh"]
        if kwargs.get("input_size") is not None:
            self.input_sizes = kwargs["input_size"]

    @engine_call()
    def detect(
        self,
        img: np.ndarray,
        input_size: Any = None,
        max_num: int = 0,
        metric: str = "default",
        det_thresh: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Boxes and landmarks of one image.

        Args:
            img: `[H,W,3]` uint8 BGR.
            input_size: For this call only: width and height, or a list of such pairs.
            max_num: Most faces; 0 takes the loader's limit.
            metric: `max`, or anything else for `default`; see `FaceAnalysis.get`.
            det_thresh: For this call only.

        Returns:
            `[N,5]` float32 boxes with score, best first, and `[N,5,2]` float32 landmarks (None
            when the detector has none).
        """
        options, limit = self.options(input_size, det_thresh), most_faces(max_num)
        img = checked_bgr(img)
        key = image_key(img)
        boxes, landmarks = self.found(img, key, options)
        rows = self._owner.chosen(img, key, (boxes, landmarks), limit, metric).rows
        # Callers own what they get: the cache must not change when they do.
        return boxes[rows], None if landmarks is None else landmarks[rows]

    def found(self, img: np.ndarray, key: bytes, options: DetectionOptions) -> Found:
        """All faces of an image whose `image_key` is known, best first; not to be written to."""

        def find(analyzer: Analyzer) -> Found:
            faces = analyzer.detect(Images.from_bgr(img), options).to("cpu")
            boxes = torch.cat((faces.boxes, faces.scores[:, None]), 1).numpy()
            return boxes, None if faces.landmarks is None else faces.landmarks.numpy()

        if self.has_own_network:
            return find(self.runs)
        return self._owner.with_models(
            lambda analyzer: DETECTIONS.get_or_make(
                (analyzer.serial, key, options), lambda: find(analyzer)
            )
        )


def _number(name: str, value: Any, expected: str = "a number from 0 to 1 such as 0.5") -> float:
    """A number that a consumer set.

    Raises:
        InvalidInput: It is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = math.nan
    if math.isnan(number):
        raise InvalidInput(f"got {name} {value!r}, expected {expected}")
    return number


def most_faces(value: Any) -> int:
    """`max_num` as a consumer gave it; None is 0, which is no limit.

    Raises:
        InvalidInput: It is no whole number.
    """
    expected = "a whole number, 0 for no limit"
    number = 0.0 if value is None else _number("max_num", value, expected)
    if not number.is_integer():
        raise InvalidInput(f"got max_num {value!r}, expected {expected}")
    return int(number)


class HeadModel(ModelView):
    """A network that tells something about a face: landmarks, gender and age, identity."""

    @engine_call()
    def get(self, img: np.ndarray, face: Any) -> Any:
        """Fills in a face with `bbox` and `kps` found in this image, and gives the result back.

        Raises:
            InvalidInput: Not such an image, or not such a face.
        """
        img = checked_bgr(img)
        boxes = np.append(_places("bbox", face.bbox, "[4]")[:4], np.float32(1))
        kps = None if face.kps is None else _places("kps", face.kps, "[5,2]")[None]
        faces = faces_from_arrays(boxes, kps, img.shape[:2])
        images = Images.from_bgr(img)
        described = self.compute(lambda analyzer: analyzer.describe(images, faces, [self.taskname]))
        (values,) = face_fields(described, self.taskname)
        for key, value in values.items():
            face[key] = value
        results = tuple(values[key] for key in FACE_KEYS[self.taskname])
        return results if self.taskname == "genderage" else results[0]

    @overridable
    def input_size(self) -> Any:
        """Width and height of the crops it takes."""
        return self.file.fixed_size_wh

    @overridable
    def output_shape(self) -> list[int | str | None]:
        """Of its one output, as the graph was released."""
        return list(self.session.get_outputs()[0].shape)


def _places(name: str, value: Any, shape: str) -> np.ndarray:
    """A face's box or landmarks as float32; a box may have its score behind it.

    Raises:
        InvalidInput: It is none.
    """
    try:
        places = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        places = np.empty(0, np.float32)
    if places.shape not in {"bbox": [(4,), (5,)], "kps": [(5, 2)]}[name]:
        raise InvalidInput(
            f"got a face whose {name} is {reprlib.repr(value)}, expected {shape} numbers in pixels "
            "of the image, such as those of det_model.detect"
        )
    return places


class LandmarkModel(HeadModel):
    """A network that gives dense landmarks: `[lmk_num,lmk_dim]` float32 in pixels of the image."""

    @overridable
    def lmk_dim(self) -> int:
        return 3 if self.require_pose else 2

    @overridable
    def lmk_num(self) -> int:
        return int(self.taskname.rpartition("_")[2])

    @overridable
    def require_pose(self) -> bool:
        """Whether the pose of the head is worked out, too."""
        return self.taskname == "landmark_3d_68"

    @overridable
    def mean_lmk(self) -> np.ndarray | None:
        """InsightFace's mean face `[68,3]` float32, with which the pose is worked out, or None."""
        return np.array(MEAN_FACE_68, dtype=np.float32) if self.require_pose else None


class RecognitionModel(HeadModel):
    """The identity network."""

    @engine_call()
    def get_feat(self, imgs: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """Embeds aligned crops, uint8 BGR of any size: `[N,D]` float32, not normalised."""
        if isinstance(imgs, list) and not imgs:
            return np.empty((0, self.file.output_shapes[0][-1] or 512), dtype=np.float32)
        images = [Images.from_bgr(img) for img in (imgs if isinstance(imgs, list) else [imgs])]

        def embed(analyzer: Analyzer) -> np.ndarray:
            recognizer = analyzer.recognizer()
            crops = [
                stretch(next(image.chunks()), (recognizer.size, recognizer.size))
                for image in images
            ]
            pixels = torch.cat([crop.pixels for crop in crops]).to(recognizer.device)
            batch = ImageBatch(pixels, tuple(range(len(pixels))), bgr=True)
            return torch.cat(run_with_oom_retry(batch, recognizer.embed)).cpu().numpy()

        return self.compute(embed)

    def forward(self, batch_data: np.ndarray) -> np.ndarray:
        """Embeds planes `[B,3,112,112]` RGB 0..255: `[B,D]` float32, not normalised."""
        feed = {self.input_name: self.normalized(batch_data)}
        return self.session.run(self.output_names, feed)[0]

    def compute_sim(self, feat1: np.ndarray, feat2: np.ndarray) -> float:
        """Cosine similarity of two embeddings."""
        first, second = np.ravel(feat1), np.ravel(feat2)
        return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
