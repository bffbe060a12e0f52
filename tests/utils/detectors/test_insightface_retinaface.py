"""InsightFace's RetinaFace, held against its own arithmetic, an anchor at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fastface.utils.detectors.insightface_retinaface import InsightFaceRetinaFace
from fastface.utils.errors import ModelError
from fastface.utils.packs import ModelFile
from fastface.utils.packs.graph_header import GraphHeader, TensorInfo

CANVAS_HW = (64, 96)
SCALES = {32: (32, 16), 16: (8, 4), 8: (2, 1)}
KINDS = {"cls_prob_reshape": 4, "bbox_pred": 8, "landmark_pred": 20}


def made_up(landmarks: bool = True, images: int = 2) -> tuple[ModelFile, list[np.ndarray]]:
    """A graph as mxnet's exporter names it, and outputs for a batch."""
    random = np.random.default_rng(0)
    infos, outputs = [], []
    for stride in SCALES:
        for kind, channels in list(KINDS.items())[: 3 if landmarks else 2]:
            shape = (images, channels, CANVAS_HW[0] // stride, CANVAS_HW[1] // stride)
            name = f"face_rpn_{kind}_stride{stride}"
            infos.append(TensorInfo(name, "float32", (1, channels, None, None)))
            values = random.normal(0, 0.5, shape) if kind != "cls_prob_reshape" else None
            outputs.append((random.random(shape) if values is None else values).astype(np.float32))
    image = TensorInfo("data", "float32", (1, 3, None, None))
    header = GraphHeader((image,), tuple(infos), (), (), 1, 11)
    shapes = tuple(info.shape for info in infos)
    model = ModelFile(Path("r50.onnx"), "detection", output_shapes=shapes, header=header)
    return model, outputs


def by_insightface(outputs: list[np.ndarray], image: int, threshold: float):
    """As `RetinaFace.detect` goes through the outputs, without suppression."""
    scores, boxes, points = [], [], []
    for level, (stride, scales) in enumerate(SCALES.items()):
        prob, delta, landmark = (output[image] for output in outputs[3 * level : 3 * level + 3])
        for row in range(prob.shape[1]):
            for column in range(prob.shape[2]):
                for anchor, scale in enumerate(scales):
                    score = prob[2 + anchor, row, column]
                    if score < threshold:
                        continue
                    side = 16.0 * scale
                    x1, y1 = (
                        column * stride + 7.5 - (side - 1) / 2,
                        row * stride + 7.5 - (side - 1) / 2,
                    )
                    centre_x, centre_y = x1 + 0.5 * (side - 1.0), y1 + 0.5 * (side - 1.0)
                    dx, dy, dw, dh = delta[4 * anchor : 4 * anchor + 4, row, column]
                    x, y = dx * side + centre_x, dy * side + centre_y
                    width, height = np.exp(dw) * side, np.exp(dh) * side
                    box = np.array(
                        [
                            x - 0.5 * (width - 1.0),
                            y - 0.5 * (height - 1.0),
                            x + 0.5 * (width - 1.0),
                            y + 0.5 * (height - 1.0),
                        ]
                    )
                    last = np.array([CANVAS_HW[1] - 1, CANVAS_HW[0] - 1] * 2)
                    boxes.append(np.clip(box, 0, last))
                    pairs = landmark[10 * anchor : 10 * anchor + 10, row, column].reshape(5, 2)
                    points.append(pairs * side + [centre_x, centre_y])
                    scores.append(score)
    return np.array(scores), np.array(boxes), np.array(points)


def test_same_boxes_and_landmarks_as_insightface():
    model, outputs = made_up()
    tensors = [torch.from_numpy(output) for output in outputs]
    found = InsightFaceRetinaFace().decode(tensors, model, CANVAS_HW, 0.7)
    for image in range(2):
        scores, boxes, points = by_insightface(outputs, image, 0.7)
        rows = image, found.present[image]
        assert len(scores) > 10 and (found.scores[rows].numpy() == scores).all()
        assert np.allclose(found.boxes[rows], boxes, atol=1e-3)
        assert found.landmarks is not None
        assert np.allclose(found.landmarks[rows], points, atol=1e-3)


def test_without_landmarks():
    model, outputs = made_up(landmarks=False)
    family = InsightFaceRetinaFace()
    assert model.header is not None and family.recognises(model.header)
    assert not family.has_landmarks(model)
    tensors = [torch.from_numpy(output) for output in outputs]
    assert family.decode(tensors, model, CANVAS_HW, 0.7).landmarks is None


def test_refuses_maps_of_another_input():
    model, outputs = made_up()
    tensors = [torch.from_numpy(output) for output in outputs]
    with pytest.raises(ModelError, match=r"stride 32 has shape .* for a 96 x 128 input"):
        InsightFaceRetinaFace().decode(tensors, model, (128, 96), 0.7)
