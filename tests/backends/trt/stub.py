"""Stand-ins for TensorRT libraries that can't be had here, held to what was recorded of the real
ones: a member that a version lacks is missing, and wrong numbers of arguments are refused.

What they build is the graph itself, which ONNX Runtime runs on the CPU, at the addresses given.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from enum import IntEnum
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

INTERFACES = Path(__file__).parent / "interfaces"
RECORDED = sorted(path.stem for path in INTERFACES.glob("*.json"))
#: The oldest and newest `tensorrt` 10, 11, and `tensorrt_rtx`.
TENSORRT_10, TENSORRT_11, TENSORRT_RTX = "tensorrt_10.16", "tensorrt_11.4", "tensorrt_rtx_1.7"

STRONGLY_TYPED = "STRONGLY_TYPED"
_PHASES = (("Building engine", None, 2), ("Timing", "Building engine", 4))


def recorded(name: str) -> dict[str, Any]:
    return json.loads((INTERFACES / f"{name}.json").read_text(encoding="utf-8"))


class StubModule(ModuleType):
    """A library of one version.

    Attributes:
        seen: What was asked of it, by name.
        fails: Names of steps that fail: `parse`, `profile`, `build`, `deserialize`, `execute`.
        noise: Added to every result.
    """

    def __init__(self, name: str) -> None:
        record = recorded(name)
        super().__init__(record["module"])
        self.__version__ = record["version"]
        self.__spec__ = ModuleSpec(record["module"], None)
        self.is_rtx = record["module"] == "tensorrt_rtx"
        self.seen: dict[str, Any] = {}
        self.fails: set[str] = set()
        self.noise = 0.0
        for kind, told in record["classes"].items():
            if "values" in told:
                setattr(self, kind, IntEnum(kind, told["values"]))
            elif kind in BEHAVIOURS:
                setattr(self, kind, _limited(self, kind, BEHAVIOURS[kind], told["members"]))
        self.ILogger.Severity = IntEnum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")


def _limited(stub: StubModule, name: str, behaviour: type, members: dict[str, Any]) -> type:
    """A class that does what `behaviour` does, as far as the recorded version has it."""

    def setattr_(self: Any, key: str, value: Any) -> None:
        if not key.startswith("_") and key not in members and type(self).__name__ == name:
            raise AttributeError(f"{name} has no {key} in {stub.__version__}")
        object.__setattr__(self, key, value)

    body: dict[str, Any] = {"stub": stub, "__setattr__": setattr_}
    for key, value in vars(behaviour).items():
        if key.startswith("_"):
            if key not in ("__dict__", "__weakref__", "__module__"):
                body[key] = value
        elif key in members:
            body[key] = _counted(f"{name}.{key}", value, members[key])
    return type(name, (), body)


def _counted(name: str, value: Any, allowed: list[list[int]] | None) -> Any:
    if not callable(value) or allowed is None:
        return value
    function: Callable[..., Any] = value

    def call(self: Any, *arguments: Any) -> Any:
        if not any(least <= len(arguments) <= most for least, most in allowed):
            raise TypeError(f"{name} got {len(arguments)} arguments, of {allowed}")
        return function(self, *arguments)

    return call


class _Builder:
    stub: Any

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> Any:
        self.stub.seen["network_flags"] = flags
        return self.stub.INetworkDefinition()

    def create_builder_config(self) -> Any:
        return self.stub.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return self.stub.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        if "build" in self.stub.fails:
            self._logger.log(self.stub.ILogger.Severity.ERROR, "no kernel was found")
            return None
        monitor = config.progress_monitor
        for name, parent, steps in _PHASES:
            monitor.phase_start(name, parent, steps)
        for step in range(_PHASES[1][2]):
            if not monitor.step_complete("Timing", step):
                return None
        for name, _, _ in reversed(_PHASES):
            monitor.phase_finish(name)
        cache = config._timing_cache
        self.stub.seen["timings"] = None if cache is None else cache._data
        if cache is not None:
            cache._data += b"timed;"
        head = json.dumps({"shapes": config._profile._shapes, "made_by": self.stub.__version__})
        return head.encode() + b"\n" + network._graph


class _Network:
    _graph: bytes

    def get_input(self, index: int) -> Any:
        import onnx

        graph = onnx.load_from_string(self._graph).graph
        constants = {tensor.name for tensor in graph.initializer}
        return SimpleNamespace(name=[v.name for v in graph.input if v.name not in constants][index])


class _Config:
    stub: Any

    def __init__(self) -> None:
        self._timing_cache = None
        self._profile: Any = None
        self.progress_monitor = None
        self.stub.seen["flags_cleared"] = []

    def add_optimization_profile(self, profile: Any) -> int:
        self._profile = profile
        return -1 if "profile" in self.stub.fails else 0

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.stub.seen["workspace"] = (pool.name, size)

    def clear_flag(self, flag: Any) -> None:
        self.stub.seen["flags_cleared"].append(flag.name)

    def create_timing_cache(self, data: bytes) -> Any:
        assert not self.stub.is_rtx, "timing caches do nothing there, and warn"
        cache = self.stub.ITimingCache()
        cache._data = data
        return cache

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache._data.startswith(b"of another card"):
            return False
        self._timing_cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._timing_cache

    num_compute_capabilities = 0

    def set_compute_capability(self, capability: Any, index: int) -> bool:
        self.stub.seen["capability"] = (capability.name, index, self.num_compute_capabilities)
        return True


class _Profile:
    def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
        self._shapes = [least, best, most]


class _TimingCache:
    _data: bytes

    def serialize(self) -> bytes:
        return self._data


class _Parser:
    stub: Any

    def __init__(self, network: Any, logger: Any) -> None:
        self._network = network
        self.num_errors = 0

    def parse(self, model: bytes, path: str | None = None) -> bool:
        if "parse" in self.stub.fails:
            self.num_errors = 1
            return False
        self._network._graph = model
        return True

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: "no importer for the operator Frobnicate")


class _Listener:
    """Base of what the pack derives: a logger, a progress monitor."""

    stub: Any

    def __init__(self) -> None:
        pass


class _Runtime:
    stub: Any

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized: bytes) -> Any:
        if "deserialize" in self.stub.fails:
            self._logger.log(self.stub.ILogger.Severity.ERROR, "built for another card")
            return None
        engine = self.stub.ICudaEngine()
        head, _, graph = serialized.partition(b"\n")
        engine._shapes = json.loads(head)["shapes"]
        engine._load(graph)
        return engine


class _Engine:
    stub: Any
    _shapes: Any

    def _load(self, graph: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(graph, options, providers=providers)
        inputs = [entry.name for entry in self._session.get_inputs()]
        # Not in the graph's order: nobody promises that.
        outputs = sorted((entry.name for entry in self._session.get_outputs()), reverse=True)
        self._names = inputs + outputs
        self._result_shapes: dict[tuple[int, ...], dict[str, tuple[int, ...]]] = {}
        self.num_io_tensors = len(self._names)

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> Any:
        mode = self.stub.TensorIOMode
        return mode.INPUT if name == self._names[0] else mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self.stub.DataType.FLOAT

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        return self._shapes

    def create_runtime_config(self) -> Any:
        return self.stub.IRuntimeConfig()

    def create_execution_context(self, how: Any = None) -> Any:
        strategy = getattr(how, "_strategy", how)
        self.stub.seen["memory"] = getattr(strategy, "name", None)
        graphs = getattr(how, "cuda_graph_strategy", None)
        self.stub.seen["cuda_graphs"] = getattr(graphs, "name", None)
        context = self.stub.IExecutionContext()
        context._engine = self
        return context


class _RuntimeConfig:
    _strategy = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._strategy = strategy


class _Context:
    stub: Any
    _engine: Any

    def __init__(self) -> None:
        self._addresses: dict[str, int] = {}
        self._scratch: tuple[int, int] | None = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = tuple(shape)
        least, _, most = self._engine._shapes
        return all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))

    def update_device_memory_size_for_shapes(self) -> int:
        return 4096

    def set_device_memory(self, memory: int, size: int) -> None:
        self._scratch = (memory, size)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        known = self._engine._result_shapes
        if self._shape not in known:
            results = self._compute(np.zeros(self._shape, np.float32))
            known[self._shape] = {key: result.shape for key, result in results.items()}
        return known[self._shape][name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle, "the default stream makes TensorRT wait for the whole device"
        assert self._scratch and self._scratch[0] and self._scratch[1] >= 4096
        self.stub.seen.setdefault("batches", []).append(self._shape[0])
        if "execute" in self.stub.fails:
            return False
        size = int(np.prod(self._shape))
        place = ctypes.cast(self._addresses[self._engine._names[0]], ctypes.POINTER(ctypes.c_float))
        image = np.ctypeslib.as_array(place, (size,)).reshape(self._shape)
        for name, result in self._compute(image).items():
            data = np.ascontiguousarray(result + np.float32(self.stub.noise))
            ctypes.memmove(self._addresses[name], data.ctypes.data, data.nbytes)
        return True

    def _compute(self, image: np.ndarray) -> dict[str, np.ndarray]:
        session = self._engine._session
        names = [entry.name for entry in session.get_outputs()]
        return dict(zip(names, session.run(names, {self._engine._names[0]: image}), strict=True))


BEHAVIOURS: dict[str, type] = {
    "Builder": _Builder,
    "INetworkDefinition": _Network,
    "IBuilderConfig": _Config,
    "IOptimizationProfile": _Profile,
    "ITimingCache": _TimingCache,
    "OnnxParser": _Parser,
    "IProgressMonitor": _Listener,
    "ILogger": _Listener,
    "Runtime": _Runtime,
    "ICudaEngine": _Engine,
    "IRuntimeConfig": _RuntimeConfig,
    "IExecutionContext": _Context,
}
