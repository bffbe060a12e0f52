"""Packs of one detector, and what the tests of detectors' families have in common."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.letterbox import fitted_size

BACKENDS = ("onnxruntime", "torch", "openvino")
PHOTOS = ("multiface", "solvay", "Stallone", "rot_0")


def photo(test_data: Path, name: str) -> np.ndarray:
    """`[H,W,3]` uint8 BGR."""
    image = cv2.imread(str(test_data / "images" / f"{name}.jpg"))
    assert image is not None
    return image


def make_pack(folder: Path, *graphs: Path) -> Path:
    """A folder `models/pack` with these graphs; gives the root to look for packs in."""
    pack = folder / "models" / "pack"
    pack.mkdir(parents=True)
    for graph in graphs:
        shutil.copy(graph, pack / graph.name)
    return folder


def open_pack(root: Path, backend: str = "onnxruntime", **settings) -> FaceAnalysis:
    return load_face_analysis(
        model_pack="pack", backend=backend, device="cpu", extra_roots=[root], **settings
    )


def resized(image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """An image scaled to fit a square, as the detectors scale it, and the scales of x and y."""
    height, width = fitted_size((image.shape[0], image.shape[1]), (side, side))
    scale = np.array([width / image.shape[1], height / image.shape[0]])
    return cv2.resize(image, (width, height)), scale
