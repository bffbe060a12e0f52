"""What a model's graphs are given for pictures: recorded, for int8 graphs to be calibrated on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..backends.interfaces import DetectionOptions, Detector, GraphSession, Head
from ..backends.onnx_graphs.batched import batched_graph
from ..backends.onnx_graphs.equivalence import trial_runner
from ..backends.onnx_graphs.quantiser import Recording
from ..backends.placement import RunsOn
from ..backends.sessions.open_batched import open_batched
from ..models.opening import open_task
from ..utils.packs import ModelFile, ModelPack, Task
from .analyzer import Analyzer
from .calibration import CalibrationPictures, as_images
from .model_batches import detect_images

#: Of each graph, by its file.
Recordings = dict[Path, Recording]

#: Crops that recognition is calibrated on, and how many of them at a time.
_CROPS, _CROPS_AT_ONCE = 64, 8


def record(
    exact: Analyzer, task: Task, pictures: CalibrationPictures, options: DetectionOptions
) -> Recordings:
    """What the graphs of a task are given for the pictures to calibrate on.

    Args:
        exact: Finds the faces to cut out, in fp32.
        task: `detection` or one that describes faces.
        pictures: The pictures.
        options: How faces are found.
    """
    pack = exact.pack
    model = pack.model(task)
    recordings: Recordings = {}
    images = as_images(pictures.calibrating)
    if task == "detection":
        shaped = [part for picture in pictures.calibrating for part in _high_and_wide(picture)]
        # Without margins, for the graph for each of their sides, and with them, for the whole.
        for skips_margins, shown in ((True, as_images(shaped)), (False, images)):
            detector = _recording(pack, model, recordings, skips_margins)
            if isinstance(detector, Detector):
                detect_images(detector, shown, options)
        return recordings
    faces = exact.detect(images, options).to("cpu")
    head = _recording(pack, model, recordings, False)
    if isinstance(head, Head):
        for start in range(0, min(len(faces), _CROPS), _CROPS_AT_ONCE):
            head.describe(images, faces[start : start + _CROPS_AT_ONCE])
    return recordings


class _RecordingSession:
    """A graph on the CPU in fp32, whose inputs are kept."""

    def __init__(self, path: Path, model: ModelFile, recording: Recording) -> None:
        self.device = torch.device("cpu")
        self.runs_on = RunsOn("cpu", "recording")
        self._run = trial_runner(path, model)
        self._recording = recording

    def run(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        given = tuple(each.contiguous().numpy().copy() for each in (x, *more))
        self._recording.inputs.append(given)
        return tuple(torch.from_numpy(output) for output in self._run(*given))


def _recording(
    pack: ModelPack, model: ModelFile, recordings: Recordings, skips_margins: bool
) -> Detector | Head:
    def open_graph(path: Path, note: str) -> GraphSession:
        return _RecordingSession(path, model, recordings.setdefault(path, Recording()))

    session = open_batched(model, partial(batched_graph, model), open_graph, any_size=skips_margins)
    return open_task(pack, model, session)


def _high_and_wide(picture: np.ndarray) -> Iterator[np.ndarray]:
    """A picture's middle at 3:4 and at 4:3, which leave a margin at the right and one below."""
    height, width = picture.shape[:2]
    for wide, high in ((3, 4), (4, 3)):
        scale = min(width / wide, height / high)
        columns, rows = max(1, int(scale * wide)), max(1, int(scale * high))
        left, top = (width - columns) // 2, (height - rows) // 2
        yield picture[top : top + rows, left : left + columns]
