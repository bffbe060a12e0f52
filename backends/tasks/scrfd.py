"""SCRFD, the face detector of InsightFace's packs."""

from __future__ import annotations

import torch

from ...utils.anchors import Candidates, decode_scrfd
from ...utils.boxes import batched_nms
from ...utils.faces import Faces
from ...utils.images import ImageBatch
from ...utils.letterbox import letterbox
from ...utils.packs import ModelFile, ModelPack
from ...utils.stages import stage
from ..base import DetectionOptions, Session
from .inputs import normalise


class Scrfd:
    """Detects faces with five landmarks.

    Source:
        Guo et al., "Sample and Computation Redistribution for Efficient Face Detection",
        arXiv:2105.04714; conventions as in insightface 2.1, `model_zoo/scrfd.py`.
    """

    def __init__(self, pack: ModelPack, model: ModelFile, session: Session) -> None:
        self.model = model
        self.session = session
        self.device = session.device
        self.runs_on = session.runs_on
        self.fixed_size_wh = model.fixed_size_wh

    def detect(self, batch: ImageBatch, options: DetectionOptions) -> Faces:
        """Boxes, scores and landmarks of every face.

        Args:
            batch: Equal-sized images on the session's device.
            options: Input sizes, threshold, NMS threshold.

        Returns:
            Rows grouped by image, best score first within each.
        """
        sizes = (self.fixed_size_wh,) if self.fixed_size_wh else options.sizes_wh
        found = [self._candidates(batch, size_wh, options.threshold) for size_wh in sizes]
        boxes = torch.cat([part.boxes for part in found])
        scores = torch.cat([part.scores for part in found])
        image_index = torch.cat([part.image_index for part in found])
        images = len(batch.positions)
        with stage("nms"):
            keep = batched_nms(boxes, scores, image_index, images, options.nms_threshold)
        landmarks = [part.landmarks for part in found if part.landmarks is not None]
        return Faces(
            boxes=boxes[keep],
            scores=scores[keep],
            image_index=image_index[keep],
            image_sizes=(batch.size_hw,) * images,
            landmarks=torch.cat(landmarks)[keep] if landmarks else None,
        )

    def _candidates(
        self, batch: ImageBatch, size_wh: tuple[int, int], threshold: float
    ) -> Candidates:
        """What passes the threshold at one input size, in pixels of the source images."""
        with stage("letterbox"):
            canvas, scale = letterbox(batch, size_wh)
            blob = normalise(canvas, self.model)
        with stage("detector"):
            outputs = self.session.run(blob)
        canvas_hw = (canvas.shape[2], canvas.shape[3])
        with stage("decode"):
            return decode_scrfd(outputs, canvas_hw, threshold).unscaled(scale)
