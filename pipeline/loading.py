"""From what a user chose to a ready `FaceAnalysis`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ..backends.facenet_networks.parameters import MtcnnParameters
from ..backends.interfaces import DetectionOptions
from ..utils.detectors import has_landmarks
from ..utils.detectors.scrfd import Scrfd
from ..utils.devices import DEVICE_WORDS, Device
from ..utils.errors import InvalidInput
from ..utils.isolation import engine_call
from ..utils.packs import TASK_ORDER, ModelPack, Task
from ..utils.packs.detector_files import PACKS_OWN, DetectorFolders
from ..utils.packs.provenance import provenance
from ..utils.settings import settings
from ..utils.text import readable
from .choices import AUTO, device_names
from .insightface_compat.det_sizes import AUTO_SIZES
from .pack_choice import choose_pack, with_chosen_detector

if TYPE_CHECKING:
    from .insightface_compat.facade import FaceAnalysis

DetectionMode = Literal["standard", "auto", "robust"]
DETECTION_MODES: tuple[DetectionMode, ...] = get_args(DetectionMode)

#: What `heads` is when no task is left out.
ALL = "all"


@engine_call()
def load_face_analysis(
    *,
    model_pack: str = AUTO,
    backend: str = AUTO,
    device: str = AUTO,
    precision: str = AUTO,
    detection: str = "standard",
    det_size: int | None = None,
    det_threshold: float = 0.0,
    max_faces: int = 0,
    heads: str = ALL,
    strict: bool = False,
    extra_roots: Sequence[Path] = (),
    download_missing: bool = False,
    on_download: Callable[[int, int], None] | None = None,
    mtcnn: MtcnnParameters | None = None,
    detector: str = PACKS_OWN,
    detector_folders: DetectorFolders | None = None,
    other_embeddings: bool = False,
) -> FaceAnalysis:
    """Makes a facade of its own over models that are shared.

    Models are opened when something first needs their result. Where one could end up elsewhere than
    was asked for, the detector is opened at once, so that the caller learns what it really runs on.

    Args:
        model_pack: Name of a pack, or `auto`.
        backend: Name of a backend, or `auto`.
        device: Device word, with an index if wanted, or `auto`.
        precision: `fp32`, `mixed`, `fp16`, `bf16`, `int8`, `fast` or `auto`; see `Placement`. On a
            CPU, `int8`, `bf16` and `fast` are used for those tasks alone whose answers were held
            against fp32, which takes up to some minutes the first time.
        detection: `standard`, one pass at `det_size`; `auto`, 128 and 640 merged; or `robust`,
            `auto` and a wider search in images without a sure face.
        det_size: Side of the detector's input in pixels, for `standard`; None takes the settings'.
        det_threshold: Lowest score of a face, 0..1; 0 takes what suits the pack.
        max_faces: Most faces an image; 0 takes the settings' limit, if there is one.
        heads: Tasks of the pack to offer, by comma, as insightface's `allowed_modules`; or `all`.
        strict: Whether running anywhere else than asked is an error.
        extra_roots: Further folders to look for packs in.
        download_missing: Whether a known pack that is not there may be downloaded.
        on_download: Called with bytes done and bytes in all.
        mtcnn: Parameters of MTCNN, for packs of facenet-pytorch only.
        detector: Name of another detector than the pack's own, see `find_detectors`.
        detector_folders: Where single files of detectors lie, by label.
        other_embeddings: Whether InstantID, IPAdapter and PuLID may read embeddings that are made
            like InsightFace's and are not, such as AuraFace's.

    Raises:
        InvalidInput: A value is not one of those above, or an environment variable is wrong.
        ModelError: The pack is not there, or damaged.
        BackendUnavailable: It can't run as asked.
    """
    chosen = settings()
    if device != AUTO and Device.parse(device).word not in DEVICE_WORDS:
        raise InvalidInput(f"got device {device!r}, expected one of {device_names()}")
    if max_faces < 0:
        raise InvalidInput(f"got max_faces {max_faces}, expected 0 (no limit) or more")
    tasks = _tasks(heads)
    pack = choose_pack(model_pack, backend, extra_roots, download_missing, on_download)
    # Of a detector without landmarks the boxes are all that is wanted then.
    only_boxes = tasks is not None and all(task == "detection" for task in tasks)
    pack = with_chosen_detector(pack, detector, extra_roots, detector_folders, not only_boxes)
    det_size = chosen.det_size if det_size is None else det_size
    options = _detection_options(
        detection, det_size, det_threshold or pack.det_threshold, pack.nms_threshold
    )
    return load_for_pack(
        pack,
        options,
        backend,
        device,
        precision,
        max_faces,
        strict,
        tasks=tasks,
        mtcnn=mtcnn,
        other_embeddings=other_embeddings,
    )


@engine_call()
def load_for_pack(
    pack: ModelPack,
    options: DetectionOptions,
    backend: str = AUTO,
    device: str = AUTO,
    precision: str = AUTO,
    max_faces: int = 0,
    strict: bool = False,
    tasks: Sequence[Task] | None = None,
    mtcnn: MtcnnParameters | None = None,
    other_embeddings: bool = False,
) -> FaceAnalysis:
    """`load_face_analysis` for a pack that was found already.

    Args:
        pack: The weights.
        options: Detection settings to begin with.
        tasks: Tasks of the pack to offer besides detection; None offers all that the settings do.
        mtcnn: Parameters of MTCNN, for packs of facenet-pytorch only.
        other_embeddings: See `load_face_analysis`.
    """
    # Here, so that ComfyUI's start does not wait for it: half of the pack's modules.
    from .insightface_compat.facade import FaceAnalysis
    from .pool import shared_analyzer
    from .proven_choice import choose_running

    asked: list[Task] = [
        task for task in pack.tasks if task == "detection" or tasks is None or task in tasks
    ]
    chosen, placement, why = choose_running(pack, backend, device, precision, strict, asked, mtcnn)
    analyzer = shared_analyzer(pack, chosen, placement)
    pack.model("detection")
    if strict or placement.device != "cpu":
        # Another device may turn out not to work; the CPU is what all others fall back to.
        analyzer.model("detection")
    refusal = analyzer.embedding_refusal(other_embeddings)
    limit = max_faces or settings().max_faces
    return FaceAnalysis(
        analyzer,
        options,
        limit,
        refusal,
        why,
        _offered(tasks),
        other_embeddings=other_embeddings,
    )


def _offered(tasks: Sequence[Task] | None) -> Sequence[Task] | None:
    """Those of some tasks that the settings allow; None is all."""
    allowed = settings().heads
    if tasks is None:
        return allowed or None
    return [task for task in tasks if not allowed or task in allowed]


def _tasks(heads: str) -> tuple[Task, ...] | None:
    """The tasks that a user named; None for all.

    Raises:
        InvalidInput: There is no such task, or the settings don't allow it.
    """
    if heads.strip() == ALL:
        return None
    names = [part.strip() for part in heads.split(",") if part.strip()]
    tasks: list[Task] = [name for name in names if name in TASK_ORDER]
    if len(tasks) < max(1, len(names)):
        raise InvalidInput(
            f"got heads {heads!r}, expected {ALL!r} or tasks divided by commas: "
            f"{', '.join(TASK_ORDER)}"
        )
    allowed = settings().heads
    refused = [task for task in tasks if task != "detection" and allowed and task not in allowed]
    if refused:
        raise InvalidInput(
            f"got heads {heads!r}, but FASTFACE_HEADS allows only {', '.join(allowed)} here"
        )
    return tuple(tasks)


def describe_loaded(face_analysis: FaceAnalysis) -> str:
    """What was loaded and what really runs where, in a few lines for people."""
    analyzer = face_analysis.analyzer
    pack, placement, options = analyzer.pack, analyzer.placement, face_analysis.options()
    runs_on = analyzer.runs_on()
    # Of other devices it is not said before it is known.
    later = "opened when first needed" + (", on cpu" if placement.device == "cpu" else "")
    lines = []
    for task in pack.tasks:
        where = runs_on.get(task)
        if task != "detection" and face_analysis.tasks and task not in face_analysis.tasks:
            lines.append(f"{task}: left out by heads")
            continue
        lines.append(f"{task}: {f'runs on {where}' if where else later}")
        if where and where.note:
            lines.append(f"  note: {where.note}")
    if pack.detector is not None:
        lines.append(f"detector: {pack.detector.name} ({pack.model('detection').path})")
        own = pack.detector.landmarks_from
        if own is not None:
            where = analyzer.landmarks_run_on()
            lines.append(
                f"landmarks: {own.model('detection').path.name} of {own.name} looks into each box; "
                "boxes in which it finds no face are left out; "
                + (f"runs on {where}" if where else later)
            )
        elif not has_landmarks(pack.model("detection")):
            lines.append("this detector gives no landmarks: faces have no embedding")
    family = pack.model("detection").family
    if family not in (None, Scrfd.name):
        # What its scores mean depends on it, and the file's name says nothing.
        lines.append(f"the detector is of family {family}, not InsightFace's {Scrfd.name}")
    if "recognition" not in pack.tasks:
        lines.append("this pack has no recognition model: faces have no embedding")
    settings = analyzer.backend.detection_settings(pack, options)
    wider = ", turned and at further sizes where no face is sure" if options.robust else ""
    limit = face_analysis.max_faces or "no limit"
    whose = provenance(pack)
    strict = ", strict" if placement.strict else ""
    if placement.proven is not None:
        from .precision_choice import known_proofs  # see `load_for_pack`

        offered: list[Task] = [
            task
            for task in pack.tasks
            if task == "detection" or not face_analysis.tasks or task in face_analysis.tasks
        ]
        proofs = known_proofs(pack, analyzer.backend, placement, offered)
        lines += [f"proof: {proof}" for proof in proofs]
    lines += [
        f"detection at {settings}{wider}, threshold {options.threshold:g}, faces an image: {limit}",
        f"backend: {analyzer.backend.name} ({face_analysis.why})",
        f"asked for: {placement.device}, {placement.precision}{strict}",
        f"pack: {pack.name} in {pack.folder} ({whose.origin})",
        f"licence: {whose.licence}",
    ]
    if "recognition" in pack.tasks:
        lines.append(f"embeddings: comparable within {analyzer.embedding_space}")
    if face_analysis.embedding_refusal:
        lines.append(f"refused to InstantID, IPAdapter, PuLID: {face_analysis.embedding_refusal}")
    return readable("\n".join(lines))


def _detection_options(
    detection: str, det_size: int, threshold: float, nms_threshold: float
) -> DetectionOptions:
    if detection not in DETECTION_MODES:
        raise InvalidInput(f"got detection {detection!r}, expected one of {DETECTION_MODES}")
    if det_size < 32 or det_size % 32:
        raise InvalidInput(f"got det_size {det_size}, expected a multiple of 32 such as 640")
    if not 0 < threshold <= 1:
        raise InvalidInput(f"got det_threshold {threshold}, expected more than 0 and at most 1")
    sizes = ((det_size, det_size),) if detection == "standard" else AUTO_SIZES
    return DetectionOptions(sizes, threshold, nms_threshold, robust=detection == "robust")
