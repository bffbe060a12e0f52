"""Models in ComfyUI's list of loaded models: what it may push out, and what brings them back.

Outside ComfyUI a model has a place of its own, which nobody manages.
"""

from __future__ import annotations

import weakref
from functools import lru_cache
from typing import Any, Protocol

import torch

from . import in_comfyui, prompt_server


class Resident(Protocol):
    """Something that takes a device's memory while it is loaded."""

    @property
    def is_loaded(self) -> bool: ...

    def load(self) -> None:
        """Takes the memory."""
        ...

    def release(self) -> None:
        """Gives it back."""
        ...


class Place(Protocol):
    """A resident's place in memory."""

    def require(self) -> None:
        """Sees to it that the resident is loaded, making room first where that is possible."""
        ...

    def left(self) -> None:
        """Takes note that the resident went without being told to."""
        ...


class OwnPlace:
    """A place that nobody manages: the resident loads when it is needed."""

    def __init__(self, resident: Resident) -> None:
        self._resident = weakref.ref(resident)

    def require(self) -> None:
        resident = self._resident()
        if resident is not None and not resident.is_loaded:
            resident.load()

    def left(self) -> None:
        """Nobody keeps a list."""


def managed_memory(resident: Resident, device: torch.device, size_bytes: int) -> Place:
    """A place in memory for a model.

    In ComfyUI, loading a large model pushes it out (`release`), "unload models" does so at once,
    and `require` brings it back. Neither side keeps the other alive.

    Args:
        resident: The model.
        device: Where it is when it is loaded.
        size_bytes: What it takes there.
    """
    return _ComfyPlace(resident, device, size_bytes) if in_comfyui() else OwnPlace(resident)


def make_room(size_bytes: int, device: torch.device) -> None:
    """Asks ComfyUI to unload other models until a device has so much free memory.

    Beside a running workflow nothing is asked: that may be sampling with what would go.
    """
    if in_comfyui() and not _beside_a_workflow():
        from comfy.model_management import free_memory

        free_memory(size_bytes, device)


def _beside_a_workflow() -> bool:
    """Whether ComfyUI runs a workflow, and this thread is not the one that runs it.

    ComfyUI's list of models is that thread's alone: it has no locks.
    """
    try:
        from comfy_execution.utils import get_executing_context
    except ImportError:  # older versions have nothing that tells
        return False
    queue = getattr(prompt_server(), "prompt_queue", None)
    return get_executing_context() is None and bool(getattr(queue, "currently_running", None))


class _ComfyPlace:
    """A place in ComfyUI's list of loaded models."""

    def __init__(self, resident: Resident, device: torch.device, size_bytes: int) -> None:
        self._resident = weakref.ref(resident)
        self._known = False
        # ComfyUI itself holds its patchers weakly: this is what keeps it.
        self._patcher = _patcher_class()(resident, device, size_bytes)

    def require(self) -> None:
        resident = self._resident()
        if self._known and resident is not None and resident.is_loaded:
            return
        if _beside_a_workflow():
            # ComfyUI gets to know of it when a workflow needs it.
            self._known = False
            if resident is not None and not resident.is_loaded:
                resident.load()
            return
        from comfy.model_management import load_models_gpu

        self._known = True
        load_models_gpu([self._patcher])
        if resident is not None and not resident.is_loaded:
            # What ComfyUI had no reason to load is still needed now.
            resident.load()

    def left(self) -> None:
        self._patcher.note_absence()


class FaceModel(torch.nn.Module):
    """What ComfyUI sees of a face model: where it is. Its weights may not be torch's at all."""

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device("cpu")


@lru_cache(maxsize=1)
def _patcher_class() -> Any:
    from comfy.model_patcher import ModelPatcher

    class FaceModelPatcher(ModelPatcher):
        """Loads and unloads a face model as a whole; there is nothing to patch."""

        def __init__(self, resident: Resident, device: torch.device, size_bytes: int) -> None:
            super().__init__(FaceModel(), device, torch.device("cpu"), size=max(1, size_bytes))
            self._resident = weakref.ref(resident)

        def load(self, device_to: Any = None, *args: Any, **kwargs: Any) -> None:
            resident = self._resident()
            if resident is not None and not resident.is_loaded:
                resident.load()
            self.model.device = self.load_device
            self.model.model_loaded_weight_memory = self.model_size()

        def partially_load(self, device_to: Any, *args: Any, **kwargs: Any) -> int:
            before = self.loaded_size()
            self.load(device_to)
            return self.loaded_size() - before

        def partially_unload(self, device_to: Any, *args: Any, **kwargs: Any) -> int:
            # All or nothing: ComfyUI goes on to detach what did not free enough.
            return 0

        def detach(self, unpatch_all: bool = True) -> Any:
            # Without unpatch_all it is only taken off the list for a moment.
            if unpatch_all:
                resident = self._resident()
                if resident is not None:
                    resident.release()
                self.note_absence()
            return self.model

        def note_absence(self) -> None:
            self.model.device = self.offload_device
            self.model.model_loaded_weight_memory = 0

        def clone(self, *args: Any, **kwargs: Any) -> Any:
            return self

    return FaceModelPatcher
