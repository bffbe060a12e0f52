"""`FastFaceBuildEngine`: builds TensorRT engines of a pack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..utils import host
from .node_progress import reporter
from .pack_input import pack_input
from .socket_checks import readable_images
from .sockets import (
    CATEGORY,
)

if TYPE_CHECKING:
    from ..utils.precision import Precision

_MB = 1 << 20


class FastFaceBuildEngine:
    DISPLAY_NAME = "FastFace Build Engine"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "tensorrt",
        "trt engine",
        "build engine",
        "optimize insightface",
    )
    DESCRIPTION = (
        "Builds TensorRT engines of a model pack, for the loader's backend tensorrt, and compares "
        "their answers with those of fp32. What was built before is kept. With tensorrt_rtx it "
        "takes seconds and needs no GPU; with tensorrt it takes minutes, on the card itself."
    )
    FUNCTION = "build"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("info",)
    OUTPUT_TOOLTIPS = (
        "Which library built what and why, which nodes stay in fp32, and how far the answers are "
        "from those of fp32.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        from ..backends.tensorrt import PRECISIONS
        from ..backends.trt.profile import Profile

        defaults = Profile()
        return {
            "required": {
                "model_pack": pack_input(
                    "The weights; choose the same in the loader. `auto` takes the best pack that "
                    "is installed. Nothing is downloaded."
                ),
                "precision": (
                    list(PRECISIONS),
                    {
                        "tooltip": "Arithmetic of the networks. mixed: recognition in fp16 and the "
                        "rest in fp32. fp16 keeps some nodes in fp32, which info names. An engine "
                        "whose answers differ too much from fp32 is not chosen by backend auto."
                    },
                ),
                "best_batch": _number(
                    defaults.batch.best, 256, "Images, or faces, at a time that it is tuned for."
                ),
                "max_batch": _number(
                    defaults.batch.most,
                    256,
                    "Most images, or faces, at a time; more are run in pieces. Larger takes more "
                    "memory.",
                ),
                "min_size": _side(defaults.side.least, "Least"),
                "best_size": _side(defaults.side.best, "The one that it is tuned for:"),
                "max_size": _side(defaults.side.most, "Most"),
                "workspace_mb": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 1 << 20,
                        "step": 1,
                        "tooltip": "Most memory of the card in MB that the networks' work may "
                        "take; 0 leaves it to FASTFACE_GPU_MEM_LIMIT, or to the library. Too "
                        "little for the largest batch and size is refused.",
                    },
                ),
                "rebuild": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "On: built anew even if it is there. Off: only what is missing, "
                        "damaged, or of another version or card.",
                    },
                ),
            },
            "optional": {
                "images": (
                    "IMAGE",
                    {
                        "tooltip": "Optional. Photos with faces, such as you will analyse: the "
                        "answers are compared on them. Not connected: a photo of six faces."
                    },
                )
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, **_inputs: Any) -> float:
        # Whether it is still there, whole, and of this card's is looked up each time.
        return float("nan")

    def build(
        self,
        model_pack: str,
        precision: Precision = "mixed",
        best_batch: int = 8,
        max_batch: int = 32,
        min_size: int = 128,
        best_size: int = 640,
        max_size: int = 1024,
        workspace_mb: int = 0,
        rebuild: bool = False,
        images: Tensor | None = None,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        from ..backends.trt.profile import Profile, Span
        from ..pipeline.choices import AUTO
        from ..pipeline.engine_building import BuildRequest, build_pack, summary
        from ..pipeline.pack_choice import choose_pack

        request = BuildRequest(
            precision,
            Profile(Span(1, best_batch, max_batch), Span(min_size, best_size, max_size)),
            workspace_mb * _MB,
            rebuild,
            None if images is None else readable_images(images),
            host.torch_device().index or 0,
        )
        pack = choose_pack(model_pack, AUTO, host.insightface_roots(), False, None)
        info = host.redacted(summary(pack, build_pack(pack, request, reporter(node_id))))
        return {"ui": host.node_text(info), "result": (info,)}


def _number(default: int, most: int, tooltip: str) -> tuple[str, dict[str, Any]]:
    return "INT", {"default": default, "min": 1, "max": most, "step": 1, "tooltip": tooltip}


def _side(default: int, which: str) -> tuple[str, dict[str, Any]]:
    tooltip = f"{which} side in pixels of the detector's input; a multiple of 32."
    return "INT", {"default": default, "min": 64, "max": 4096, "step": 32, "tooltip": tooltip}


NODES = {"FastFaceBuildEngine": FastFaceBuildEngine}
