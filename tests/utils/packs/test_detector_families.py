"""Which family a graph is of, by its header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fastface.utils.detectors import detector_families, family_of, family_of_graph
from fastface.utils.errors import ModelError
from fastface.utils.packs import ModelFile
from fastface.utils.packs.graph_header import GraphHeader, TensorInfo, read_graph_header
from fastface.utils.packs.read import read_pack

ANY = (None, 3, None, None)
FIXED = (1, 3, 640, 640)
YUNET = [
    (f"{kind}_{stride}", (1, (640 // stride) ** 2, values))
    for kind, values in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
    for stride in (8, 16, 32)
]

FACE_RPN = [
    (f"face_rpn_{kind}_stride{stride}", (1, channels, None, None))
    for stride in (32, 16, 8)
    for kind, channels in (("cls_prob_reshape", 4), ("bbox_pred", 8), ("landmark_pred", 20))
]
YOLO_8 = "YOLOv8-face, YOLO11-face"
LOC_CONF_LANDMS = ("loc", "conf", "landms")

#: Input, outputs with their names, family.
GRAPHS = {
    "SCRFD": (ANY, [(str(n), (None, 1)) for n in range(9)], "SCRFD"),
    "SCRFD in another order": (ANY, [(str(n), (12800, 4)) for n in range(6)], "SCRFD"),
    "YuNet": (FIXED, YUNET, "YuNet"),
    "YuNet with its outputs turned round": (FIXED, YUNET[::-1], "YuNet"),
    "YuNet without landmarks": (FIXED, YUNET[:9], "SCRFD"),
    "twelve other outputs": (FIXED, [(str(n), (1, 100, 1)) for n in range(12)], None),
    "feature maps": (FIXED, [(str(n), (1, 4, 20, 20)) for n in range(9)], None),
    "RetinaFace": (
        FIXED,
        [("a", (1, 16800, 4)), ("b", (1, 16800, 2)), ("c", (1, 16800, 10))],
        "RetinaFace",
    ),
    "RetinaFace with open sizes": (ANY, [(n, (None,) * 3) for n in LOC_CONF_LANDMS], "RetinaFace"),
    "three nameless open sizes": (ANY, [(n, (None,) * 3) for n in "abc"], None),
    "boxes alone": (FIXED, [("loc", (1, 16800, 4)), ("conf", (1, 16800, 2))], None),
    "InsightFace's RetinaFace": (ANY, FACE_RPN, "InsightFace RetinaFace"),
    "InsightFace's RetinaFace without landmarks": (
        ANY,
        [output for output in FACE_RPN if "landmark" not in output[0]],
        "InsightFace RetinaFace",
    ),
    "InsightFace's RetinaFace with four anchors": (
        ANY,
        [(name, (1, 2 * shape[1], None, None)) for name, shape in FACE_RPN],
        None,
    ),
    "YOLOv8-face": (FIXED, [("output0", (1, 20, 8400))], YOLO_8),
    "YOLO11-face without visibility": (FIXED, [("output0", (1, 15, 8400))], YOLO_8),
    "YOLOv8-face without keypoints": (ANY, [("output0", (None, 5, None))], YOLO_8),
    "YOLOv5-face": (FIXED, [("output", (1, 25200, 16))], "YOLOv5-face"),
    "YOLOv5 of one class": (ANY, [("output", (None, None, 6))], "YOLOv5-face"),
    "17 keypoints of a body": (FIXED, [("output0", (1, 56, 8400))], None),
    "80 classes of things": (FIXED, [("output0", (1, 84, 8400))], None),
    "no image": ((1, 512), YUNET, None),
}


def header(shape: Sequence[int | None], outputs: Sequence[tuple[str, tuple]]) -> GraphHeader:
    infos = tuple(TensorInfo(name, "float32", tuple(sizes)) for name, sizes in outputs)
    return GraphHeader((TensorInfo("in", "float32", tuple(shape)),), infos, (), (), 1, 11)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_family_is_told_by_names_ranks_and_shapes(name):
    shape, outputs, expected = GRAPHS[name]
    family = family_of_graph(header(shape, outputs))
    assert (family and family.name) == expected


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_of_one_family_at_most(name):
    shape, outputs, _ = GRAPHS[name]
    graph = header(shape, outputs)
    assert sum(family.recognises(graph) for family in detector_families().values()) <= 1


@pytest.mark.parametrize(
    ("noted", "family"),
    [
        ({"task": "pose", "kpt_shape": "[5, 3]", "names": "{0: 'face'}"}, YOLO_8),
        ({"task": "pose", "kpt_shape": "[5, 2]", "names": "{0: '0'}"}, YOLO_8),
        ({"task": "detect", "names": "{0: 'FACE'}"}, YOLO_8),
        ({"task": "detect"}, YOLO_8),
        ({"task": "detect", "names": "['face']"}, YOLO_8),
        ({"task": "detect", "names": "['face', 'head']"}, None),
        ({"task": "detect", "names": "face"}, None),
        ({"task": "pose", "kpt_shape": "[17, 3]", "names": "{0: 'face'}"}, None),
        ({"task": "pose", "kpt_shape": "5", "names": "{0: 'face'}"}, None),
        ({"task": "pose"}, None),
        ({"task": "segment", "names": "{0: 'face'}"}, None),
        ({"task": "detect", "names": "{0: 'hand'}"}, None),
        ({"task": "detect", "names": "{0: 'face', 1: 'head'}"}, None),
        ({"task": "detect", "names": "{0:"}, None),
        ({}, None),
    ],
)
def test_open_sizes_are_told_by_what_ultralytics_noted(noted, family):
    graph = replace(header(ANY, [("output0", (None,) * 3)]), metadata=tuple(noted.items()))
    found = family_of_graph(graph)
    assert (found and found.name) == family


def test_a_detector_of_something_else_is_none():
    graph = header(FIXED, [("output0", (1, 5, 8400))])
    assert family_of_graph(graph) is not None
    noted = replace(graph, metadata=(("names", "{0: 'hand'}"),))
    assert family_of_graph(noted) is None


def test_real_files(test_data: Path):
    found = {
        path.stem: family_of_graph(read_graph_header(path))
        for path in (test_data / "detectors").glob("*.onnx")
    }
    names = {stem: family and family.name for stem, family in found.items()}
    assert names["retinaface_mobilenet025"] == "RetinaFace"
    assert names["yunet_n_dynamic"] == names["yunet_n_640_640"] == "YuNet"


def test_a_folder_with_no_known_detector_says_what_was_seen(write_onnx, tmp_path):
    write_onnx(tmp_path / "face.onnx", [(1, 3, 320, 320)], [(1, 84, 77)])
    with pytest.raises(ModelError) as refused:
        read_pack("pack", tmp_path)
    told = str(refused.value)
    assert "face.onnx" in told and "[1x3x320x320]" in told and "[1x84x77]" in told
    assert all(name in told for name in detector_families())


def test_a_detector_of_no_known_family_says_what_was_seen():
    seen = header(FIXED, [("boxes", (1, 84, 77))])
    with pytest.raises(ModelError, match=re.escape("boxes float32[1x84x77]")) as refused:
        family_of(ModelFile(Path("face.onnx"), "detection", FIXED, header=seen))
    assert all(name in str(refused.value) for name in detector_families())
