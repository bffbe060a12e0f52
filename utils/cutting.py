"""One crop a face out of images of any sizes, however the crop is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .devices import uploaded
from .errors import InvalidInput
from .images import ImageBatch, Images
from .progress import may_stop

#: Cuts the faces `chosen`, which lie in the images `rows` `[K]` int64 of a batch: `[K,S,S,3]` uint8
#: in the batch's own channel order.
Cut = Callable[[ImageBatch, Tensor, Tensor | slice], Tensor]


def cut_faces(
    images: Images,
    image_of_face: Sequence[int],
    size: int,
    device: torch.device,
    cut: Cut,
    max_images: int = 16,
) -> ImageBatch:
    """One crop `[size,size,3]` uint8 a face, on a device.

    Args:
        images: Any sizes, any device.
        image_of_face: The image of each face, N numbers.
        size: Side of the crops in pixels.
        device: Where they are cut.
        cut: Called for images of equal size at a time, which are on the device.
        max_images: Most images of such a batch.

    Raises:
        InvalidInput: There is no such image.
    """
    if max(image_of_face, default=-1) >= len(images):
        raise InvalidInput(
            f"got faces of image {max(image_of_face)}, counted from 0, but only {len(images)} "
            "images; give the images in which these faces were found"
        )
    parts = [torch.zeros(0, size, size, 3, dtype=torch.uint8, device=device)]
    faces_done: list[int] = []
    for batch in images.chunks(max_images, wanted=set(image_of_face)):
        may_stop()
        row_of_image = {image: row for row, image in enumerate(batch.positions)}
        chosen = [face for face, image in enumerate(image_of_face) if image in row_of_image]
        rows = [row_of_image[image_of_face[face]] for face in chosen]
        # No images before and behind those with faces: of a single face one is enough.
        first = min(rows)
        shown = batch[first : max(rows) + 1].to(device)
        few = len(chosen) < len(image_of_face)
        some = _indices(chosen, device) if few else slice(None)
        parts.append(cut(shown, _indices([row - first for row in rows], device), some))
        faces_done += chosen
    crops = parts[-1] if len(parts) <= 2 else torch.cat(parts)
    if faces_done != sorted(faces_done):
        crops = crops[_indices(np.argsort(faces_done).tolist(), device)]
    return ImageBatch(crops, tuple(range(len(crops))), images.bgr)


def _indices(values: list[int], device: torch.device) -> Tensor:
    return uploaded(torch.tensor(values, dtype=torch.int64), device)
