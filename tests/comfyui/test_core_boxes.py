"""ComfyUI's own boxes and face landmarks between its nodes and ours, in a ComfyUI that has them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.comfyui.comfyui_server import PACK_FOLDER, ComfyServer
from tests.comfyui.fixtures import fill
from tests.comfyui.prompts import FACES_IN_PHOTO, PHOTO, Prompt, detect, loader, node, save, show
from tests.comfyui.test_real_comfyui import pixels
from tests.contract.random_heads import write_random_heads

pytestmark = pytest.mark.comfyui

NEEDED = (
    *("PrimitiveBoundingBox", "DrawBBoxes", "CropByBBoxes"),
    *("MediaPipeFaceMeshVisualize", "MediaPipeFaceMask"),
)


@pytest.fixture(scope="module")
def server(
    checkout: Path,
    python: str,
    options: str,
    installed: dict[str, str],
    test_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ComfyServer]:
    """A ComfyUI with a pack that has 68 landmarks, random ones."""
    base = tmp_path_factory.mktemp("boxes")
    fill(base, PACK_FOLDER, installed, None, None)
    pack = base / "models" / "insightface" / "models" / "pack"
    shutil.copytree(test_data / "models", pack)
    write_random_heads(pack)
    with ComfyServer(checkout, python, base, options) as running:
        known = running.call("/object_info")
        lacking = [name for name in NEEDED if name not in known]
        if lacking:
            pytest.skip(f"this ComfyUI has no {', '.join(lacking)}")
        yield running


def workflow(nodes: Prompt, **changes: Any) -> Prompt:
    return {
        "photo": node("LoadImage", image=PHOTO),
        "loader": loader(model_pack="pack", backend="onnxruntime"),
        "detect": detect(**{"annotate": False, **changes}),
        **nodes,
    }


def test_a_box_of_comfyui_becomes_the_face_in_it(server: ComfyServer):
    nodes = {
        # The left half of the photo: two of the six faces lie there.
        "box": node("PrimitiveBoundingBox", x=0, y=0, width=400, height=900),
        "count": show("detect", 4),
        "boxes": show("detect", 5),
        "bbox": show("detect", 3),
    }
    outputs = server.run(workflow(nodes, boxes=["box", 0], bbox_format="xyxy"))
    assert outputs["count"]["text"] == ["1"]
    assert '"label": "face"' in outputs["boxes"]["text"][0]


def test_our_boxes_are_drawn_and_cropped_by_comfyui(server: ComfyServer):
    nodes = {
        "drawn": node("DrawBBoxes", image=["photo", 0], bboxes=["detect", 5]),
        "save drawn": save("drawn"),
        "again": detect(boxes=["detect", 5], annotate=False),
        "count": show("again", 4),
    }
    outputs = server.run(workflow(nodes))
    photo = pixels(server.as_loaded(PHOTO))
    drawn = pixels(server.image_path(outputs["save drawn"]))
    assert 0.001 < (drawn != photo).any(axis=2).mean() < 0.1
    assert outputs["count"]["text"] == [str(FACES_IN_PHOTO)], "out and in again"


@pytest.mark.parametrize("landmarks", ["5 points", "68 points"])
def test_our_face_landmarks_are_drawn_and_masked_by_comfyui(server: ComfyServer, landmarks: str):
    nodes = {
        "drawn": node(
            "MediaPipeFaceMeshVisualize",
            face_landmarks=["detect", 6],
            image=["photo", 0],
            connections="all",
            color="#00ff00",
            thickness=1,
            point_size=4,
        ),
        "save drawn": save("drawn"),
        "mask": node("MediaPipeFaceMask", face_landmarks=["detect", 6], regions="all"),
        "picture": node("MaskToImage", mask=["mask", 0]),
        "save mask": save("picture"),
        "again": detect(face_landmarks=["detect", 6], annotate=False),
        "count": show("again", 4),
    }
    outputs = server.run(workflow(nodes, landmarks=landmarks))
    photo = pixels(server.as_loaded(PHOTO))
    drawn = pixels(server.image_path(outputs["save drawn"]))
    green = (drawn == (0, 255, 0)).all(axis=2)
    assert (drawn != photo).any() and green.sum() > 6 * 5 * 20
    mask = pixels(server.image_path(outputs["save mask"]))
    assert mask.shape == photo.shape and set(np.unique(mask)) <= {0, 255}
    assert mask.any(), "the lips at least"
    assert outputs["count"]["text"] == [str(FACES_IN_PHOTO)]
