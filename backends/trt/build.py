"""Builds an engine from a graph."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from ...utils.errors import BackendUnavailable, ModelError
from ..onnx_graphs.foreign import foreign_graph
from .build_progress import OnShare, Watch
from .library import Card, Library
from .profile import Shape, shape_range

#: Two builds at once would time their kernels against each other.
_lock = threading.Lock()


@dataclass(frozen=True)
class BuildSpec:
    """What is to be built.

    Attributes:
        name: Of the model's file, for messages.
        graph: A serialised `ModelProto` whose types are those to compute in.
        shapes: Least, best and most input shape.
        workspace_bytes: Most memory of the card that the network's work may take; 0 leaves it to
            the library.
        timings: What an earlier build has timed, or nothing.
    """

    name: str
    graph: bytes
    shapes: tuple[Shape, Shape, Shape]
    workspace_bytes: int
    timings: bytes = b""


@dataclass(frozen=True)
class Built:
    """A serialised engine, and the timings that the next build can use."""

    engine: bytes
    timings: bytes


def build(library: Library, card: Card | None, order: BuildSpec, on_share: OnShare) -> Built:
    """Builds; takes from a second to many minutes, in which only `on_share` is heard of.

    Args:
        library: That builds.
        card: The GPU to build for; None for a library that needs none.
        order: What to build.
        on_share: Called with the share done, 0..1, in any thread; what it raises ends the build and
            is raised here.

    Raises:
        ModelError: The library can't read the graph, or fails over it.
        BackendUnavailable: It can't build it; says why.
    """
    module = library.module
    with _lock:
        library.complaints()
        with foreign_graph(order.name, "built into an engine"):
            builder = module.Builder(library.logger)
            network = builder.create_network(library.network_flags())
            _parse(library, network, order)
            config = builder.create_builder_config()
            profile = builder.create_optimization_profile()
            profile.set_shape(network.get_input(0).name, *order.shapes)
            if config.add_optimization_profile(profile) < 0:
                raise BackendUnavailable(
                    f"{library} can't build {order.name} for {shape_range(order.shapes)}: "
                    f"{library.complaints()}; choose other sizes"
                )
            if order.workspace_bytes:
                workspace = module.MemoryPoolType.WORKSPACE
                config.set_memory_pool_limit(workspace, order.workspace_bytes)
            # TF32 keeps 10 bits of the mantissa: embeddings would differ from those of the CPU.
            config.clear_flag(module.BuilderFlag.TF32)
            library.aim(config, card)
            if library.keeps_timings:
                _attach_timings(config, order.timings)
            watch = Watch(library, on_share)
            config.progress_monitor = watch.monitor
            serialized = builder.build_serialized_network(network, config)
        watch.end()
        if serialized is None:
            raise BackendUnavailable(
                f"{library} can't build {order.name} for {shape_range(order.shapes)}: "
                f"{library.complaints()}; build it in fp32, with a smaller profile or more "
                "workspace, or choose the torch backend"
            )
        timings = _timings(config) if library.keeps_timings else b""
        return Built(bytes(serialized), timings)


def _parse(library: Library, network: Any, order: BuildSpec) -> None:
    parser = library.module.OnnxParser(network, library.logger)
    if not parser.parse(order.graph):
        reasons = [parser.get_error(number).desc() for number in range(parser.num_errors)]
        raise ModelError(
            f"{library} can't read {order.name}: {'; '.join(reasons) or library.complaints()}; "
            "choose the torch backend for this pack, or delete the file and download it again"
        )


def _attach_timings(config: Any, timings: bytes) -> None:
    # Those of another card or version are refused, and timing begins anew.
    if not config.set_timing_cache(config.create_timing_cache(timings), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _timings(config: Any) -> bytes:
    cache = config.get_timing_cache()
    return b"" if cache is None else bytes(cache.serialize())
