"""insightface's own models as a detector and heads: one image and one face at a time."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...utils.crop_spec import CropSource, whole_images
from ...utils.errors import ModelError
from ...utils.faces import Faces
from ...utils.images import ImageBatch
from ...utils.insightface_fields import FACE_KEYS, faces_from_arrays
from ...utils.letterbox import Canvas, fitted_size, letterbox
from ...utils.packs import ModelFile, Task
from ...utils.progress import advance, may_stop
from ..interfaces import DetectionOptions
from ..onnx_graphs.foreign import foreign_graph
from ..placement import RunsOn
from ..residency.evictable_model import EvictableModel
from .running import endings


@dataclass
class Upstream:
    """insightface's models of a pack.

    Attributes:
        models: By task.
        runs_on_by_task: What was found out about each.
        device: Where they expect images and leave results.
    """

    models: Mapping[str, Any]
    runs_on_by_task: Mapping[str, RunsOn]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def runs_on(self) -> RunsOn:
        """What the slowest of them runs on."""
        return max(self.runs_on_by_task.values(), key=lambda each: bool(each.note))

    def model(self, task: str) -> Any:
        """The model of a task.

        Raises:
            ModelError: There is none.
        """
        if task not in self.models:
            raise ModelError(
                f"insightface finds no {task} model in this pack, only {', '.join(self.models)}"
            )
        return self.models[task]


def make_stoppable(session: Any) -> None:
    """Lets whoever listens to this thread's work end a run of an ONNX Runtime session.

    Args:
        session: An `onnxruntime.InferenceSession`; its `run` is replaced on this object alone.
    """
    import onnxruntime

    # A strong reference would be a cycle, which keeps the weights until Python looks for cycles.
    reference = weakref.ref(session)
    run_of_class = type(session).run

    def run(output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
        options = run_options or onnxruntime.RunOptions()
        return endings.run(
            partial(run_of_class, reference(), output_names, input_feed, options),
            partial(setattr, options, "terminate", True),
        )

    session.run = run


def make_model_stoppable(model: Any) -> None:
    """The same for one of insightface's models, and what it opens for further input sizes.

    From 2.1 on its detector opens a session a size, by `resolution_session_factory`, and keeps them
    in a pool that it makes of that again when there is none.
    """
    make_stoppable(model.session)
    factory = getattr(model, "resolution_session_factory", None)
    if factory is None:
        return

    def stoppable(*args: Any, **kwargs: Any) -> Any:
        session = factory(*args, **kwargs)
        make_stoppable(session)
        return session

    model.resolution_session_factory = stoppable
    model._resolution_session_pool = None


class UpstreamModel:
    """One of the models, which all leave memory and come back together."""

    device = torch.device("cpu")

    def __init__(self, app: EvictableModel[Upstream], file: ModelFile) -> None:
        """
        Args:
            app: All of them.
            file: What the pack says of it.

        Raises:
            ModelError: insightface finds no such model in the pack.
        """
        self.task: Task = file.task
        self._app = app
        self._file = file.path
        with app.in_use() as upstream:
            upstream.model(self.task)
            self.runs_on = upstream.runs_on_by_task[self.task]

    @property
    def networks(self) -> tuple[EvictableModel[Any], ...]:
        """See `HoldsNetworks`."""
        return (self._app,)

    @property
    def session(self) -> Any:
        """The runtime's own session."""
        with self._app.in_use() as upstream:
            return upstream.model(self.task).session


class UpstreamDetector(UpstreamModel):
    """insightface's detector, image by image."""

    def __init__(self, app: EvictableModel[Upstream], file: ModelFile) -> None:
        super().__init__(app, file)
        self.fixed_size_wh = file.fixed_size_wh
        # Upstream keeps its thresholds on the model, which is shared here.
        self._lock = threading.Lock()

    def detect(self, batch: ImageBatch, options: DetectionOptions) -> Faces:
        """Every face of a batch of equal-sized images; see `Detector.detect`.

        Raises:
            ModelError: The network can't be run.
        """
        images = batch.to_uint8()
        bgr = images if batch.bgr else images.flip(-1)
        fixed = self.fixed_size_wh
        sizes = [fixed] if fixed else list(options.sizes_wh)
        canvases = [Canvas.fitting(batch.size_hw, size, fixed) for size in sizes]
        found: list[tuple[np.ndarray, np.ndarray | None]]
        with self._app.in_use() as upstream, self._lock, foreign_graph(self._file, "run"):
            model = upstream.model(self.task)
            model.det_thresh = options.threshold
            model.nms_thresh = options.nms_threshold
            if _upstream_takes(model, canvases, sizes):
                given = sizes if len(sizes) > 1 else sizes[0]
                found = []
                for number, pixels in enumerate(bgr.numpy()):
                    advance(number / len(bgr))
                    found.append(model.detect(np.ascontiguousarray(pixels), input_size=given))
            else:
                drawn = [
                    letterbox(ImageBatch(bgr, batch.positions, bgr=True), canvas).pixels.numpy()
                    for canvas in canvases
                ]
                found = []
                for number, looks in enumerate(zip(*drawn, strict=True)):
                    advance(number / len(bgr))
                    found.append(_found_on_canvases(model, looks, canvases))
        return Faces.cat(
            [faces_from_arrays(boxes, points, batch.size_hw) for boxes, points in found]
        )


def _upstream_takes(
    model: Any, canvases: Sequence[Canvas], sizes_wh: Sequence[tuple[int, int]]
) -> bool:
    """Whether upstream's own `detect` can do it.

    It counts anchors in whole strides, leaves no pixel of a thin picture, and before 1.0 takes one
    size at a time.
    """
    return (len(sizes_wh) == 1 or hasattr(model, "input_sizes")) and all(
        canvas.size_hw == size_wh[::-1]
        and fitted_size(canvas.source_hw, size_wh, 0) == canvas.filled_hw
        for canvas, size_wh in zip(canvases, sizes_wh, strict=True)
    )


def _found_on_canvases(
    model: Any, drawn: Sequence[np.ndarray], canvases: Sequence[Canvas]
) -> tuple[np.ndarray, np.ndarray | None]:
    """What upstream's `detect` gives, with the picture drawn on each canvas as ours are.

    Args:
        model: Upstream's detector.
        drawn: `[H,W,3]` uint8 BGR, one a canvas.
        canvases: Where the picture lies on each.

    Returns:
        `[N,5]` boxes with scores, best first, and `[N,5,2]` landmarks if it gives any.

    Source:
        insightface 2.1, `model_zoo/scrfd.py`, `SCRFD.detect`.
    """
    rows, points = [], []
    for pixels, canvas in zip(drawn, canvases, strict=True):
        scores, boxes, landmarks = model.forward(np.ascontiguousarray(pixels), model.det_thresh)
        rows.append(np.hstack((np.vstack(boxes) / canvas.scale, np.vstack(scores))))
        if model.use_kps:
            points.append(np.vstack(landmarks) / canvas.scale)
    found = np.vstack(rows).astype(np.float32)
    order = np.argsort(-found[:, 4], kind="stable")
    kept = order[model.nms(found[order])]
    return found[kept], np.vstack(points)[kept].astype(np.float32) if points else None


class UpstreamHead(UpstreamModel):
    """One of insightface's other networks, face by face."""

    def describe(self, images: CropSource, faces: Faces) -> Mapping[str, Tensor]:
        """Fields of `Faces` by name; see `Head.describe`."""
        from insightface.app.common import Face

        cpu = faces.to("cpu")
        names = FACE_KEYS[self.task].values()
        values: dict[str, list[Any]] = {name: [None] * len(faces) for name in names}
        with self._app.in_use() as upstream, foreign_graph(self._file, "run"):
            model = upstream.model(self.task)
            for batch in whole_images(images).chunks():
                pixels = batch.to_uint8().cpu().numpy()
                for position, image in zip(batch.positions, pixels, strict=True):
                    bgr = np.ascontiguousarray(image if batch.bgr else image[..., ::-1])
                    for row in (cpu.image_index == position).nonzero()[:, 0].tolist():
                        may_stop()
                        face = Face(bbox=cpu.boxes[row].numpy())
                        if cpu.landmarks is not None:
                            face.kps = cpu.landmarks[row].numpy()
                        model.get(bgr, face)
                        for key, name in FACE_KEYS[self.task].items():
                            values[name][row] = torch.as_tensor(face[key])
        return {name: torch.stack(rows).to(faces.device) for name, rows in values.items()}


class UpstreamRecognizer(UpstreamHead):
    """insightface's recognition network, which also takes crops that are already aligned."""

    def __init__(self, app: EvictableModel[Upstream], file: ModelFile) -> None:
        super().__init__(app, file)
        with app.in_use() as upstream:
            self.size: int = upstream.model(self.task).input_size[0]

    def embed(self, crops: ImageBatch) -> Tensor:
        """Embeds aligned crops; see `Recognizer.embed`."""
        pixels = crops.pixels if crops.bgr else crops.pixels.flip(-1)
        bgr = pixels.contiguous().numpy()
        with self._app.in_use() as upstream, foreign_graph(self._file, "run"):
            model = upstream.model(self.task)
            return torch.cat([torch.from_numpy(model.get_feat(crop)) for crop in bgr])
