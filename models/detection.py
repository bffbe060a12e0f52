"""Detects faces with the network of any family; see `utils/detectors`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..backends.interfaces import CanvasSession, DetectionOptions, input_format
from ..backends.pending import PaddedFaces
from ..backends.placement import RunsOn
from ..backends.residency.evictable_model import EvictableModel, managed_among
from ..utils.boxes import suppress
from ..utils.detectors import family_of
from ..utils.detectors.family import Candidates
from ..utils.images import ImageBatch
from ..utils.letterbox import letterbox
from ..utils.metrics import stage
from ..utils.packs import ModelFile, ModelPack
from .graph_input import network_input


@dataclass(frozen=True)
class Reach:
    """How far a detector looks without asking the device; None, where asking is free, is all.

    Attributes:
        candidates: Anchors an image and input size.
        rounds: Of suppression.
    """

    candidates: int | None = None
    rounds: int | None = None

    def wider(self) -> Reach:
        return Reach(4 * (self.candidates or 1), 4 * (self.rounds or 1))


#: A face passes with some ten anchors; a crowd makes the detector look wider once, and for good.
_FIRST_REACH = Reach(256, 6)


class FaceDetector:
    """Detects faces, with five landmarks where the network gives them."""

    def __init__(self, pack: ModelPack, model: ModelFile, session: CanvasSession) -> None:
        """
        Raises:
            ModelError: It is of no family that is known.
        """
        self.model = model
        self.family = family_of(model)
        self.session = session
        self.device = session.device
        self.fixed_size_wh = model.fixed_size_wh
        self._reach = Reach() if self.device.type == "cpu" else _FIRST_REACH

    @property
    def runs_on(self) -> RunsOn:
        return self.session.runs_on

    @property
    def networks(self) -> tuple[EvictableModel[Any], ...]:
        """See `HoldsNetworks`."""
        return managed_among(self.session)

    def detect(self, batch: ImageBatch, options: DetectionOptions) -> PaddedFaces:
        """Boxes, scores and landmarks of every face; does not wait for the device.

        Args:
            batch: Equal-sized images on the session's device.
            options: Input sizes, threshold, NMS threshold.

        Returns:
            Rows grouped by image, best score first within each, once settled.
        """
        reach = self._reach
        sizes = options.sizes_within(self.fixed_size_wh)
        parts = [self._candidates(batch, size_wh, options.threshold, reach) for size_wh in sizes]
        found = Candidates.cat(parts)
        with stage("nms"):
            order, keep, complete = suppress(
                self.family.suppressed(found.boxes),
                found.scores,
                found.present,
                options.nms_threshold,
                reach.rounds,
                self.family.side_excess_px,
            )
        for part in parts:
            complete = complete & (part.passed <= part.boxes.shape[1]).all()
        if self.family.clips:
            found = found.clipped(batch.size_hw)
        image_sizes = (batch.size_hw,) * len(batch.positions)
        widen = self._look_wider(reach)
        return PaddedFaces(found, order, keep, complete, image_sizes, self.model.path, widen)

    def _look_wider(self, reach: Reach) -> Callable[[], None]:
        def widen() -> None:
            self._reach = reach.wider()

        return widen

    def _candidates(
        self, batch: ImageBatch, size_wh: tuple[int, int], threshold: float, reach: Reach
    ) -> Candidates:
        """What passes the threshold at one input size, in pixels of the source images."""
        canvas = self.family.canvas(batch.size_hw, size_wh, self.fixed_size_wh)

        with stage("letterbox"):
            part = letterbox(batch, canvas, self.session.input_hw(canvas))
            x = network_input(part, self.model, input_format(self.session))
        with stage("detector"):
            outputs = self.session.run(x, canvas)
        with stage("decode"):
            found = self.family.decode(
                outputs, self.model, canvas.size_hw, threshold, reach.candidates
            )
            return found.in_source(canvas)
