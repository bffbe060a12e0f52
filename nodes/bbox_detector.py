"""`FastFaceBBoxDetector`: the loader's object as a detector for Impact Pack's FaceDetailer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..utils.faces import Faces
from ..utils.images import floating_rgb
from ..utils.masks import MASK_SHAPES
from ..utils.segs import Segs, segs_of_image
from ..utils.soft_masks import shaped_masks
from .socket_checks import readable_images
from .sockets import (
    CATEGORY,
    FACE_ANALYSIS,
    FACE_ANALYSIS_TOOLTIP,
    size_of,
)
from .texts import with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis


class BBoxDetector:
    """Finds faces for Impact Pack's nodes.

    Source:
        ComfyUI-Impact-Pack 8, `modules/impact/core.py` (`ONNXDetector`) and `impact_pack.py`
        (`FaceDetailer`): which methods are called, and with what.
    """

    def __init__(self, face_analysis: FaceAnalysis, mask_shape: str) -> None:
        """
        Args:
            face_analysis: Finds the faces; its settings count, but for the threshold.
            mask_shape: One of `MASK_SHAPES`.
        """
        self._face_analysis = face_analysis
        self._mask_shape = mask_shape

    def detect(
        self,
        image: Tensor,
        threshold: float,
        dilation: int,
        crop_factor: float,
        drop_size: int = 1,
        detailer_hook: Any = None,
    ) -> Segs:
        """The faces of one image as SEGS.

        Args:
            image: `[1,H,W,C]` floating 0..1.
            threshold: Lowest score of a face, 0..1.
            dilation: How far the masks reach beyond the faces, in pixels.
            crop_factor: Sides of the crop region over those of the box.
            drop_size: Boxes that are not longer than this in both directions are left out, pixels.
            detailer_hook: May change crop regions and SEGS.
        """
        height, width = size_of(image)
        change_region = None
        if hasattr(detailer_hook, "post_crop_region"):
            change_region = partial(detailer_hook.post_crop_region, width, height)
        segs = segs_of_image(
            floating_rgb(image),
            self._found(image, threshold),
            self._mask_shape,
            crop_factor,
            max(drop_size, 1),
            dilation,
            change_region,
        )
        if hasattr(detailer_hook, "post_detection"):
            segs = detailer_hook.post_detection(segs)
        return segs

    def detect_combined(self, image: Tensor, threshold: float, dilation: int) -> Tensor:
        """One mask `[H,W]` float32 on the CPU of all faces of one image; see `detect`."""
        faces = self._found(image, threshold)
        return shaped_masks(faces, size_of(image), self._mask_shape, grow_px=dilation)[0]

    def setAux(self, x: Any) -> None:
        """What FaceDetailer looks for in words; this detector finds faces alone."""

    def _found(self, image: Tensor, threshold: float) -> Faces:
        app = self._face_analysis
        options = replace(app.options(), threshold=max(float(threshold), 1e-3))
        images = readable_images(image, "image")
        return app.analyze(images, options=options).to("cpu")


class FastFaceBBoxDetector:
    DISPLAY_NAME = "FastFace BBox Detector"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "impact pack",
        "face detailer",
        "BBOX_DETECTOR",
        "ultralytics detector",
    )
    DESCRIPTION = (
        "Lets Impact Pack's FaceDetailer and BBOX Detector find faces with the loader's models, "
        "instead of a YOLO model."
    )
    FUNCTION = "make"
    RETURN_TYPES = ("BBOX_DETECTOR", "STRING")
    RETURN_NAMES = ("bbox_detector", "info")
    OUTPUT_TOOLTIPS = (
        "For the bbox_detector inputs of Impact Pack.",
        "What finds the faces.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "faceanalysis": (FACE_ANALYSIS, {"tooltip": FACE_ANALYSIS_TOOLTIP}),
                "mask_shape": (
                    list(MASK_SHAPES),
                    {
                        "tooltip": "What of the crop a detailer may change: the `ellipse` inside "
                        "each face's box, or the whole `box`."
                    },
                ),
            }
        }

    def make(self, faceanalysis: FaceAnalysis, mask_shape: str = "ellipse") -> dict[str, Any]:
        info = (
            f"faces of pack {faceanalysis.analyzer.pack.name}; threshold, dilation and crop factor "
            "are those of the node behind this one"
        )
        return with_text(info, BBoxDetector(faceanalysis, mask_shape), info)


NODES = {"FastFaceBBoxDetector": FastFaceBBoxDetector}
