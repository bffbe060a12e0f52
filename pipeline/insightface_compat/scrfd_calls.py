"""What insightface's detectors offer besides `detect`: single passes, and what they know."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...utils.arrays import in_order
from ...utils.boxes import suppress
from ...utils.detectors import detector_families, family_of
from ...utils.detectors.scrfd import AnchorLayout, Scrfd, anchor_layout
from .model_view import ModelView
from .overridable import overridable

#: Sizes of feature maps whose anchors are kept, as upstream.
_MOST_CENTRES = 100


class ScrfdCalls(ModelView):
    """Public methods and attributes of `insightface.model_zoo.SCRFD`.

    Attributes:
        center_cache: Anchor centres `[A,2]` float32 by (height, width, stride) of a feature map,
            as far as `forward` met them.
        static_shape_sessions: Whether each input size has a session of its own; here one does all.
        resolution_session_factory: What makes such sessions; none here.
        resolution_sessions: The session of each input size in use.

    Source:
        insightface 2.1, `model_zoo/scrfd.py`.
    """

    nms_thresh: float

    def __init__(self, owner: Any) -> None:
        super().__init__(owner, "detection")
        self.center_cache: dict[tuple[int, int, int], np.ndarray] = {}
        self.static_shape_sessions = False
        self.resolution_session_factory = None

    @overridable
    def static_input_size(self) -> tuple[int, int] | None:
        return self.file.fixed_size_wh

    @overridable
    def batched(self) -> bool:
        outputs = self.session.get_outputs()
        return bool(outputs) and len(outputs[0].shape) == 3

    @overridable
    def use_kps(self) -> bool:
        family = detector_families().get(self.file.family or "")
        if family is None or isinstance(family, Scrfd):
            layout = self._layout()
            return layout is None or layout.landmarks
        return family.has_landmarks(self.file)

    @overridable
    def fmc(self) -> int | None:
        layout = self._layout()
        return None if layout is None else len(layout.strides)

    @property
    def resolution_sessions(self) -> dict[tuple[int, int], Any]:
        return dict.fromkeys(getattr(self, "input_sizes", ()), self.session)

    @property
    def resolution_session_input_sizes(self) -> tuple[tuple[int, int], ...]:
        return tuple(sorted(self.resolution_sessions))

    def _layout(self) -> AnchorLayout | None:
        """How an SCRFD graph arranges its outputs; None of another detector."""
        if self.file.family not in (None, Scrfd.name):
            return None
        outputs = self.session.get_outputs()
        return anchor_layout(len(outputs)) if outputs else None

    def forward(
        self, img: np.ndarray, threshold: float
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """One pass over a canvas, with no suppression.

        Args:
            img: `[H,W,3]` uint8 BGR, sides multiples of 32.
            threshold: Lowest score, 0..1.

        Returns:
            Scores `[n,1]`, boxes `[n,4]` and landmarks `[n,5,2]` in pixels of the canvas, one of
            each a stride of SCRFD, and one in all of other families; no landmarks where the
            detector has none.

        Raises:
            BackendUnavailable: The detector is no single graph.
        """
        blob = self.normalized(img[..., ::-1].transpose(2, 0, 1)[None])
        results = self.session.run(self.output_names, {self.input_name: blob})
        if self.file.family not in (None, Scrfd.name):
            return self._decoded(results, (img.shape[0], img.shape[1]), threshold)
        layout = anchor_layout(len(results))
        levels = len(layout.strides)
        # Where the graph has a batch axis, its first image is the only one.
        rows = [result.reshape(-1, result.shape[-1]) for result in results]
        scores, boxes, points = [], [], []
        for level, stride in enumerate(layout.strides):
            passed = np.where(rows[level] >= threshold)[0]
            centres = self._centres(img.shape[0] // stride, img.shape[1] // stride, stride, layout)
            centres, distance = centres[passed], rows[level + levels][passed] * stride
            scores.append(rows[level][passed])
            boxes.append(np.hstack((centres - distance[:, :2], centres + distance[:, 2:])))
            if layout.landmarks:
                offsets = rows[level + 2 * levels][passed].reshape(-1, 5, 2) * stride
                points.append(centres[:, None] + offsets)
        return scores, boxes, points

    def _decoded(
        self, results: list[np.ndarray], canvas_hw: tuple[int, int], threshold: float
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        outputs = [torch.from_numpy(in_order(result)) for result in results]
        found = family_of(self.file).decode(outputs, self.file, canvas_hw, threshold)
        rows = found.present[0]
        points = [] if found.landmarks is None else [found.landmarks[0, rows].numpy()]
        return [found.scores[0, rows, None].numpy()], [found.boxes[0, rows].numpy()], points

    def _centres(self, height: int, width: int, stride: int, layout: AnchorLayout) -> np.ndarray:
        key = (height, width, stride)
        if key in self.center_cache:
            return self.center_cache[key]
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        places = np.stack((x, y), -1).astype(np.float32) * stride
        centres = places.reshape(-1, 2).repeat(layout.anchors, 0)
        if len(self.center_cache) < _MOST_CENTRES:
            self.center_cache[key] = centres
        return centres

    def nms(self, dets: np.ndarray) -> list[int]:
        """Rows of boxes `[N,5]` with scores that survive suppression, best first."""
        rows = torch.from_numpy(in_order(dets, np.float32)).reshape(1, -1, 5)
        present = torch.ones(rows.shape[:2], dtype=torch.bool)
        order, keep, _ = suppress(rows[..., :4], rows[..., 4], present, float(self.nms_thresh))
        return order[keep].tolist()
