"""InceptionResnetV1's crops and embeddings against facenet-pytorch's own, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.backends.facenet_networks.networks import InceptionNetwork, open_inception
from fastface.models.facenet.inception import InceptionEmbedder, crop_pixels
from fastface.utils.errors import ModelError
from fastface.utils.faces import Faces
from fastface.utils.images import ImageBatch, Images

facenet_pytorch = pytest.importorskip("facenet_pytorch")
standardised = pytest.importorskip("facenet_pytorch.models.mtcnn").fixed_image_standardization

SIZES = [(90, 120), (75, 64), (90, 120)]
BOXES = [
    (0, (20.3, 10.7, 60.2, 55.9)),
    (0, (-15.0, -9.5, 30.2, 41.0)),
    (1, (30.0, 40.0, 99.0, 99.0)),
    (2, (5.5, 6.5, 118.0, 88.8)),
    (2, (50.2, 50.9, 53.1, 52.2)),
]


def embedder_of(path: Path, margin: int) -> InceptionEmbedder:
    return InceptionEmbedder(InceptionNetwork(open_inception(path, torch.device("cpu")), margin))


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return facenet_pytorch.InceptionResnetV1(classify=False, num_classes=7).eval()


@pytest.fixture(scope="module")
def weights(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as released: with a classifier on top."""
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    state = dict(network.state_dict())
    state["logits.weight"], state["logits.bias"] = torch.zeros(7, 512), torch.zeros(7)
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    """Smooth pictures, `[1,H,W,3]` uint8: noise would average to grey."""
    generator = torch.Generator().manual_seed(1)
    small = [torch.rand(1, 3, 6, 7, generator=generator) * 255 for _ in SIZES]
    large = [
        torch.nn.functional.interpolate(image, size, mode="bicubic").clamp(0, 255)
        for image, size in zip(small, SIZES, strict=True)
    ]
    return [image.permute(0, 2, 3, 1).round().to(torch.uint8) for image in large]


@pytest.fixture(scope="module")
def faces() -> Faces:
    return Faces(
        boxes=torch.tensor([box for _, box in BOXES]),
        scores=torch.ones(len(BOXES)),
        image_index=torch.tensor([image for image, _ in BOXES]),
        image_sizes=tuple(SIZES),
        landmarks=torch.zeros(len(BOXES), 5, 2),
    )


@pytest.mark.parametrize("margin", [0, 14, 32])
def test_crops_and_embeddings_are_the_librarys(
    network: Any,
    weights: Path,
    images: list[Tensor],
    faces: Faces,
    margin: int,
    monkeypatch: pytest.MonkeyPatch,
):
    crops = []
    for image, box in BOXES:
        pixels = images[image][0]
        crops.append(facenet_pytorch.extract_face(pixels, np.array(box, np.float32), 160, margin))
    with torch.no_grad():
        expected = network(torch.stack([standardised(crop) for crop in crops]))
    embedder = embedder_of(weights, margin)
    embed, seen = embedder.embed, []
    monkeypatch.setattr(embedder, "embed", lambda cut: seen.append(cut.pixels) or embed(cut))
    # The library gives whole 8-bit steps as floating planes.
    cut = torch.stack(crops).permute(0, 2, 3, 1).to(torch.uint8)
    with torch.no_grad():
        embedded = embed(ImageBatch(cut, tuple(range(len(cut))), bgr=False))
        described = embedder.describe(Images.from_comfy(images), faces)["embeddings"]
    # Random weights make all faces alike, so the crops are compared too.
    assert torch.equal(seen[0].permute(0, 3, 1, 2).float(), torch.stack(crops))
    torch.testing.assert_close(embedded, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(described, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "box, expected",
    [
        ((10.0, 10.0, 10.0, 10.0), (10, 10, 11, 11)),
        ((-50.0, -50.0, -20.0, -20.0), (0, 0, 1, 1)),
        ((500.0, 500.0, 600.0, 600.0), (119, 89, 120, 90)),
    ],
)
def test_boxes_without_pixels_show_one(
    weights: Path,
    images: list[Tensor],
    box: tuple[float, float, float, float],
    expected: tuple[int, int, int, int],
):
    # The library fails on these.
    covered = crop_pixels(torch.tensor([box]), SIZES[0], 0)
    assert covered.tolist() == [list(expected)]


def test_weights_hold_no_code(tmp_path: Path):
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"last_linear.weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match=r"evil.pt holds no weights.*more than tensors"):
        embedder_of(tmp_path / "evil.pt", 0)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_damaged_weights_say_so(tmp_path: Path, network: Any, content: bytes | None):
    path = tmp_path / "damaged.pt"
    if content is None:
        torch.save({"conv2d_1a.conv.weight": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="InceptionResnetV1"):
        embedder_of(path, 0)


def test_the_same_weights_are_loaded_once(weights: Path):
    first = embedder_of(weights, 0)
    assert embedder_of(weights, 32).session is first.session


def test_they_leave_and_come_back(weights: Path):
    embedder = embedder_of(weights, 0)
    pixels = torch.full((2, 160, 160, 3), 99, dtype=torch.uint8)
    crops = ImageBatch(pixels, (0, 1), bgr=False)
    before = embedder.embed(crops)
    embedder.session.release()
    assert not embedder.session.is_loaded
    assert torch.equal(embedder.embed(crops), before) and embedder.session.is_loaded
