"""What engines are built of: the pack's graphs, batch axis added, in the wanted precision."""

from __future__ import annotations

from ...utils.accuracy_report import FIT, UNFIT, AccuracyReport, Verdict
from ...utils.errors import BackendUnavailable
from ...utils.packs import ModelFile
from ...utils.packs.checksums import content_of
from ...utils.precision import Precision
from ..onnx_graphs.batched import VERSION, BatchedGraph, batched_graph
from .engines import EngineKey, EngineStore
from .half import CONVERSION, half_graph
from .library import Card, Library
from .profile import Profile


def how_to_build(pack: str, precision: Precision) -> str:
    """The remedy where a pack has no engine."""
    return (
        "build it with the node FastFace Build Engine, or with "
        f"`python install.py engine --pack {pack} --precision {precision}`"
    )


def engine_key(
    model: ModelFile,
    prepared: BatchedGraph,
    precision: Precision,
    profile: Profile,
    library: Library,
    card: Card | None,
) -> EngineKey:
    """The key of the engine that these make."""
    return EngineKey(
        model=model.path.name,
        content=content_of(model),
        task=model.task,
        precision=precision,
        graph=_graph_version(precision),
        shapes=profile.shapes(model, prepared.takes_batches),
        takes_batches=prepared.takes_batches,
        library=str(library),
        device=library.device_key(card),
    )


def graph_in(precision: Precision, prepared: BatchedGraph) -> tuple[bytes, tuple[str, ...]]:
    """A serialised graph, and the names of the nodes that stay in fp32 in it; none if all do.

    Raises:
        BackendUnavailable: The graph was taken away in this moment.
    """
    if precision == "fp32":
        try:
            return prepared.path.read_bytes(), ()
        except OSError as error:
            raise BackendUnavailable(
                f"{prepared.path} can't be read ({error}); try again"
            ) from error
    graph, kept = half_graph(prepared.path)
    return graph.SerializeToString(), kept


def prepared_for(model: ModelFile) -> BatchedGraph:
    """The graph with a batch axis where it can be given one."""
    if model.input_dtype != "float32":
        raise BackendUnavailable(
            f"{model.path.name} takes {model.input_dtype}; engines are built of graphs that take "
            "float32: choose the onnxruntime or torch backend for this pack"
        )
    return batched_graph(model)


def find_engine(
    store: EngineStore,
    model: ModelFile,
    precision: Precision,
    library: Library,
    card: Card | None,
) -> tuple[EngineKey, AccuracyReport] | None:
    """The engine to run a model with, and what is known of its answers; None where none is built.

    One that is fit comes before those that are not known to be, and a newer before an older one.
    """
    content, version = content_of(model), _graph_version(precision)
    here = (content, precision, version, str(library), library.device_key(card))
    found = [
        (key, fitness_of(store, key))
        for key in store.listed()
        if (key.content, key.precision, key.graph, key.library, key.device) == here
    ]
    order: dict[Verdict, int] = {FIT: 0, UNFIT: 2}
    found.sort(key=lambda each: order.get(each[1].verdict, 1))
    return found[0] if found else None


def fitness_of(store: EngineStore, key: EngineKey) -> AccuracyReport:
    """What was noted of an engine's answers."""
    return AccuracyReport.from_json(store.facts(key).get("fitness", {}))


def why_not_there(
    store: EngineStore,
    model: ModelFile,
    precision: Precision,
    library: Library,
    card: Card | None,
) -> str:
    """Why a model has no engine: none was built, or by another version or for another card."""
    content = content_of(model)
    others = [
        f"{key.precision} by {key.library} for {key.device}"
        for key in store.listed()
        if key.content == content
    ]
    here = f"{precision} by {library} for {library.device_key(card)}"
    built = f", only in {', '.join(dict.fromkeys(others))}" if others else ""
    return f"{model.path.name} has no engine in {here}{built}"


def _graph_version(precision: Precision) -> str:
    prepared = f"prepared {VERSION}"
    return prepared if precision == "fp32" else f"{prepared}, half {CONVERSION}"
