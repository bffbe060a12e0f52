"""What is kept of images that were analysed, by their content: for every object of every pack."""

from __future__ import annotations

from operator import attrgetter

import numpy as np

from ...backends.residency.model_registry import ModelName, remember
from ...utils.cache import Bounds, Cache
from ...utils.faces import Faces
from ...utils.settings import settings_or_defaults
from .lazy_faces import FrameRecord, SharedImage

#: Boxes `[N,5]` and landmarks `[N,5,2]` or None.
Found = tuple[np.ndarray, "np.ndarray | None"]


def _result_bounds() -> Bounds:
    chosen = settings_or_defaults()
    return Bounds(chosen.cache_results, chosen.cache_mem_limit, chosen.cache_results_seconds)


def _crop_bounds() -> Bounds:
    chosen = settings_or_defaults()
    return Bounds(chosen.cache_crops, chosen.cache_mem_limit, chosen.cache_crops_seconds)


def _bytes_of_found(found: Found) -> int:
    boxes, landmarks = found
    return boxes.nbytes + (0 if landmarks is None else landmarks.nbytes)


#: What detectors found in single images, by image and settings.
DETECTIONS: Cache[Found] = Cache("detections", _result_bounds, _bytes_of_found)
#: What was found out about the faces of an image, by its content and their boxes.
RECORDS: Cache[FrameRecord] = Cache("faces", _result_bounds, lambda record: record.most_bytes)
#: What is needed of an image to find out more about its faces.
PICTURES: Cache[SharedImage] = Cache(
    "crops", _crop_bounds, lambda picture: picture.size_bytes, on_leave=SharedImage.let_go
)
#: What the nodes found in whole batches, and about their faces.
BATCHES: Cache[Faces] = Cache("batches", _result_bounds, attrgetter("nbytes"))


class _Pixels:
    """Pictures leave memory as models do: when nobody used them for a while, or is to have it back.

    They are no model: they are in no list, and not counted among those that went.
    """

    name = ModelName(pack="", task="", backend="", file="")

    def status(self) -> None:
        return None

    def drop(self, idle_seconds: float | None = None) -> bool:
        if idle_seconds is None or PICTURES.idle_seconds >= idle_seconds:
            PICTURES.clear()
        return False


#: Remembered weakly there.
_pixels = _Pixels()
remember(_pixels)

CACHES = (DETECTIONS, RECORDS, PICTURES, BATCHES)


def forget_results() -> None:
    """Empties the caches: the next image is analysed even if it was analysed before."""
    for cache in CACHES:
        cache.clear()
