"""Values that nobody means to give, but links, scripts and other packs do."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from fastface.utils.crops import CropBatch
from fastface.utils.embedding import Embedding
from fastface.utils.faces import Faces
from fastface.utils.tracks.tracks import Tracks

TEXTS = (
    "", " ", "\t\n", "0", "-1", "1e400", "nan", "inf", "true", "None", "auto", "all", "cpu",
    "cuda:0", "cuda:99", "cuda:x", "../..", "/", "a/b", "a\\b", "CON", "name\0", "\ud800", "é" * 40,
    "x" * 5000,
    "{}", "[]", "'; --", "%s%n", "${HOME}", "640", "64MB", "64MB x", "1,5GB", "0x10", "٣",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 7, 16, 32, 255, 640, 4096, 1 << 16, 1 << 31, -(1 << 31), 1 << 63, 1 << 70,
    0.0, -0.0, 0.5, 1.0, 1.5, -0.1, 1e-300, 1e30, -1e30, float("nan"), float("inf"),
    float("-inf"), True, False,
)  # fmt: skip


def odd_text(chance: random.Random) -> str:
    if chance.random() < 0.8:
        return chance.choice(TEXTS)
    return "".join(
        chr(chance.choice((chance.randrange(128), chance.randrange(0xD800)))) for _ in "x" * 8
    )


def odd_number(chance: random.Random) -> Any:
    number = chance.choice(NUMBERS)
    wrap: Callable[[Any], Any] = chance.choice((lambda x: x, lambda x: x, np.float64, torch.tensor))
    try:
        return wrap(number)
    except (OverflowError, RuntimeError, ValueError):  # larger than any that the library has
        return number


def odd_json(chance: random.Random, depth: int = 3) -> Any:
    """Anything that JSON can hold."""
    kind = chance.randrange(8 if depth else 5)
    if kind == 0:
        return None
    if kind in (1, 2):
        return chance.choice(NUMBERS)
    if kind in (3, 4):
        return odd_text(chance)
    count = chance.choice((0, 1, 2, 4))
    if kind in (5, 6):
        return [odd_json(chance, depth - 1) for _ in range(count)]
    return {odd_text(chance): odd_json(chance, depth - 1) for _ in range(count)}


def changed_json(document: Any, chance: random.Random, others: Sequence[Any] = ()) -> Any:
    """A document with one value, name, entry or level changed.

    Args:
        document: Changed in place, unless it is replaced as a whole.
        chance: Decides what and how.
        others: What values are replaced by at times.
    """
    if not isinstance(document, (dict, list)) or not document or chance.random() < 0.02:
        return odd_json(chance)
    owner: Any = document
    while True:
        name = chance.choice(list(owner) if isinstance(owner, dict) else range(len(owner)))
        inner = owner[name]
        if not isinstance(inner, (dict, list)) or not inner or chance.random() < 0.3:
            break
        owner = inner
    change = chance.randrange(5)
    if change == 0:
        del owner[name]
    elif change == 1 and isinstance(owner, dict):
        owner[odd_text(chance)] = owner.pop(name)
    elif change == 2 and others:
        owner[name] = chance.choice(others)
    else:
        owner[name] = odd_json(chance)
    return document


def odd_value(chance: random.Random) -> Any:
    """Anything."""
    return chance.choice(_KINDS)(chance)


def odd_image(chance: random.Random) -> Any:
    """Something like an IMAGE: `[B,H,W,C]` float32, 0..1."""
    shape = [chance.choice((0, 1, 1, 2, 3)), *(chance.choice(_SIDES) for _ in "hw")]
    shape += [chance.choice((3, 3, 3, 3, 1, 4, 2, 0, 5))]
    change = chance.randrange(14)
    if change == 0:
        del shape[chance.randrange(4)]
    elif change == 1:
        shape.insert(chance.randrange(4), 1)
    numbers = np.random.default_rng(chance.getrandbits(32))
    image = torch.from_numpy(numbers.random(shape, dtype=np.float32))
    if change == 2:
        return chance.choice(
            (image.numpy(), image.tolist(), [image], tuple(image), [image, image[:0]])
        )
    if change == 3:
        return image.to(chance.choice(_DTYPES))
    if change == 4 and image.numel():
        image.view(-1)[chance.randrange(image.numel())] = chance.choice(
            (float("nan"), float("inf"), -1.0, 255.0, 1e30)
        )
    elif change == 5:
        image = image * 255
    elif change == 6 and image.ndim == 4:
        image = image.permute(0, 3, 1, 2)
    elif change == 7:
        image = image.requires_grad_()
    elif change == 8:
        image = image.flip(0)[..., ::1]
    elif change == 9:
        image = image.to_sparse() if image.numel() else image
    elif change == 10:
        image = torch.empty(shape, device="meta")
    return image


def odd_array(chance: random.Random) -> Any:
    """Something like OpenCV's images: `[H,W,3]` uint8."""
    shape = [chance.choice(_SIDES), chance.choice(_SIDES), chance.choice((3, 3, 3, 3, 1, 4, 2, 0))]
    change = chance.randrange(10)
    if change == 0:
        del shape[chance.randrange(3)]
    elif change == 1:
        shape.insert(0, 1)
    numbers = np.random.default_rng(chance.getrandbits(32))
    image = numbers.integers(0, 256, shape, dtype=np.uint8)
    if change == 2:
        return image.astype(chance.choice((np.float32, np.int64, bool, object, np.uint16)))
    if change == 3:
        return chance.choice(
            (image.tolist(), torch.from_numpy(image), None, "photo.png", image[:0])
        )
    if change == 4:
        image.flags.writeable = False
    elif change == 5:
        image = np.asfortranarray(image)
    elif change == 6:
        image = image[::-1, ::2] if image.ndim > 1 else image[::-1]
    elif change == 7:
        return np.ma.masked_array(image)
    return image


def odd_faces(chance: random.Random, faces: Faces) -> Any:
    """Faces that were changed on their way."""
    change = chance.randrange(8)
    if change == 0:
        return (
            faces[chance.choice((0, -1, slice(0, 0), slice(None, None, 2)))]
            if len(faces)
            else faces
        )
    if change == 1:
        return faces.boxes
    fields: dict[str, Any] = {}
    if change == 2:
        fields["boxes"] = faces.boxes * chance.choice((-1.0, 0.0, 1e30, float("nan"), float("inf")))
    elif change == 3:
        fields["scores"] = faces.scores * float("nan")
    elif change == 4 and faces.landmarks is not None:
        fields["landmarks"] = faces.landmarks * chance.choice((0.0, 1e30, float("nan")))
    elif change == 5 and faces.embeddings is not None:
        fields["embeddings"] = faces.embeddings * chance.choice((0.0, float("nan")))
    elif change == 6:
        fields["boxes"] = faces.boxes[:, [2, 3, 0, 1]]
    return faces.with_fields(**fields) if fields else faces


def odd_tracks(chance: random.Random, tracks: Tracks) -> Any:
    """Tracks that were changed on their way."""
    change = chance.randrange(8)
    count = len(tracks.frames)
    if change == 0:
        return tracks.faces
    if change == 1:
        faces = odd_faces(chance, tracks.faces)
        same = isinstance(faces, Faces) and len(faces) == len(tracks.faces)
        return replace(tracks, faces=faces) if same else faces
    if change == 2:
        return replace(tracks, ids=tracks.ids * chance.choice((0, -1, 1 << 40)))
    if change == 3:
        return replace(tracks, times=(chance.choice((0.0, -1e9, 1e9, float("inf"))),) * count)
    if change == 4:
        first = chance.choice((1, 1 << 40))
        return replace(tracks, frames=tuple(range(first, first + count)))
    if change == 5:
        names = {0: odd_text(chance), -1: "nobody", 1 << 40: ""}
        return replace(tracks, names=MappingProxyType(names))
    source = tracks.source
    changes: tuple[dict[str, Any], ...] = (
        {"path": odd_text(chance)},
        {"size_hw": chance.choice(((1, 1), (63, 95), (0, 0)))},
        {"average_rate": chance.choice((Fraction(1, 1000), Fraction(1000), Fraction(0)))},
    )
    return replace(tracks, source=replace(source, **chance.choice(changes)))


def odd_embedding(chance: random.Random, embedding: Embedding) -> Any:
    """An embedding that was changed on its way."""
    change = chance.randrange(6)
    if change == 0:
        return embedding.vector
    vector, space = embedding.vector, embedding.space
    if change == 1:
        vector = vector * chance.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
    elif change == 2:
        vector = vector[:, : chance.choice((0, 1, 3))]
    elif change == 3:
        vector = vector[:0]
    elif change == 4:
        vector = vector.to(chance.choice((torch.float16, torch.bfloat16, torch.float64)))
    else:
        space = chance.choice((None, "", "other@7", odd_text(chance)))
    return Embedding(vector, space)


def odd_crops(chance: random.Random, crops: CropBatch) -> Any:
    """Crops that were changed on their way."""
    change = chance.randrange(6)
    if change == 0:
        return crops.pixels
    fields: dict[str, Any] = {}
    if change in (1, 2):
        name = chance.choice(("pixels", "matrices"))
        factor = chance.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
        fields[name] = getattr(crops, name) * factor
    elif change == 3:
        fields["image_of_crop"] = tuple(place + 5 for place in crops.image_of_crop)
    elif change == 4:
        fields["image_sizes"] = chance.choice(((), ((64, 96),), ((1, 1),) * 2, ((96, 64),) * 2))
    else:
        name = chance.choice(("pixels", "matrices", "image_of_crop"))
        fields[name] = getattr(crops, name)[:0]
    return replace(crops, **fields)


_SIDES = (1, 2, 3, 8, 31, 33, 64, 64, 96, 0, 200)
_DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.uint8,
    torch.int64,
    torch.bool,
    torch.complex64,
)
_KINDS: tuple[Callable[[random.Random], Any], ...] = (
    odd_text,
    odd_number,
    odd_number,
    odd_image,
    odd_array,
    odd_json,
    lambda chance: None,
    lambda chance: object(),
    lambda chance: type,
    lambda chance: b"bytes",
)
