from __future__ import annotations

import pytest
import torch

from fastface.models import graph_input
from fastface.models.graph_input import network_input, scaled_planes, square_side
from fastface.utils.errors import ModelError
from fastface.utils.images import ImageBatch
from tests.models.fake_network import model_of

#: Every level once in each channel, in other places.
PIXELS = torch.stack([(torch.arange(256) * step % 256).view(16, 16) for step in (1, 3, 5)], -1)
LEVELS = ImageBatch(PIXELS.to(torch.uint8)[None], (0,), bgr=False)
PLANES = PIXELS.permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("mean, std", [(127.5, 128.0), (127.5, 127.5), (0.0, 1.0), (0.0, 255.0)])
@pytest.mark.parametrize("bgr", [True, False])
def test_it_is_what_opencv_makes_of_the_image(mean: float, std: float, bgr: bool):
    cv2 = pytest.importorskip("cv2")
    image = LEVELS.pixels[0].numpy()
    blob = cv2.dnn.blobFromImage(image, 1 / std, (16, 16), (mean,) * 3, swapRB=bgr)
    batch = ImageBatch(LEVELS.pixels, (0,), bgr)
    got = network_input(batch, model_of("recognition", 16, mean=mean, std=std))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, torch.from_numpy(blob), rtol=1e-6, atol=1e-6)


def test_leaves_the_pixels_alone():
    before = LEVELS.pixels.clone()
    network_input(LEVELS, model_of("recognition", 16))
    assert torch.equal(LEVELS.pixels, before)


@pytest.mark.parametrize("mean", [0.0, 127.5, (123.7, 116.3, 103.5)])
@pytest.mark.parametrize("std", [1.0, 128.0, 127.5, 58.4])
@pytest.mark.parametrize("bgr", [False, True])
def test_opencv_and_torch_agree_to_the_bit(mean, std, bgr, monkeypatch: pytest.MonkeyPatch):
    by_opencv = scaled_planes(LEVELS, mean, std, bgr)
    monkeypatch.setattr(graph_input, "opencv_is_there", lambda: False)
    assert torch.equal(scaled_planes(LEVELS, mean, std, bgr), by_opencv)
    means = torch.tensor(mean).expand(3)[:, None, None]
    planes = PLANES.flip(1) if bgr else PLANES
    assert torch.equal(by_opencv, (planes - means) / torch.tensor(std))


@pytest.mark.parametrize("mean", [127.5, (123.7, 116.3, 103.5)])
@pytest.mark.parametrize("bgr", [False, True])
def test_pixels_lie_together_where_that_is_wanted(mean, bgr: bool):
    two = ImageBatch(torch.cat([LEVELS.pixels, LEVELS.pixels.flip(1)]), (0, 1), bgr=False)
    planes = scaled_planes(two, mean, 128.0, bgr)
    last = scaled_planes(two, mean, 128.0, bgr, torch.channels_last)
    assert planes.is_contiguous() and torch.equal(last, planes)
    if graph_input.opencv_is_there():
        assert last.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_gives_the_dtype_of_the_graph(dtype: torch.dtype):
    name = str(dtype).removeprefix("torch.")
    model = model_of("recognition", 16, mean=0.0, std=1.0, input_dtype=name)
    got = network_input(LEVELS, model)
    assert got.dtype == dtype and torch.equal(got.float(), PLANES)


def test_refuses_a_dtype_it_does_not_know():
    with pytest.raises(ModelError, match=r"recognition\.onnx takes int8 input, expected one of"):
        network_input(LEVELS, model_of("recognition", 16, input_dtype="int8"))


def test_refuses_to_squeeze_normalised_values_into_bytes():
    model = model_of("recognition", 16, input_dtype="uint8")
    with pytest.raises(
        ModelError, match=r"uint8 input, but with mean 127\.5 and std 128, expected 0"
    ):
        network_input(LEVELS, model)


def test_square_side():
    assert square_side(model_of("recognition", 112)) == 112
    with pytest.raises(
        ModelError, match=r"takes input \(None, 3, None, None\), expected a fixed sq"
    ):
        square_side(model_of("recognition", None))
