"""`ModelSession`: what `model.session` reads, ONNX Runtime's interface over any backend."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...backends.providers.request import devices_of_providers
from ...utils.arrays import in_order
from ...utils.devices import Device
from ...utils.errors import BackendUnavailable, InvalidInput
from ...utils.packs import ModelFile
from ...utils.packs.graph_header import GraphHeader, TensorInfo, read_graph_header
from .face import imported_class
from .portable import Portable

if TYPE_CHECKING:
    from .models import ModelView

_log = logging.getLogger("FastFace")

#: Backends whose engine is ONNX Runtime itself.
_ONNX_RUNTIME = ("onnxruntime", "insightface")
#: ONNX Runtime's words for the types that differ from NumPy's.
_TYPES = {"float32": "float", "float64": "double"}


@dataclass(frozen=True)
class NodeArg:
    """An input or output of a graph, as `onnxruntime.NodeArg`.

    Attributes:
        name: Its name in the graph.
        shape: Size of each axis; of an open one its name, or None.
        type: Such as `tensor(float)`.
    """

    name: str
    shape: list[int | str | None]
    type: str

    @classmethod
    def of(cls, tensor: TensorInfo) -> NodeArg:
        return cls(
            tensor.name,
            list(tensor.axes or tensor.shape),
            f"tensor({_TYPES.get(tensor.dtype, tensor.dtype)})",
        )


def _header(model: ModelFile) -> GraphHeader:
    # That of the pack: the file may be another one by now, or gone.
    return model.header or read_graph_header(model.path)


def graph_inputs(model: ModelFile) -> list[NodeArg]:
    """What a model's file is fed, as it was released; a cascade's first network takes images."""
    if model.path.suffix == ".onnx":
        return [NodeArg.of(tensor) for tensor in _header(model).inputs]
    shape: list[int | str | None] = [*model.input_shape] or [None, 3, None, None]
    return [NodeArg("image", shape, "tensor(float)")]


def graph_outputs(model: ModelFile) -> list[NodeArg]:
    """What comes out of a model's file, as it was released; nothing is said of a cascade."""
    if model.path.suffix == ".onnx":
        return [NodeArg.of(tensor) for tensor in _header(model).outputs]
    shapes = enumerate(model.output_shapes)
    return [NodeArg(f"output{place}", [*shape], "tensor(float)") for place, shape in shapes]


class ModelSession(Portable):
    """The session of one network of one object: the network is shared, this is not.

    Whoever replaces `run` on it replaces it for this object alone, whether the network is loaded or
    not. On the backends of ONNX Runtime everything else that an InferenceSession has is that of the
    engine's own, and `isinstance` says so.
    """

    def __init__(self, view: ModelView) -> None:
        self._view = view

    @property
    def __class__(self) -> type:  # type: ignore[override]
        """ONNX Runtime's class where that is the engine; see `imported_class`."""
        engine = imported_class("onnxruntime", "InferenceSession") if self._is_ort() else None
        return engine or type(self)

    def __getattr__(self, name: str) -> Any:
        # Instance attributes of an InferenceSession begin with an underscore; its class has the
        # rest. The model is not loaded to say no.
        kind = self.__class__ if not name.startswith("__") and name != "_view" else type(self)
        if kind is not type(self) and (name.startswith("_") or hasattr(kind, name)):
            return getattr(self.raw, name)
        raise AttributeError(f"{type(self).__name__} has no {name!r}", name=name, obj=self)

    def _is_ort(self) -> bool:
        return self._view.analyzer.backend.name in _ONNX_RUNTIME

    @property
    def raw(self) -> Any:
        """The engine's own object for the whole graph; loads the model."""

        def raw(model: Any) -> Any:
            session = getattr(model, "session", model)
            return getattr(session, "raw", session)

        return self._view.with_model(raw)

    def get_inputs(self) -> list[NodeArg]:
        """The one input, as the released graph has it."""
        return graph_inputs(self._view.file)

    def get_outputs(self) -> list[NodeArg]:
        """The outputs, as the released graph has them."""
        return graph_outputs(self._view.file)

    def get_providers(self) -> list[str]:
        """What it runs on, best first: ONNX Runtime's providers, or another engine's name."""
        provider = self._view.with_model(lambda model: model.runs_on.provider)
        cpu = "CPUExecutionProvider"
        return [provider, cpu] if self._is_ort() and provider != cpu else [provider]

    def set_providers(self, providers: Any = None, provider_options: Any = None) -> None:
        """Moves the whole object to the CPU, if that comes first; else the log says that it stays.

        Args:
            providers: As ONNX Runtime takes them.
            provider_options: Likewise.
        """
        devices, _ = devices_of_providers(providers, provider_options)
        here = self._view.analyzer.placement.device
        if devices and devices[0] == "cpu":
            self._view.owner.to_cpu()
        elif devices and Device.parse(devices[0]).word != Device.parse(here).word:
            _log.warning(
                "%s stays on %s, though it was asked to go to %r: load it for that device",
                self._view.taskname,
                here,
                providers,
            )

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: Any = None,
    ) -> list[np.ndarray]:
        """Runs the network.

        Args:
            output_names: What to give, in this order; None or empty gives all.
            input_feed: The one input by name, `[B,C,H,W]`, normalised as the network expects it.
            run_options: For ONNX Runtime; without effect.

        Returns:
            float32, in the shapes that the released graph gives.

        Raises:
            InvalidInput: There is no such output, or not one input.
            BackendUnavailable: It is no single graph: a cascade.
        """
        outputs = self.get_outputs()
        names = [output.name for output in outputs]
        wanted = list(output_names or names)
        unknown = [name for name in wanted if name not in names]
        if unknown or len(input_feed) != 1:
            raise InvalidInput(
                f"got outputs {wanted} and inputs {list(input_feed)}, expected some of {names} and "
                f"the one input {self.get_inputs()[0].name!r}"
            )
        (value,) = input_feed.values()
        results = self._results(in_order(value))
        shaped = dict(zip(names, map(_as_released, results, outputs), strict=True))
        return [shaped[name] for name in wanted]

    def _results(self, value: np.ndarray) -> list[np.ndarray]:
        return self._view.with_model(lambda model: self._results_of(model, value))

    def _results_of(self, model: Any, value: np.ndarray) -> list[np.ndarray]:
        session: Any = getattr(model, "session", None)
        if session is None:
            raise BackendUnavailable(
                f"{self._view.taskname} of {self._view.analyzer.pack.name} is no single graph that "
                "a session could run; call the model's own methods"
            )
        if hasattr(session, "get_inputs"):  # insightface's own
            return session.run(None, {session.get_inputs()[0].name: value})
        results = session.run(torch.from_numpy(value).to(session.device))
        return [result.float().cpu().numpy() for result in results]


def _as_released(result: np.ndarray, output: NodeArg) -> np.ndarray:
    """Without the batch axis that the graph as released does not have."""
    has_one_more = output.shape and result.ndim == len(output.shape) + 1 and len(result) == 1
    return result[0] if has_one_more else result
