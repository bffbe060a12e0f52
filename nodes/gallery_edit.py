"""`FastFaceGalleryEdit`: who is in a gallery, and what can be done about it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..pipeline.gallery_exchange import (
    Imported,
    export_embeddings,
    export_face_models,
    people_of_face_models,
    people_of_photos,
)
from ..pipeline.insightface_compat.face_model import face_models_folder
from ..utils.errors import InvalidInput
from ..utils.gallery.contents import (
    Gallery,
    with_added,
    with_deleted,
    with_merged,
    with_renamed,
)
from ..utils.gallery.places import gallery_names, gallery_store
from ..utils.gallery.store import GalleryStore
from ..utils.host.files import input_folder
from ..utils.progress import part
from .embedding_file import embeddings_folder
from .gallery_add import GALLERY_TOOLTIP, facts_of
from .sockets import CATEGORY, FACE_ANALYSIS
from .texts import counted, with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis

_log = logging.getLogger("FastFace")

#: Lines of a list that a node shows.
_MOST_LINES = 200
_MOST_LEFT_OUT = 20


class FastFaceGalleryEdit:
    DISPLAY_NAME = "FastFace Gallery Edit"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "face gallery",
        "rename person",
        "merge people",
        "delete person",
        "import faces",
        "export faces",
        "ReActor face models",
    )
    DESCRIPTION = (
        "Lists who is in a gallery; renames, merges and deletes people, and takes the last change "
        "back; brings in a folder of photos named by person, or ReActor's face models; gives "
        "people back as files."
    )
    FUNCTION = "edit"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "INT", "STRING")
    RETURN_NAMES = ("gallery", "count", "info")
    OUTPUT_TOOLTIPS = (
        "The gallery's name, for FastFace Gallery Search, which then runs after this node.",
        "How many people the gallery holds now.",
        "What was done, or who is in the gallery.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "gallery": ("STRING", {"default": "my gallery", "tooltip": GALLERY_TOOLTIP}),
                "action": (
                    list(_ACTIONS),
                    {
                        "tooltip": "`list` only shows. `rename` and `merge` need name and "
                        "new_name: merge gives all of name to new_name. `delete` needs name. "
                        "`undo` takes the last change of the gallery back; done again, it is "
                        "there again. `import photos` needs folder and faceanalysis. `import face "
                        "models` takes those of ReActor. `export embeddings` keeps everybody for "
                        "FastFace Embedding Load. `export face models` puts the embeddings into "
                        "ReActor's face models of the same names."
                    },
                ),
            },
            "optional": {
                "faceanalysis": (
                    FACE_ANALYSIS,
                    {"tooltip": "For `import photos`: finds and embeds the faces."},
                ),
                "name": (
                    "STRING",
                    {"default": "", "tooltip": "For `rename`, `merge` and `delete`: of whom."},
                ),
                "new_name": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "For `rename`: the name from now on. For `merge`: the person "
                        "who gets the embeddings and stays.",
                    },
                ),
                "folder": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "For `import photos`: a folder in ComfyUI's input folder, with "
                        "a folder for each person, or photos named by person: anna.jpg, "
                        "anna_2.jpg. Of each photo the largest face is taken.",
                    },
                ),
            },
        }

    @classmethod
    def IS_CHANGED(cls, gallery: Any = None, action: Any = None, **_: Any) -> str:
        """A list is made anew when the gallery is another; nothing else is done twice unasked."""
        try:
            return repr(gallery_store(gallery).state()) if action == "list" else ""
        except (AttributeError, TypeError, ValueError):
            return ""

    def edit(
        self,
        gallery: str,
        action: str,
        faceanalysis: FaceAnalysis | None = None,
        name: str | None = None,
        new_name: str | None = None,
        folder: str | None = None,
    ) -> dict[str, Any]:
        store = gallery_store(gallery)
        if not store.exists() and not action.startswith("import"):
            there = ", ".join(map(repr, gallery_names())) or "none yet"
            raise InvalidInput(f"got gallery {gallery!r}, which is not there; there are: {there}")
        request = _Request(store, name or "", new_name or "", folder or "", faceanalysis)
        now, info = _ACTIONS[action](request)
        return with_text(info, gallery, len(now), info)


Done = tuple[Gallery, str]


class _Request(NamedTuple):
    """What the inputs ask for."""

    store: GalleryStore
    name: str
    new_name: str
    folder: str
    face_analysis: FaceAnalysis | None


def _listed(ask: _Request) -> Done:
    gallery = ask.store.read()
    lines = [f"{counted(len(gallery), 'person', 'people')} of {gallery.space}"]
    lines += [
        f"{identity.name}: {counted(len(identity.samples), 'embedding')}"
        + (f" ({identity.notes})" if identity.notes else "")
        for identity in gallery.identities[:_MOST_LINES]
    ]
    if len(gallery) > _MOST_LINES:
        lines.append(f"and {len(gallery) - _MOST_LINES} more")
    return gallery, "\n".join(lines)


def _renamed(ask: _Request) -> Done:
    now = ask.store.change(lambda old: with_renamed(old, ask.name, ask.new_name))
    return now, f"{ask.name} is {ask.new_name} now"


def _merged(ask: _Request) -> Done:
    now = ask.store.change(lambda old: with_merged(old, ask.name, ask.new_name))
    count = len(now.identities[now.place(ask.new_name)].samples)
    return now, f"{ask.name} is {ask.new_name}, who has {counted(count, 'embedding')} now"


def _deleted(ask: _Request) -> Done:
    now = ask.store.change(lambda old: with_deleted(old, ask.name))
    return now, f"{ask.name} is deleted; undo brings the person back"


def _undone(ask: _Request) -> Done:
    now = ask.store.undo()
    return now, f"the last change is taken back: {counted(len(now), 'person', 'people')} now"


def _import_face_models(ask: _Request) -> Done:
    return _added(ask.store, people_of_face_models(face_models_folder()), {})


def _import_photos(ask: _Request) -> Done:
    if ask.face_analysis is None:
        raise InvalidInput(
            "got no faceanalysis, which finds the faces in the photos; connect FastFace Loader"
        )
    with part(0.0, 1.0):
        imported = people_of_photos(ask.face_analysis, input_folder(ask.folder))
    facts = facts_of(ask.face_analysis, imported.space) if imported.additions else {}
    return _added(ask.store, imported, facts)


def _added(store: GalleryStore, imported: Imported, facts: dict[str, str]) -> Done:
    now = store.read() if store.exists() else Gallery()
    if imported.additions:
        now = store.change(lambda old: with_added(old, imported.additions, imported.space, facts))
    people = len({addition.name for addition in imported.additions})
    info = f"{counted(len(imported.additions), 'face')} of {counted(people, 'person', 'people')}"
    return now, _with_left_out(f"{info} brought in", imported.left_out)


def _export_embeddings(ask: _Request) -> Done:
    gallery = ask.store.read()
    kept, left_out = export_embeddings(gallery, embeddings_folder())
    return gallery, _with_left_out(
        f"{counted(len(kept), 'embedding')} kept in models/fastface/embeddings", left_out
    )


def _export_face_models(ask: _Request) -> Done:
    gallery = ask.store.read()
    kept, left_out = export_face_models(gallery, face_models_folder())
    return gallery, _with_left_out(
        f"{counted(len(kept), 'face model')} of ReActor renewed", left_out
    )


def _with_left_out(text: str, left_out: Sequence[str]) -> str:
    if not left_out:
        return text
    _log.warning("FastFace Gallery Edit left out %d: %s", len(left_out), "; ".join(left_out))
    shown = list(left_out[:_MOST_LEFT_OUT])
    more = [f"and {len(left_out) - len(shown)} more"] if len(left_out) > len(shown) else []
    return "\n".join([f"{text}; {len(left_out)} left out:", *shown, *more])


#: What is done, by its word.
_ACTIONS: dict[str, Callable[[_Request], Done]] = {
    "list": _listed,
    "rename": _renamed,
    "merge": _merged,
    "delete": _deleted,
    "undo": _undone,
    "import photos": _import_photos,
    "import face models": _import_face_models,
    "export embeddings": _export_embeddings,
    "export face models": _export_face_models,
}


NODES = {"FastFaceGalleryEdit": FastFaceGalleryEdit}
