"""Names of devices as users type them."""

from __future__ import annotations

import pytest
import torch

from fastface.utils.devices import Device
from fastface.utils.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "word", "index", "number"),
    [("cpu", "cpu", None, 0), ("cuda:0", "cuda", 0, 0), ("tensorrt:12", "tensorrt", 12, 12)],
)
def test_a_name_is_read_and_written(text: str, word: str, index: int | None, number: int):
    device = Device.parse(text)
    assert (device.word, device.index, device.number) == (word, index, number)
    assert str(device) == text


@pytest.mark.parametrize("text", ["cuda:", "cuda:x", "cuda:-1", "cuda:1:2", "cuda: 1", "cuda:²"])
def test_an_index_that_is_no_number_is_refused(text: str):
    with pytest.raises(InvalidInput, match="expected 'cuda' or an index as in 'cuda:0'"):
        Device.parse(text)


def test_the_card_behind_a_name():
    assert Device.parse("tensorrt:1").card == torch.device("cuda", 1)
    assert Device.parse("rocm").card == torch.device("cuda", 0)
    assert Device.parse("directml").card is None and Device.parse("cpu").card is None
