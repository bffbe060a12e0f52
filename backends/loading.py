"""From what a user chose to a ready `FaceAnalysis`: pack, backend, device, precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..utils.errors import BackendUnavailable, InvalidInput, ModelError
from ..utils.packs import ModelPack
from ..utils.packs.find import find_packs, load_pack, pack_roots
from ..utils.packs.known import KNOWN_PACKS
from .base import Backend, DetectionOptions, Placement
from .dropin.facade import FaceAnalysis
from .dropin.sizes import AUTO_SIZES
from .pool import shared_analyzer
from .registry import all_backends, get_backend

AUTO = "auto"

#: Backends that `auto` tries, best first, and whether only where they have a GPU.
_AUTO_BACKENDS = (
    ("torch", True),
    ("onnxruntime", False),
    ("torch", False),
    ("insightface", False),
    ("facenet", False),
)

#: Devices that `auto` takes, best first. Others (TensorRT builds for minutes, CoreML and OpenVINO
#: take part of a graph) are for those who ask for them.
_GPUS = ("cuda", "rocm", "xpu", "mps", "directml")
_AUTO_DEVICES = (*_GPUS, "cpu")

#: Every device word any backend knows, so that a workflow opens on any machine.
_DEVICE_WORDS = (
    *_AUTO_DEVICES,
    "tensorrt",
    "nvtensorrtrtx",
    "migraphx",
    "coreml",
    "openvino",
)

DETECTION_MODES = ("standard", "auto")


def pack_names(extra_roots: Sequence[Path] = ()) -> list[str]:
    """What `model_pack` can be: `auto`, installed packs, packs of backends, downloadable packs."""
    names = [AUTO, *find_packs(extra_roots), *_backend_packs(), *KNOWN_PACKS]
    return list(dict.fromkeys(names))


def backend_names() -> list[str]:
    """What `backend` can be, whether or not it can run here."""
    return [AUTO, *all_backends()]


def device_names() -> list[str]:
    """What `device` can be; an index may follow, as in `cuda:1`."""
    further = [f"cuda:{index}" for index in range(1, torch.cuda.device_count())]
    return [AUTO, *_DEVICE_WORDS, *further]


def load_face_analysis(
    *,
    model_pack: str = AUTO,
    backend: str = AUTO,
    device: str = AUTO,
    precision: str = AUTO,
    detection: str = "standard",
    det_size: int = 640,
    det_threshold: float = 0.0,
    max_faces: int = 0,
    strict: bool = False,
    extra_roots: Sequence[Path] = (),
    download_missing: bool = False,
    on_download: Callable[[int, int], None] | None = None,
) -> FaceAnalysis:
    """Makes a facade of its own over models that are shared.

    The detector is opened at once, so that the caller learns what it really runs on; the other
    models are opened when something first reads their result.

    Args:
        model_pack: Name of a pack, or `auto`.
        backend: Name of a backend, or `auto`.
        device: Device word, with an index if wanted, or `auto`.
        precision: `fp32`, `fp16`, `bf16`, or `auto`.
        detection: `standard`, one pass at `det_size`; or `auto`, 128 and 640 merged.
        det_size: Side of the detector's input in pixels, for `standard`.
        det_threshold: Lowest score of a face, 0..1; 0 takes what suits the pack.
        max_faces: Most faces an image; 0 is no limit.
        strict: Whether running anywhere else than asked is an error.
        extra_roots: Further folders to look for packs in.
        download_missing: Whether a known pack that is not there may be downloaded.
        on_download: Called with bytes done and bytes in all.

    Raises:
        InvalidInput: A value is not one of those above.
        ModelError: The pack is not there, or damaged.
        BackendUnavailable: It can't run as asked.
    """
    if device != AUTO and device.partition(":")[0] not in _DEVICE_WORDS:
        raise InvalidInput(f"got device {device!r}, expected one of {device_names()}")
    if max_faces < 0:
        raise InvalidInput(f"got max_faces {max_faces}, expected 0 (no limit) or more")
    pack = _choose_pack(model_pack, backend, extra_roots, download_missing, on_download)
    options = _detection_options(detection, det_size, det_threshold or pack.det_threshold)
    return load_for_pack(pack, options, backend, device, precision, max_faces, strict)


def load_for_pack(
    pack: ModelPack,
    options: DetectionOptions,
    backend: str = AUTO,
    device: str = AUTO,
    precision: str = AUTO,
    max_faces: int = 0,
    strict: bool = False,
    tasks: Sequence[str] | None = None,
) -> FaceAnalysis:
    """`load_face_analysis` for a pack that was found already.

    Args:
        pack: The weights.
        options: Detection settings to begin with.
        tasks: Tasks of the pack to offer besides detection; None offers all.
    """
    chosen, why = _choose_backend(backend, pack, device)
    placement = _choose_placement(chosen, device, precision, strict)
    analyzer = shared_analyzer(pack, chosen, placement)
    analyzer.model("detection")
    refusal = chosen.embedding_refusal(pack)
    return FaceAnalysis(analyzer, options, max_faces, refusal, why, tasks)


def describe_loaded(face_analysis: FaceAnalysis) -> str:
    """What was loaded and what really runs where, in a few lines for people."""
    analyzer = face_analysis.analyzer
    pack, placement, options = analyzer.pack, analyzer.placement, face_analysis.options()
    runs_on = analyzer.runs_on()
    lines = []
    for task in pack.tasks:
        where = runs_on.get(task)
        lines.append(f"{task}: {f'runs on {where}' if where else 'opened when first read'}")
        if where and where.note:
            lines.append(f"  note: {where.note}")
    if "recognition" not in pack.tasks:
        lines.append("this pack has no recognition model: faces have no embedding")
    sizes = " + ".join(f"{width} x {height}" for width, height in options.sizes_wh)
    limit = face_analysis.max_faces or "no limit"
    strict = ", strict" if placement.strict else ""
    lines += [
        f"detection at {sizes}, threshold {options.threshold:g}, faces an image: {limit}",
        f"backend: {analyzer.backend.name} ({face_analysis.why})",
        f"asked for: {placement.device}, {placement.precision}{strict}",
        f"pack: {pack.name} in {pack.folder} ({pack.origin})",
        f"licence: {pack.licence}",
    ]
    return "\n".join(lines)


def _detection_options(detection: str, det_size: int, threshold: float) -> DetectionOptions:
    if detection not in DETECTION_MODES:
        raise InvalidInput(f"got detection {detection!r}, expected one of {DETECTION_MODES}")
    if det_size < 32 or det_size % 32:
        raise InvalidInput(f"got det_size {det_size}, expected a multiple of 32 such as 640")
    if not 0 < threshold <= 1:
        raise InvalidInput(f"got det_threshold {threshold}, expected more than 0 and at most 1")
    sizes = AUTO_SIZES if detection == "auto" else ((det_size, det_size),)
    return DetectionOptions(sizes, threshold)


def _backend_packs() -> dict[str, ModelPack]:
    return {pack.name: pack for backend in all_backends().values() for pack in backend.packs()}


def _choose_pack(
    name: str,
    backend: str,
    extra_roots: Sequence[Path],
    download_missing: bool,
    on_download: Callable[[int, int], None] | None,
) -> ModelPack:
    own = _backend_packs()
    if name in own:
        return own[name]
    installed = find_packs(extra_roots)
    if name == AUTO:
        if backend != AUTO:
            packs = get_backend(backend).packs()
            if packs:
                return packs[0]
        preferred = [known for known in KNOWN_PACKS if known in installed]
        packs = [load_pack(found, extra_roots) for found in dict.fromkeys((*preferred, *installed))]
        packs += own.values()
        for pack in packs:
            if backend != AUTO or _can_run(pack):
                return pack
        if packs:
            return packs[0]  # so that the error says what each backend lacks
        raise ModelError(
            "no model pack is installed: choose one by name with download_missing on, put one into "
            f"{pack_roots(extra_roots)[0]}, or install facenet-pytorch (python install.py)"
        )
    if name not in installed and name in KNOWN_PACKS and download_missing:
        from ..utils.download.fetch import download_pack

        download_pack(KNOWN_PACKS[name], pack_roots(extra_roots)[0], on_download)
    return load_pack(name, extra_roots)


def _can_run(pack: ModelPack) -> bool:
    return any(
        not backend.missing() and not backend.accepts(pack) for backend in all_backends().values()
    )


def _choose_backend(name: str, pack: ModelPack, device: str) -> tuple[Backend, str]:
    if name != AUTO:
        backend = get_backend(name)
        reason = backend.accepts(pack)
        if reason:
            raise BackendUnavailable(f"backend {name!r}: {reason}")
        return backend, "as chosen"
    passed_over: dict[str, str] = {}
    elsewhere: Backend | None = None
    backends = all_backends()
    for candidate, gpu_only in _AUTO_BACKENDS:
        if candidate not in backends:
            continue
        backend = backends[candidate]
        reason = backend.missing() or backend.accepts(pack)
        if reason is None:
            reason = _lacks(backend, device, gpu_only)
            if not gpu_only:
                elsewhere = elsewhere or backend
        if reason is None:
            # That a backend is for other packs goes without saying.
            others = [
                f"passed over {name}: {reason}"
                for name, reason in passed_over.items()
                if name != candidate and not backends[name].accepts(pack)
            ]
            return backend, "; ".join([f"auto: the best here for {pack.name}", *others])
        passed_over[candidate] = reason
    if elsewhere is not None:
        # It says itself what it could not do, or refuses if it is to be strict.
        return elsewhere, f"auto: no backend has device {device} here"
    raise BackendUnavailable(
        f"no backend can run pack {pack.name!r} here:\n"
        + "\n".join(f"{name}: {reason}" for name, reason in passed_over.items())
    )


def _lacks(backend: Backend, device: str, gpu_only: bool) -> str | None:
    """What of the devices asked for a backend does not have here, or None."""
    devices = backend.devices()
    if device != AUTO and device.partition(":")[0] not in devices:
        return f"has no device {device}, only {', '.join(devices)}"
    if device == AUTO and gpu_only and not set(devices) & set(_GPUS):
        return "finds no GPU"
    return None


def _choose_placement(backend: Backend, device: str, precision: str, strict: bool) -> Placement:
    if device == AUTO:
        offered = backend.devices()
        device = next((word for word in _AUTO_DEVICES if word in offered), "cpu")
    precisions = backend.precisions(device)
    if precision == AUTO:
        precision = precisions[0]
    elif precision not in precisions:
        raise InvalidInput(
            f"got precision {precision!r}, expected one of {list(precisions)} for backend "
            f"{backend.name!r} on {device}"
        )
    return Placement(device, precision, strict)
