"""What runs a pack - backend, device, precision - and what `auto` makes of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import torch

from ..backends.base import Backend, GraphBackend
from ..backends.placement import PRECISIONS, Placement
from ..backends.registry import all_backends, get_backend, refused_by_settings
from ..utils.devices import DEVICE_WORDS, Device, DeviceWord
from ..utils.errors import BackendUnavailable, InvalidInput
from ..utils.packs import ModelPack
from ..utils.precision import Precision
from ..utils.settings import settings

AUTO = "auto"
#: The precision that takes, for each task, the cheapest one that is proven; else what `auto` takes.
FAST: Precision = "fast"

#: What `precision` can be.
PRECISION_WORDS = (AUTO, *PRECISIONS, FAST)

#: Backends that `auto` tries, best first, and whether only where they have a GPU.
_AUTO_BACKENDS = (
    ("tensorrt", True),
    ("torch", True),
    ("onnxruntime", True),
    ("openvino", False),
    ("onnxruntime", False),
    ("torch", False),
    ("insightface", False),
    ("facenet", False),
)

#: Backends that `auto` tries for `fast` on a CPU before those, best first: where OpenVINO is not,
#: torch's bf16 is faster than ONNX Runtime's int8 and keeps the answers of more networks. See
#: benchmarks/RESULTS.md.
_FAST_BACKENDS = ("openvino", "torch", "onnxruntime")

#: Devices that `auto` takes, best first. Others (TensorRT builds for minutes, CoreML and OpenVINO
#: take part of a graph) are for those who ask for them.
_GPUS: tuple[DeviceWord, ...] = ("cuda", "rocm", "xpu", "mps", "directml")
_AUTO_DEVICES: tuple[DeviceWord, ...] = (*_GPUS, "cpu")


def backend_names() -> list[str]:
    """What `backend` can be, whether or not it can run here."""
    return [AUTO, *all_backends()]


def device_names() -> list[str]:
    """What `device` can be; an index may follow, as in `cuda:1`."""
    further = [f"cuda:{index}" for index in range(1, torch.cuda.device_count())]
    return [AUTO, *DEVICE_WORDS, *further]


def wanted_precision(precision: str) -> str:
    """What `auto` stands for by the settings."""
    return FAST if precision == AUTO and settings().fast else precision


def choose_backend(
    name: str,
    pack: ModelPack,
    device: str,
    precision: str = AUTO,
    not_fast: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Backend, str]:
    """The backend of a name, and why; `auto` takes the best that runs a pack here.

    Args:
        name: Of a backend, or `auto`.
        pack: The pack.
        device: A device word, with an index if wanted, or `auto`.
        precision: As the user chose it, or `auto`.
        not_fast: Backends that were found to be no faster for `fast`, and why.

    Raises:
        BackendUnavailable: None can run the pack; says what each lacks.
    """
    if name != AUTO:
        backend = get_backend(name)
        reason = backend.why_unsupported(pack)
        if reason:
            raise BackendUnavailable(f"backend {name!r}: {reason}")
        return backend, "as chosen"
    passed_over: dict[str, str] = {}
    elsewhere: Backend | None = None
    backends = all_backends()
    for candidate, gpu_only in _candidates(precision, not_fast):
        backend = backends[candidate]
        if gpu_only and device != AUTO and Device.parse(device).word not in _GPUS:
            continue
        reason = backend.why_unavailable()
        if reason and (gpu_only or backend.extra):
            continue  # that a machine lacks what only some have goes without saying
        reason = refused_by_settings(backend) or reason or backend.why_unsupported(pack)
        if reason is None:
            reason = _lacks(backend, device, gpu_only) or _why_not_in(backend, device, precision)
            reason = reason or backend.why_not_auto(
                pack, device, AUTO if precision == FAST else precision
            )
            if not (gpu_only or backend.extra):
                elsewhere = elsewhere or backend
        if reason is None:
            # That a backend is for other packs goes without saying.
            others = [
                f"passed over {name}: {reason}"
                for name, reason in passed_over.items()
                if name != candidate and not backends[name].why_unsupported(pack)
            ]
            first = (
                f"auto: the first in its order that runs {pack.name} here; FastFace Benchmark "
                "measures which is fastest"
            )
            slower = [f"for fast passed over {name}: {reason}" for name, reason in not_fast.items()]
            return backend, "; ".join([first, *others, *slower])
        passed_over[candidate] = reason
    if elsewhere is not None:
        # It says itself what it could not do, or refuses if it is to be strict.
        return elsewhere, f"auto: no backend has device {device} in precision {precision} here"
    raise BackendUnavailable(
        f"no backend can run pack {pack.name!r} here:\n"
        + "\n".join(f"{name}: {reason}" for name, reason in passed_over.items())
    )


def _candidates(precision: str, not_fast: Collection[str]) -> list[tuple[str, bool]]:
    """The backends that `auto` tries, best first, and whether only where they have a GPU."""
    backends = all_backends()
    there = [(name, gpu_only) for name, gpu_only in _AUTO_BACKENDS if name in backends]
    if wanted_precision(precision) != FAST:
        return there
    cheaper = [
        (name, False)
        for name in _FAST_BACKENDS
        if name in backends and name not in not_fast and backends[name].proven_precisions("cpu")
    ]
    gpus = [each for each in there if each[1]]
    return [*gpus, *cheaper, *(each for each in there if not each[1])]


def _lacks(backend: Backend, device: str, gpu_only: bool) -> str | None:
    """What of the devices asked for a backend does not have here, or None."""
    devices = backend.devices()
    if device == AUTO and gpu_only and not settings().prefer_gpu:
        return "is for a GPU, and FASTFACE_PREFER_GPU is 0"
    if device != AUTO and Device.parse(device).word not in devices:
        return f"has no device {device}, only {', '.join(devices)}"
    if not gpu_only:
        return None
    return None if device != AUTO or set(devices) & set(_GPUS) else "finds no GPU"


def _why_not_in(backend: Backend, device: str, precision: str) -> str | None:
    """Why a backend does not compute in a precision on a device that it has, or None."""
    device = _device_of(backend, device)
    if precision not in PRECISIONS or precision in backend.precisions(device):
        return None
    return backend.why_not_offered(precision, device)


def _device_of(backend: Backend, device: str) -> str:
    """The device that a backend is to take for the one that was asked for."""
    if device != AUTO:
        return device
    return best_device(backend.devices() if settings().prefer_gpu else ("cpu",))


def best_device(offered: Sequence[DeviceWord]) -> DeviceWord:
    """What `auto` takes of the devices that a backend offers."""
    for word in _AUTO_DEVICES:
        if word in offered:
            return word
    return "cpu"


def choose_placement(
    backend: Backend, pack: ModelPack, device: str, precision: str, strict: bool
) -> Placement:
    """Device and precision; `auto` takes the best of the backend.

    `fast` stays as it is where there is something to choose from, see `precision_choice`.

    Raises:
        InvalidInput: The device has no such precision there.
    """
    device = _device_of(backend, device)
    precisions = backend.precisions(device)
    precision = wanted_precision(precision)
    if precision == AUTO or (precision == FAST and not backend.proven_precisions(device)):
        precision = backend.best_precision(pack, device)
    elif precision not in (*precisions, FAST):
        reason = ""
        if precision in PRECISIONS:
            reason = f": {backend.why_not_offered(precision, device)}"
        raise InvalidInput(
            f"got precision {precision!r}, expected one of {[*precisions, FAST]} for backend "
            f"{backend.name!r} on {device}{reason}"
        )
    return Placement(device, precision, strict)


def why_not_cheaper(backend: Backend, device: str) -> str:
    """Why `fast` is what `auto` is for a backend on a device where nothing cheaper is to be had."""
    if not isinstance(backend, GraphBackend):
        return f"backend {backend.name} computes in one precision alone"
    reasons = [backend.why_not_offered(precision, device) for precision in ("bf16", "int8")]
    return "; ".join(dict.fromkeys(reasons))
