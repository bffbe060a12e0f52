"""Prompts in ComfyUI's API format: a node by name, its inputs as values or `[name, output]`."""

from __future__ import annotations

from typing import Any

Prompt = dict[str, dict[str, Any]]

PHOTO, FACES_IN_PHOTO = "t1.jpg", 6

MTCNN = {"model_pack": "facenet-mtcnn"}
SCRFD = {"model_pack": "scrfd_mobilefacenet"}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def loader(**changes: Any) -> dict[str, Any]:
    inputs = {
        "model_pack": "auto",
        "backend": "auto",
        "device": "cpu",
        "precision": "auto",
        "detection": "standard",
        "det_size": 640,
        "det_threshold": 0.0,
        "max_faces": 0,
        "strict": False,
        "download_missing": False,
    }
    return node("FastFaceLoader", **inputs | changes)


def detect(images: Any = "photo", **changes: Any) -> dict[str, Any]:
    inputs = {"mask_shape": "ellipse", "bbox_format": "xywh", "annotate": True}
    return node(
        "FastFaceDetect", faceanalysis=["loader", 0], images=[images, 0], **inputs | changes
    )


def save(source: str, output: int = 0) -> dict[str, Any]:
    return node("SaveImage", images=[source, output], filename_prefix=source)


def show(source: str, output: int) -> dict[str, Any]:
    return node("PreviewAny", source=[source, output])
