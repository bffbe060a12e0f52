"""`FastFaceGalleryEdit`: who is in a gallery, and what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..utils.errors import InvalidInput
from .gallery_add import GALLERY_TOOLTIP, gallery_state
from .sockets import CATEGORY, FACE_ANALYSIS
from .texts import with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis


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
        from .galleries.edits import ACTIONS

        return {
            "required": {
                "gallery": ("STRING", {"default": "my gallery", "tooltip": GALLERY_TOOLTIP}),
                "action": (
                    list(ACTIONS),
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
        asked = isinstance(action, str) and action == "list"
        return gallery_state(gallery) if asked else ""

    def edit(
        self,
        gallery: str,
        action: str,
        faceanalysis: FaceAnalysis | None = None,
        name: str | None = None,
        new_name: str | None = None,
        folder: str | None = None,
    ) -> dict[str, Any]:
        from ..utils.gallery.places import gallery_names, gallery_store
        from .galleries.edits import ACTIONS, EditRequest

        store = gallery_store(gallery)
        if not store.exists() and not action.startswith("import"):
            there = ", ".join(map(repr, gallery_names())) or "none yet"
            raise InvalidInput(f"got gallery {gallery!r}, which is not there; there are: {there}")
        request = EditRequest(store, name or "", new_name or "", folder or "", faceanalysis)
        now, info = ACTIONS[action](request)
        return with_text(info, gallery, len(now), info)


NODES = {"FastFaceGalleryEdit": FastFaceGalleryEdit}
