"""`FastFaceLoader`: opens a model pack with a backend and hands out the drop-in object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..utils import host
from ..utils.settings import settings_or_defaults
from ..utils.text import quoted
from .node_progress import reporter
from .pack_input import pack_input
from .sockets import CATEGORY, FACE_ANALYSIS, INSIGHTFACE, MTCNN

if TYPE_CHECKING:
    from ..backends.facenet_networks.parameters import MtcnnParameters


class FastFaceLoader:
    DISPLAY_NAME = "FastFace Loader"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "insightface",
        "InstantID face analysis",
        "IPAdapter insightface loader",
        "PuLID insightface",
        "face analysis",
        "ArcFace",
        "antelopev2",
        "buffalo_l",
        "face model loader",
    )
    DESCRIPTION = (
        "Opens face models and hands out an object that works wherever InsightFace's does "
        "(InstantID, IPAdapter FaceID, PuLID) and in the FastFace nodes. "
        "`info` says what really runs where."
    )
    FUNCTION = "load"
    RETURN_TYPES = (FACE_ANALYSIS, INSIGHTFACE, "STRING")
    RETURN_NAMES = ("faceanalysis", "insightface", "info")
    OUTPUT_TOOLTIPS = (
        "For the FastFace nodes, InstantID, PuLID and other nodes with a FACEANALYSIS input.",
        "The same object for nodes with an INSIGHTFACE input, such as IPAdapter FaceID.",
        "Pack, licence, backend, and for each model the device and provider it really runs on.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        from ..pipeline.choices import PRECISION_WORDS, backend_names, device_names
        from ..pipeline.loading import ALL, DETECTION_MODES
        from ..pipeline.pack_choice import detector_names
        from ..utils.packs import TASK_ORDER
        from ..utils.packs.detector_files import PACKS_OWN
        from ..utils.packs.licences import non_commercial_notice

        return {
            "required": {
                "model_pack": pack_input(
                    "The weights. `auto` takes the best pack that is installed. Packs are found in "
                    "models/insightface/models, in the folders of extra_model_paths.yaml, "
                    "~/.insightface/models and FASTFACE_MODELS. A known pack that is not installed "
                    "is downloaded only if download_missing is on."
                ),
                "backend": (
                    backend_names(),
                    {
                        "tooltip": "What runs the models. `auto` takes the fastest that works "
                        "here with the chosen pack and device; info tells which and why."
                    },
                ),
                "device": (
                    device_names(),
                    {
                        "tooltip": "Where the models run. `auto` takes the best device of the "
                        "backend. If the device turns out not to work, the models run elsewhere "
                        "with a warning, or not at all if strict is on."
                    },
                ),
                "precision": (
                    list(PRECISION_WORDS),
                    {
                        "tooltip": "Arithmetic of the networks. `auto` takes what the backend "
                        "recommends on the device. fp32 is the reference. mixed recognises in "
                        "fp16 and does the rest in fp32: the same faces in the same order. fp16 "
                        "and bf16 are faster on GPUs and may swap faces of almost equal score. "
                        "On a CPU bf16 and int8 are used only for networks whose answers were held "
                        "against fp32 first, which takes seconds to minutes, once; fast takes for "
                        "each network the fastest one that is proven so, and with backend auto "
                        "the backend that is fastest with it. What the backend or the processor "
                        "can't do is refused; info shows what was found."
                    },
                ),
                "detection": (
                    list(DETECTION_MODES),
                    {
                        "tooltip": "`standard` looks once, at det_size, as InsightFace 0.7 did. "
                        "`auto` looks at 128 and 640 pixels and merges both: it also finds faces "
                        "that fill the picture, costs little more, and ignores det_size. "
                        "`robust` is auto, and looks again at images in which no face is sure: "
                        "turned, finer and coarser. It finds turned, tiny and cut-off faces, at "
                        "many times the time for such images; other packs' own sizes have no "
                        "effect on it."
                    },
                ),
                "det_size": (
                    "INT",
                    {
                        "default": settings_or_defaults().det_size,
                        "min": 32,
                        "max": 4096,
                        "step": 32,
                        "tooltip": "Side in pixels of the square to which the detector scales "
                        "each image; a multiple of 32. Larger finds smaller faces, takes time with "
                        "its square, and may miss faces that fill the picture. Only with detection "
                        "`standard`. Nodes of other packs may set their own size.",
                    },
                ),
                "det_threshold": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "Lowest score (0 to 1) of a face. Lower finds more blurred, "
                        "turned and covered faces, and more that are none. 0 takes what suits the "
                        "pack: 0.5 for InsightFace's; info shows it.",
                    },
                ),
                "max_faces": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 1000,
                        "step": 1,
                        "tooltip": "Most faces kept of each image; large and central ones stay. "
                        "0 keeps all, or as many as FASTFACE_MAX_FACES says.",
                    },
                ),
                "strict": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "On: an error if any model can't run on the chosen device. "
                        "Off: it runs elsewhere, with one warning in the log and in info.",
                    },
                ),
                "download_missing": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "On: a known pack that is not installed is downloaded from its "
                        "authors (up to 0.4 GB). Mind its licence, which info states. "
                        f"{non_commercial_notice()} Off: nothing is ever downloaded.",
                    },
                ),
            },
            "optional": {
                "mtcnn": (
                    MTCNN,
                    {
                        "tooltip": "Optional. From FastFace MTCNN: parameters of facenet-pytorch's "
                        "detector, for the facenet packs only. Not connected: its defaults."
                    },
                ),
                "heads": (
                    "STRING",
                    {
                        "default": ALL,
                        "tooltip": "Which tasks of the pack are offered, by comma, as "
                        f"InsightFace's allowed_modules: {', '.join(TASK_ORDER)}. Detection "
                        "always is. What is left out is never loaded, and its fields read as "
                        f"None. `{ALL}` leaves nothing out; models that nobody reads are not "
                        "loaded even so.",
                    },
                ),
                "other_embeddings": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "On: InstantID, IPAdapter FaceID and PuLID may read embeddings "
                        "of AuraFace, which are as long as InsightFace's and other numbers: for "
                        "models that were trained with them. Off: they are refused, with the "
                        "reason. Those of SFace and of the facenet packs always are. The FastFace "
                        "nodes take all.",
                    },
                ),
                "detector": (
                    detector_names(host.insightface_roots(), host.detector_folders()),
                    {
                        "default": PACKS_OWN,
                        "tooltip": "What finds the faces. Any detector that is here can serve in "
                        "place of the pack's own: one of another pack, or a file of "
                        "models/ultralytics/bbox or models/fastface/detectors. If it gives boxes "
                        "alone, the pack's own detector looks for the landmarks in them, and boxes "
                        "in which it finds no face are left out; with heads `detection` they stay. "
                        "det_threshold 0 takes what suits it.",
                    },
                ),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, model_pack: Any = None, detector: Any = None) -> bool | str:
        from ..pipeline.pack_choice import detector_names, pack_names

        # None: the value comes from another node and is checked when it is there.
        if detector is not None:
            there = detector_names(host.insightface_roots(), host.detector_folders())
            if not isinstance(detector, str) or detector not in there:
                return (
                    f"the detector {quoted(detector)} is not here; put it into ComfyUI/models/"
                    f"fastface/detectors or ultralytics/bbox, or choose one of {', '.join(there)}"
                )
        names = pack_names(host.insightface_roots())
        if model_pack is None or (isinstance(model_pack, str) and model_pack in names):
            return True
        if not isinstance(model_pack, str):
            return f"got model_pack {quoted(model_pack)}, expected one of {', '.join(names)}"
        return (
            f"the pack {model_pack!r} this workflow was made with is not here; put it into "
            f"ComfyUI/models/insightface/models/{model_pack}, or choose one of {', '.join(names)}"
        )

    @classmethod
    def IS_CHANGED(cls, model_pack: Any = None, detector: Any = None, **_inputs: Any) -> str:
        from ..pipeline.choices import AUTO
        from ..pipeline.pack_choice import detector_file_states, pack_file_states, pack_names
        from ..utils.packs.detector_files import PACKS_OWN

        # A pack that was installed meanwhile changes what `auto` means, and files that were
        # replaced are to be loaded.
        roots = host.insightface_roots()
        # What comes from another node is not there yet, and what is no name is refused later.
        pack = model_pack if isinstance(model_pack, str) else AUTO
        lines = [*pack_names(roots), *pack_file_states(pack, roots)]
        if isinstance(detector, str) and detector != PACKS_OWN:
            lines += detector_file_states(detector, roots, host.detector_folders())
        return "\n".join(lines)

    def load(
        self,
        model_pack: str,
        backend: str,
        device: str,
        precision: str,
        detection: str,
        det_size: int,
        det_threshold: float,
        max_faces: int,
        strict: bool,
        download_missing: bool,
        mtcnn: MtcnnParameters | None = None,
        heads: str | None = None,
        other_embeddings: bool | None = None,
        detector: str | None = None,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        from ..pipeline.loading import ALL, describe_loaded, load_face_analysis
        from ..utils.packs.detector_files import PACKS_OWN

        face_analysis = load_face_analysis(
            model_pack=model_pack,
            backend=backend,
            device=device,
            precision=precision,
            detection=detection,
            det_size=det_size,
            det_threshold=det_threshold,
            max_faces=max_faces,
            strict=strict,
            extra_roots=host.insightface_roots(),
            download_missing=download_missing,
            on_download=reporter(node_id),
            mtcnn=mtcnn,
            heads=ALL if heads is None else heads,
            other_embeddings=bool(other_embeddings),
            detector=PACKS_OWN if detector is None else detector,
            detector_folders=host.detector_folders(),
        )
        info = host.redacted(describe_loaded(face_analysis))
        return {"ui": host.node_text(info), "result": (face_analysis, face_analysis, info)}


NODES = {"FastFaceLoader": FastFaceLoader}
