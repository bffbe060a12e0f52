"""`KnownFaces`: some frames in full, and in those between only where their faces must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...utils.choose import limit_faces
from ...utils.faces import Faces
from ...utils.images import Images
from ...utils.metrics import METRICS
from ...utils.packs import Task
from .chunks import Chunk
from .expected import WEAK, Expected, FullFrame, expected_between, seen_of
from .windows import Sighting, Window, faces_in_windows

if TYPE_CHECKING:
    from ..insightface_compat.facade import FaceAnalysis

#: Most seconds, and frames, from one frame in full to the next.
_MOST_SECONDS = 0.2
_MOST_FRAMES = 10

#: What was seen in a frame between, the surest first.
_Seen = list[tuple[Expected, Sighting]]


def full_every(times: np.ndarray) -> int:
    """Every how many frames one is analysed in full: five a second, and each where fewer are seen.

    Args:
        times: `[N]` seconds of the frames that are analysed.
    """
    if len(times) < 2:
        return 1
    step = float(times[-1] - times[0]) / (len(times) - 1)
    return int(np.clip(round(_MOST_SECONDS / max(step, 1e-6)), 1, _MOST_FRAMES))


class KnownFaces:
    """Looks for the faces of the frames in full in those between, in small windows, at their scale.

    In full are every so many frames, those before and after a cut, and those between in which a
    sure face is not where it must be. Somebody new appears with the next frame in full, and in
    those before it as far as the face is near where it is then. Faces between have the embedding
    of the same face in the nearest frame in full.
    """

    with_next = True

    def __init__(self, face_analysis: FaceAnalysis, tasks: Sequence[Task], every: int) -> None:
        """
        Args:
            face_analysis: The models and settings to use.
            tasks: `recognition`, if embeddings are wanted.
            every: Every so many frames one is analysed in full.
        """
        self.multiple = every
        self._face_analysis = face_analysis
        self._tasks = tasks
        self._next: FullFrame | None = None

    def faces_of(self, chunk: Chunk, is_cut: Sequence[bool]) -> Faces:
        """The faces of a chunk, on the CPU; see `EveryFrame.faces_of`."""
        with METRICS.call("analyze") as call:
            faces = self._faces_of(chunk, is_cut)
            call.images, call.faces = len(chunk), len(faces)
        return faces

    def _faces_of(self, chunk: Chunk, is_cut: Sequence[bool]) -> Faces:
        threshold = self._face_analysis.options().threshold
        places = self._places_in_full(chunk, is_cut)
        full = {} if self._next is None else {0: self._next}
        full |= self._in_full(chunk, [place for place in places if place not in full])
        self._next = full[len(chunk)] if chunk.has_next else None
        expected = [
            each
            for first, second in pairwise(places)
            for each in expected_between(first, second, full[first], full[second], threshold)
        ]
        seen = self._seen(chunk, expected)
        met = {id(face) for pairs in seen.values() for face, _ in pairs}
        missed = {each.place for each in expected if each.is_sure and id(each) not in met}
        between = self._described(chunk, _without(seen, missed), full)
        full |= self._in_full(chunk, sorted(missed))
        none = full[places[0]].faces[[]]
        found = {place: frame.faces for place, frame in full.items()} | between
        return Faces.cat([found.get(place, none) for place in range(len(chunk))])

    def _places_in_full(self, chunk: Chunk, is_cut: Sequence[bool]) -> list[int]:
        """Which pictures of a chunk, its next one included, are analysed in full."""
        last = len(chunk.small) - 1
        places = {*range(0, last + 1, self.multiple), last}
        for place in range(1, last + 1):
            if is_cut[place]:
                places |= {place - 1, place}
        return sorted(places)

    def _in_full(self, chunk: Chunk, places: Sequence[int]) -> dict[int, FullFrame]:
        """What is found in some pictures of a chunk, each by its place."""
        if not places:
            return {}
        images = Images.from_comfy(chunk.pixels[list(places)])
        options, limit = self._face_analysis.options(), self._face_analysis.max_faces
        # Where weak ones take no part, nothing is asked for that was not before.
        share = 1.0 if options.robust or limit else WEAK
        lower = replace(options, threshold=share * options.threshold)
        found = self._face_analysis.with_models(lambda analyzer: analyzer.detect(images, lower))
        is_face = found.scores >= options.threshold
        faces = self._with_embeddings(images, limit_faces(found[is_face], limit)).to("cpu")
        weak = found[~is_face].to("cpu")
        return {
            place: FullFrame(faces.of_image(row), weak.of_image(row).boxes.numpy())
            for row, place in enumerate(places)
        }

    def _with_embeddings(self, images: Images, faces: Faces) -> Faces:
        return self._face_analysis.with_models(
            lambda analyzer: analyzer.describe(images, faces, self._tasks)
        )

    def _seen(self, chunk: Chunk, expected: Sequence[Expected]) -> dict[int, _Seen]:
        """What is seen of the faces that are expected, by the frame's place."""
        if not expected:
            return {}
        options = self._face_analysis.options()
        lowest = min(each.least for each in expected) * options.threshold
        windows = [Window(each.place, each.box, each.around) for each in expected]
        sightings = self._face_analysis.with_models(
            lambda analyzer: faces_in_windows(
                analyzer, chunk.pixels, windows, replace(options, threshold=lowest)
            )
        )
        by_place: dict[int, list[Expected]] = {}
        for each in expected:
            by_place.setdefault(each.place, []).append(each)
        return {
            place: seen_of(faces, sightings.get(place, []), options.threshold)
            for place, faces in by_place.items()
        }

    def _described(
        self, chunk: Chunk, seen: Mapping[int, _Seen], full: Mapping[int, FullFrame]
    ) -> dict[int, Faces]:
        """The faces of frames between by place, with embeddings where those in full have them."""
        pairs = [(place, *pair) for place, some in seen.items() for pair in some]
        if not pairs:
            return {}
        images = tuple(place for place, _, _ in pairs)
        landmarks = [each.landmarks for _, _, each in pairs if each.landmarks is not None]
        faces = Faces(
            boxes=torch.from_numpy(np.stack([each.box for _, _, each in pairs])),
            scores=torch.tensor([each.score for _, _, each in pairs], dtype=torch.float32),
            image_index=torch.tensor(images, dtype=torch.int64),
            image_list=images,
            image_sizes=(chunk.size_hw,) * len(chunk.small),
            landmarks=torch.from_numpy(np.stack(landmarks)) if landmarks else None,
        )
        if self._tasks:
            sources = [face.known for _, face, _ in pairs]
            new = [row for row, known in enumerate(sources) if known is None]
            described = self._with_embeddings(Images.from_comfy(chunk.pixels), faces[new]).to("cpu")
            fresh = iter(() if described.embeddings is None else described.embeddings)
            rows = [next(fresh) if each is None else _embedding(full, each) for each in sources]
            faces = faces.with_fields(
                embeddings=torch.stack(rows), embedding_space=described.embedding_space
            )
        return {place: faces.of_image(place) for place in seen}


def _embedding(full: Mapping[int, FullFrame], known: tuple[int, int]) -> Tensor:
    embeddings = full[known[0]].faces.embeddings
    if embeddings is None:
        raise LookupError(f"the frame in full at {known[0]} has no embeddings")
    return embeddings[known[1]]


def _without(seen: Mapping[int, _Seen], places: set[int]) -> dict[int, _Seen]:
    return {place: pairs for place, pairs in seen.items() if place not in places}
