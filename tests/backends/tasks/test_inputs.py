from __future__ import annotations

import pytest
import torch

from fastface.backends.tasks.inputs import normalise, square_side
from fastface.utils.errors import ModelError
from tests.backends.tasks.fake_network import model_of

LEVELS = torch.arange(256.0).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)


@pytest.mark.parametrize("mean, std", [(127.5, 128.0), (127.5, 127.5), (0.0, 1.0), (0.0, 255.0)])
def test_normalise_is_what_opencv_makes_of_the_image(mean: float, std: float):
    cv2 = pytest.importorskip("cv2")
    image = LEVELS[0].permute(1, 2, 0).to(torch.uint8).numpy()
    blob = cv2.dnn.blobFromImage(image, 1 / std, (16, 16), (mean,) * 3, swapRB=True)
    got = normalise(LEVELS, model_of("recognition", 16, mean=mean, std=std))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, torch.from_numpy(blob), rtol=1e-6, atol=1e-6)


def test_normalise_leaves_its_input_alone():
    pixels = LEVELS.clone()
    normalise(pixels, model_of("recognition", 16))
    assert torch.equal(pixels, LEVELS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_normalise_gives_the_dtype_of_the_graph(dtype: torch.dtype):
    name = str(dtype).removeprefix("torch.")
    model = model_of("recognition", 16, mean=0.0, std=1.0, input_dtype=name)
    got = normalise(LEVELS, model)
    assert got.dtype == dtype and torch.equal(got.float(), LEVELS)


def test_refuses_a_dtype_it_does_not_know():
    with pytest.raises(ModelError, match=r"recognition\.onnx takes int8 input, expected one of"):
        normalise(LEVELS, model_of("recognition", 16, input_dtype="int8"))


def test_refuses_to_squeeze_normalised_values_into_bytes():
    model = model_of("recognition", 16, input_dtype="uint8")
    with pytest.raises(
        ModelError, match=r"uint8 input, but with mean 127\.5 and std 128, expected 0"
    ):
        normalise(LEVELS, model)


def test_square_side():
    assert square_side(model_of("recognition", 112)) == 112
    with pytest.raises(
        ModelError, match=r"takes input \(None, 3, None, None\), expected a fixed sq"
    ):
        square_side(model_of("recognition", None))
