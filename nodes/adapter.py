"""`FastFaceAdapter`: the loader's object for sockets of other names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .sockets import CATEGORY, FACE_ANALYSIS, FACE_ANALYSIS_TOOLTIP

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis


class FastFaceAdapter:
    DISPLAY_NAME = "FastFace Adapter"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "face analysis models",
        "ANALYSIS_MODELS",
        "INSIGHTFACE_APP",
        "convert insightface",
    )
    DESCRIPTION = (
        "The loader's object for packs whose sockets have other names: cubiq's Face Analysis, "
        "ZHO's InstantID, nosiu's InstantID face swap, comfy_mtb."
    )
    FUNCTION = "adapt"
    RETURN_TYPES = ("ANALYSIS_MODELS", "INSIGHTFACEMODEL", "INSIGHTFACE_APP", "FACE_ANALYSIS_MODEL")
    RETURN_NAMES = (
        "analysis_models",
        "insightfacemodel",
        "insightface_app",
        "face_analysis_model",
    )
    OUTPUT_TOOLTIPS = (
        "For cubiq's ComfyUI_FaceAnalysis, in place of its Face Analysis Models.",
        "For ZHO's ComfyUI-InstantID, in place of its InsightFace loader.",
        "For nosiu's comfyui-instantId-faceswap, in place of its face analysis loader.",
        "For comfy_mtb, in place of its Load Face Analysis Model.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"faceanalysis": (FACE_ANALYSIS, {"tooltip": FACE_ANALYSIS_TOOLTIP})}}

    def adapt(self, faceanalysis: FaceAnalysis) -> tuple[Any, ...]:
        from ..pipeline.insightface_compat.analysis_models import AnalysisModels

        return AnalysisModels(faceanalysis), faceanalysis, faceanalysis, faceanalysis


NODES = {"FastFaceAdapter": FastFaceAdapter}
