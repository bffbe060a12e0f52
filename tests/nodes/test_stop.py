"""Every node shows how far it is and may be stopped at every step, however long it works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fastface.nodes import NODE_CLASS_MAPPINGS
from fastface.nodes.socket_checks import require_crops
from fastface.nodes.sockets import (
    FACES_INPUT,
)
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.result_cache import forget_results
from fastface.utils import host
from fastface.utils.crops import CropBatch
from fastface.utils.images import Images
from fastface.utils.progress import heard_by
from tests.nodes.fakes import analysis_of, images_with

IMAGES = 20


class Stop(BaseException):
    """As ComfyUI's own exception in new versions."""


class Host:
    """Counts how often a node asks whether to go on, and what its bar shows; stops it when told."""

    def __init__(self) -> None:
        self.asked = 0
        self.stop_at = 0
        self.shown: list[float] = []

    def check_interrupted(self) -> None:
        self.asked += 1
        if self.asked == self.stop_at:
            raise Stop

    def progress_bar(self, total: int, node_id: str | None = None) -> Host:
        return self

    def update_absolute(self, value: float, total: int | None = None) -> None:
        assert total
        self.shown.append(value / total)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host()
    monkeypatch.setattr(host, "check_interrupted", made.check_interrupted)
    monkeypatch.setattr(host, "progress_bar", made.progress_bar)
    yield made
    forget_results()


#: For each node, how often it asks at least.
LONG_NODES = {
    "FastFaceDetect": 2 * IMAGES,  # detection in chunks, a mask a face, a drawing an image
    "FastFaceEmbed": IMAGES // 4 + 2,
    "FastFaceKeypoints": IMAGES,
    "FastFaceCrop": IMAGES,
    "FastFacePaste": IMAGES,
    "FastFaceSEGS": IMAGES,
    "FastFaceGate": 2,
    "FastFaceCompare": IMAGES,
    "FastFaceVideo": IMAGES // 4 + 2,
    "FastFaceTracks": 6 * IMAGES,  # keypoints, masks, crops and two films a frame each
    "FastFaceGalleryAdd": 2,
    "FastFaceGallerySearch": IMAGES,  # a drawing an image
    "FastFaceMask": 3 * IMAGES,  # a mask a face, its blur both ways, a drawing an image
}
#: Their work is over at once.
_WITHOUT_A_BAR = ("FastFaceGate", "FastFaceGalleryAdd")
WITH_A_BAR = [node_id for node_id in LONG_NODES if node_id not in _WITHOUT_A_BAR]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    monkeypatch.chdir(tmp_path)  # the gallery lies there
    face_analysis: FaceAnalysis = analysis_of(("detection", "recognition"), tmp_path)
    images = torch.cat([images_with(*[1] * IMAGES)])
    faces = face_analysis.analyze(Images.from_comfy(images), ["recognition"])
    cut = NODE_CLASS_MAPPINGS["FastFaceCrop"]().crop(images, faces, size=16)["result"]
    tracks = NODE_CLASS_MAPPINGS["FastFaceVideo"]().analyze(
        face_analysis, images=images, resume=False
    )["result"][0]
    NODE_CLASS_MAPPINGS["FastFaceGalleryAdd"]().add("friends", "Anna", faces)
    analysed = {"faceanalysis": face_analysis, "images": images}
    found = {"images": images, "faces": faces}
    return {
        "FastFaceDetect": analysed,
        "FastFaceEmbed": analysed,
        "FastFaceKeypoints": analysed,
        "FastFaceCrop": found | {"size": 16},
        "FastFacePaste": {"images": images, "crops": 1 - cut[0], "origin": cut[1]},
        "FastFaceSEGS": found,
        "FastFaceGate": found,
        "FastFaceVideo": analysed | {"resume": False},
        "FastFaceTracks": {"tracks": tracks, "images": images, "crop_size": 16},
        "FastFaceGalleryAdd": found | {"gallery": "friends", "name": "Anna"},
        "FastFaceGallerySearch": found | {"gallery": "friends"},
        "FastFaceMask": found | {"blur": 2.0},
        "FastFaceCompare": {"faces_a": faces, "faces_b": faces},
    }


def run(node_id: str, inputs: dict[str, dict[str, Any]]) -> None:
    forget_results()
    node = NODE_CLASS_MAPPINGS[node_id]()
    getattr(node, node.FUNCTION)(**inputs[node_id])


@pytest.mark.parametrize("node_id", LONG_NODES)
def test_it_is_stopped_wherever_it_asks(node_id: str, inputs, watched: Host):
    run(node_id, inputs)  # what it keeps for later runs is not worked out again
    watched.asked = 0
    run(node_id, inputs)
    asked, watched.asked = watched.asked, 0
    assert asked >= LONG_NODES[node_id]
    for stop_at in (1, asked // 2 + 1, asked):
        watched.asked, watched.stop_at = 0, stop_at
        with pytest.raises(Stop):
            run(node_id, inputs)
        assert watched.asked == stop_at, "it went on"


@pytest.mark.parametrize("node_id", WITH_A_BAR)
def test_its_bar_rises_to_the_end(node_id: str, inputs, watched: Host):
    run(node_id, inputs)
    assert watched.shown == sorted(set(watched.shown))
    assert len(watched.shown) >= 2 and 0.9 <= watched.shown[-1] <= 1


def test_every_node_that_reads_pixels_or_faces_is_here():
    others = {"FastFaceSelect", "FastFaceInfo", "FastFaceFaceModel"}  # as Embed describes
    others |= {"FastFaceBenchmark", "FastFaceBuildEngine"}  # they report by themselves
    reading = {
        node_id
        for node_id, node in NODE_CLASS_MAPPINGS.items()
        for kind in ("required", "optional")
        for socket, *_ in node.INPUT_TYPES().get(kind, {}).values()
        if socket in ("IMAGE", FACES_INPUT)
    }
    missing = reading - others - set(LONG_NODES)
    assert not missing, (
        f"give {sorted(missing)} a row in LONG_NODES (how often it asks at least whether to go on) "
        "and in `inputs`"
    )


def test_large_crops_are_checked_one_by_one():
    crops = CropBatch(torch.zeros(5, 8, 8, 3), torch.zeros(5, 2, 3), (0,) * 5, ((8, 8),))
    asked: list[float] = []
    with heard_by(asked.append):
        require_crops(crops)
    assert len(asked) >= 5
