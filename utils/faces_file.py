"""Faces as the content of a safetensors file, with whatever else is known beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .checksummed_file import DamagedFile
from .errors import InvalidInput
from .faces import Faces

#: Tensors of the faces begin with it.
_PREFIX = "faces."
_SIZES = "image_sizes"


def faces_to_bytes(faces: Faces, tensors: Mapping[str, Tensor], facts: Any) -> bytes:
    """A safetensors file.

    Args:
        faces: On the CPU; names of identities are left out.
        tensors: What else is to be kept, on the CPU.
        facts: What JSON can hold.
    """
    from safetensors.torch import save

    every = {_PREFIX + name: tensor.contiguous() for name, tensor in faces.tensors()}
    every.pop(f"{_PREFIX}identity", None)
    sizes = torch.tensor(faces.image_sizes, dtype=torch.int64).reshape(-1, 2)
    every |= {_PREFIX + _SIZES: sizes, **tensors}
    told = {"embedding_space": faces.embedding_space, "facts": facts}
    return save(every, {"told": json.dumps(told)})


def faces_from_bytes(content: bytes) -> tuple[Faces, dict[str, Tensor], Any]:
    """The faces, the other tensors and the facts that `faces_to_bytes` was given.

    Raises:
        DamagedFile: It is something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        every = load(content)
        length = int.from_bytes(content[:8], "little")
        told = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["told"])
        sizes = every.pop(_PREFIX + _SIZES).tolist()
        own = {
            name.removeprefix(_PREFIX): every.pop(name)
            for name in list(every)
            if name.startswith(_PREFIX)
        }
        faces = Faces(
            **own,  # pyright: ignore[reportArgumentType]
            image_sizes=tuple((height, width) for height, width in sizes),
            embedding_space=told["embedding_space"],
            image_list=tuple(own["image_index"].tolist()),
        )
        return faces, every, told["facts"]
    except (SafetensorError, InvalidInput, LookupError, TypeError, ValueError) as error:
        raise DamagedFile(f"kept faces can't be read ({error})") from error
