"""A model's graphs in int8: quantised once on recorded inputs, kept on disk, never used unproved.

What comes of it are other answers, not those of the original to the last digits, so nothing here
holds them against each other: `pipeline.precision_proof` does, on pictures.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...utils.errors import BackendUnavailable, ModelError, OutOfMemory
from ...utils.free_memory import free_ram
from ...utils.packs import ModelFile
from ...utils.packs.checksums import content_bytes
from ...utils.precision import Precision
from ..placement import Placement
from .batched import batched_graph
from .cache_entries import VERSIONS, Entry
from .foreign import foreign_graph
from .graph_cache import NewFile, graph_cache
from .kept_nodes import ExactEnds, exact_ends
from .margin_graphs import margin_graphs_of
from .margin_rewrite import AXES
from .quantiser import Quantiser, Recording

_log = logging.getLogger("FastFace")

#: Share of the products whose layers stay in floating point at the beginning of the network: their
#: few channels don't fill the instructions. SCRFD-2.5G's first two took ONNX Runtime 9 ms of 34 in
#: int8, at 640 pixels on two cores of an Intel Xeon with AMX.
_EXACT_FIRST = 0.05
#: Memory that quantising takes, in sizes of the graph: ResNet100 took 9.9 on 32 crops.
_MEMORY_FACTOR = 10


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
    model: ModelFile, recipe: Int8Recipe, recordings: Mapping[Path, Recording]
) -> None:
    """Makes the int8 graphs of a model, unless they are there.

    Args:
        model: The model.
        recipe: How.
        recordings: What each of `graph_sources` was given.

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
        quantiser = Quantiser()
        ends = ExactEnds()
        with tempfile.TemporaryDirectory(prefix="fastface-int8-") as folder:
            for part, source in sources.items():
                recording = recordings.get(source)
                if recording is None or not recording.inputs:
                    continue
                with foreign_graph(model.path, "quantised"):
                    graph = quantiser.prepared(source, Path(folder) / part)
                    if part == "whole":
                        # Graphs of parts compute the same layers.
                        given = recording.inputs[0]
                        ends = exact_ends(graph.model, given, _EXACT_FIRST, recipe.exact_last)
                    quantiser.quantise(graph, recording, ends, new_file(part))
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
