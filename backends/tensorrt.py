"""Backend `tensorrt`: engines built from the pack's graphs, run on torch tensors."""

from __future__ import annotations

from ..utils.accuracy_report import FIT, AccuracyReport
from ..utils.devices import Device, DeviceWord
from ..utils.errors import BackendUnavailable, InvalidInput
from ..utils.packs import ModelFile, ModelPack, Task
from ..utils.precision import Precision
from .base import GraphBackend
from .interfaces import Session
from .placement import Placement
from .trt.engine_sources import find_engine, how_to_build, why_not_there
from .trt.engines import EngineKey, EngineStore
from .trt.library import Card, Library, card_here, choose_library, cuda_device

#: Precisions of packs, the one to take first; `mixed` keeps the same faces in the same order.
PRECISIONS: tuple[Precision, ...] = ("mixed", "fp32", "fp16")


class TensorRTBackend(GraphBackend):
    """Runs what was built before; building takes long, and is for those who ask for it."""

    name = "tensorrt"
    extra = True

    def __init__(self, store: EngineStore | None = None) -> None:
        """`store`: where engines are; by default the pack's own folder."""
        self._store = store

    def why_unavailable(self) -> str | None:
        card = card_here()
        if card is None:
            return (
                "there is no NVIDIA GPU here that torch can use; if the machine has one, `python "
                "install.py doctor` says what it lacks, else choose backend torch or onnxruntime"
            )
        try:
            choose_library(card)
        except BackendUnavailable as error:
            return str(error)
        return None

    def devices(self) -> tuple[DeviceWord, ...]:
        return () if self.why_unavailable() else ("cuda",)

    def precisions(self, device: str) -> tuple[Precision, ...]:
        return PRECISIONS

    def best_precision(self, pack: ModelPack, device: str) -> Precision:
        offered = self.precisions(device)
        placements = [Placement(device, precision) for precision in offered]
        fit = (each for each in placements if not self._unfit(pack, each))
        built = (each for each in placements if not self._not_built(pack, each))
        return next(fit, next(built, placements[0])).precision

    def why_not_auto(self, pack: ModelPack, device: str, precision: str) -> str | None:
        device = "cuda" if device == "auto" else device
        wanted: list[Precision] = [
            name for name in self.precisions(device) if precision in ("auto", name)
        ]
        placements = [Placement(device, name) for name in wanted]
        built = [each for each in placements if not self._not_built(pack, each)]
        if not built:
            return f"no engines are built; {how_to_build(pack.name, placements[0].precision)}"
        reasons = [self._unfit(pack, placement) for placement in built]
        return None if None in reasons else reasons[0]

    def open(self, pack: ModelPack, task: Task, placement: Placement) -> Session:
        # All at once, so that who loads a pack learns of every engine that it lacks.
        if reason := self._not_built(pack, placement):
            raise BackendUnavailable(reason)
        return super().open(pack, task, placement)

    def open_session(self, model: ModelFile, placement: Placement) -> Session:
        """Opens the engine of a network.

        Raises:
            BackendUnavailable: None is built; says how to.
            ModelError: Its file is damaged.
        """
        from .trt.open_engine import open_engine

        library, card, index = self._here(placement)
        key, fitness = self._engine(model, placement, library, card)
        note = "" if fitness.verdict == FIT else f"its answers are {fitness}"
        return open_engine(library, self._engines(), key, cuda_device(index), model, note)

    def session_bytes(self, model: ModelFile, placement: Placement) -> int:
        library, card, _ = self._here(placement)
        key, _ = self._engine(model, placement, library, card)
        return self._engines().path(key).stat().st_size

    def _engine(
        self, model: ModelFile, placement: Placement, library: Library, card: Card | None
    ) -> tuple[EngineKey, AccuracyReport]:
        precision = placement.precision_of(model.task)
        found = find_engine(self._engines(), model, precision, library, card)
        if found is None:
            reason = why_not_there(self._engines(), model, precision, library, card)
            raise BackendUnavailable(f"{reason}; {how_to_build('NAME', placement.precision)}")
        return found

    def _not_built(self, pack: ModelPack, placement: Placement) -> str | None:
        """Which networks of a pack have no engine, and how to build them."""
        library, card, _ = self._here(placement)
        store = self._engines()
        lacking = []
        for model in pack.models:
            precision = placement.precision_of(model.task)
            if find_engine(store, model, precision, library, card) is None:
                lacking.append(why_not_there(store, model, precision, library, card))
        if not lacking:
            return None
        return f"{'; '.join(lacking)}; {how_to_build(pack.name, placement.precision)}"

    def _unfit(self, pack: ModelPack, placement: Placement) -> str | None:
        """Why `auto` should not run a pack on its engines."""
        if reason := self._not_built(pack, placement):
            return reason
        library, card, _ = self._here(placement)
        for model in pack.models:
            _, fitness = self._engine(model, placement, library, card)
            if fitness.verdict != FIT:
                return f"the engine of {model.path.name} is {fitness}"
        return None

    def _here(self, placement: Placement) -> tuple[Library, Card | None, int]:
        """The library for the card of a placement, the card, and its index."""
        asked = Device.parse(placement.device)
        if asked.word != "cuda":
            raise InvalidInput(f"got device {placement.device!r}, expected cuda or one as cuda:1")
        card = card_here(asked.number)
        if card is None:
            raise BackendUnavailable(f"torch finds no NVIDIA GPU {placement.device}")
        return choose_library(card), card, asked.number

    def _engines(self) -> EngineStore:
        return self._store or EngineStore()
