"""`FastFaceEmbeddingSave` and `FastFaceEmbeddingLoad`: a person that lasts beyond the workflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils import host
from ..utils.embedding import Embedding
from ..utils.embedding_file import SUFFIX, load_embedding, save_embedding
from ..utils.errors import InvalidInput
from ..utils.names import require_file_name
from .sockets import CATEGORY, EMBEDDING, FACE_ANALYSIS
from .texts import with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis

_NONE = "(none saved yet)"


def embeddings_folder() -> Path:
    """Where embeddings are kept: `models/fastface/embeddings` of ComfyUI."""
    return host.models_folder() / "fastface" / "embeddings"


def saved_names() -> list[str]:
    """The names under which embeddings are kept, in their order; at least one entry."""
    try:
        files = sorted(path.stem for path in embeddings_folder().glob(f"*{SUFFIX}"))
    except OSError:
        files = []
    return files or [_NONE]


class FastFaceEmbeddingSave:
    DISPLAY_NAME = "FastFace Embedding Save"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "save face",
        "save character",
        "save embedding",
        "my character",
    )
    DESCRIPTION = (
        "Keeps the embedding of a person as a file, with the model pack it was made with, so that "
        "FastFace Embedding Load brings the same person into any workflow."
    )
    FUNCTION = "save"
    OUTPUT_NODE = True
    RETURN_TYPES = (EMBEDDING, "STRING")
    RETURN_NAMES = ("embedding", "info")
    OUTPUT_TOOLTIPS = ("The embedding, unchanged.", "Where it is kept, and what it belongs to.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "embedding": (EMBEDDING, {"tooltip": "mean_embedding of FastFace Embed."}),
                "name": (
                    "STRING",
                    {
                        "default": "my character",
                        "tooltip": "Name of the file in models/fastface/embeddings; one of that "
                        "name is replaced.",
                    },
                ),
            },
            "optional": {
                "faceanalysis": (
                    FACE_ANALYSIS,
                    {
                        "tooltip": "Optional. The loader that made the embedding: its pack, origin "
                        "and licence are kept in the file too."
                    },
                )
            },
        }

    def save(
        self, embedding: Embedding, name: str, faceanalysis: FaceAnalysis | None = None
    ) -> dict[str, Any]:
        facts: dict[str, str] = {}
        if faceanalysis is not None:
            analyzer = faceanalysis.analyzer
            pack, space = analyzer.pack, analyzer.embedding_space
            if embedding.space not in (None, space):
                raise InvalidInput(
                    f"got an embedding of {embedding.space!r} and a loader of pack {pack.name!r}, "
                    f"whose embeddings are of {space!r}; connect the loader that made the "
                    "embedding, or none"
                )
            facts = {"pack": pack.name}
            if space is not None:
                from ..utils.packs.provenance import model_provenance

                whose = model_provenance(pack, pack.model("recognition"))
                facts |= {"origin": whose.origin, "licence": whose.licence}
        file = require_file_name(name, SUFFIX, "an embedding")
        save_embedding(embeddings_folder() / file, embedding, facts)
        info = f"kept as {file} in models/fastface/embeddings; it belongs to {embedding.space}"
        return with_text(info, embedding, info)


class FastFaceEmbeddingLoad:
    DISPLAY_NAME = "FastFace Embedding Load"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "load face",
        "load character",
        "load embedding",
        "my character",
    )
    DESCRIPTION = (
        "Brings back a person that FastFace Embedding Save kept, as a reference for FastFace "
        "Select and Compare. It can be compared only with faces of the same model pack."
    )
    FUNCTION = "load"
    RETURN_TYPES = (EMBEDDING, "STRING")
    RETURN_NAMES = ("embedding", "info")
    OUTPUT_TOOLTIPS = (
        "The embedding, for the reference inputs.",
        "The model pack and space that it belongs to.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "name": (
                    saved_names(),
                    {
                        "tooltip": "One of the files in models/fastface/embeddings. Press R to see "
                        "those that were saved meanwhile."
                    },
                )
            }
        }

    @classmethod
    def IS_CHANGED(cls, name: Any = None) -> str:
        """ComfyUI runs the node again when the file is another; it leaves out a linked name."""
        try:
            status = (embeddings_folder() / f"{name}{SUFFIX}").stat()
        except (OSError, ValueError):
            return ""
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"

    def load(self, name: str) -> dict[str, Any]:
        if name == _NONE:
            raise InvalidInput(
                "no embedding has been saved yet; keep one with FastFace Embedding Save, then "
                "press R and choose it here"
            )
        file = require_file_name(name, SUFFIX, "an embedding")
        embedding, facts = load_embedding(embeddings_folder() / file)
        made_with = f", made with pack {facts['pack']}" if "pack" in facts else ""
        info = f"{name}: {embedding.vector.shape[1]} numbers of {embedding.space}{made_with}"
        return with_text(info, embedding, info)


NODES = {
    "FastFaceEmbeddingSave": FastFaceEmbeddingSave,
    "FastFaceEmbeddingLoad": FastFaceEmbeddingLoad,
}
