"""Stand-ins for InsightFace's packs: the released networks layer by layer, with random weights.

For benchmarks and tests where nobody has the real weights: what a network costs depends on its
layers, not on what it has learned. They find no faces and recognise nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...utils.errors import InvalidInput
from ...utils.files import write_whole
from ...utils.packs.known import KNOWN_PACKS
from ...utils.packs.read import RANDOM_WEIGHTS_MARKER
from .detectors import SCRFD_10G, SCRFD_500M, scrfd
from .heads import gender_age, landmarks_2d, landmarks_3d
from .recognizers import iresnet, mobile_face_net

#: Packs there are stand-ins for.
SYNTHETIC_PACKS = ("antelopev2", "buffalo_l", "buffalo_s")

#: Raised when the weights change, so that older stand-ins are made again.
_VERSION = 1
_MARKER = (
    f"ComfyUI-FastFace stand-in, version {_VERSION}\n"
    "The layers of InsightFace's networks with random weights, to measure speed with.\n"
    "They find no faces and recognise nobody.\n"
)

#: What makes the graph of each released file.
_GRAPHS: dict[str, Callable[[], Any]] = {
    "scrfd_10g_bnkps.onnx": partial(scrfd, SCRFD_10G),
    "det_10g.onnx": partial(scrfd, SCRFD_10G),
    "det_500m.onnx": partial(scrfd, SCRFD_500M),
    "glintr100.onnx": partial(iresnet, "glintr100", (3, 13, 30, 3), "1333"),
    "w600k_r50.onnx": partial(iresnet, "w600k_r50", (3, 4, 14, 3), "683"),
    "w600k_mbf.onnx": partial(mobile_face_net, "w600k_mbf", "516"),
    "1k3d68.onnx": landmarks_3d,
    "2d106det.onnx": landmarks_2d,
    "genderage.onnx": gender_age,
}

#: Where the search for a threshold begins, and how it goes down.
_FIRST_THRESHOLD, _LAST_THRESHOLD, _THRESHOLD_STEP = 0.5, 1e-6, 0.4


def make_synthetic_pack(name: str, folder: Path) -> Path:
    """Writes a pack with random weights, or finds the one written before.

    The weights are the same in every call. Files are written whole or not at all, the marker last.

    Args:
        name: One of `SYNTHETIC_PACKS`.
        folder: Where the pack's own folder `<name>-random` goes; made if missing. Not one that is
            searched for packs: users would find it there.

    Returns:
        The pack's folder.

    Raises:
        InvalidInput: There is no stand-in for that pack.
        BackendUnavailable: The onnx package is not installed.
    """
    if name not in SYNTHETIC_PACKS:
        raise InvalidInput(f"got pack {name!r}, expected one of {', '.join(SYNTHETIC_PACKS)}")
    pack = folder / f"{name}-random"
    files = list(KNOWN_PACKS[name].files)
    if not _is_made(pack, files):
        pack.mkdir(parents=True, exist_ok=True)
        for file in files:
            with torch.inference_mode():
                write_whole(pack / file, _GRAPHS[file]().SerializeToString())
        write_whole(pack / RANDOM_WEIGHTS_MARKER, _MARKER.encode())
    return pack


def threshold_for(face_analysis: Any, image: np.ndarray, faces: int) -> float:
    """The threshold at which a stand-in detector reports so many faces on an image.

    A lower threshold only adds boxes to those of a higher one, since suppression keeps the better
    of two: so the answer lies between two scores that follow each other.

    Args:
        face_analysis: Prepared, ours or InsightFace's own, with no limit to the number of faces.
        image: `[H,W,3]` uint8 BGR.
        faces: How many.

    Returns:
        A threshold, 0..1, midway between the scores of the last face wanted and the next.

    Raises:
        InvalidInput: No threshold gives that number.
    """
    if faces < 0:
        raise InvalidInput(f"got {faces} faces, expected 0 or more")
    scores: list[float] = []
    threshold = _FIRST_THRESHOLD
    while len(scores) <= faces and threshold > _LAST_THRESHOLD:
        boxes, _ = face_analysis.det_model.detect(image, det_thresh=threshold)
        scores = sorted((float(score) for score in boxes[:, 4]), reverse=True)
        threshold *= _THRESHOLD_STEP
    bounds = [1.0, *scores, 0.0]
    if len(scores) < faces or not bounds[faces] > bounds[faces + 1]:
        raise InvalidInput(
            f"no threshold gives {faces} faces on this image of {image.shape[1]} x "
            f"{image.shape[0]} pixels: the detector finds {len(scores)} at most, and those it "
            "scores alike come together; choose another number, a photo with more detail, or an "
            "object without a limit to the number of faces"
        )
    return (bounds[faces] + bounds[faces + 1]) / 2


def _is_made(pack: Path, files: Iterable[str]) -> bool:
    marker = pack / RANDOM_WEIGHTS_MARKER
    return (
        marker.is_file()
        and marker.read_bytes() == _MARKER.encode()
        and all((pack / file).is_file() for file in files)
    )
