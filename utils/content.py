"""Keys of images by their content: the same pixels give the same key, whatever object holds them.

A key is two XXH3 hashes of 64 bits, each with a seed and a prefix of its own that are drawn anew in
every process. One seed alone would not do: XXH3 adds up products `lo32(data ^ k) * hi32(data ^ k)`,
and its seed is added to constants to make k, so that two words of a block that change places, with
the difference of their constants worked in, give the same sum for one seed in 7,000 (counted over 2
million seeds for the best pair of constants), in as many blocks of an image as one likes. For two
seeds at once that is one process in 50 million; the prefixes, whose lengths hide where in a block a
word of the image lies, make it 2^20 times rarer. Keys are never stored or shown; in another process
they mean nothing.

A cryptographic hash would cost twenty times as much: BLAKE2b reads 0.7 GB/s, SHA-256 1.6 GB/s and
this 15 GB/s, as fast as the memory is copied (AMD EPYC, one core).

Source:
    XXH3 (Y. Collet, github.com/Cyan4973/xxHash, doc/xxhash_spec.md, section XXH3).
"""

from __future__ import annotations

import secrets

import numpy as np
import torch
import xxhash
from torch import Tensor

from .faces import Faces
from .images import Images

#: Both hashes read a part of the memory before they go on: the second finds it in the cache.
_PART_BYTES = 1 << 18
#: XXH3 treats its input in blocks of this many bytes.
_BLOCK_BYTES = 1024


def _seeded() -> xxhash.xxh3_64:
    prefix = secrets.token_bytes(_BLOCK_BYTES + secrets.randbelow(_BLOCK_BYTES))
    return xxhash.xxh3_64(prefix, seed=secrets.randbits(64))


_SEEDED = (_seeded(), _seeded())


class ContentHash:
    """The key of what is added to it, in its order; not cryptographic, but not to be foreseen."""

    def __init__(self) -> None:
        self._hashes = tuple(seeded.copy() for seeded in _SEEDED)

    def add(self, data: bytes | memoryview) -> None:
        """Adds bytes; a memoryview has to be contiguous."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _PART_BYTES):
            part = view[start : start + _PART_BYTES]
            for each in self._hashes:
                each.update(part)

    def key(self) -> bytes:
        """16 bytes that stand for all that was added."""
        return b"".join(each.digest() for each in self._hashes)


def image_key(image: np.ndarray) -> bytes:
    """16 bytes that stand for a uint8 image's shape and content.

    Costs what reading the memory costs; an image whose pixels do not lie in order is copied first.
    """
    content = ContentHash()
    content.add(repr(image.shape).encode())
    content.add(np.ascontiguousarray(image).data)
    return content.key()


def images_key(images: Images) -> bytes | None:
    """16 bytes that stand for a batch's shapes, types and content, or None.

    None where finding out would cost more than it may spare: on other devices than the CPU the
    pixels would have to be moved, and in pictures with alpha they would have to be copied.
    """
    if not all(source.device.type == "cpu" and source.is_contiguous() for source in images.sources):
        return None
    content = ContentHash()
    content.add(b"bgr" if images.bgr else b"rgb")
    for source in images.sources:
        _add(content, source)
    return content.key()


def faces_key(faces: Faces) -> bytes:
    """16 bytes that stand for all fields of faces on the CPU."""
    content = ContentHash()
    content.add(repr((faces.image_sizes, faces.embedding_space)).encode())
    for name, tensor in faces.tensors():
        content.add(name.encode())
        _add(content, tensor)
    return content.key()


def _add(content: ContentHash, tensor: Tensor) -> None:
    content.add(repr((tuple(tensor.shape), tensor.dtype)).encode())
    flat = tensor.flatten()
    if flat.stride(0) != 1:  # one number alone, or none, keeps the step of what it is part of
        flat = flat.clone(memory_format=torch.contiguous_format)
    # As bytes: numpy does not know all types that torch has.
    content.add(flat.view(torch.uint8).numpy().data)
