"""A batch of photos gives what its photos give one by one, however they are handed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.backends.interfaces import DetectionOptions
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.faces import Faces
from fastface.utils.images import Images

cv2 = pytest.importorskip("cv2")
pytest.importorskip("onnxruntime")

TASKS = ["recognition"]
AT_320 = DetectionOptions(((320, 320),))


@pytest.fixture(scope="module")
def face_analysis(test_data: Path) -> FaceAnalysis:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FASTFACE_MODELS", str(test_data / "models"))
        return load_face_analysis(model_pack="models", backend="onnxruntime", device="cpu")


@pytest.fixture(scope="module")
def analyzer(face_analysis: FaceAnalysis) -> Analyzer:
    return face_analysis.analyzer


@pytest.fixture(scope="module")
def photos(test_data: Path) -> list[np.ndarray]:
    """Every photo, `[H,W,3]` uint8 BGR, and an image without faces in the middle."""
    paths = sorted((test_data / "images").glob("*.jpg"))
    images = [cv2.imread(str(path)) for path in paths]
    assert len({image.shape for image in images}) > 1
    return [*images[:2], np.full((97, 131, 3), 90, np.uint8), *images[2:]]


def as_image(photo: np.ndarray) -> Tensor:
    """What ComfyUI's LoadImage makes of a photo: `[1,H,W,3]` float32 RGB 0..1."""
    return torch.from_numpy(photo[..., ::-1].astype(np.float32) / 255.0)[None]


def analyze(analyzer: Analyzer, images: Images) -> Faces:
    faces = analyzer.detect(images, DetectionOptions())
    return analyzer.describe(images, faces, TASKS)


def assert_same(got: Faces, expected: Faces) -> None:
    """Equal to 1e-4: pixels for coordinates, of the embedding's length for embeddings."""
    assert got.image_sizes == expected.image_sizes
    assert torch.equal(got.image_index, expected.image_index)
    assert got.embedding_space == expected.embedding_space
    fields = dict(expected.tensors())
    assert dict(got.tensors()).keys() == fields.keys()
    for name, values in fields.items():
        scale = values.norm(dim=1).max() if name == "embeddings" and len(values) else 1.0
        torch.testing.assert_close(getattr(got, name) / scale, values / scale, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def together(analyzer: Analyzer, photos: list[np.ndarray]) -> Faces:
    """All photos in one call."""
    return analyze(analyzer, Images.from_comfy([as_image(photo) for photo in photos]))


def test_one_call_gives_what_single_calls_give(
    analyzer: Analyzer, photos: list[np.ndarray], together: Faces
):
    counts = together.per_image()
    assert counts[2] == 0 and sum(count > 0 for count in counts) >= 4
    singles = [analyze(analyzer, Images.from_comfy(as_image(photo))) for photo in photos]
    assert [len(single) for single in singles] == counts
    assert_same(Faces.cat(singles), together)
    for image, single in enumerate(singles):
        assert_same(together.of_image(image), single)


def test_image_tensors_give_the_faces_of_the_numpy_facade(
    face_analysis: FaceAnalysis, photos: list[np.ndarray], together: Faces
):
    for image, photo in enumerate(photos):
        expected, got = face_analysis.get(photo), together.of_image(image)
        assert len(got) == len(expected)
        for row, face in enumerate(expected):
            assert got.landmarks is not None and got.embeddings is not None
            np.testing.assert_allclose(got.boxes[row], face.bbox, atol=1e-4)
            np.testing.assert_allclose(got.landmarks[row], face.kps, atol=1e-4)
            assert got.scores[row].item() == pytest.approx(float(face.det_score), abs=1e-6)
            atol = 1e-4 * float(face.embedding_norm)
            np.testing.assert_allclose(got.embeddings[row], face.embedding, atol=atol)


@pytest.mark.parametrize("channels, dtype", [(4, torch.float32), (3, torch.uint8)])
def test_alpha_and_bytes_change_nothing(
    analyzer: Analyzer, photos: list[np.ndarray], channels: int, dtype: torch.dtype
):
    image = as_image(photos[0])
    other = torch.cat((image, torch.rand(*image.shape[:3], 1)), 3)[..., :channels]
    if dtype == torch.uint8:
        other = (other * 255).round().to(dtype)
    expected = analyze(analyzer, Images.from_comfy(image))
    assert len(expected)
    assert_same(analyze(analyzer, Images.from_comfy(other)), expected)


def test_equal_images_share_a_batch(analyzer: Analyzer, photos: list[np.ndarray]):
    image = as_image(photos[0])
    blank = torch.zeros_like(image)
    batch = torch.cat((image, blank, image.flip(2), image))
    faces = analyze(analyzer, Images.from_comfy(batch))
    first, second, _, last = faces.per_image()
    assert first == last > 0 == second
    assert_same(faces.of_image(3), faces.of_image(0))
    assert_same(faces.of_image(0), analyze(analyzer, Images.from_comfy(image)))


@pytest.mark.parametrize("images", [0, 1, 3])
def test_no_faces(analyzer: Analyzer, images: int):
    batch = Images.from_comfy(torch.zeros(images, 70, 90, 3))
    faces = analyze(analyzer, batch)
    assert len(faces) == 0 and faces.per_image() == [0] * images
    assert faces.image_sizes == ((70, 90),) * images
    # The fields are there all the same, so that faceless batches join with others.
    assert faces.landmarks is not None and faces.landmarks.shape == (0, 5, 2)
    assert faces.embeddings is not None and faces.embeddings.shape[0] == 0
    assert faces.embedding_space == analyzer.pack.embedding_space


def test_faceless_batches_join_with_others(analyzer: Analyzer, together: Faces):
    nothing = analyze(analyzer, Images.from_comfy(torch.zeros(2, 70, 90, 3)))
    joined = Faces.cat([nothing, together])
    assert len(joined) == len(together) and joined.per_image()[:2] == [0, 0]


Run = Callable[[Analyzer, Images, Callable[[int, int], None]], object]


def detection(analyzer: Analyzer, images: Images, on_progress: Callable[[int, int], None]) -> None:
    analyzer.detect(images, AT_320, on_progress)


def description(
    analyzer: Analyzer, images: Images, on_progress: Callable[[int, int], None]
) -> None:
    analyzer.describe(images, analyzer.detect(images, AT_320), TASKS, on_progress)


def mixed(photos: list[np.ndarray]) -> Images:
    """Two sizes: two chunks of images, and more faces than one run of a network takes."""
    return Images.from_comfy([torch.cat([as_image(photos[1])] * 18), as_image(photos[2])])


@pytest.mark.parametrize("run", [detection, description])
def test_progress_rises_to_its_end(analyzer: Analyzer, photos: list[np.ndarray], run: Run):
    calls: list[tuple[int, int]] = []
    run(analyzer, mixed(photos), lambda done, total: calls.append((done, total)))
    done = [call[0] for call in calls]
    (total,) = {call[1] for call in calls}
    assert len(calls) >= 3 and done == sorted(set(done)) and done[-1] == total


def test_progress_of_all_steps_is_one_rising_share(
    face_analysis: FaceAnalysis, photos: list[np.ndarray]
):
    shares: list[float] = []
    face_analysis.analyze(mixed(photos), TASKS, lambda done, total: shares.append(done / total))
    assert shares == sorted(set(shares)) and shares[-1] == 1.0


class Stopped(BaseException):
    """As ComfyUI's newer versions raise when the user presses stop."""


@pytest.mark.parametrize("kind", [Stopped, RuntimeError])
@pytest.mark.parametrize("run", [detection, description])
def test_what_progress_raises_passes_through_at_once(
    analyzer: Analyzer, photos: list[np.ndarray], run: Run, kind: type[BaseException]
):
    calls: list[int] = []

    def stop(done: int, total: int) -> None:
        calls.append(done)
        raise kind("stop")

    with pytest.raises(kind, match="stop"):
        run(analyzer, mixed(photos), stop)
    assert len(calls) == 1
    # The shared analyzer is as good as before.
    assert len(analyzer.detect(Images.from_comfy(as_image(photos[1])), AT_320))
