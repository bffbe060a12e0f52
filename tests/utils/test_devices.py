from __future__ import annotations

import pytest
import torch

from fastface.utils.devices import torch_devices, widest_float


@pytest.mark.parametrize(
    "there, expected",
    [
        ((), ("cpu",)),
        (("cuda",), ("cuda", "cpu")),
        (("mps",), ("mps", "cpu")),
        (("xpu", "cuda"), ("cuda", "xpu", "cpu")),
    ],
)
def test_devices_fastest_first(
    there: tuple[str, ...], expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    for name, module in (
        ("cuda", torch.cuda),
        ("xpu", torch.xpu),
        ("mps", torch.backends.mps),
    ):
        monkeypatch.setattr(module, "is_available", lambda name=name: name in there)
    assert torch_devices() == expected


@pytest.mark.parametrize(
    "device, dtype",
    [("cpu", torch.float64), ("cuda:1", torch.float64), (torch.device("mps"), torch.float32)],
)
def test_widest_float(device: torch.device | str, dtype: torch.dtype):
    assert widest_float(device) == dtype
