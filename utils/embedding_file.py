"""Identities as files: one embedding, what it may be compared with, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .embedding import Embedding
from .errors import InvalidInput, ModelError
from .files import write_whole

SUFFIX = ".safetensors"
_FORMAT = "fastface-embedding"
#: Raised when older packs could not read the files any more.
_VERSION = 1
_TENSOR = "embedding"


def save_embedding(path: Path, embedding: Embedding, facts: Mapping[str, str]) -> None:
    """Writes an embedding, whole or not at all; a file of that name is replaced.

    Args:
        path: A safetensors file; its folder is made if need be.
        embedding: Of somebody.
        facts: What else is known, such as `pack` and `licence`; kept as text beside the vector.

    Raises:
        InvalidInput: The embedding is empty.
        FileError: It can't be written.
    """
    from safetensors.torch import save

    if embedding.space is None or not len(embedding.vector):
        raise InvalidInput(
            "got an empty embedding: FastFace Embed found no face in its photos; there is nobody "
            "to save"
        )
    metadata = {
        **facts,
        "format": _FORMAT,
        "version": str(_VERSION),
        "space": embedding.space,
    }
    vector = embedding.vector.detach().float().cpu().contiguous()
    write_whole(path, save({_TENSOR: vector}, metadata))


def load_embedding(path: Path) -> tuple[Embedding, dict[str, str]]:
    """Reads what `save_embedding` wrote.

    Returns:
        The embedding on the CPU, and the facts that were kept with it.

    Raises:
        ModelError: It is not there, damaged, something else, or of a newer version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            facts = dict(file.metadata() or {})
            if facts.get("format") != _FORMAT:
                raise ModelError(
                    f"{path.name} is a safetensors file, but none that FastFace Embedding Save "
                    "wrote; choose another one"
                )
            if facts.get("version") != str(_VERSION):
                raise ModelError(
                    f"{path.name} has version {facts.get('version')!r} of the format, expected "
                    f"{_VERSION}; update ComfyUI-FastFace"
                )
            vector = file.get_tensor(_TENSOR)
            return Embedding(vector, facts["space"]), facts
    except (SafetensorError, OSError, KeyError, InvalidInput) as error:
        raise ModelError(
            f"{path.name} can't be read as an embedding ({error}); save it again with FastFace "
            "Embedding Save"
        ) from error
