"""What FastFace Gallery Edit can do with a gallery, by the word of its action."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...pipeline.gallery_exchange import (
    Imported,
    export_embeddings,
    export_face_models,
    people_of_face_models,
    people_of_photos,
)
from ...pipeline.insightface_compat.face_model import face_models_folder
from ...utils.errors import InvalidInput
from ...utils.gallery.contents import (
    Gallery,
    with_added,
    with_deleted,
    with_merged,
    with_renamed,
)
from ...utils.gallery.gallery_store import GalleryStore
from ...utils.host.io_folders import input_folder
from ...utils.progress import part
from ..embedding_file import embeddings_folder
from ..gallery_add import facts_of
from ..texts import counted

if TYPE_CHECKING:
    from ...pipeline.insightface_compat.facade import FaceAnalysis

_log = logging.getLogger("FastFace")

#: Lines of a list that a node shows.
_MOST_LINES = 200
_MOST_LEFT_OUT = 20

Done = tuple[Gallery, str]


class EditRequest(NamedTuple):
    """What the inputs ask for."""

    store: GalleryStore
    name: str
    new_name: str
    folder: str
    face_analysis: FaceAnalysis | None


def _listed(ask: EditRequest) -> Done:
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


def _renamed(ask: EditRequest) -> Done:
    now = ask.store.change(lambda old: with_renamed(old, ask.name, ask.new_name))
    return now, f"{ask.name} is {ask.new_name} now"


def _merged(ask: EditRequest) -> Done:
    now = ask.store.change(lambda old: with_merged(old, ask.name, ask.new_name))
    count = len(now.identities[now.place(ask.new_name)].samples)
    return now, f"{ask.name} is {ask.new_name}, who has {counted(count, 'embedding')} now"


def _deleted(ask: EditRequest) -> Done:
    now = ask.store.change(lambda old: with_deleted(old, ask.name))
    return now, f"{ask.name} is deleted; undo brings the person back"


def _undone(ask: EditRequest) -> Done:
    now = ask.store.undo()
    return now, f"the last change is taken back: {counted(len(now), 'person', 'people')} now"


def _import_face_models(ask: EditRequest) -> Done:
    return _added(ask.store, people_of_face_models(face_models_folder()), {})


def _import_photos(ask: EditRequest) -> Done:
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


def _export_embeddings(ask: EditRequest) -> Done:
    gallery = ask.store.read()
    kept, left_out = export_embeddings(gallery, embeddings_folder())
    return gallery, _with_left_out(
        f"{counted(len(kept), 'embedding')} kept in models/fastface/embeddings", left_out
    )


def _export_face_models(ask: EditRequest) -> Done:
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
ACTIONS: dict[str, Callable[[EditRequest], Done]] = {
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
