"""`OpenedModels`: the models of one pack on one backend, opened when first needed."""

from __future__ import annotations

import threading
from dataclasses import replace

from ..backends.base import Backend
from ..backends.interfaces import Detector, Head, Recognizer
from ..backends.placement import Placement, RunsOn
from ..backends.residency.evictable_model import HoldsNetworks
from ..utils.errors import ModelError
from ..utils.isolation import engine_call
from ..utils.packs import ModelPack, Task
from ..utils.packs.checksums import content_of, is_replaced, note_content
from ..utils.packs.provenance import arcface_refusal


class OpenedModels:
    """Opens models when they are first needed, and keeps them.

    Never of two contents of one file: what was opened goes on when the file is replaced or deleted,
    and what would have to be read again raises `ModelReplaced`.
    """

    def __init__(self, pack: ModelPack, backend: Backend, placement: Placement) -> None:
        self.pack = pack
        self.backend = backend
        self.placement = placement
        self._models: dict[Task, Detector | Head] = {}
        #: Content of each model that was opened.
        self._contents: dict[Task, str] = {}
        self._retired = False
        self._lock = threading.RLock()

    def model(self, task: Task) -> Detector | Head:
        """The opened model of a task; the first call loads it.

        Raises:
            ModelReplaced: The file has another content than when the pack was read.
            ModelError: The pack has none, or its file is damaged.
            BackendUnavailable: The backend can't run it as asked.
        """
        model = self._models.get(task)
        return self._open(task) if model is None else model

    @engine_call()
    def _open(self, task: Task) -> Detector | Head:
        # Here, so that ComfyUI's start does not wait for what opens models.
        from ..models.opening import open_model

        with self._lock:
            if task not in self._models:
                file = self.pack.model(task)
                with self.backend.guard(file) as (content,):
                    model = open_model(self.backend, self.pack, task, self.placement)
                self._models[task], self._contents[task] = model, content
            return self._models[task]

    def is_current(self) -> bool:
        """Whether all that it opened is in memory, or could be opened again.

        Files are looked at only for what is not in memory. Those that are gone change nothing
        before they are needed.
        """
        # Without the lock, which somebody may hold for as long as opening another model takes.
        opened = tuple(self._models.items())
        away: list[Task] = [task for task, model in opened if not _is_open(model)]
        return not any(is_replaced(self.pack.model(task)) for task in away)

    def takes_over(self, pack: ModelPack) -> bool:
        """Whether it is the analyzer for a pack that was read later, which is its pack then.

        It is while every model that it opened has the same content, as after a file was copied
        over itself.

        Raises:
            ModelError: A file can't be read.
        """
        with self._lock:
            if pack == self.pack:
                return True
            if _without_files(pack) != _without_files(self.pack):
                return False
            contents = self._contents.items()
            if any(content_of(pack.model(task)) != content for task, content in contents):
                return False
            for task, content in contents:
                # What is open goes by the states that its pack was read with.
                note_content(self.pack.model(task), content)
            self.pack = pack
            return True

    @property
    def embedding_space(self) -> str | None:
        """What its embeddings may be compared with; see `ModelPack.embedding_space`.

        Once the recognition model was opened, it is that model's, whatever happens to its file.
        """
        content = self._contents.get("recognition")
        return self.pack.embedding_space if content is None else self.pack.space_of(content)

    def embedding_refusal(self, other_embeddings: bool) -> str | None:
        """Why InstantID, IPAdapter and PuLID must not read its embeddings, or None.

        Args:
            other_embeddings: See `arcface_refusal`.

        Raises:
            ModelError: The recognition file can't be read, or was replaced since the pack was read.
        """
        return self.backend.embedding_refusal(self.pack) or arcface_refusal(
            self.pack, other_embeddings
        )

    def retire(self) -> bool:
        """Notes that another one has taken its place; whether nobody did before."""
        with self._lock:
            was, self._retired = self._retired, True
            return not was

    def runs_on(self) -> dict[Task, RunsOn]:
        """What each model opened so far really runs on, by task."""
        with self._lock:
            return {task: model.runs_on for task, model in self._models.items()}

    @property
    def embedding_dim(self) -> int:
        """Length of its embeddings, by the header of the recognition network."""
        shapes = self.pack.model("recognition").output_shapes
        return (shapes[0][-1] if shapes else None) or 512

    def detector(self) -> Detector:
        """The opened detector."""
        model = self.model("detection")
        if not isinstance(model, Detector):
            raise ModelError(
                f"{self.backend.name} opened {model!r} as a detector of {self.pack.name}"
            )
        return model

    @property
    def fixed_size_wh(self) -> tuple[int, int] | None:
        """The only input size that the detector takes, (width, height); None where it takes any."""
        return self.detector().fixed_size_wh

    def recognizer(self) -> Recognizer:
        """The opened recognition model."""
        model = self.model("recognition")
        if not isinstance(model, Recognizer):
            raise ModelError(f"{self.backend.name} has no recognition for {self.pack.name}")
        return model

    def head(self, task: Task) -> Head:
        """The opened model of a task that describes faces."""
        model = self.model(task)
        if not isinstance(model, Head):
            raise ModelError(f"{self.backend.name} opened {model!r} as {task} of {self.pack.name}")
        return model


def _is_open(model: Detector | Head) -> bool:
    """Whether its weights are in memory, and its file is needed no more."""
    return not isinstance(model, HoldsNetworks) or all(each.is_open for each in model.networks)


def _without_files(pack: ModelPack) -> ModelPack:
    detector = pack.detector
    if detector is not None and detector.landmarks_from is not None:
        detector = replace(detector, landmarks_from=_without_files(detector.landmarks_from))
    models = tuple(replace(model, files=()) for model in pack.models)
    return replace(pack, models=models, detector=detector)
