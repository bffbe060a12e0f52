"""What a search asks of whoever runs the detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...backends.interfaces import DetectionOptions
from ...utils.faces import Faces
from ...utils.images import ImageBatch

#: Makes a batch on the detector's device; called again when the batch must be detected again.
MakeBatch = Callable[[], ImageBatch]
#: Detects the faces of batches, with one read of the device for all of them.
DetectBatches = Callable[[Sequence[MakeBatch], DetectionOptions], list[Faces]]
