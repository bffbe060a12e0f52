"""Batches that fit through models: images through a detector, faces through a head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..backends.interfaces import DetectionOptions, Detector, Head
from ..backends.pending import Pending, read_together
from ..utils.crop_spec import CropSource
from ..utils.faces import Faces
from ..utils.free_memory import faces_at_once, images_at_once, run_with_oom_retry
from ..utils.images import ImageBatch, Images, check_values
from ..utils.metrics import stage
from ..utils.packs import Task
from ..utils.progress import part

if TYPE_CHECKING:
    from ..models.multiview.types import MakeBatch


def detect_images(detector: Detector, images: Images, options: DetectionOptions) -> Faces:
    """Finds the faces of images of any sizes, chunk by chunk, and reads the device once at the end.

    Args:
        detector: The model.
        images: Any sizes, any device.
        options: Input sizes and thresholds.

    Returns:
        Faces on the detector's device, in the images' order, best score first within each.

    Raises:
        InvalidInput: Images hold NaN, infinite or absurd values.
        OutOfMemory: Not even one image fits, on its own, into the memory that is left.
    """
    sizes = (detector.fixed_size_wh,) if detector.fixed_size_wh else options.sizes_wh
    largest = max(sizes, key=lambda size_wh: size_wh[0] * size_wh[1])
    find = partial(detector.detect, options=options)
    detected: list[_Detected] = []
    positions: list[int] = []
    done = 0
    pixels = max((height * width for height, width in images.sizes_hw), default=0)
    at_once = images_at_once(detector.device, largest, pixels)

    def look(some: ImageBatch) -> _Detected:
        with stage("upload"):
            batch = some.to(detector.device)
        # The caller's pixels are kept, not the copy on the device: that is to be let go.
        again = partial(some.to, detector.device)
        return _Detected(again, [find(batch)], some, batch.extremes())

    for chunk in images.chunks(at_once, max_bytes=None):
        until = done + len(chunk)
        with part(done / len(images), until / len(images)):
            detected += run_with_oom_retry(chunk, look)
        positions += chunk.positions
        done = until
    if not detected:
        return Faces.empty(device=detector.device)
    return Faces.cat(_resolved(detected, find)).placed(positions, images.sizes_hw)


def detect_batches(
    detector: Detector, makers: Sequence[MakeBatch], options: DetectionOptions
) -> list[Faces]:
    """Finds the faces of batches that are made one after the other; see `DetectBatches`."""
    find = partial(detector.detect, options=options)
    detected = []
    for number, make in enumerate(makers):
        with part(number / len(makers), (number + 1) / len(makers)):
            detected.append(_Detected(make, run_with_oom_retry(make(), find)))
    return _resolved(detected, find)


def describe_faces(head: Head, images: CropSource, faces: Faces, task: Task) -> dict[str, Tensor]:
    """What a head says of faces, some at a time.

    Args:
        head: The model.
        images: Those in which `faces` were found.
        faces: On any device; the result lies there.
        task: The head's.

    Returns:
        Fields of `Faces` with a row for each; none at all for no faces.

    Raises:
        OutOfMemory: Not even one face fits, on its own, into the memory that is left.
    """

    def look(some: Faces) -> dict[str, Tensor]:
        return dict(head.describe(images, some))

    at_once = faces_at_once(head.runs_on.device.startswith("cpu"))
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(faces), at_once):
        some = faces if len(faces) <= at_once else faces[start : start + at_once]
        with stage(task), part(start / len(faces), (start + len(some)) / len(faces)):
            parts += run_with_oom_retry(some, look)
    if len(parts) < 2:
        return parts[0] if parts else {}
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True)
class _Detected:
    """Some images, and what is being found in them.

    Attributes:
        make: Gives the images on the device once more.
        results: Of the images, or of parts of them in their order.
        chunk: The caller's images, where their values are to be checked.
        extremes: See `ImageBatch.extremes`.
    """

    make: MakeBatch
    results: list[Faces | Pending]
    chunk: ImageBatch | None = None
    extremes: Tensor | None = None


def _resolved(
    detected: Sequence[_Detected], find: Callable[[ImageBatch], Faces | Pending]
) -> list[Faces]:
    """The faces of each batch, after one read of the device for everything the host must know.

    Raises:
        InvalidInput: Images hold NaN, infinite or absurd values.
    """
    checked = [
        (one.chunk, one.extremes)
        for one in detected
        if one.chunk is not None and one.extremes is not None
    ]
    pending = [each for one in detected for each in one.results if not isinstance(each, Faces)]
    values = read_together(
        [limits for _, limits in checked] + [each.host_values for each in pending]
    )
    check_values(
        [(chunk, low, high) for (chunk, _), (low, high) in zip(checked, values, strict=False)]
    )
    answers = iter(values[len(checked) :])
    resolved: list[Faces] = []
    for one in detected:
        faces = [
            each if isinstance(each, Faces) else each.resolve(next(answers)) for each in one.results
        ]
        complete = [each for each in faces if each is not None]
        if len(complete) < len(faces):
            # There was more than was looked for; the detector looks wider now.
            again = run_with_oom_retry(one.make(), find)
            complete = _resolved([_Detected(one.make, again)], find)
        resolved.append(Faces.cat(complete))
    return resolved
