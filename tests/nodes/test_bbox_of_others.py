"""Boxes go into the nodes of other packs: these very nodes, out of checkouts that may be named.

COMFYUI_KJNODES_PATH names one of kijai/ComfyUI-KJNodes, COMFYUI_MTB_PATH one of melMass/comfy_mtb.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from fastface.nodes.mask import FastFaceMask
from fastface.utils.faces import Faces

SIZE_HW = 64, 96
BOXES = [(10, 5, 30, 35), (40, 20, 80, 60), (3, 4, 13, 14)]


@pytest.fixture
def faces() -> Faces:
    """Two faces in the first of two images, and one in the second."""
    return Faces(
        boxes=torch.tensor(BOXES).float(),
        scores=torch.tensor([0.9, 0.8, 0.7]),
        image_index=torch.tensor([0, 0, 1]),
        image_sizes=(SIZE_HW, SIZE_HW),
    )


@pytest.fixture
def outputs(faces: Faces) -> dict[str, Any]:
    made = FastFaceMask().make(faces, shape="box")["result"]
    return dict(zip(FastFaceMask.RETURN_NAMES, made, strict=True))


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a module of a pack without the pack's own `__init__`, which needs a ComfyUI."""

    def module_of(variable: str, name: str) -> ModuleType:
        folder = os.environ.get(variable)
        if not folder:
            pytest.skip(f"{variable} names no checkout of that pack")
        root = variable.lower()
        inside = [root, *(f"{root}.{part}" for part in ("nodes", "utility"))]
        for package in inside:
            module = ModuleType(package)
            module.__path__ = [str(Path(folder, *package.split(".")[1:]))]
            monkeypatch.setitem(sys.modules, package, module)
        return importlib.import_module(f"{root}.{name}")

    before = set(sys.modules)
    yield module_of
    for name in set(sys.modules) - before:
        if name.startswith("comfyui_"):
            del sys.modules[name]


XYWH = [(left, top, right - left, bottom - top) for left, top, right, bottom in BOXES]


class TestKJNodes:
    @pytest.mark.parametrize("output", ["bbox", "bounding_box"])
    def test_its_nodes_read_every_box(self, imported, outputs: dict[str, Any], output: str):
        crop = imported("COMFYUI_KJNODES_PATH", "nodes.batchcrop_nodes")
        boxes = outputs[output]
        for index, (x, y, width, height) in enumerate(XYWH):
            found = crop.BboxToInt().bboxtoint(boxes, index)
            assert found == (x, y, width, height, x + width // 2, y + height // 2)
        first, rest = crop.SplitBboxes().splitbbox(boxes, 1)
        assert (first, rest) == (XYWH[:1], XYWH[1:])

    def test_it_draws_the_box_of_each_image(self, imported, outputs: dict[str, Any]):
        crop = imported("COMFYUI_KJNODES_PATH", "nodes.batchcrop_nodes")
        images = torch.zeros(3, *SIZE_HW, 3)
        (drawn,) = crop.BboxVisualize().visualizebbox(
            outputs["bbox"], images, 1, bbox_format="xywh"
        )
        for image, (left, top, right, bottom) in zip(drawn, BOXES, strict=True):
            rows, columns = image.sum(-1).nonzero(as_tuple=True)
            assert abs(int(rows.min()) - top) <= 1 and abs(int(columns.min()) - left) <= 1
            assert abs(int(rows.max()) - bottom) <= 1 and abs(int(columns.max()) - right) <= 1


class TestMtb:
    def test_its_nodes_cut_each_box(self, imported, outputs: dict[str, Any]):
        crop = imported("COMFYUI_MTB_PATH", "nodes.crop")
        image = torch.rand(1, *SIZE_HW, 3)
        for box, (x, y, width, height) in zip(outputs["each_bbox"], XYWH, strict=True):
            assert tuple(crop.MTB_SplitBbox().split_bbox(box)) == (x, y, width, height)
            cut, _, same = crop.MTB_Crop().do_crop(image, bbox=box)
            assert torch.equal(cut, image[:, y : y + height, x : x + width])
            assert tuple(same) == (x, y, width, height)
            region = crop.bbox_to_region(box, SIZE_HW[::-1])  # as its Uncrop reads a box
            assert region == (x, y, x + width, y + height)
            (larger,) = crop.MTB_UpscaleBboxBy().upscale(box, 2.0)
            assert larger[2:] == (2 * width, 2 * height)


def test_single_boxes_have_names(outputs: dict[str, Any]):
    assert [tuple(box) for box in outputs["each_bbox"]] == XYWH
    box = outputs["each_bbox"][0]
    assert (box.x, box.y, box.width, box.height) == XYWH[0]
