"""A model's graphs in int8: quantised once on recorded inputs, kept on disk, never used unproved.

Weights become int8, one scale a channel, and what flows between layers uint8, by the ranges that it
had for the recorded inputs. Quantised is by ONNX Runtime's own tool, as `QuantizeLinear` and
`DequantizeLinear` around each layer, which OpenVINO reads as well.

What comes of it are other answers, not those of the original to the last digits, so nothing here
holds them against each other: `pipeline.precision_proof` does, on pictures.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...utils.errors import BackendUnavailable, ModelError, OutOfMemory
from ...utils.free_memory import free_ram
from ...utils.packs import ModelFile
from ...utils.packs.checksums import content_bytes
from ...utils.precision import Precision
from ...utils.progress import may_stop
from ..placement import Placement
from .batch_axis import open_inputs
from .batched import batched_graph
from .cache_entries import VERSIONS, Entry
from .foreign import foreign_graph
from .graph import import_onnx, read_model
from .graph_cache import NewFile, graph_cache
from .kept_nodes import (
    WEIGHTED,
    ExactEnds,
    around_outputs,
    before_the_first_weights,
    exact_ends,
    exact_layers,
    name_nodes,
    of_shapes,
)
from .margin_graphs import margin_graphs_of
from .margin_rewrite import AXES

_log = logging.getLogger("FastFace")

#: What a graph is given in one run: images `[B,C,H,W]` float32, and its further inputs likewise.
GraphInputs = tuple[np.ndarray, ...]

#: What is quantised besides layers with weights, so that no value becomes float in between.
_OPERATORS = (
    *sorted(WEIGHTED),
    *("Add", "AveragePool", "Concat", "MaxPool", "Relu", "Resize", "Slice"),
)
#: Share of the products whose layers stay in floating point at the beginning of the network: their
#: few channels don't fill the instructions. SCRFD-2.5G's first two took ONNX Runtime 9 ms of 34 in
#: int8, at 640 pixels on two cores of an Intel Xeon with AMX.
_EXACT_FIRST = 0.05
#: Memory that quantising takes, in sizes of the graph: ResNet100 took 9.9 on 32 crops.
_MEMORY_FACTOR = 10
#: One scale a channel is written from this version of ONNX's operators on.
_OPSET = 17


@dataclass(frozen=True)
class Int8Recipe:
    """How the int8 graphs of a model are made.

    Attributes:
        calibration: Digest of what the recorded inputs were made of.
        exact_last: Share of the products, 0..1, whose layers stay in floating point at the end of
            the network: what they make is read to more digits than others' values.
    """

    calibration: str
    exact_last: float = 0.0

    def __str__(self) -> str:
        return f"{self.calibration}/{self.exact_last:g}"


class OpenedGraphs(NamedTuple):
    """What sessions of a model open at a placement.

    Attributes:
        precision: `fp32`, `fp16`, `bf16` or `int8`.
        int8: The int8 graph of each graph, where that is the precision; else empty.
        note: Why it is not the precision that was asked for; empty if it is.
    """

    precision: Precision
    int8: Mapping[Path, Path]
    note: str

    def of(self, path: Path) -> tuple[Path, Precision]:
        """The file to open for a graph, and the precision that it is in."""
        if self.precision != "int8":
            return path, self.precision
        return (self.int8[path], "int8") if path in self.int8 else (path, "fp32")


def opened_graphs(model: ModelFile, placement: Placement) -> OpenedGraphs:
    """What to open of a model; in int8 where that was made of the content that its file has now.

    Raises:
        BackendUnavailable: It was not, and `strict` is asked for.
    """
    precision = placement.precision_of(model.task)
    if precision != "int8":
        return OpenedGraphs(precision, {}, "")
    made = int8_graphs(model, placement.recipe_of(model.task))
    if made is not None:
        return OpenedGraphs("int8", made, "")
    note = (
        f"{model.path.name} has no int8 graphs: they are made by FastFace Loader, of the content "
        "that the file has then; run it again"
    )
    if placement.strict:
        raise BackendUnavailable(note)
    _log.warning("%s; it runs in fp32 until then", note)
    return OpenedGraphs("fp32", {}, note)


class _NotMade(Exception):
    """The cache has no int8 graphs of this recipe."""


def graph_sources(model: ModelFile) -> dict[str, Path]:
    """The graphs that are run for pictures, by part: `whole`, and those of `AXES`."""
    whole = batched_graph(model)
    sources = {"whole": whole.path}
    margins = margin_graphs_of(whole.path, model) if whole.takes_batches and model.family else None
    if margins is not None:
        sources |= {part: margins.along[axis] for part, axis in AXES.items()}
    return sources


def int8_graphs(model: ModelFile, recipe: str) -> Mapping[Path, Path] | None:
    """The int8 graph of each graph of a model; None where none were made of this content.

    Args:
        model: The model.
        recipe: An `Int8Recipe` as text.
    """

    def make(new_file: NewFile) -> dict[str, Any]:
        raise _NotMade

    try:
        made = _obtain(model, recipe, make)
    except _NotMade:
        return None
    sources = graph_sources(model)
    return {source: made[part] for part, source in sources.items() if part in made}


def make_int8_graphs(
    model: ModelFile, recipe: Int8Recipe, inputs: Mapping[Path, Sequence[GraphInputs]]
) -> None:
    """Makes the int8 graphs of a model, unless they are there.

    Args:
        model: The model.
        recipe: How.
        inputs: What each of `graph_sources` was given.

    Raises:
        BackendUnavailable: ONNX Runtime's quantisation is not installed.
        ModelError: A graph can't be quantised, or takes something else than float32.
        OutOfMemory: There is too little memory for it.
        OSError: They can't be written.
    """
    if model.input_dtype != "float32":
        raise ModelError(
            f"{model.path.name} takes {model.input_dtype}, and graphs that take float32 alone are "
            "quantised; choose precision fp32"
        )
    needed = _MEMORY_FACTOR * content_bytes(model)
    if free_ram() < needed:
        raise OutOfMemory(
            f"{model.path.name}: quantising takes about {needed / 1e9:.1f} GB of memory, and "
            f"{free_ram() / 1e9:.1f} GB are free; close other programs, or choose precision fp32"
        )
    sources = graph_sources(model)

    def make(new_file: NewFile) -> dict[str, Any]:
        quantisation = _quantisation()
        ends = ExactEnds()
        with tempfile.TemporaryDirectory(prefix="fastface-int8-") as folder:
            for part, source in sources.items():
                if not inputs.get(source):
                    continue
                with foreign_graph(model.path, "quantised"):
                    prepared = Path(folder) / f"{part}.onnx"
                    graph = _prepared(source, Path(folder) / "newer.onnx", prepared)
                    if part == "whole":
                        # Graphs of parts compute the same layers.
                        ends = exact_ends(graph, inputs[source][0], _EXACT_FIRST, recipe.exact_last)
                    given = inputs[source]
                    _quantise(quantisation, prepared, new_file(part), graph, given, ends)
        return {}

    _obtain(model, str(recipe), make)


def _obtain(model: ModelFile, recipe: str, make: Any) -> Mapping[str, Path]:
    def read(entry: Entry) -> Mapping[str, Path]:
        return entry.files

    return graph_cache().obtain(
        "int8",
        model.path,
        model.path.name,
        make,
        read,
        recipe=recipe,
        made_of=[VERSIONS["batched"], VERSIONS["margins"]],
    )


def _quantise(
    quantisation: Any,
    prepared: Path,
    target: Path,
    graph: Any,
    inputs: Sequence[GraphInputs],
    ends: ExactEnds,
) -> None:
    """Quantises a graph that `_prepared` wrote."""
    kept = before_the_first_weights(graph) | around_outputs(graph) | of_shapes(graph)
    quantisation.quantize_static(
        prepared,
        target,
        _reader(graph, inputs, quantisation.CalibrationDataReader),
        quant_format=quantisation.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantisation.QuantType.QUInt8,
        weight_type=quantisation.QuantType.QInt8,
        nodes_to_exclude=sorted(kept | exact_layers(graph, ends)),
        op_types_to_quantize=list(_OPERATORS),
        # By default what only moves values is left in floating point behind an activation.
        extra_options={"ForceQuantizeNoInputCheck": True},
    )


def _quantisation() -> Any:
    """ONNX Runtime's `quantization` package.

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


def _prepared(source: Path, newer: Path, prepared: Path) -> Any:
    """Writes the graph with newer operators, then with batch norms folded and every node named.

    Returns:
        The latter, as a `ModelProto`.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx = import_onnx()
    model = read_model(source)
    if max(entry.version for entry in model.opset_import if not entry.domain) < _OPSET:
        model = onnx.version_converter.convert_version(model, _OPSET)
    onnx.save(model, str(newer))
    # Files, since graphs in memory go through external data, which it can't read back.
    quant_pre_process(newer, prepared, skip_symbolic_shape=True)
    model = onnx.load(str(prepared))
    name_nodes(model)
    onnx.save(model, str(prepared))
    return model


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
