"""Runs that belong together: what one command measures."""

from __future__ import annotations

from dataclasses import dataclass

from .implementations import all_implementations
from .plan import Options
from .weights import RANDOM_PREFIX


@dataclass(frozen=True)
class Run:
    """One result to make.

    Attributes:
        weights: A name for `choose_weights`.
        options: What to measure.
    """

    weights: str
    options: Options


_ANTELOPE, _BUFFALO_S = f"{RANDOM_PREFIX}antelopev2", f"{RANDOM_PREFIX}buffalo_s"
_VGA_SQUARE, _FULL_HD = (640, 640), (1080, 1920)


def preset(name: str, weights: str, rounds: int | None) -> list[Run]:
    """The runs of a preset.

    Args:
        name: One of `PRESETS`.
        weights: Those of the user.
        rounds: To replace the preset's own number.
    """
    return _cpu(weights, rounds or 25) if name == "cpu" else _gpu(weights, rounds or 15)


#: What can be chosen, and what it measures.
PRESETS = {
    "cpu": "this pack's targets on the CPU: detection over the bare network, get(), InstantID",
    "gpu": "images and faces per second on an NVIDIA GPU: batch 1, 8, 32, 640 and 1080p, "
    "fp32, mixed and fp16",
}


def _cpu(weights: str, rounds: int) -> list[Run]:
    sharing = _sharing_weights()
    common = {"devices": ("cpu",), "contestants": sharing, "variants": True}
    slow = max(5, rounds // 4)
    return [
        Run(weights, Options(jobs=("detect", "get"), rounds=rounds, **common)),
        Run(weights, Options(jobs=("detect",), rounds=rounds, devices=("cpu",))),
        Run(weights, Options(jobs=("embed",), batches=(1, 8), rounds=slow, **common)),
        Run(_ANTELOPE, Options(jobs=("instantid", "get", "get_all"), rounds=slow, **common)),
        Run(_BUFFALO_S, Options(jobs=("get", "get_all"), rounds=slow, **common)),
    ]


def _gpu(weights: str, rounds: int) -> list[Run]:
    common = {
        "devices": ("cuda",),
        "precisions": ("fp32", "mixed", "fp16"),
        "contestants": _sharing_weights(),
        "rounds": rounds,
    }
    one = {"image_sizes_hw": (_VGA_SQUARE,), "source": "gpu"}
    # What matters most comes first: each run is written down as it ends, should it be cut short.
    return [
        Run(weights, Options(jobs=("embed",), batches=(32,), **one, **common)),
        Run(weights, Options(jobs=("detect",), batches=(1, 32), variants=True, **one, **common)),
        *(
            Run(
                weights,
                Options(jobs=("embed",), batches=(1, 8, 32), image_sizes_hw=(size,), **common),
            )
            for size in (_VGA_SQUARE, _FULL_HD)
        ),
    ]


def _sharing_weights() -> tuple[str, ...]:
    """Everyone who runs the pack's weights: the others' times compare nothing with nothing."""
    return tuple(name for name, one in all_implementations().items() if one.own_weights() is None)
