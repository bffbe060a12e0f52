"""Networks that a consumer put in the place of a model's own: a session, or its `run`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...backends.base import Backend
from ...backends.interfaces import Detector, Head
from ...backends.placement import Placement, RunsOn
from ...backends.sessions.unbatched_adapter import UnbatchedAdapter
from ...models.opening import open_task
from ...utils.arrays import in_order
from ...utils.devices import DeviceWord
from ...utils.errors import InvalidInput
from ...utils.packs import ModelFile, ModelPack, Task
from ..analyzer import Analyzer

if TYPE_CHECKING:
    from .models import ModelView

#: Stands for the content of what was put there, which nobody knows.
_NO_FILE = "put there"


def analyzer_over(view: ModelView) -> Analyzer:
    """The pack's way of preparing images and reading answers, around what was put there.

    What it finds is never kept: nobody knows what was put there, nor what it will say next.

    Raises:
        InvalidInput: The pack's own network is no ONNX graph, so that nobody knows what to feed.
    """
    if view.file.path.suffix != ".onnx":
        raise InvalidInput(
            f"got a session for {view.taskname} of {view.analyzer.pack.name}, which is no ONNX "
            "graph and has none; replace the model's own methods instead, or choose another pack"
        )
    return Analyzer(view.analyzer.pack, _PutBackend(view), Placement())


class _PutBackend(Backend):
    """Opens what was put there, whichever that is at the moment."""

    def __init__(self, view: ModelView) -> None:
        self._view = view
        self.name = view.analyzer.backend.name

    def why_unavailable(self) -> str | None:
        return None

    def devices(self) -> tuple[DeviceWord, ...]:
        return ("cpu",)

    def guard(self, model: ModelFile) -> AbstractContextManager[list[str]]:
        # The pack's file is not what runs, and may be gone.
        return nullcontext([_NO_FILE])

    def open(self, pack: ModelPack, task: Task, placement: Placement) -> Detector | Head:
        model = pack.model(task)
        # Whoever made it made it for the released graph, which takes one image at a time.
        return open_task(pack, model, UnbatchedAdapter(_PutSession(self._view), model))


class _PutSession:
    """Calls `session.run` as insightface's models do."""

    device = torch.device("cpu")
    runs_on = RunsOn("cpu", "a session that was put there")

    def __init__(self, view: ModelView) -> None:
        self._view = view

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        view = self._view
        feed = {view.input_name: np.ascontiguousarray(x.numpy())}
        results = view.session.run(view.output_names, feed)
        return tuple(torch.from_numpy(in_order(result)) for result in results)
