"""facenet-pytorch's networks as sessions that ComfyUI can send away; opened once for all users."""

from __future__ import annotations

import pickle
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ...utils.errors import BackendUnavailable, ModelError
from ...utils.free_memory import is_out_of_memory
from ...utils.packs import ModelFile, Task
from ...utils.packs.checksums import content_bytes, content_of, model_states, unreplaced
from ..placement import Placement, RunsOn
from ..residency.model_registry import ModelName
from ..sessions.evictable_session import EvictableSession
from ..sessions.torch_session import TorchSession
from .embedding_weights import MTCNN_PACK, embedding_pack
from .parameters import MtcnnParameters

#: Sessions in use by name, content, device and note: other parameters are no reason to load
#: weights again.
_opened: weakref.WeakValueDictionary[Any, EvictableSession] = weakref.WeakValueDictionary()
_lock = threading.Lock()

#: What torch and pickle raise for files that are no weights, or those of another network.
_DAMAGED = (
    *(RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, AttributeError),
    *(TypeError, pickle.UnpicklingError),
)

#: MTCNN's networks, in the order in which they see a face.
STAGES = ("PNet", "RNet", "ONet")

#: Numbers of 32 bits in a vector register of AVX-512.
_LANES = 16


@dataclass(frozen=True)
class MtcnnNetworks:
    """What `models.facenet.mtcnn.Mtcnn` is made of.

    Attributes:
        pnet, rnet, onet: The networks.
        device: Where they run.
        parameters: What the user set of the cascade.
        note: Why that is not the device that was asked for, if it is not.
    """

    pnet: EvictableSession
    rnet: EvictableSession
    onet: EvictableSession
    device: torch.device
    parameters: MtcnnParameters
    note: str = ""


@dataclass(frozen=True)
class InceptionNetwork:
    """What `models.facenet.inception.InceptionEmbedder` is made of.

    Attributes:
        session: `[N,3,160,160]` to embeddings `[N,512]` of length 1.
        margin: Pixels of a crop that lie outside the box, both sides together.
    """

    session: EvictableSession
    margin: int


def stage_file(folder: Path, name: str) -> Path:
    """The weights of one of `STAGES` in the library's folder."""
    return folder / f"{name.lower()}.pt"


def open_mtcnn(
    folder: Path, device: torch.device, parameters: MtcnnParameters, note: str = ""
) -> MtcnnNetworks:
    """Opens MTCNN's networks.

    Args:
        folder: Where the weights of the three networks are.
        device: Where they run.
        parameters: What the user set.
        note: Why that is not the device that was asked for, if it is not.

    Raises:
        BackendUnavailable: facenet-pytorch or torchvision is broken.
        ModelError: The weights can't be read.
    """
    pnet, rnet, onet = (
        _open_stage(name, stage_file(folder, name), device, note) for name in STAGES
    )
    return MtcnnNetworks(pnet, rnet, onet, device, parameters, note)


def _open_stage(name: str, path: Path, device: torch.device, note: str) -> EvictableSession:
    model = ModelName(MTCNN_PACK, f"detection, {name}", "facenet", path.name)
    return _shared(model, "detection", path, device, note, partial(_stage, name), widened)


def open_inception(path: Path, device: torch.device, note: str = "") -> EvictableSession:
    """Opens InceptionResnetV1: `[N,3,160,160]` to embeddings `[N,512]` of length 1.

    Args:
        path: The weights.
        device: Where it runs.
        note: Why that is not the device that was asked for, if it is not.

    Raises:
        BackendUnavailable: facenet-pytorch or torchvision is broken.
        ModelError: The weights can't be read.
    """
    model = ModelName(embedding_pack(path), "recognition", "facenet", path.name)
    return _shared(model, "recognition", path, device, note, _inception, _Embedder)


def widened(network: Any) -> nn.Module:
    """Adds filters of zeros to the first layer of PNet, RNet or ONet, whose answers stay the same.

    They have 10, 28 and 32 filters; multiples of 16 fill vector registers, and PNet takes a quarter
    less time.
    """
    first, slopes, second = network.conv1, network.prelu1, network.conv2
    more = -first.out_channels % _LANES
    first.weight = nn.Parameter(pad(first.weight, (0, 0, 0, 0, 0, 0, 0, more)))
    first.bias = nn.Parameter(pad(first.bias, (0, more)))
    slopes.weight = nn.Parameter(pad(slopes.weight, (0, more)))
    second.weight = nn.Parameter(pad(second.weight, (0, 0, 0, 0, 0, more)))
    return network


class _Embedder(nn.Module):
    """Gives a tuple, as every session's network does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.network(x),)


def _shared(
    name: ModelName,
    task: Task,
    path: Path,
    device: torch.device,
    note: str,
    build: Callable[[], nn.Module],
    prepare: Callable[[nn.Module], nn.Module],
) -> EvictableSession:
    file = ModelFile(path, task, files=model_states(path))
    key = (name, content_of(file), str(device), note)
    with _lock:
        session = _opened.get(key)
        if session is None:
            session = EvictableSession(
                name,
                lambda _placement: _open(file, device, note, build, prepare),
                Placement(str(device)),
                content_bytes(file),
            )
            _opened[key] = session
        return session


def _open(
    file: ModelFile,
    device: torch.device,
    note: str,
    build: Callable[[], nn.Module],
    prepare: Callable[[nn.Module], nn.Module],
) -> TorchSession:
    # Without memory, and so without the numbers that a network begins with: those would be drawn
    # from the process's generator, in its default dtype.
    with torch.device("meta"):
        network = build()
    with unreplaced([file]):
        load_weights(network, file.path)
    network = prepare(network.float()).eval().requires_grad_(False)
    network = network.to(memory_format=torch.channels_last).to(device)
    runs_on = RunsOn(str(device), "torch", note=note)
    return TorchSession(network, device, torch.float32, runs_on, captures=False)


def load_weights(network: nn.Module, path: Path) -> None:
    """Reads a file of weights into a network; runs no code that the file may hold.

    Weights of a classifier on top, which released files carry, are left out. The file's tensors
    become the network's, in their dtype.

    Raises:
        ModelError: The file is missing, damaged, holds more than tensors, or is of another network.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        weights = {name: value for name, value in weights.items() if not _of_classifier(name)}
        network.load_state_dict(weights, assign=True)
    except _DAMAGED as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            # Not torch's own words: they advise to let the file run code.
            f"{path} holds no weights of {type(network).__name__}: it is damaged, of another "
            "network, or holds more than tensors; replace it by the released file"
        ) from error


def _of_classifier(name: str) -> bool:
    return name.startswith("logits.")


def _stage(name: str) -> nn.Module:
    return getattr(_library().models.mtcnn, name)(pretrained=False)


def _inception() -> nn.Module:
    return _library().InceptionResnetV1()


def _library() -> Any:
    try:
        import facenet_pytorch
    except (ImportError, RuntimeError, OSError) as error:
        raise BackendUnavailable(
            f"facenet-pytorch can't be imported: {error}; run `python install.py doctor`"
        ) from error
    return facenet_pytorch
