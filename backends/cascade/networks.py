"""facenet-pytorch's networks as sessions that ComfyUI can send away; opened once for all users."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...utils.errors import BackendUnavailable, ModelError
from ..base import RunsOn
from ..sessions.managed import ManagedSession
from ..sessions.torch_session import TorchSession

#: Sessions in use by file, device and note: other parameters are no reason to load weights again.
_opened: weakref.WeakValueDictionary[Any, ManagedSession] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def open_stage(name: str, path: Path, device: torch.device, note: str) -> ManagedSession:
    """Opens one of MTCNN's networks.

    Args:
        name: `PNet`, `RNet` or `ONet`.
        path: Its weights.
        device: Where it runs.
        note: Why that is not the device that was asked for, if it is not.

    Raises:
        BackendUnavailable: facenet-pytorch or torchvision is broken.
        ModelError: The weights can't be read.
    """
    return _shared(path, device, note, lambda: getattr(_library(), name)(pretrained=False))


def open_inception(path: Path, device: torch.device, note: str) -> ManagedSession:
    """Opens InceptionResnetV1: `[N,3,160,160]` to embeddings `[N,512]` of length 1.

    Args and raises as for `open_stage`.
    """
    return _shared(path, device, note, lambda: _Embedder(_inception_library().InceptionResnetV1()))


class _Embedder(nn.Module):
    """Gives a tuple, as every session's network does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.network(x),)

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        return self.network.load_state_dict(state_dict, *args, **kwargs)


def _shared(
    path: Path, device: torch.device, note: str, build: Callable[[], nn.Module]
) -> ManagedSession:
    key = (path, path.stat().st_mtime_ns if path.exists() else 0, str(device), note)
    with _lock:
        session = _opened.get(key)
        if session is None:
            open_session = partial(_open, path, device, note, build)
            session = ManagedSession(path.name, open_session, path.stat().st_size)
            _opened[key] = session
        return session


def _open(
    path: Path, device: torch.device, note: str, build: Callable[[], nn.Module]
) -> TorchSession:
    network = build()
    load_weights(network, path)
    network = network.eval().requires_grad_(False)
    network = network.to(memory_format=torch.channels_last).to(device)
    runs_on = RunsOn(str(device), "torch", note=note)
    return TorchSession(network, device, torch.float32, runs_on, captures=False)


def load_weights(network: nn.Module, path: Path) -> None:
    """Reads a file of weights into a network; runs no code that the file may hold.

    Weights of a classifier on top, which released files carry, are left out.

    Raises:
        ModelError: The file is missing, damaged, holds more than tensors, or is of another network.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        weights = {name: value for name, value in weights.items() if not _of_classifier(name)}
        network.load_state_dict(weights)
    except Exception as error:
        raise ModelError(
            f"{path} can't be read as weights of {type(network).__name__}: {error}; "
            "replace it by the released file"
        ) from error


def _of_classifier(name: str) -> bool:
    return name.startswith("logits.")


def _library() -> Any:
    try:
        from facenet_pytorch.models import mtcnn
    except (ImportError, RuntimeError, OSError) as error:
        raise _broken(error) from error
    return mtcnn


def _inception_library() -> Any:
    try:
        from facenet_pytorch.models import inception_resnet_v1
    except (ImportError, RuntimeError, OSError) as error:
        raise _broken(error) from error
    return inception_resnet_v1


def _broken(error: Exception) -> BackendUnavailable:
    return BackendUnavailable(
        f"facenet-pytorch can't be imported: {error}; run `python install.py doctor`"
    )
