"""What torch can compute on here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch

from .errors import InvalidInput

#: Every device word any backend knows, so that a workflow opens on any machine; those before `cpu`
#: are GPUs, those after it are for who asks for them.
DeviceWord = Literal[
    "cuda",
    "rocm",
    "xpu",
    "mps",
    "directml",
    "cpu",
    "tensorrt",
    "nvtensorrtrtx",
    "migraphx",
    "coreml",
    "openvino",
]
DEVICE_WORDS: tuple[DeviceWord, ...] = get_args(DeviceWord)

#: What names a card that torch knows as `cuda`: torch's own word, and providers of ONNX Runtime.
_CARD_WORDS: frozenset[DeviceWord] = frozenset(
    {"cuda", "rocm", "tensorrt", "nvtensorrtrtx", "migraphx"}
)


@dataclass(frozen=True)
class Device:
    """A device as users name it, such as `cpu`, `cuda` or `cuda:1`.

    Attributes:
        word: What kind it is; any word where it came of `parse`.
        index: Which one of several, counted from 0; None where that was not said.
    """

    word: DeviceWord
    index: int | None = None

    @classmethod
    def parse(cls, text: str) -> Device:
        """Reads a device's name; whether there is such a word or device is not asked.

        Raises:
            InvalidInput: Its index is no number.
        """
        word, colon, number = text.partition(":")
        if colon and not number.isdecimal():
            raise InvalidInput(
                f"got device {text!r}, expected {word!r} or an index as in '{word}:0'"
            )
        return cls(cast(DeviceWord, word), int(number) if colon else None)

    def __str__(self) -> str:
        return self.word if self.index is None else f"{self.word}:{self.index}"

    @property
    def number(self) -> int:
        """Its index, 0 where none was said."""
        return self.index or 0

    @property
    def card(self) -> torch.device | None:
        """The card it computes on, as torch calls it; None where torch's `cuda` knows none."""
        return torch.device("cuda", self.number) if self.word in _CARD_WORDS else None


def torch_devices() -> tuple[DeviceWord, ...]:
    """Device types torch offers on this machine, fastest first, `cpu` last.

    ROCm cards answer to `cuda`, as everywhere in torch. Asking creates no CUDA context.
    """
    found: list[DeviceWord] = []
    if torch.cuda.is_available():
        found.append("cuda")
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        found.append("xpu")
    if torch.backends.mps.is_available():
        found.append("mps")
    return (*found, "cpu")


def widest_float(device: torch.device | str) -> torch.dtype:
    """The most exact floating type of a device: float64, but float32 on MPS, which has no more."""
    return torch.float32 if torch.device(device).type == "mps" else torch.float64


def half_is_faster(device: str) -> bool:
    """Whether a device computes in half precision much faster than in single precision.

    So do NVIDIA's cards since Volta and AMD's since Vega, which have matrix units for it; of others
    it is not known here.
    """
    asked = Device.parse(device)
    if asked.word != "cuda" or asked.number >= torch.cuda.device_count():
        return False
    return torch.cuda.get_device_capability(asked.number) >= (7, 0)


def uploaded(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device, without waiting for what the device is doing."""
    # What is copied from ordinary memory to CUDA has left it when this returns; other devices
    # don't promise that.
    return tensor.to(device, non_blocking=device.type == "cuda")
