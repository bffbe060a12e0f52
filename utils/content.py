"""Keys of images by their content: the same pixels give the same key, whatever object holds them.

Source:
    XXH3 in 128 bits (Y. Collet, github.com/Cyan4973/xxHash): not cryptographic, but as fast as
    memory is read, and two different images share a key once in 10^38.
"""

from __future__ import annotations

import numpy as np
import torch
import xxhash
from torch import Tensor

from .faces import Faces
from .images import Images


def image_key(image: np.ndarray) -> bytes:
    """16 bytes that stand for a uint8 image's shape and content.

    Costs what reading the memory costs; an image whose pixels do not lie in order is copied first.
    """
    digest = xxhash.xxh3_128(np.ascontiguousarray(image).data)
    digest.update(repr(image.shape).encode())
    return digest.digest()


def images_key(images: Images) -> bytes | None:
    """16 bytes that stand for a batch's shapes, types and content, or None.

    None where finding out would cost more than it may spare: on other devices than the CPU the
    pixels would have to be moved, and in pictures with alpha they would have to be copied.
    """
    if not all(source.device.type == "cpu" and source.is_contiguous() for source in images.sources):
        return None
    digest = xxhash.xxh3_128(b"bgr" if images.bgr else b"rgb")
    for source in images.sources:
        _add(digest, source)
    return digest.digest()


def faces_key(faces: Faces) -> bytes:
    """16 bytes that stand for all fields of faces on the CPU."""
    digest = xxhash.xxh3_128(repr((faces.image_sizes, faces.embedding_space)).encode())
    for name, tensor in faces.tensors():
        digest.update(name.encode())
        _add(digest, tensor)
    return digest.digest()


def _add(digest: xxhash.xxh3_128, tensor: Tensor) -> None:
    digest.update(repr((tuple(tensor.shape), tensor.dtype)).encode())
    # As bytes: numpy does not know all types that torch has.
    digest.update(tensor.flatten().view(torch.uint8).numpy().data)
