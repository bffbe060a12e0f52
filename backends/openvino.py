"""Backend `openvino`: the pack's graphs in Intel's OpenVINO, on any x86 CPU and on Intel's GPUs."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from ..utils import host
from ..utils.cores import is_x86, usable_cores, why_not_native
from ..utils.devices import Device, DeviceWord
from ..utils.errors import BackendUnavailable, InvalidInput, ModelError, OutOfMemory
from ..utils.free_memory import is_out_of_memory
from ..utils.packs import ModelFile, ModelPack
from ..utils.precision import Precision
from ..utils.settings import settings
from ..utils.telemetry import without_openvino_telemetry
from .base import GraphBackend
from .interfaces import Session
from .onnx_graphs.batched import BatchedGraph, batched_graph
from .onnx_graphs.graph import self_contained
from .onnx_graphs.int8_graphs import opened_graphs
from .placement import Placement, RunsOn
from .sessions.open_batched import open_batched
from .sessions.openvino_session import OpenVinoSession, Shapes

#: OpenVINO's names of devices, for ours.
_DEVICES: dict[DeviceWord, str] = {"xpu": "GPU", "cpu": "CPU"}
#: What OpenVINO computes in, for our names.
_PRECISIONS: dict[Precision, str] = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}
#: What a CPU may compute in instead of fp32, the cheapest first.
_CPU_PRECISIONS: tuple[Precision, ...] = ("int8", "bf16")
#: Larger graphs are compiled once, for all shapes: each compilation has weights of its own, and
#: what is saved is nothing beside a run of theirs.
_MOST_BYTES_PER_SHAPE = 16 << 20


class OpenVinoBackend(GraphBackend):
    """One compilation serves all batch and image sizes; every network shares one pool of threads.

    Source:
        OpenVINO Runtime's Python API, release 2026.4; docs.openvino.ai.
    """

    name = "openvino"
    extra = True
    input_format = torch.channels_last

    def why_unavailable(self) -> str | None:
        remedy = f"{Path(sys.executable)} -m pip install openvino"
        try:
            _core()
        except ModuleNotFoundError as error:
            if error.name != "openvino":
                return f"openvino needs the module {error.name!r}, which is missing; run {remedy}"
            return f"openvino is not installed, which is up to you; install it with: {remedy}"
        # What wheels built for another Python, numpy or set of system libraries raise.
        except (ImportError, OSError, AttributeError, RuntimeError) as error:
            return f"openvino is installed but does not load ({error}); install it again: {remedy}"
        return None

    def devices(self) -> tuple[DeviceWord, ...]:
        if self.why_unavailable():
            return ()
        there = {name.partition(".")[0] for name in _core().available_devices}
        return tuple(device for device, name in _DEVICES.items() if name in there)

    def precisions(self, device: str) -> tuple[Precision, ...]:
        if Device.parse(device).word == "xpu":
            return ("fp32", "mixed", "fp16")
        return ("fp32", *(each for each in _CPU_PRECISIONS if why_not_native(each) is None))

    def proven_precisions(self, device: str) -> tuple[Precision, ...]:
        return tuple(each for each in self.precisions(device) if each in _CPU_PRECISIONS)

    def engine_version(self) -> str:
        return str(_core().get_versions("CPU")["CPU"].build_number)

    def why_not_offered(self, precision: Precision, device: str) -> str:
        reason = why_not_native(precision) if precision in _CPU_PRECISIONS else None
        return reason or super().why_not_offered(precision, device)

    def why_not_auto(self, pack: ModelPack, device: str, precision: str) -> str | None:
        if not is_x86():
            return f"is not known to be faster than onnxruntime on {platform.machine()}"
        return None

    def open_session(self, model: ModelFile, placement: Placement) -> Session:
        """Compiles one graph.

        A graph that can't be given a batch axis is run one image at a time. All of a graph runs on
        the device or it is refused: OpenVINO leaves nothing to another one.

        Raises:
            BackendUnavailable: OpenVINO is missing, or can't compile for the device.
            InvalidInput: There is no such device or precision.
            ModelError: The file is missing, damaged, or nothing that OpenVINO can run.
        """
        if reason := self.why_unavailable():
            raise BackendUnavailable(reason)
        core = _core()
        target = self._target(placement.device, core.available_devices)
        precision, offered = placement.precision_of(model.task), self.precisions(placement.device)
        if precision not in offered:
            raise InvalidInput(
                f"openvino on {placement.device}: got precision {precision!r}, expected one of "
                f"{list(offered)}: {self.why_not_offered(precision, placement.device)}"
            )
        if not model.path.is_file():
            raise ModelError(f"{model.path} is not there; download the pack again")
        graphs = opened_graphs(model, placement)

        def open_graph(path: Path, note: str) -> OpenVinoSession:
            file, precision = graphs.of(path)
            compile_graph = partial(_compiled, file, model.path, target, precision)
            compiled = compile_graph()
            # In fp32 a compilation for one shape alone is no faster.
            small = path.stat().st_size <= _MOST_BYTES_PER_SHAPE
            per_shape = small and target == "CPU" and _floating(precision) != "fp32"
            where = ", ".join(compiled.get_property("EXECUTION_DEVICES"))
            notes = "; ".join(text for text in (graphs.note, note) if text)
            runs_on = RunsOn(placement.device, f"OpenVINO {where} {precision}", 1.0, notes)
            return OpenVinoSession(
                compiled,
                runs_on,
                model.path.name,
                compile_graph,
                compile_graph if per_shape else None,
                channels_last=_takes_channels_last(compiled, target),
            )

        # A GPU's kernels are compiled for one size.
        prepare = partial(_prepared, model)
        return open_batched(model, prepare, open_graph, any_size=target == "CPU")

    def _target(self, device: str, seen: Sequence[str]) -> str:
        """OpenVINO's name of a device of ours, such as `GPU.1` for `xpu:1`, if it sees it."""
        self._require_device(device)
        asked = Device.parse(device)
        name = _DEVICES[asked.word]
        numbered = f"{name}.{asked.number}"
        # The only one of its kind has no number.
        if asked.index is None or (asked.index == 0 and name in seen):
            return name
        if numbered not in seen:
            raise InvalidInput(f"openvino: got device {device!r}, but it sees only {list(seen)}")
        return numbered


def _prepared(model: ModelFile) -> BatchedGraph:
    """The graph to open.

    Raises:
        ModelError: It was tried, and nothing can run it. OpenVINO would not say so: where the
            shapes in a graph don't fit, release 2026.4 reads and writes beside its memory, and the
            process ends some time later.
    """
    prepared = batched_graph(model)
    if not prepared.is_runnable:
        raise ModelError(
            f"{model.path} is refused: {prepared.note}; it is damaged, or made for one size of "
            "input alone: delete it and download its pack again, or choose backend onnxruntime"
        )
    return prepared


def _compiled(
    path: Path, file: Path, target: str, precision: Precision, shapes: Shapes = ()
) -> Any:
    """The CompiledModel of a graph that was made of `file`, which is what users know.

    Args:
        path: The graph.
        file: What errors name.
        target: OpenVINO's name of the device.
        precision: What to compute in.
        shapes: Of each input, where it is compiled for them alone; empty for all shapes.
    """
    core, whole = _core(), self_contained(path)
    try:
        graph = core.read_model(whole)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"{file.name}: OpenVINO has too little memory to read it ({error}): free memory by "
                "unloading models or closing other programs"
            ) from error
        raise ModelError(
            f"{file} is no ONNX graph that OpenVINO can read ({error}); it may be damaged: delete "
            "it and download the pack again, or choose another backend"
        ) from error
    try:
        if _takes_channels_last(graph, target):
            graph = _with_channels_last(graph)
        if shapes:
            names = [port.any_name for port in graph.inputs]
            graph.reshape(dict(zip(names, map(list, shapes), strict=True)))
        return core.compile_model(graph, target, _properties(target, precision))
    except (RuntimeError, MemoryError) as error:
        kind = OutOfMemory if is_out_of_memory(error) else BackendUnavailable
        raise kind(
            f"{file.name}: OpenVINO can't compile it for {target}: {error}; free memory by "
            "unloading models, or choose backend onnxruntime or torch"
        ) from error


def _takes_channels_last(graph: Any, target: str) -> bool:
    """Whether a graph is compiled for images `[B,H,W,C]`."""
    if target != "CPU" or not graph.inputs:
        return False
    rank = graph.inputs[0].partial_shape.rank
    return rank.is_static and rank.get_length() == 4


def _with_channels_last(graph: Any) -> Any:
    """The same graph for images `[B,H,W,C]`, the order in which its convolutions want them."""
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(graph)
    image = steps.input(0)
    image.tensor().set_layout(Layout("NHWC"))
    image.model().set_layout(Layout("NCHW"))
    return steps.build()


@lru_cache(maxsize=1)
def _core() -> Any:
    """OpenVINO's own object; making one searches the machine for devices."""
    with without_openvino_telemetry():
        import openvino

    return openvino.Core()


def _floating(precision: Precision) -> Precision:
    """What floating-point numbers are computed in; what a graph says in int8 is computed so."""
    if precision != "int8":
        return precision
    return "fp32" if why_not_native("bf16") else "bf16"


def _properties(target: str, precision: Precision) -> dict[str, Any]:
    """How a graph is compiled."""
    # Said outright, because by default GPUs compute in fp16, and some CPUs in bf16.
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[_floating(precision)],
        "PERFORMANCE_HINT": "LATENCY",
    }
    if target == "CPU":
        properties["INFERENCE_NUM_THREADS"] = settings().threads or usable_cores()
        # A pinned thread can't make way for those of the rest of the workflow.
        properties["ENABLE_CPU_PINNING"] = False
    else:
        # A GPU's kernels take seconds to minutes to compile.
        properties["CACHE_DIR"] = str(host.cache_folder() / "engines" / "openvino")
    return properties
