"""`Quantiser`: ONNX Runtime's own tool for int8 graphs, with its options.

Weights become int8, one scale a channel, and what flows between layers uint8, by the ranges that it
had for recorded inputs. They are written as `QuantizeLinear` and `DequantizeLinear` around each
layer, which OpenVINO reads as well.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...utils.errors import BackendUnavailable
from ...utils.progress import may_stop
from .batch_axis import open_inputs
from .graph import import_onnx, read_model
from .kept_nodes import (
    WEIGHTED,
    ExactEnds,
    around_outputs,
    around_upsampling,
    before_the_first_weights,
    exact_layers,
    name_nodes,
    of_shapes,
)

#: What a graph is given in one run: images `[B,C,H,W]` float32, and its further inputs likewise.
GraphInputs = tuple[np.ndarray, ...]

#: What is quantised besides layers with weights, so that no value becomes float in between.
_OPERATORS = (
    *sorted(WEIGHTED),
    *("Add", "AveragePool", "Concat", "MaxPool", "Relu", "Resize", "Slice"),
)
#: How many times as wide as what was recorded a value's range is. Other pictures go beyond that, by
#: up to 1.8 times of seven that SCRFD-2.5G was tried on, and what is cut off is lost, while a wider
#: range makes all values coarser. In 18 pictures its landmarks were off by 0.21 px in the 95th
#: percentile with 1.0, 0.19 with 1.2, 0.16 with 1.4 and 0.19 with 1.7; but in the pictures of the
#: proof the cosine fell from 0.9996 to 0.9995 with 1.2, and to 0.9993 with 1.4.
_RANGE_MARGIN = 1.2
#: One scale a channel is written from this version of ONNX's operators on.
_OPSET = 17


@dataclass
class Recording:
    """What a graph was given.

    Attributes:
        inputs: Of each run.
        ranges: Of its values meanwhile, wider than they were; None until they are worked out, which
            takes most of the time of quantising.
    """

    inputs: list[GraphInputs] = field(default_factory=list)
    ranges: Any = None


class PreparedGraph(NamedTuple):
    """A graph that can be quantised.

    Attributes:
        path: Its file.
        model: The same, as a `ModelProto`.
    """

    path: Path
    model: Any


class Quantiser:
    """ONNX Runtime's `quantization` package."""

    def __init__(self) -> None:
        """
        Raises:
            BackendUnavailable: It does not load.
        """
        self._tool = _quantization()

    def prepared(self, source: Path, folder: Path) -> PreparedGraph:
        """A graph with newer operators, its batch norms folded and every node named.

        Args:
            source: Its file.
            folder: Is made; files are written there.
        """
        from onnxruntime.quantization.shape_inference import quant_pre_process

        folder.mkdir()
        newer, prepared = folder / "newer.onnx", folder / "prepared.onnx"
        onnx = import_onnx()
        model = read_model(source)
        if max(entry.version for entry in model.opset_import if not entry.domain) < _OPSET:
            model = onnx.version_converter.convert_version(model, _OPSET)
        _drop_unused(model.graph)
        onnx.save(model, str(newer))
        # Files, since graphs in memory go through external data, which it can't read back.
        quant_pre_process(newer, prepared, skip_symbolic_shape=True)
        model = onnx.load(str(prepared))
        name_nodes(model)
        _drop_unused(model.graph)
        onnx.save(model, str(prepared))
        return PreparedGraph(prepared, model)

    def quantise(
        self, graph: PreparedGraph, recording: Recording, ends: ExactEnds, target: Path
    ) -> None:
        """Writes the int8 form of a graph.

        Args:
            graph: The graph.
            recording: What it was given; its ranges are worked out unless they are there.
            ends: Which layers stay in floating point.
            target: The file to write.
        """
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

        if recording.ranges is None:
            recording.ranges = self._ranges(graph, recording.inputs)
        model = graph.model
        kept = before_the_first_weights(model) | around_outputs(model) | of_shapes(model)
        kept |= around_upsampling(model) | exact_layers(model, ends)
        quantizer = self._tool.QDQQuantizer(
            load_model_with_shape_infer(graph.path),
            per_channel=True,
            reduce_range=False,
            weight_qType=self._tool.QuantType.QInt8,
            activation_qType=self._tool.QuantType.QUInt8,
            tensors_range=deepcopy(recording.ranges),  # it narrows some where they are
            nodes_to_quantize=[],
            nodes_to_exclude=sorted(kept),
            op_types_to_quantize=list(_OPERATORS),
            # By default what only moves values is left in floating point behind an activation.
            extra_options={"ForceQuantizeNoInputCheck": True},
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(target))

    def _ranges(self, graph: PreparedGraph, inputs: Sequence[GraphInputs]) -> Any:
        """The range of every value that may be quantised, wider than what was recorded."""
        calibrator = self._tool.create_calibrator(
            graph.path,
            list(_OPERATORS),
            augmented_model_path=str(graph.path.with_name("augmented.onnx")),
        )
        calibrator.collect_data(_reader(graph.model, inputs, self._tool.CalibrationDataReader))
        ranges = calibrator.compute_data()
        for name, data in ranges.items():
            lowest, highest = (np.float32(_RANGE_MARGIN) * each for each in data.range_value)
            ranges[name] = self._tool.TensorData(lowest=lowest, highest=highest)
        return ranges


def _quantization() -> Any:
    """
    Raises:
        BackendUnavailable: It does not load.
    """
    before = list(sys.path)
    try:
        import onnxruntime

        # What it imports expects to find its neighbours there, as the first import of that package
        # sees to; `trt/half.py` takes that back.
        sys.path.append(str(Path(onnxruntime.__file__).parent / "transformers"))
        from onnxruntime import quantization
        from onnxruntime.quantization import shape_inference  # noqa: F401  imported by name later
    except ImportError as error:
        raise BackendUnavailable(
            f"int8 graphs are made by onnxruntime's quantisation, which does not load ({error}); "
            "run `python install.py` in the pack's folder, or choose another precision"
        ) from error
    finally:
        sys.path[:] = before
    # It warns of what is done here already.
    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
    return quantization


def _drop_unused(graph: Any) -> None:
    """Drops constants that nothing reads, of each of which ONNX Runtime would warn on stderr."""
    used = {name for node in graph.node for name in node.input}
    used.update(value.name for value in graph.output)
    for tensor in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(tensor)
    for node in [each for each in graph.node if each.op_type == "Constant"]:
        if used.isdisjoint(node.output):
            graph.node.remove(node)


def _reader(model: Any, inputs: Sequence[GraphInputs], base: type) -> Any:
    """Recorded inputs as ONNX Runtime's calibration wants them: a subclass of its own class."""
    names = [entry.name for entry in open_inputs(model.graph)]
    waiting = iter(inputs)

    class Inputs(base):
        def get_next(self) -> dict[str, np.ndarray] | None:
            may_stop()
            given = next(waiting, None)
            return None if given is None else dict(zip(names, given, strict=True))

    return Inputs()
