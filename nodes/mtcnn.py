"""`FastFaceMTCNN`: the parameters of facenet-pytorch's detector and crops, for the loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..utils.choose import SELECTION_METHODS
from .sockets import CATEGORY, MTCNN

if TYPE_CHECKING:
    from ..backends.facenet_networks.parameters import MtcnnParameters


def _threshold(default: float, tooltip: str) -> tuple[str, dict[str, Any]]:
    return (
        "FLOAT",
        {
            "default": default,
            "min": 0.0,
            "max": 1.0,
            "step": 0.01,
            "tooltip": tooltip,
        },
    )


class FastFaceMTCNN:
    DISPLAY_NAME = "FastFace MTCNN"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "mtcnn",
        "facenet",
        "facenet-pytorch",
        "face detector parameters",
    )
    DESCRIPTION = (
        "Parameters of facenet-pytorch's MTCNN under their own names, for FastFace Loader with one "
        "of the facenet packs. Without this node the library's defaults apply."
    )
    FUNCTION = "give"
    RETURN_TYPES = (MTCNN,)
    RETURN_NAMES = ("mtcnn",)
    OUTPUT_TOOLTIPS = ("For the mtcnn input of FastFace Loader.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        from ..backends.facenet_networks.parameters import ALL, IMAGE_SIZE, MtcnnParameters

        defaults = MtcnnParameters()
        pnet, rnet, onet = defaults.thresholds
        return {
            "required": {
                "min_face_size": (
                    "INT",
                    {
                        "default": defaults.min_face_size,
                        "min": 6,
                        "max": 4096,
                        "step": 1,
                        "tooltip": "Side in pixels of the smallest face to look for. Twice the "
                        "size takes about a quarter of the time.",
                    },
                ),
                "threshold_pnet": _threshold(
                    pnet,
                    "Lowest probability after PNet, the first of three networks. Lower finds more "
                    "faces and takes more time.",
                ),
                "threshold_rnet": _threshold(rnet, "Lowest probability after RNet, the second."),
                "threshold_onet": _threshold(
                    onet,
                    "Lowest probability after ONet, the third. Only the higher of this and the "
                    "loader's det_threshold counts.",
                ),
                "factor": (
                    "FLOAT",
                    {
                        "default": defaults.factor,
                        "min": 0.1,
                        "max": 0.95,
                        "step": 0.001,
                        "tooltip": "Size of each level of the image pyramid over the one before. "
                        "Higher looks at more sizes of faces and takes more time.",
                    },
                ),
                "margin": (
                    "INT",
                    {
                        "default": defaults.margin,
                        "min": 0,
                        "max": IMAGE_SIZE - 2,
                        "step": 2,
                        "tooltip": f"Pixels of the {IMAGE_SIZE} pixel crop for embeddings that lie "
                        "outside the box, both sides together.",
                    },
                ),
                "selection_method": (
                    [ALL, *SELECTION_METHODS],
                    {
                        "tooltip": "`all` keeps every face; the others keep one of each image: "
                        "`probability` the surest, `largest` the largest box, "
                        "`largest_over_threshold` the largest of those above 0.9, "
                        "`center_weighted_size` a large one near the centre."
                    },
                ),
            }
        }

    def give(
        self,
        min_face_size: int,
        threshold_pnet: float,
        threshold_rnet: float,
        threshold_onet: float,
        factor: float,
        margin: int,
        selection_method: str,
    ) -> tuple[MtcnnParameters]:
        from ..backends.facenet_networks.parameters import MtcnnParameters

        thresholds = (threshold_pnet, threshold_rnet, threshold_onet)
        return (MtcnnParameters(min_face_size, thresholds, factor, margin, selection_method),)


NODES = {"FastFaceMTCNN": FastFaceMTCNN}
