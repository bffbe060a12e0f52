"""Proves cheaper precisions on pictures: made, held against fp32, timed, and remembered."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..backends.interfaces import DetectionOptions, Detector, Head
from ..backends.onnx_graphs.cache_entries import Entry
from ..backends.onnx_graphs.equivalence import prover
from ..backends.onnx_graphs.graph_cache import NewFile, graph_cache
from ..backends.onnx_graphs.int8_graphs import Int8Recipe, int8_graphs, make_int8_graphs
from ..backends.placement import Placement
from ..models.opening import open_model
from ..utils.accuracy_report import UNFIT, UNTESTED, AccuracyReport
from ..utils.cores import cpu_features
from ..utils.errors import BackendUnavailable, ModelError
from ..utils.faces import Faces
from ..utils.packs import ModelPack, Task
from ..utils.packs.checksums import content_of
from ..utils.precision import Precision
from .accuracy_check import AccuracyCheck
from .analyzer import Analyzer
from .calibration import CalibrationPictures, as_images
from .graph_recording import Recordings, record
from .model_batches import detect_images
from .precision_report import CANVAS_SIDE, detection_report, recognition_report, with_speed

_log = logging.getLogger("FastFace")

#: Tasks whose networks are quantised.
QUANTISED: tuple[Task, ...] = ("detection", "recognition")
#: Shares of a network's products, at its end, that stay in floating point; tried in turn until the
#: answers are proven.
_EXACT_SHARES = (0.0, 0.15, 0.25, 0.5)
#: No other share is tried after so long.
_MOST_SECONDS = 120.0
#: Crops that recognition is timed on.
_TIMED_CROPS = 8
#: Before anything is timed, shapes that keep coming have been prepared for; see `ShapeCache`.
_WARM_UP_ROUNDS, _TIMED_ROUNDS = 4, 7


@dataclass(frozen=True)
class PrecisionProof:
    """What is known of one task in one precision.

    Attributes:
        task, precision: Which.
        recipe: Of its int8 graphs, see `Int8Recipe`; else empty.
        report: How its answers differ from those in fp32, and milliseconds of both.
    """

    task: Task
    precision: Precision
    recipe: str
    report: AccuracyReport

    @staticmethod
    def failed(task: Task, precision: Precision, reason: str) -> PrecisionProof:
        """Of what could not be tried."""
        return PrecisionProof(task, precision, "", AccuracyReport(UNTESTED, (reason,)))

    @property
    def speed(self) -> float:
        """How many times as fast as fp32 it is; 1 where that is unknown."""
        figures = self.report.figures
        return figures["fp32_ms"] / figures["ms"] if figures.get("ms") else 1.0

    def __str__(self) -> str:
        speed = f", {self.speed:.2f} times as fast" if "ms" in self.report.figures else ""
        return f"{self.task} in {self.precision}{speed}: {self.report}"


class PrecisionProver:
    """Proves the tasks of one pack on one backend and device."""

    def __init__(
        self, pack: ModelPack, backend: Backend, device: str, pictures: CalibrationPictures
    ) -> None:
        self._pack = pack
        self._backend = backend
        self._device = device
        self._pictures = pictures
        self._exact = Analyzer(pack, backend, Placement(device, "fp32"))
        self._options = DetectionOptions(
            ((CANVAS_SIDE, CANVAS_SIDE),), pack.det_threshold, pack.nms_threshold
        )
        self._images = as_images([*pictures.calibrating, *pictures.held_back])
        self._faces: Faces | None = None
        self._recorded: tuple[Task, Recordings] | None = None

    def proof(self, task: Task, precision: Precision) -> PrecisionProof:
        """What is known of a task in a precision; found out now where nothing is.

        Raises:
            BackendUnavailable: The backend can't run it, or int8 graphs can't be made here.
            ModelError: The file is damaged, or can't be quantised.
        """
        if precision != "int8":
            return self._known(task, precision, "") or self._found_out(task, precision, "")
        if task not in QUANTISED:
            report = AccuracyReport(UNFIT, (f"{task} is not quantised",))
            return PrecisionProof(task, precision, "", report)
        began = time.monotonic()
        proof: PrecisionProof | None = None
        for share in _EXACT_SHARES:
            if proof is not None and time.monotonic() - began > _MOST_SECONDS:
                break
            recipe = Int8Recipe(self._pictures.digest, share)
            known = self._known(task, precision, str(recipe))
            if known is None or (known.report.is_fit and not self._has_graphs(known)):
                self.quantise(task, recipe)
                known = self._found_out(task, precision, str(recipe))
            proof = known
            if proof.report.is_fit or not proof.report.faces:
                break
        if proof is None:
            raise BackendUnavailable(f"{task} was not tried in {precision}")
        return proof

    def quantise(self, task: Task, recipe: Int8Recipe) -> None:
        """Makes the int8 graphs of a task, unless they are there; see `make_int8_graphs`."""
        make_int8_graphs(self._pack.model(task), recipe, self._recordings_of(task))

    def _recordings_of(self, task: Task) -> Recordings:
        """Those of one task at a time, since they hold all of its pictures."""
        if self._recorded is None or self._recorded[0] != task:
            self._recorded = None
            self._recorded = task, record(self._exact, task, self._pictures, self._options)
        return self._recorded[1]

    def known(self, task: Task, precision: Precision) -> PrecisionProof | None:
        """What was found out before; of several recipes that which is fit, else the last one."""
        if precision != "int8":
            return self._known(task, precision, "")
        recipes = [str(Int8Recipe(self._pictures.digest, share)) for share in _EXACT_SHARES]
        proofs = [self._known(task, precision, recipe) for recipe in recipes]
        there = [proof for proof in proofs if proof is not None]
        return next(
            (proof for proof in there if proof.report.is_fit), next(iter(there[::-1]), None)
        )

    def _has_graphs(self, proof: PrecisionProof) -> bool:
        return int8_graphs(self._pack.model(proof.task), proof.recipe) is not None

    def _known(self, task: Task, precision: Precision, recipe: str) -> PrecisionProof | None:
        """What was found out before, on this machine, of these files and pictures."""

        def make(new_file: NewFile) -> Mapping[str, Any]:
            raise _Unknown

        try:
            return self._remembered(task, precision, recipe, make)
        except _Unknown:
            return None

    def _found_out(self, task: Task, precision: Precision, recipe: str) -> PrecisionProof:
        placement = Placement(
            self._device, precision, strict=True, proven=((task, precision, recipe),)
        )
        _log.info("%s: proving %s in %s", self._pack.name, task, precision)
        model = open_model(self._backend, self._pack, task, placement)
        report = self.report(task, model)
        exact = self.exact_model(task)
        exact_ms, cheap_ms = paired_ms(
            partial(self.use, task, exact), partial(self.use, task, model)
        )
        report = with_speed(report, exact_ms, cheap_ms)
        facts = {"report": report.as_json()}
        return self._remembered(task, precision, recipe, lambda new_file: facts)

    def _remembered(
        self,
        task: Task,
        precision: Precision,
        recipe: str,
        make: Callable[[NewFile], Mapping[str, Any]],
    ) -> PrecisionProof:
        def read(entry: Entry) -> PrecisionProof:
            report = AccuracyReport.from_json(entry.facts["report"])
            return PrecisionProof(task, precision, recipe, report)

        model = self._pack.model(task)
        others: list[Task] = [name for name in QUANTISED if name in self._pack.tasks]
        return graph_cache().obtain(
            "precision_proof",
            model.path,
            model.path.name,
            make,
            read,
            precision=precision,
            recipe=recipe,
            pictures=self._pictures.digest,
            beside=[content_of(self._pack.model(name)) for name in others],
            backend=[self._backend.name, self._device, self._backend.engine_version()],
            processor=sorted(cpu_features()),
            proved_by=prover(),
        )

    def report(self, task: Task, model: Detector | Head) -> AccuracyReport:
        """How a model's answers for the pictures differ from those in fp32."""
        faces = self._found_faces()
        images = len(self._images)
        if isinstance(model, Detector):
            got = detect_images(model, self._images, self._options).to("cpu")
            return detection_report(
                faces.to("cpu"), got, self._embeddings(faces), self._embeddings(got)
            )
        if task != "recognition":
            check = AccuracyCheck(self._exact, self._images, self._options.sizes_wh)
            return check.examine(task, model)
        if not len(faces):
            return recognition_report(np.empty((0, 1)), np.empty((0, 1)), images)
        want = self._exact.describe(self._images, faces, ["recognition"]).embeddings
        got = model.describe(self._images, faces)["embeddings"]
        if want is None:
            raise ModelError(f"{self._pack.name} gave no embeddings")
        return recognition_report(want.cpu().numpy(), got.float().cpu().numpy(), images)

    def _embeddings(self, faces: Faces) -> np.ndarray | None:
        if "recognition" not in self._pack.tasks or faces.landmarks is None:
            return None
        described = self._exact.describe(self._images, faces, ["recognition"]).embeddings
        return None if described is None else described.cpu().numpy()

    def _found_faces(self) -> Faces:
        if self._faces is None:
            self._faces = self._exact.detect(self._images, self._options)
        return self._faces

    def exact_model(self, task: Task) -> Detector | Head:
        """The model of a task in fp32."""
        return self._exact.model(task)

    def use(self, task: Task, model: Detector | Head) -> None:
        """One use of a model, as long as those that users wait for."""
        if isinstance(model, Detector):
            detect_images(model, as_images(self._pictures.calibrating[:1]), self._options)
            return
        faces = self._found_faces()
        if len(faces):
            model.describe(self._images, faces[:_TIMED_CROPS])


class _Unknown(Exception):
    """Nothing was found out before."""


def paired_ms(*uses: Callable[[], None]) -> Iterator[float]:
    """The median milliseconds of each of some uses, which take turns."""
    for _ in range(_WARM_UP_ROUNDS):
        for use in uses:
            use()
    seconds: list[list[float]] = [[] for _ in uses]
    for _ in range(_TIMED_ROUNDS):
        for use, taken in zip(uses, seconds, strict=True):
            began = time.perf_counter()
            use()
            taken.append(time.perf_counter() - began)
    return (1000 * statistics.median(taken) for taken in seconds)
