"""`ModelView`: what the models of a `FaceAnalysis` have in common: session, file, names, shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from ...utils.packs import ModelFile, Task
from ..analyzer import Analyzer
from .model_session import ModelSession, graph_outputs
from .overridable import overridable
from .portable import Portable

if TYPE_CHECKING:
    from .facade import FaceAnalysis

Result = TypeVar("Result")


class ModelView(Portable):
    """One network of a `FaceAnalysis`.

    Consumers may put a session of their own in `session`, or replace `run` on it: then that runs,
    on every call, for this object alone, and whether or not the pack's network is loaded.

    Attributes:
        taskname: What the network is for.
        session: See `ModelSession`.
        model_file: Path of the pack's file.
        input_name, input_shape, output_names: Of the graph, as it was released.
        input_type, input_dtype: Of its input, in ONNX Runtime's word and as NumPy's type.
        input_mean, input_std: The network expects `(rgb_0_to_255 - mean) / std`; see `ModelFile`.
        preprocessing: The same as a pack's manifest says it.
    """

    _made_anew: ClassVar = {"_around_session": lambda: None}

    def __init__(self, owner: FaceAnalysis, task: Task) -> None:
        self._owner = owner
        self.taskname: Task = task
        self._session = ModelSession(self)
        self._around_session: Analyzer | None = None

    def prepare(self, ctx_id: int, **kwargs: Any) -> None:
        """Below 0 moves the whole object to the CPU, and a session that was put there too."""
        if ctx_id < 0:
            self._owner.to_cpu()
            if "session" in vars(self) and hasattr(self.session, "set_providers"):
                self.session.set_providers(["CPUExecutionProvider"])

    @overridable
    def session(self) -> Any:
        return self._session

    @property
    def owner(self) -> FaceAnalysis:
        """The object it is a model of."""
        return self._owner

    @property
    def analyzer(self) -> Analyzer:
        """The shared models that this is one of."""
        return self._owner.analyzer

    @property
    def file(self) -> ModelFile:
        """What is known of the pack's file."""
        return self.analyzer.pack.model(self.taskname)

    def with_model(self, work: Callable[[Any], Result]) -> Result:
        """What some work gives with the shared network, opened; the first call loads it.

        Args:
            work: Called again with another one when the model's file was replaced.
        """
        return self._owner.with_models(lambda analyzer: work(analyzer.model(self.taskname)))

    @property
    def has_own_network(self) -> bool:
        """Whether a consumer put a session there, or replaced `run` on it."""
        return "session" in vars(self) or "run" in vars(self._session)

    @property
    def runs(self) -> Analyzer:
        """What computes for this model: the shared models, or what a consumer put there.

        Raises:
            InvalidInput: Something was put where it can't run.
        """
        if not self.has_own_network:
            return self.analyzer
        if self._around_session is None:
            from .put_session import analyzer_over  # with `models.opening`; see `Analyzer._open`

            self._around_session = analyzer_over(self)
        return self._around_session

    def compute(self, work: Callable[[Analyzer], Result]) -> Result:
        """What some work gives with what computes for this model; see `runs`.

        Args:
            work: Called again with another analyzer when the model's file was replaced.
        """
        return work(self.runs) if self.has_own_network else self._owner.with_models(work)

    @overridable
    def model_file(self) -> str:
        return str(self.file.path)

    @overridable
    def input_name(self) -> str:
        return self.session.get_inputs()[0].name

    @overridable
    def input_shape(self) -> list[int | str | None]:
        return list(self.session.get_inputs()[0].shape)

    @overridable
    def output_names(self) -> list[str]:
        released = [output.name for output in graph_outputs(self.file)]
        own = [output.name for output in self.session.get_outputs()]
        # Another export of the same graph may list them in another order.
        return released if set(own) == set(released) else own

    @overridable
    def input_mean(self) -> float | tuple[float, float, float]:
        return self.file.mean

    @overridable
    def input_std(self) -> float:
        return self.file.std

    @overridable
    def input_type(self) -> str:
        return self.session.get_inputs()[0].type

    @overridable
    def input_dtype(self) -> type[np.generic]:
        return np.dtype(self.file.input_dtype).type

    @overridable
    def preprocessing(self) -> str | dict[str, Any]:
        mean, std = self.file.mean, self.file.std
        return "embedded" if (mean, std) == (0.0, 1.0) else {"mean": mean, "std": std}

    def normalized(self, planes: np.ndarray) -> np.ndarray:
        """Planes `[B,3,H,W]` RGB 0..255 as the network's input."""
        ordered = planes[:, ::-1] if self.file.bgr else planes
        mean = np.asarray(self.input_mean, dtype=np.float32).reshape(-1, 1, 1)
        scaled = (ordered.astype(np.float32) - mean) / self.input_std
        return np.ascontiguousarray(scaled, dtype=self.input_dtype)
