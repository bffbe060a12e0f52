"""What the caller's thread is set to, kept away from what is computed here.

Three kinds of settings could change a result:

- those of a thread, which `isolated` takes away for the time of a call: `torch.autocast`,
  gradients, inference mode, the default device, numpy's error handling;
- float32 that is cut short, which is the process's: see `precision.full_float32`;
- torch's default dtype, which is the process's too and can't be changed for one thread alone:
  tensors are made with a dtype of their own, and networks of other libraries on the device `meta`,
  where they draw nothing from torch's generator either (`backends/facenet_networks`).

torch's deterministic mode is left as it is: it chooses other ways to the same results. On NVIDIA's
cards torch then refuses matrix products unless CUBLAS_WORKSPACE_CONFIG is set, and says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from .free_memory import memory_errors_explained
from .shutdown import at_work

#: Device types that torch has an autocast for; others have none in torch itself.
_AUTOCAST_DEVICES = ("cpu", "cuda", "xpu", "mps")
_CPU = torch.device("cpu")
#: numpy's own defaults.
_ERROR_HANDLING = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


@contextlib.contextmanager
def engine_call() -> Iterator[None]:
    """Encloses what other code calls: computes as in a process of its own, ends before the process.

    Calls may lie inside one another. See `isolated`, `at_work` and `memory_errors_explained`.

    Raises:
        OutOfMemory: What is enclosed ran out of memory.
        ProcessEnding: The process is ending.
    """
    with at_work(), isolated(), memory_errors_explained():
        yield


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Within it torch and numpy compute as in a thread where nobody has set anything.

    No gradients are recorded, and tensors that are made are ordinary ones, whose owner may change
    them. Afterwards all is as it was.
    """
    with contextlib.ExitStack() as stack:
        for context in _against_what_is_set():
            stack.enter_context(context)
        # In inference mode this looks off, and is on as soon as that is left.
        stack.enter_context(torch.no_grad())
        yield


def _against_what_is_set() -> Iterator[contextlib.AbstractContextManager[object]]:
    if torch.is_inference_mode_enabled():
        yield torch.inference_mode(False)
    for device_type in _AUTOCAST_DEVICES:
        if torch.is_autocast_enabled(device_type):
            yield _without_autocast(device_type)
    if torch.get_default_device() != _CPU:
        yield _CPU
    if np.geterr() != _ERROR_HANDLING:
        yield np.errstate(**_ERROR_HANDLING)  # pyright: ignore[reportArgumentType]


@contextlib.contextmanager
def _without_autocast(device_type: str) -> Iterator[None]:
    # Not `torch.autocast`, which warns of devices that are not there.
    torch.set_autocast_enabled(device_type, False)
    try:
        yield
    finally:
        torch.set_autocast_enabled(device_type, True)
