"""The stages one by one: geometry against facenet-pytorch's functions, pieces against the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastface.backends.facenet_networks.networks import open_mtcnn
from fastface.backends.facenet_networks.parameters import MtcnnParameters
from fastface.backends.interfaces import DetectionOptions
from fastface.backends.placement import RunsOn
from fastface.models.facenet import proposals, refinement
from fastface.models.facenet.mtcnn import Mtcnn
from fastface.models.facenet.proposals import Proposals, level_size, pyramid_scales
from fastface.models.facenet.refinement import (
    finish,
    moved,
    refine,
    squared,
    whole_pixels,
)
from fastface.utils import area, suppression
from fastface.utils.area import summed_area_table
from fastface.utils.errors import OutOfMemory
from fastface.utils.faces import Faces
from fastface.utils.images import ImageBatch

facenet_pytorch = pytest.importorskip("facenet_pytorch")
detect_face = pytest.importorskip("facenet_pytorch.models.utils.detect_face")

ODD_BOXES = torch.tensor(
    [
        [10.2, 12.9, 50.7, 40.1],
        [-30.0, -3.5, 20.0, 9.0],
        [80.0, 50.0, 140.0, 99.0],
        [0.4, 0.9, 1.2, 1.9],
        [30.0, 30.0, 30.0, 30.0],
        [-50.0, 10.0, -20.0, 40.0],
        [120.0, 10.0, 150.0, 40.0],
        [60.0, 40.0, 20.0, 10.0],
    ]
)


@pytest.fixture(scope="module")
def detector() -> Mtcnn:
    folder = Path(facenet_pytorch.__file__).parent / "data"
    return Mtcnn(
        open_mtcnn(folder, torch.device("cpu"), MtcnnParameters(thresholds=(0.3, 0.0, 0.0)))
    )


@pytest.fixture(scope="module")
def batch() -> ImageBatch:
    """Blotches, in which PNet finds a lot."""
    generator = torch.Generator().manual_seed(5)
    small = torch.rand(3, 3, 17, 23, generator=generator)
    large = torch.nn.functional.interpolate(small, (203, 271), mode="bicubic").clamp(0, 1)
    return ImageBatch(large.permute(0, 2, 3, 1), (0, 1, 2), False)


def detect(detector: Mtcnn, batch: ImageBatch) -> Faces:
    with torch.no_grad():
        return detector.detect(batch, DetectionOptions(threshold=0.0))


def assert_close(got: Faces, expected: Faces) -> None:
    assert len(expected) > 20 and got.per_image() == expected.per_image()
    for name, values in expected.tensors():
        torch.testing.assert_close(getattr(got, name), values, atol=1e-3, rtol=0)


def test_squares_and_pixels_are_the_librarys():
    torch.testing.assert_close(squared(ODD_BOXES), detect_face.rerec(ODD_BOXES.clone()))
    top, bottom, left, right = detect_face.pad(ODD_BOXES.clone(), 100, 70)
    expected = torch.tensor([list(left - 1), list(top - 1), list(right), list(bottom)]).T
    assert torch.equal(whole_pixels(ODD_BOXES, (70, 100)), expected.long())


def test_offsets_are_the_librarys():
    offsets = torch.linspace(-0.4, 0.4, 4 * len(ODD_BOXES)).view(-1, 4)
    expected = detect_face.bbreg(ODD_BOXES.clone(), offsets)
    torch.testing.assert_close(moved(ODD_BOXES, offsets), expected)


@pytest.mark.parametrize("size_hw", [(1080, 1920), (20, 20), (19, 500), (97, 131)])
def test_levels_reach_down_to_pnets_square(size_hw: tuple[int, int]):
    scales = pyramid_scales(size_hw, 20, 0.709)
    assert len(scales) == {1080: 12, 20: 1, 19: 0, 97: 5}[size_hw[0]]
    assert all(min(level_size(size_hw, scale)) >= 12 for scale in scales)


class Sure:
    """A network that takes everything for a face and says how many crops it was given."""

    device = torch.device("cpu")
    runs_on = RunsOn("cpu", "fake")

    def __init__(self, landmarks: bool) -> None:
        self.landmarks = landmarks
        self.seen = 0

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        self.seen += len(x)
        points = (torch.zeros(len(x), 10),) if self.landmarks else ()
        return (torch.zeros(len(x), 4), *points, torch.ones(len(x), 2))


def test_boxes_that_show_nothing_are_dropped():
    # The library leaves out their crops and then fails: it has more boxes than answers.
    table = summed_area_table(torch.zeros(1, 70, 100, 3, dtype=torch.uint8))
    found = Proposals(
        ODD_BOXES, torch.linspace(1, 0.5, len(ODD_BOXES)), torch.zeros(len(ODD_BOXES)).long()
    )
    network = Sure(landmarks=False)
    refined = refine(network, table, found, 0.5)
    shown = (whole_pixels(squared(ODD_BOXES), (70, 100)).view(-1, 2, 2).diff(dim=1) > 0).all(-1)
    assert network.seen == int(shown.sum()) < len(ODD_BOXES)
    assert 0 < len(refined) <= network.seen
    outside = found[torch.tensor([5, 6])]
    assert len(refine(network, table, outside, 0.5)) == 0
    kept, landmarks = finish(Sure(landmarks=True), table, outside, 0.5)
    assert len(kept) == 0 and landmarks.shape == (0, 5, 2)


@pytest.mark.parametrize("pixels", [700, 3000, 20_000, 10_000_000])
def test_pieces_give_what_the_whole_gives(
    detector: Mtcnn, batch: ImageBatch, pixels: int, monkeypatch: pytest.MonkeyPatch
):
    expected = detect(detector, batch)
    monkeypatch.setattr(proposals, "_PIXELS_ON_CPU", pixels)
    monkeypatch.setattr(refinement, "_PIXELS_ON_CPU", max(pixels, 48 * 48))
    assert_close(detect(detector, batch), expected)


def test_the_ways_of_other_devices_give_the_same(
    detector: Mtcnn, batch: ImageBatch, monkeypatch: pytest.MonkeyPatch
):
    expected = detect(detector, batch)
    monkeypatch.setattr(suppression, "_torchvision_is_faster", lambda boxes, overlap: False)
    monkeypatch.setattr(area, "opencv_is_there", lambda: False)
    assert_close(detect(detector, batch), expected)


def test_too_little_memory_is_said(
    detector: Mtcnn, batch: ImageBatch, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("fastface.models.facenet.mtcnn.summed_area_table", full)
    with pytest.raises(OutOfMemory, match="3 images of 271 x 203: use fewer images"):
        detect(detector, batch)


def test_the_networks_leave_and_come_back(detector: Mtcnn, batch: ImageBatch):
    expected = detect(detector, batch)
    for session in (detector._pnet, detector._rnet, detector._onet):
        session.release()
        assert not session.is_loaded
    assert_close(detect(detector, batch), expected)
    assert detector._onet.is_loaded
