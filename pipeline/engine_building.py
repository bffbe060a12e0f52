"""Builds the engines of a pack, and holds their answers against the reference."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..backends.base import Backend
from ..backends.onnx_graphs.batched import BatchedGraph
from ..backends.onnx_graphs.foreign import foreign_graph
from ..backends.onnx_graphs.value_sizes import refuse_absurd_sizes
from ..backends.placement import Placement
from ..backends.registry import all_backends
from ..backends.tensorrt import PRECISIONS, TensorRTBackend
from ..backends.trt.build import BuildSpec, build
from ..backends.trt.engine_sources import engine_key, fitness_of, graph_in, prepared_for
from ..backends.trt.engines import EngineKey, EngineStore
from ..backends.trt.library import (
    Card,
    Library,
    card_here,
    choose_library,
    cuda_device,
)
from ..backends.trt.open_engine import open_engine
from ..backends.trt.profile import Profile, shape_range
from ..models.opening import open_task
from ..utils.accuracy_report import UNTESTED, AccuracyReport
from ..utils.errors import BackendUnavailable, FileError, InvalidInput
from ..utils.images import Images
from ..utils.packs import ModelFile, ModelPack
from ..utils.pictures import packaged_photo, read_picture
from ..utils.precision import Precision
from ..utils.settings import settings
from ..utils.text import readable
from .accuracy_check import AccuracyCheck
from .analyzer import Analyzer

_log = logging.getLogger("FastFace")

#: Steps of the progress bar for each network, and how many of them are its building.
_STEPS, _BUILDING = 100, 90

#: What can't be done to a graph that is damaged.
_MADE = "made into an engine"

#: Where the reference is computed, best first.
_REFERENCES = ("onnxruntime", "torch")


@dataclass(frozen=True)
class BuildRequest:
    """What a user wants built.

    Attributes:
        precision: `fp32`, `fp16`, or `mixed`: recognition in fp16 and the rest in fp32.
        profile: Batches and sizes.
        workspace_bytes: Most memory of the card that building may take; 0 leaves it to the setting
            FASTFACE_GPU_MEM_LIMIT, and without one to the library.
        rebuild: Whether engines that are there are built anew.
        images: Photos with faces to compare answers on; None takes the one of insightface.
        device_index: Which NVIDIA GPU.
    """

    precision: Precision = "mixed"
    profile: Profile = field(default_factory=Profile)
    workspace_bytes: int = 0
    rebuild: bool = False
    images: Images | None = None
    device_index: int = 0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InvalidInput(f"got precision {self.precision!r}, expected one of {PRECISIONS}")
        if self.workspace_bytes < 0:
            raise InvalidInput(f"got workspace {self.workspace_bytes}, expected 0 or more bytes")


@dataclass(frozen=True)
class BuiltEngine:
    """One engine.

    Attributes:
        key: What it is.
        size_bytes: Of the serialised engine.
        seconds: That building took; None where it was there already.
        kept: Names of the nodes that stay in fp32.
        fitness: What the comparison with the reference found.
    """

    key: EngineKey
    size_bytes: int
    seconds: float | None
    kept: tuple[str, ...]
    fitness: AccuracyReport

    def __str__(self) -> str:
        key = self.key
        how = "there already" if self.seconds is None else f"built in {self.seconds:.1f} s"
        lines = [
            f"{key.task}: {key.model} in {key.precision} for {shape_range(key.shapes)}",
            f"{self.size_bytes / 1e6:.1f} MB, {how}",
            *([f"{len(self.kept)} nodes in fp32: {' '.join(self.kept)}"] if self.kept else []),
            f"answers: {self.fitness}",
        ]
        return "\n  ".join(lines)


@dataclass(frozen=True)
class PackEngines:
    """The engines of a pack, in the order of its tasks, what made them, and where they are."""

    library: Library
    folder: Path
    engines: tuple[BuiltEngine, ...]


def build_pack(
    pack: ModelPack,
    request: BuildRequest,
    on_progress: Callable[[int, int], None],
    store: EngineStore | None = None,
) -> PackEngines:
    """Builds an engine for each network of a pack, unless it is there, and compares its answers.

    Args:
        pack: The weights.
        request: What to build.
        on_progress: Called with steps done and in all, from any thread; what it raises ends it, and
            no file of the engine in work is left.
        store: Where engines are kept.

    Raises:
        BackendUnavailable: No library here can build, or it can't build this.
        ModelError: A file is damaged, or the library can't read its graph.
        InvalidInput: The engine folder can't be used.
    """
    if reason := TensorRTBackend().why_unsupported(pack):
        raise BackendUnavailable(
            f"no engine can be built of pack {pack.name!r}: {reason}; choose a pack of ONNX "
            "graphs, such as antelopev2 or buffalo_l, which FastFace Loader gets with "
            "download_missing"
        )
    card = card_here(request.device_index)
    library = choose_library(card)
    store = store or EngineStore()
    work = _Work(pack, request, library, card, store)
    total = _STEPS * len(pack.models)
    made = []
    for number, model in enumerate(pack.models):
        begun = number * _STEPS
        on_progress(begun, total)

        def report(share: float, begun: int = begun) -> None:
            on_progress(begun + int(_BUILDING * share), total)

        made.append(work.make(model, report))
    on_progress(total, total)
    return PackEngines(library, store.folder, tuple(made))


class _Work:
    def __init__(
        self,
        pack: ModelPack,
        request: BuildRequest,
        library: Library,
        card: Card | None,
        store: EngineStore,
    ) -> None:
        self._pack = pack
        self._request = request
        self._library = library
        self._card = card
        self._store = store
        self._examination: AccuracyCheck | None = None

    def make(self, model: ModelFile, on_share: Callable[[float], None]) -> BuiltEngine:
        """An engine, found or built, with its fitness."""
        precision = Placement(precision=self._request.precision).precision_of(model.task)
        with foreign_graph(model.path, _MADE):
            refuse_absurd_sizes(model)
            prepared = prepared_for(model)
            profile = self._request.profile
            key = engine_key(model, prepared, precision, profile, self._library, self._card)
        seconds = None
        if self._request.rebuild or not self._store.is_whole(key):
            seconds = self._build(model, prepared, key, on_share)
        engine = self._store.load(key)
        facts = self._store.facts(key)
        fitness = fitness_of(self._store, key)
        if fitness.verdict == UNTESTED:
            fitness = self._examine(model, key)
            with self._writing():
                self._store.note(key, engine, {**facts, "fitness": fitness.as_json()})
        kept = facts.get("kept_in_fp32", ())
        kept = tuple(map(str, kept)) if isinstance(kept, (list, tuple)) else ()
        return BuiltEngine(key, len(engine), seconds, kept, fitness)

    def _build(
        self,
        model: ModelFile,
        prepared: BatchedGraph,
        key: EngineKey,
        on_share: Callable[[float], None],
    ) -> float:
        with foreign_graph(model.path, _MADE):
            graph, kept = graph_in(key.precision, prepared)
        limit = self._request.workspace_bytes or int(settings().gpu_mem_limit)
        timings = self._store.timings(key.library, key.device)
        order = BuildSpec(model.path.name, graph, key.shapes, limit, timings)
        _log.info("building %s: %s", key, self._library.why)
        begin = time.perf_counter()
        built = build(self._library, self._card, order, on_share)
        seconds = time.perf_counter() - begin
        facts = {"pack": self._pack.name, "seconds": round(seconds, 2), "kept_in_fp32": kept}
        with self._writing():
            self._store.save(key, built.engine, facts)
            if built.timings:
                self._store.save_timings(key.library, key.device, built.timings)
        return seconds

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except FileError as error:
            folder = self._store.folder
            raise InvalidInput(
                f"the engine folder {folder} can't be written to: {error}"
            ) from error

    def _examine(self, model: ModelFile, key: EngineKey) -> AccuracyReport:
        if self._card is None:
            return AccuracyReport(UNTESTED, ("there is no NVIDIA GPU here to run it on",))
        if self._examination is None:
            images = self._request.images
            if images is None:
                images = _packaged_images()
            if images is None:
                reason = "there is no photo to compare on: give some, or install insightface"
                return AccuracyReport(UNTESTED, (reason,))
            best = self._request.profile.side.best
            backend = _reference_backend()
            reference = Analyzer(self._pack, backend, Placement("cpu", "fp32"))
            self._examination = AccuracyCheck(reference, images, ((best, best),))
        device = cuda_device(self._request.device_index)
        with foreign_graph(model.path, "compared with the reference"):
            session = open_engine(self._library, self._store, key, device, model)
            return self._examination.examine(model.task, open_task(self._pack, model, session))


def _packaged_images() -> Images | None:
    """The photo that comes with insightface, where that is installed."""
    try:
        picture = read_picture(packaged_photo())
    except InvalidInput:
        return None
    return Images.from_bgr(picture[..., ::-1].copy())


def _reference_backend() -> Backend:
    backends = all_backends()
    for name in _REFERENCES:
        if not backends[name].why_unavailable():
            return backends[name]
    raise BackendUnavailable(
        "engines are compared with the onnxruntime or the torch backend in fp32, and neither can "
        f"run here: {backends[_REFERENCES[0]].why_unavailable()}"
    )


def summary(pack: ModelPack, built: PackEngines) -> str:
    """What was built, for people."""
    library, engines = built.library, built.engines
    for_whom = f" for {engines[0].key.device}" if engines else ""
    lines = [
        f"pack {pack.name}: {len(engines)} engines by {library}{for_whom}; it {library.why}",
    ]
    lines += [str(each) for each in engines]
    others = [each.key.task for each in engines if not each.fitness.is_fit]
    if others:
        lines.append(f"not known to be fit, so backend auto passes over: {', '.join(others)}")
    lines.append(f"engine folder: {built.folder}")
    return readable("\n".join(lines))


def listing(store: EngineStore) -> str:
    """What is in an engine folder, for people."""
    lines = [f"{key.task}: {key}\n  answers: {fitness_of(store, key)}" for key in store.listed()]
    return readable("\n".join([*(lines or ["no engines"]), f"engine folder: {store.folder}"]))
