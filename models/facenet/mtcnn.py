"""`Mtcnn`: the detector, all images of a batch in one cascade."""

from __future__ import annotations

from typing import Any

from ...backends.facenet_networks.networks import MtcnnNetworks
from ...backends.facenet_networks.parameters import ALL
from ...backends.interfaces import DetectionOptions
from ...backends.placement import RunsOn
from ...backends.residency.evictable_model import EvictableModel, managed_among
from ...utils.area import summed_area_table
from ...utils.choose import select_boxes
from ...utils.errors import OutOfMemory
from ...utils.faces import Faces
from ...utils.free_memory import is_out_of_memory
from ...utils.images import ImageBatch
from ...utils.metrics import stage
from ...utils.progress import part
from .proposals import propose, pyramid_scales
from .refinement import finish, refine

#: What is done of the cascade after its table of sums, PNet and RNet, as shares of its time.
_SUMS_SHARE, _PNET_SHARE, _RNET_SHARE = 0.02, 0.7, 0.9


class Mtcnn:
    """Multi-task cascaded CNN.

    Source:
        Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional
        Networks", arXiv:1604.02878; conventions as in facenet-pytorch 2.6, `MTCNN.detect`.
    """

    #: It works on a pyramid of the whole image: `DetectionOptions.sizes_wh` has no effect.
    fixed_size_wh: tuple[int, int] | None = None

    def __init__(self, networks: MtcnnNetworks) -> None:
        self.device = networks.device
        self.runs_on = RunsOn(str(self.device), "torch", note=networks.note)
        self._parameters = networks.parameters
        self._pnet, self._rnet, self._onet = networks.pnet, networks.rnet, networks.onet

    @property
    def networks(self) -> tuple[EvictableModel[Any], ...]:
        """See `HoldsNetworks`."""
        return managed_among(self._pnet, self._rnet, self._onet)

    def detect(self, batch: ImageBatch, options: DetectionOptions) -> Faces:
        """Every face of a batch of equal-sized images; see `Detector.detect`.

        `options.threshold` is applied on top of the cascade's own thresholds.

        Raises:
            OutOfMemory: The device has too little memory for so many images.
        """
        try:
            faces = self._detect(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"{self.runs_on} ran out of memory for {len(batch.positions)} images of "
                f"{batch.size_hw[1]} x {batch.size_hw[0]}: use fewer images at a time, or a larger "
                "min_face_size, or free memory by unloading models"
            ) from error
        faces = faces[faces.scores >= options.threshold]
        if self._parameters.selection_method != ALL:
            faces = faces[select_boxes(faces, self._parameters.selection_method)]
        return faces

    def _detect(self, batch: ImageBatch) -> Faces:
        sizes = (batch.size_hw,) * len(batch.positions)
        parameters = self._parameters
        scales = pyramid_scales(batch.size_hw, parameters.min_face_size, parameters.factor)
        if not scales or not sizes:
            return Faces.empty(sizes, self.device)
        with stage("sums"), part(0.0, _SUMS_SHARE):
            pixels = batch.to_uint8()
            table = summed_area_table(pixels.flip(-1) if batch.bgr else pixels)
        after_pnet, after_rnet, after_onet = parameters.thresholds
        with stage("pnet"), part(_SUMS_SHARE, _PNET_SHARE):
            found = propose(self._pnet, table, scales, after_pnet)
        with stage("rnet"), part(_PNET_SHARE, _RNET_SHARE):
            found = refine(self._rnet, table, found, after_rnet)
        with stage("onet"), part(_RNET_SHARE, 1.0):
            found, landmarks = finish(self._onet, table, found, after_onet)
        return Faces(
            boxes=found.boxes,
            scores=found.scores,
            image_index=found.image_index,
            image_sizes=sizes,
            landmarks=landmarks,
        )
