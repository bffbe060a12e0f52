"""`foreign_graph`: the one place where somebody else's network is read, opened and run.

Nothing holds such a file to what its format says, and whatever reads it (protobuf, onnx, numpy,
torch, an engine) says so in errors of its own: a KeyError, an AssertionError, "cannot reshape".
What users need to know is which file it is and what to do about it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ...utils import host
from ...utils.errors import BackendUnavailable, FastFaceError, ModelError, OutOfMemory
from ...utils.free_memory import is_out_of_memory
from ...utils.progress import raised_by_listener

#: As much of what a library says as people read: protobuf may quote the file.
_MOST_LETTERS = 400
#: How errors of a card begin that are of no class of their own.
_CARD_ERRORS = ("CUDA ", "cuDNN ", "cuBLAS ", "cublas", "HIP ", "MIOpen ", "MPS ", "Native API ")


class foreign_graph:  # noqa: N801  used as a function
    """Whatever goes wrong inside with a graph is a `ModelError` that names its file.

    Errors of this pack, missing packages, and what ends the work from outside, such as ComfyUI's
    interruption, pass through as they are. Too little memory and a card that failed say nothing
    about the file: these become `OutOfMemory` and `BackendUnavailable`.

    A class, because `contextlib.contextmanager` gives back a StopIteration as it came, even if the
    generator made something else of it.
    """

    def __init__(self, file: Path | str, doing: str = "opened") -> None:
        """
        Args:
            file: The file that users know, or its name.
            doing: What is being done to it, as in "can't be opened".
        """
        self._file, self._doing = file, doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """
        Raises:
            ModelError: With what was raised as its cause.
            OutOfMemory: An allocation failed.
            BackendUnavailable: A card failed.
        """
        if not isinstance(error, Exception) or isinstance(error, (FastFaceError, ImportError)):
            return
        if host.is_interruption(error) or raised_by_listener(error):
            return
        where = f"{self._file} can't be {self._doing}"
        said = f"{type(error).__name__}: {_in_one_line(error)}"
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"{where} for want of memory ({said}); free some by unloading models or closing "
                "other programs"
            ) from error
        if _is_of_a_card(error):
            raise BackendUnavailable(
                f"{where} ({said}); choose device cpu, or restart ComfyUI once the card works again"
            ) from error
        raise ModelError(
            f"{where} ({said}); it is damaged or no network for faces: delete it and download its "
            "pack again, or choose another backend"
        ) from error


def _is_of_a_card(error: Exception) -> bool:
    """Whether torch speaks of a device that failed."""
    if isinstance(error, getattr(torch, "AcceleratorError", ())):  # since torch 2.8
        return True
    return isinstance(error, RuntimeError) and str(error).startswith(_CARD_ERRORS)


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} ..."
