"""Holds engines against the same networks in single precision, on photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..backends.base import Backend
from ..backends.interfaces import DetectionOptions, Detector, Head
from ..backends.placement import Placement
from ..utils.accuracy_report import FIT, UNFIT, UNTESTED, AccuracyReport
from ..utils.errors import ModelError
from ..utils.faces import Faces
from ..utils.images import Images
from ..utils.packs import ModelPack, Task
from ..utils.parity import MOST_LANDMARK_PX, compare, found
from .analyzer import Analyzer

#: Years that an age may differ by; it is rounded to whole ones.
_MOST_AGE_YEARS = 1.0
_MOST_POSE_DEGREES = 1.0
_MOST_SIMILARITY = 0.01


class AccuracyCheck:
    """The reference's answers on some images, to hold engines against."""

    def __init__(
        self, reference: Analyzer, images: Images, sizes_wh: Sequence[tuple[int, int]]
    ) -> None:
        """
        Args:
            reference: Of the pack whose networks are compared; computes in fp32.
            images: Photos with faces.
            sizes_wh: Input sizes of the detector, each compared.
        """
        self._pack = pack = reference.pack
        self._reference = reference
        self._images = images
        self._options = [
            DetectionOptions((size_wh,), pack.det_threshold, pack.nms_threshold)
            for size_wh in sizes_wh
        ]
        self._faces: Faces | None = None

    def examine(self, task: Task, model: Detector | Head) -> AccuracyReport:
        """Compares a model with the reference's of the same task.

        Raises:
            ModelError: The engine's model is not of the task's kind.
        """
        if task == "detection":
            if not isinstance(model, Detector):
                raise ModelError(f"got {model!r} for detection, expected a detector")
            return self._detection(model)
        if not isinstance(model, Head):
            raise ModelError(f"got {model!r} for {task}, expected a head")
        return self._head(task, model)

    def _detection(self, model: Detector) -> AccuracyReport:
        ours, theirs = [], []
        candidate = _AnalyzerOf(self._pack, self._reference.backend, model)
        for options in self._options:
            theirs += _found(self._reference.detect(self._images, options), len(self._images))
            ours += _found(candidate.detect(self._images, options), len(self._images))
        parity = compare(theirs, ours)
        names = ("box_px", "landmark_px")
        figures = {name: parity[name] for name in names if parity[name] is not None}
        return self._judged(figures, parity["reasons"], parity["faces"])

    def _head(self, task: Task, model: Head) -> AccuracyReport:
        faces = self._found_faces()
        if not len(faces):
            return self._judged({}, [], 0)
        reference = self._reference.model(task)
        if not isinstance(reference, Head):
            raise ModelError(f"got {reference!r} for {task}, expected a head")
        with torch.no_grad():
            want = {k: v.cpu() for k, v in reference.describe(self._images, faces).items()}
            got = {k: v.cpu() for k, v in model.describe(self._images, faces).items()}
        if "embeddings" in want:
            return self._recognition(faces, want["embeddings"], got["embeddings"])
        figures, reasons = _differences(want, got)
        return self._judged(figures, reasons, len(faces))

    def _recognition(self, faces: Faces, want: torch.Tensor, got: torch.Tensor) -> AccuracyReport:
        space = self._pack.embedding_space or self._pack.name
        theirs, ours = (
            _found(
                faces.to("cpu").with_fields(embeddings=each, embedding_space=space),
                len(self._images),
            )
            for each in (want, got)
        )
        parity = compare(theirs, ours)
        figures = {name: parity[name] for name in ("cosine", "norm_error")}
        return self._judged(figures, parity["reasons"], len(faces))

    def _found_faces(self) -> Faces:
        if self._faces is None:
            self._faces = self._reference.detect(self._images, self._options[0])
        return self._faces

    def _judged(
        self, figures: dict[str, float], reasons: Sequence[str], faces: int
    ) -> AccuracyReport:
        if not faces and not reasons:
            return AccuracyReport(
                UNTESTED,
                (
                    f"the reference finds no face in the {len(self._images)} images; give some "
                    "with faces (random weights find none)",
                ),
                images=len(self._images),
            )
        return AccuracyReport(
            UNFIT if reasons else FIT,
            tuple(reasons),
            {name: float(value) for name, value in figures.items()},
            f"{self._reference.backend.name} fp32 on {self._reference.placement.device}",
            len(self._images),
            faces,
        )


class _AnalyzerOf(Analyzer):
    """An analyzer with a detector that is open already."""

    def __init__(self, pack: ModelPack, backend: Backend, detector: Detector) -> None:
        super().__init__(pack, backend, Placement())
        self._models["detection"] = detector


def _found(faces: Faces, images: int) -> list[dict[str, Any]]:
    faces = faces.to("cpu")
    each = [faces.of_image(index) for index in range(images)]
    return [found(some.boxes, some.scores, some.landmarks, some.embeddings) for some in each]


def _differences(
    want: Mapping[str, torch.Tensor], got: Mapping[str, torch.Tensor]
) -> tuple[dict[str, float], list[str]]:
    figures: dict[str, float] = {}
    reasons: list[str] = []

    def note(name: str, value: float, most: float, text: str) -> None:
        figures[name] = value
        # Written so that NaN fails too.
        if not value <= most:
            reasons.append(text.format(value))

    for name, expected in want.items():
        difference = np.abs(got[name].double().numpy() - expected.double().numpy())
        most = float(difference.max())
        if name.startswith("landmarks"):
            note("landmark_px", most, MOST_LANDMARK_PX, "landmarks {:.2f} px off")
        elif name == "pose":
            note("pose_degrees", most, _MOST_POSE_DEGREES, "pose {:.2f} degrees off")
        elif name == "age":
            note("age_years", most, _MOST_AGE_YEARS, "age {:.0f} years off")
        elif name == "gender":
            note("genders", float((difference > 0).sum()), 0.0, "{:.0f} faces of another gender")
        else:
            note(name, most, _MOST_SIMILARITY, name + " {:.3f} off")
    return figures, reasons
