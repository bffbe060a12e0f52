"""The cascade on tensors against facenet-pytorch's own `MTCNN.detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.facenet_networks.networks import open_mtcnn
from fastface.backends.facenet_networks.parameters import MtcnnParameters
from fastface.backends.interfaces import DetectionOptions
from fastface.models.facenet.mtcnn import Mtcnn
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from tests.parity import mtcnn_images

cv2 = pytest.importorskip("cv2")
pytest.importorskip("facenet_pytorch")

#: Below the cascade's own: every face that the library reports is compared.
ALL_FACES = DetectionOptions(threshold=0.0)


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return load_face_analysis(model_pack="facenet-mtcnn", device="cpu").analyzer


@pytest.fixture(scope="module")
def photos(test_data: Path) -> dict[str, np.ndarray]:
    return mtcnn_images.photos(test_data / "images")


@pytest.fixture(scope="module")
def library() -> Any:
    return mtcnn_images.library()


def detect(analyzer: Analyzer, *images: np.ndarray) -> Faces:
    tensors = [torch.from_numpy(image)[None] for image in images]
    return analyzer.detect(Images.from_comfy(tensors), ALL_FACES)


def test_photos_of_mixed_sizes_in_one_call(
    analyzer: Analyzer, library: Any, photos: dict[str, np.ndarray]
):
    found = detect(analyzer, *photos.values())
    counts = [
        mtcnn_images.assert_same(found.of_image(number), library, photo)
        for number, photo in enumerate(photos.values())
    ]
    by_name = dict(zip(photos, counts, strict=True))
    assert by_name["multiface.jpg"] == 6 and by_name["solvay.jpg"] > 25
    assert by_name["rot_180.jpg"] == 0


def test_frames_of_a_video_in_batches(test_data: Path, analyzer: Analyzer, library: Any):
    frames = mtcnn_images.frames(test_data / "images" / "video.mp4", every=7)
    batch = torch.from_numpy(frames).float() / 255
    found = analyzer.detect(Images.from_comfy(batch), ALL_FACES)
    counts = [
        mtcnn_images.assert_same(found.of_image(number), library, frame)
        for number, frame in enumerate(frames)
    ]
    assert sum(counts) > 3 * len(frames)


def test_bgr_arrays_give_the_faces_of_rgb_tensors(
    analyzer: Analyzer, photos: dict[str, np.ndarray]
):
    photo = photos["multiface.jpg"]
    bgr = analyzer.detect(Images.from_bgr(photo[..., ::-1].copy()), ALL_FACES)
    rgb = detect(analyzer, photo)
    assert len(rgb) == 6
    for name, values in rgb.tensors():
        assert torch.equal(getattr(bgr, name), values)


@pytest.mark.parametrize("size_wh", [(131, 97), (60, 333), (21, 40), (20, 20), (37, 401)])
def test_odd_sizes(
    analyzer: Analyzer, library: Any, photos: dict[str, np.ndarray], size_wh: tuple[int, int]
):
    photo = cv2.resize(photos["Stallone.jpg"], size_wh, interpolation=cv2.INTER_AREA)
    mtcnn_images.assert_same(detect(analyzer, photo), library, photo)


@pytest.mark.parametrize("size_wh", [(19, 300), (300, 19), (1, 1)])
def test_smaller_than_the_smallest_face(analyzer: Analyzer, size_wh: tuple[int, int]):
    # The library has no level for such an image, and fails.
    found = detect(analyzer, np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    assert len(found) == 0 and found.landmarks is not None


@pytest.mark.parametrize("value", [0, 128, 255])
def test_no_faces(analyzer: Analyzer, library: Any, value: int):
    image = np.full((240, 320, 3), value, np.uint8)
    assert mtcnn_images.assert_same(detect(analyzer, image), library, image) == 0
    batch = detect(analyzer, image, image, image)
    assert batch.per_image() == [0, 0, 0] and len(detect(analyzer)) == 0


def test_one_giant_face(analyzer: Analyzer, library: Any, photos: dict[str, np.ndarray]):
    face = detect(analyzer, photos["Stallone.jpg"]).boxes[0].round().int().tolist()
    left, top, right, bottom = face
    photo = photos["Stallone.jpg"][top - 12 : bottom + 12, left - 12 : right + 12]
    photo = cv2.resize(photo, (1400, 1700), interpolation=cv2.INTER_CUBIC)
    assert mtcnn_images.assert_same(detect(analyzer, photo), library, photo) >= 1


def test_two_hundred_faces(analyzer: Analyzer, library: Any, photos: dict[str, np.ndarray]):
    photo = photos["multiface.jpg"]
    half = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    tiled = np.tile(half, (6, 6, 1))
    assert mtcnn_images.assert_same(detect(analyzer, tiled), library, tiled) >= 200


@pytest.mark.parametrize("cut", ["left", "top", "right", "bottom"])
def test_faces_over_the_border(
    analyzer: Analyzer, library: Any, photos: dict[str, np.ndarray], cut: str
):
    photo = photos["Stallone.jpg"]
    left, top, right, bottom = detect(analyzer, photo).boxes[0].round().int().tolist()
    width, height = (right - left) // 5, (bottom - top) // 5
    photo = {
        "left": photo[:, left + width :],
        "top": photo[top + height :],
        "right": photo[:, : right - width],
        "bottom": photo[: bottom - height],
    }[cut].copy()
    assert mtcnn_images.assert_same(detect(analyzer, photo), library, photo) == 1


@pytest.mark.parametrize(
    "parameters",
    [
        MtcnnParameters(min_face_size=60),
        MtcnnParameters(min_face_size=11),
        MtcnnParameters(thresholds=(0.4, 0.5, 0.6)),
        MtcnnParameters(factor=0.87),
    ],
    ids=str,
)
def test_parameters_do_what_the_librarys_do(
    analyzer: Analyzer, photos: dict[str, np.ndarray], parameters: MtcnnParameters
):
    photo = photos["multiface.jpg"]
    detector = Mtcnn(open_mtcnn(analyzer.pack.folder, torch.device("cpu"), parameters))
    (batch,) = Images.from_comfy(torch.from_numpy(photo)[None]).chunks()
    found = detector.detect(batch, ALL_FACES)
    assert mtcnn_images.assert_same(found, mtcnn_images.library(parameters), photo) >= 6
