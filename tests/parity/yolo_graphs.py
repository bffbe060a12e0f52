"""Small graphs with the outputs of YOLO's exports, and what ultralytics makes of outputs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)


def write_yolo(path: Path, values: int, side: int | None, by_rows: bool = False) -> Path:
    """A graph whose outputs are `[B,values,places]`, or `[B,places,values]` thrice as many by rows.

    Boxes, keypoints and scores are made of the pixels under each place, by random weights.
    """
    random = np.random.default_rng(values)
    anchors = 3 if by_rows else 1
    spread = np.full(values, 300.0)
    spread[2:4] = 120.0
    is_score = np.zeros(values, bool)
    is_score[[4, -1] if by_rows else [4]] = True
    nodes, weights, levels = [], [], []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    def node(op: str, inputs: list[str], output: str, **attributes) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    for stride in STRIDES:
        channels = values * anchors
        kernel = random.normal(0, 3 / stride, (channels, 3, stride, stride)).astype(np.float32)
        kernel = constant(f"kernel {stride}", kernel)
        maps = node("Conv", ["images", kernel], f"maps {stride}", strides=[stride, stride])
        to = constant(f"shape {stride}", np.array([0 if side is None else 1, channels, -1]))
        levels.append(node("Reshape", [maps, to], f"level {stride}"))
    joined = node("Concat", levels, "joined", axis=2)
    if by_rows:
        apart = constant("apart", np.array([0 if side is None else 1, values, -1]))
        joined = node("Reshape", [joined, apart], "all rows")
    certain = node("Sigmoid", [joined], "certain")
    scale = np.where(is_score, 1.0, spread).astype(np.float32).reshape(1, -1, 1)
    output = node(
        "Mul", [certain, constant("scale", scale)], "output0" if not by_rows else "turned"
    )
    if by_rows:
        output = node("Transpose", [output], "output0", perm=[0, 2, 1])
    batch, sides = (1, [side, side]) if side else ("batch", ["height", "width"])
    places = anchors * sum((side // stride) ** 2 for stride in STRIDES) if side else "places"
    shape = [batch, places, values] if by_rows else [batch, values, places]
    graph = helper.make_graph(
        nodes,
        "yolo",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *sides])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def letterboxed(image: np.ndarray, side: int, is_fixed: bool) -> tuple[np.ndarray, ...]:
    """A BGR image as ultralytics' `LetterBox` feeds it, `[1,3,H,W]`; its scales and its corner."""
    height, width = image.shape[:2]
    ratio = min(side / height, side / width)
    new_wh = max(round(width * ratio), 1), max(round(height * ratio), 1)
    margin = np.array([side, side]) - new_wh
    margin = (margin if is_fixed else margin % 32) / 2
    (left, top), (right, bottom) = np.round(margin - 0.1), np.round(margin + 0.1)
    borders = (int(top), int(bottom), int(left), int(right))
    small = cv2.resize(image, new_wh, interpolation=cv2.INTER_LINEAR)
    drawn = cv2.copyMakeBorder(small, *borders, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    blob = drawn[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    return blob, np.array(new_wh) / (width, height), np.array([left, top])


def suppressed(boxes: np.ndarray, threshold: float) -> list[int]:
    """Greedy suppression of `[N,5]` xyxy and score, as torchvision's: plain areas."""
    order = np.argsort(-boxes[:, 4], kind="stable")
    kept: list[int] = []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for row in order:
        first = np.maximum(boxes[row, :2], boxes[kept, :2])
        sides = (np.minimum(boxes[row, 2:4], boxes[kept, 2:4]) - first).clip(0)
        shared = sides[:, 0] * sides[:, 1]
        if not (shared / (area[row] + area[kept] - shared) > threshold).any():
            kept.append(row)
    return kept
