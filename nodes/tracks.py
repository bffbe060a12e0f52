"""`FastFaceTracks`: people of a film, over all its frames."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from ..utils import host
from ..utils.embedding import Embedding
from ..utils.host.film_outputs import taken_outputs
from ..utils.masks import MASK_SHAPES
from ..utils.progress import part
from ..utils.tracks import BY, MISSING
from ..utils.tracks.tracks import Tracks
from .gallery_add import gallery_state
from .sockets import CATEGORY, EMBEDDING, FACES, TRACKS, similarity_input
from .texts import with_text

_log = logging.getLogger("FastFace")


class FastFaceTracks:
    DISPLAY_NAME = "FastFace Tracks"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "face tracking",
        "video face",
        "keypoint video",
        "InstantID video",
        "person in video",
        "smooth landmarks",
        "one euro filter",
    )
    DESCRIPTION = (
        "Goes on with one person of a film, or with all: keypoint images and a keypoint film that "
        "don't shiver and don't go black where a face is missed, masks, crops, the film with ids "
        "and names, and the best face of each person. Outputs that nobody takes cost nothing."
    )
    FUNCTION = "show"
    OUTPUT_NODE = True
    RETURN_TYPES = ("IMAGE", "VIDEO", "MASK", "IMAGE", "VIDEO", FACES, "IMAGE", FACES, "STRING")
    RETURN_NAMES = (
        "keypoints",
        "keypoint_video",
        "mask",
        "crops",
        "annotated_video",
        "faces",
        "best_images",
        "best_faces",
        "info",
    )
    OUTPUT_TOOLTIPS = (
        "One keypoint image an analysed frame, for InstantID's image_kps; black where nobody is.",
        "The same as a film, H.264, with the frame times and the sound of the source.",
        "One mask an analysed frame, 1 where a face is.",
        "The square around the face in each analysed frame, black where it is not shown; of "
        "several tracks that of each, frame by frame.",
        "The film with box, landmarks, id and name of each face drawn, with its sound.",
        "The faces in all analysed frames, steadied; those that were not seen have the score 0.",
        "The frames with the best face of each track: large, frontal, sharp; one frame a track.",
        "The best face of each track, for FastFace Embed, Crop and Face Model with best_images.",
        "All tracks of the film, a line each: id, name, frames, seconds, size.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "tracks": (TRACKS, {"tooltip": "From FastFace Video."}),
                "which": (
                    list(BY),
                    {
                        "tooltip": "`largest` is the person whose face is largest on average, "
                        "`longest` the one in most frames, `most similar` the one most like "
                        "reference, `ids` those named in ids, `all` everybody. With a reference, "
                        "only people who are like it count."
                    },
                ),
                "ids": (
                    "STRING",
                    {
                        "default": "0",
                        "tooltip": "For `ids`: ids or names of tracks, divided by commas, such as "
                        "0,2. The node's text and the annotated film say who has which.",
                    },
                ),
                "threshold": similarity_input(
                    "Lowest similarity (cosine, -1 to 1) of a track's mean embedding to reference, "
                    "and to people of the gallery. Only with one of these."
                ),
                "smooth": (
                    "FLOAT",
                    {
                        "default": 0.5,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.05,
                        "tooltip": "How steady landmarks and boxes are made, 0 to 1: 0 leaves them "
                        "as found, 0.5 takes the shiver away, 1 is as steady as can be and rounds "
                        "off quick turns. What moves does not lag.",
                    },
                ),
                "missing": (
                    list(MISSING),
                    {
                        "tooltip": "What is shown where the face was not found for a while: "
                        "`interpolate` moves it from the last place to the next, `previous` keeps "
                        "the last one, `black` shows nothing. Never across a cut."
                    },
                ),
                "longest_gap": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 3600.0,
                        "step": 0.1,
                        "tooltip": "Longest gap that is filled, in seconds; of `previous` so much "
                        "is filled. Longer absences stay black.",
                    },
                ),
                "mask_shape": (
                    list(MASK_SHAPES),
                    {
                        "tooltip": "`ellipse` fills the ellipse inside each face's box, `box` the "
                        "whole box."
                    },
                ),
                "crop_size": (
                    "INT",
                    {
                        "default": 512,
                        "min": 16,
                        "max": 4096,
                        "step": 8,
                        "tooltip": "Side of the crops in pixels.",
                    },
                ),
                "crop_padding": (
                    "FLOAT",
                    {
                        "default": 0.5,
                        "min": 0.0,
                        "max": 4.0,
                        "step": 0.05,
                        "tooltip": "Room around the box in the crops, as a share of its longer "
                        "side, both ends together.",
                    },
                ),
                "names": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Names of tracks, such as 0=Anna, 2=Ben, for the annotated "
                        "film, the faces and ids.",
                    },
                ),
                "gallery": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Name of a gallery of FastFace Gallery Add, whose people give "
                        "tracks their names. Empty: none.",
                    },
                ),
            },
            "optional": {
                "reference": (
                    EMBEDDING,
                    {
                        "tooltip": "Who is looked for: mean_embedding of FastFace Embed on one or "
                        "several photos of the person. The film's pack must have embeddings."
                    },
                ),
                "images": (
                    "IMAGE",
                    {
                        "tooltip": "The frames, where the tracks were made of an IMAGE batch; or "
                        "edited ones of the same number and size, to draw on and cut from."
                    },
                ),
                "video": (
                    "VIDEO",
                    {"tooltip": "The film, where it has no file of its own, as from Create Video."},
                ),
            },
            "hidden": {"node_id": "UNIQUE_ID", "prompt": "DYNPROMPT"},
        }

    @classmethod
    def IS_CHANGED(cls, gallery: Any = None, node_id: Any = None, **_: Any) -> float | str:
        # What was not taken was not made: whoever links it later must not get nothing.
        taken = taken_outputs(node_id)
        if taken is None:
            return float("nan")
        state = gallery_state(gallery) if gallery else ""
        return f"{','.join(map(str, sorted(taken)))} {state}".strip()

    def show(
        self,
        tracks: Tracks,
        which: str = "largest",
        ids: str = "0",
        threshold: float = 0.3,
        smooth: float = 0.5,
        missing: str = "interpolate",
        longest_gap: float = 1.0,
        mask_shape: str = "ellipse",
        crop_size: int = 512,
        crop_padding: float = 0.5,
        names: str = "",
        gallery: str = "",
        reference: Embedding | None = None,
        images: Tensor | None = None,
        video: Any = None,
        node_id: str | None = None,
        prompt: Any = None,
    ) -> dict[str, Any]:
        from ..utils.gallery.places import gallery_store
        from ..utils.gallery.search import index_of
        from ..utils.tracks.choosing import choose
        from ..utils.tracks.naming import ids_in, names_by_gallery, names_in, with_names
        from ..utils.tracks.shown import Filling
        from ..utils.tracks.timeline import lines_of
        from ..utils.tracks.track_report import track_lines
        from .films.people_of_film import PeopleOfFilm

        if gallery:
            people_known = index_of(gallery_store(gallery))
            tracks = with_names(tracks, names_by_gallery(tracks, people_known, threshold))
        tracks = with_names(tracks, names_in(names))
        wanted_ids = ids_in(ids, tracks) if which == "ids" else ()
        chosen = choose(tracks, which, wanted_ids, reference, threshold)
        people = PeopleOfFilm(
            tracks,
            lines_of(tracks, chosen, smooth),
            Filling(missing, longest_gap),
            images,
            video,
        )
        makers = {
            "keypoints": people.keypoints,
            "keypoint_video": people.keypoint_video,
            "mask": lambda: people.mask(mask_shape),
            "crops": lambda: people.crops(crop_size, crop_padding),
            "annotated_video": people.annotated_video,
            "faces": lambda: people.faces,
            "best_images": people.best_images,
            "best_faces": people.best_faces,
            "info": lambda: info,
        }
        info = "\n".join(track_lines(tracks)) or "no face in the film"
        taken = taken_outputs(node_id, prompt)
        wanted = [
            name for place, name in enumerate(self.RETURN_NAMES) if taken is None or place in taken
        ]
        made: dict[str, Any] = {}
        for place, name in enumerate(wanted):
            with part(place / len(wanted), (place + 1) / len(wanted)):
                made[name] = makers[name]()
        who = ", ".join(map(str, chosen)) or "nobody"
        text = f"tracks shown: {who}\n{info}"
        if not chosen:
            _log.warning("no track of the film fits: outputs show nobody")
        return with_text(text, *(made.get(name, host.blocked(None)) for name in self.RETURN_NAMES))


NODES = {"FastFaceTracks": FastFaceTracks}
