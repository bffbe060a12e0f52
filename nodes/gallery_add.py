"""`FastFaceGalleryAdd`: people and their embeddings, kept under their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..utils.embedding import Embedding
from ..utils.errors import InvalidInput
from ..utils.faces import Faces
from .socket_checks import faces_of, readable_images
from .sockets import (
    CATEGORY,
    EMBEDDING,
    FACE_ANALYSIS,
    FACES_INPUT,
)
from .texts import counted, with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis
    from ..utils.gallery.contents import Gallery
    from ..utils.packs import Task

GALLERY_TOOLTIP = (
    "Name of the gallery: a folder in models/fastface/galleries. One that is not there is made by "
    "FastFace Gallery Add."
)
_RECOGNITION: Task = "recognition"


class FastFaceGalleryAdd:
    DISPLAY_NAME = "FastFace Gallery Add"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "face gallery",
        "face database",
        "known faces",
        "enrol person",
        "save people",
    )
    DESCRIPTION = (
        "Keeps a person in a gallery: under a name, with as many embeddings as there are photos. "
        "FastFace Gallery Search tells who is who by it."
    )
    FUNCTION = "add"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "INT", "STRING")
    RETURN_NAMES = ("gallery", "count", "info")
    OUTPUT_TOOLTIPS = (
        "The gallery's name, for FastFace Gallery Search, which then runs after this node.",
        "How many people the gallery holds now.",
        "Who was added, and what the gallery holds.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "gallery": ("STRING", {"default": "my gallery", "tooltip": GALLERY_TOOLTIP}),
                "name": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Of the person. Somebody of that name gets these embeddings "
                        "too; what is there already is not added twice.",
                    },
                ),
            },
            "optional": {
                "faces": (
                    FACES_INPUT,
                    {
                        "tooltip": "Faces of this one person, in one or several photos, from "
                        "FastFace Embed; or from FastFace Select, with images and faceanalysis."
                    },
                ),
                "embedding": (
                    EMBEDDING,
                    {
                        "tooltip": "In place of faces, or besides: mean_embedding of FastFace "
                        "Embed, or FastFace Embedding Load."
                    },
                ),
                "images": ("IMAGE", {"tooltip": "For faces without embeddings: their images."}),
                "faceanalysis": (
                    FACE_ANALYSIS,
                    {
                        "tooltip": "For faces without embeddings, and to keep pack, origin and "
                        "licence of the weights with the gallery. From FastFace Loader."
                    },
                ),
                "notes": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Kept with the person; empty leaves what is there.",
                    },
                ),
                "origin": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Kept with each of these embeddings: where they come from, such "
                        "as the name of a photo.",
                    },
                ),
            },
        }

    def add(
        self,
        gallery: str,
        name: str,
        faces: Faces | None = None,
        embedding: Embedding | None = None,
        images: Tensor | None = None,
        faceanalysis: FaceAnalysis | None = None,
        notes: str | None = None,
        origin: str | None = None,
    ) -> dict[str, Any]:
        from ..utils.gallery.contents import Addition, with_added
        from ..utils.gallery.places import gallery_store

        if faces is None and embedding is None:
            raise InvalidInput("got neither faces nor an embedding; connect one of them")
        store = gallery_store(gallery)
        additions: list[tuple[Addition, str | None]] = []
        if faces is None and images is not None:
            readable_images(images)
        if faces is not None:
            faces = with_embeddings(faces, images, faceanalysis)
            if len(faces) and faces.embeddings is not None:
                origins = (origin or "",) * len(faces)
                person = Addition(name, faces.embeddings, origins, notes or "")
                additions.append((person, faces.embedding_space))
        if embedding is not None and len(embedding.vector):
            person = Addition(name, embedding.vector, (origin or "",), notes or "")
            additions.append((person, embedding.space))
        if not additions:
            info = f"no face of {name!r}: nothing was added"
            return with_text(info, gallery, len(store.read()) if store.exists() else 0, info)
        facts = facts_of(faceanalysis, additions[0][1])

        def edit(old: Gallery) -> Gallery:
            for person, space in additions:
                old = with_added(old, [person], space, facts)
            return old

        new = store.change(edit)
        identity = new.identities[new.place(name)]
        info = (
            f"{identity.name} has {counted(len(identity.samples), 'embedding')}; gallery "
            f"{store.name!r} holds {counted(len(new), 'person', 'people')} of {new.space}"
        )
        return with_text(info, gallery, len(new), info)


def gallery_state(gallery: Any) -> str:
    """Another text when the gallery of a name is another; empty for what is no name of one."""
    from ..utils.gallery.places import gallery_store

    try:
        return repr(gallery_store(gallery).state())
    except (AttributeError, TypeError, ValueError):
        return ""


def with_embeddings(
    faces: Faces, images: Tensor | None, face_analysis: FaceAnalysis | None
) -> Faces:
    """Faces with their embeddings, which are worked out where they are not there.

    Raises:
        InvalidInput: They are not there, and images or faceanalysis are not connected; or the
            images are none, or others.
    """
    checked = None
    if images is not None:
        checked, faces = faces_of(faces, images)
    if faces.embeddings is not None or not len(faces):
        return faces
    if checked is None or face_analysis is None:
        raise InvalidInput(
            f"got {len(faces)} faces without embeddings; connect FastFace Embed (which: all) "
            "before this node, or images and faceanalysis to it"
        )
    return face_analysis.describe(checked, faces, (_RECOGNITION,))


def facts_of(face_analysis: FaceAnalysis | None, space: str | None) -> dict[str, str]:
    """What a gallery keeps of the weights that made its embeddings.

    Raises:
        InvalidInput: The loader is of another pack than the embeddings.
    """
    from ..utils.packs.checksums import content_of
    from ..utils.packs.provenance import model_provenance

    if face_analysis is None:
        return {}
    analyzer = face_analysis.analyzer
    pack = analyzer.pack
    if space != analyzer.embedding_space:
        raise InvalidInput(
            f"got embeddings of {space!r} and a loader of pack {pack.name!r}, whose embeddings are "
            f"of {analyzer.embedding_space!r}; connect the loader that made them, or none"
        )
    model = pack.model(_RECOGNITION)
    whose = model_provenance(pack, model)
    return {
        "pack": pack.name,
        "content": content_of(model),
        "origin": whose.origin,
        "licence": whose.licence,
    }


NODES = {"FastFaceGalleryAdd": FastFaceGalleryAdd}
