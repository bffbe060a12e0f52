"""Reads PyTorch checkpoints as data: nothing that is in them is ever run.

`torch.load(weights_only=True)` refuses checkpoints that hold whole objects, as ultralytics' do, and
without it torch runs whatever the file says. Here an object is not made: it becomes a `Holder` of
what the file says of it, whatever its class, and calls of functions become holders of their
arguments.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError

_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
#: Objects and names of a network of 300 MB take less than 1 MB; larger ones are no checkpoints.
_MOST_PICKLE_BYTES = 64 << 20
_DTYPES = {
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<u1",
}


class Holder:
    """What a file says of an object that is not made.

    Attributes:
        origin: Module and name of its class or function.
        state: Its attributes.
    """

    origin = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Holder:
        held = object.__new__(cls)
        held.state = {}
        return held

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.state.update(part)

    def __call__(self, *args: Any, **kwargs: Any) -> Holder:
        return Holder()

    def append(self, item: Any) -> None:
        """Takes what a list of its class would; it is not kept."""

    def extend(self, items: Any) -> None:
        """As `append`."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Takes what a mapping of its class would; it is not kept."""

    @property
    def kind(self) -> str:
        """Name of its class, without the module."""
        return self.origin.rpartition(".")[2]


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in a checkpoint.

    Attributes:
        key: Of its storage.
        dtype: Name of the storage's class, such as `HalfStorage`.
        offset: Its first number within the storage.
        shape, strides: In numbers.
    """

    key: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Checkpoint:
    """A checkpoint in torch's zip format.

    Attributes:
        path: The file.
        content: What was saved, with a `Holder` for each object and a `StoredTensor` for each
            tensor.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ModelError: It is none, is damaged, or of another format.
        """
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._folder = _folder_of(path, archive)
                data = _read(path, archive, f"{self._folder}data.pkl", _MOST_PICKLE_BYTES)
                if f"{self._folder}byteorder" in archive.namelist():
                    order = _read(path, archive, f"{self._folder}byteorder", 16)
                    if order.strip() != b"little":
                        raise _refusal(path, f"its numbers are {order!r} endian, expected little")
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
            raise _refusal(path, f"{error}") from error
        try:
            _check_sizes(data)
            self.content: Any = _Reader(io.BytesIO(data)).load()
        except Exception as error:  # whatever a damaged or malicious one makes of it
            raise _refusal(path, f"{type(error).__name__}: {error}") from error

    def array(self, tensor: StoredTensor) -> np.ndarray:
        """The numbers of a tensor: float32 where they are floating, else int64.

        Raises:
            ModelError: They are not all there.
        """
        dtype = np.dtype(_DTYPES.get(tensor.dtype, "V1"))
        if dtype.kind == "V":
            raise _refusal(self.path, f"it has numbers of type {tensor.dtype!r}")
        name = f"{self._folder}data/{tensor.key}"
        try:
            with zipfile.ZipFile(self.path) as archive:
                data = _read(self.path, archive, name, archive.getinfo(name).file_size)
        except (zipfile.BadZipFile, OSError, KeyError, NotImplementedError, ValueError) as error:
            raise _refusal(self.path, f"tensor {name}: {error}") from error
        flat = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
        last = tensor.offset + sum(
            (size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)
        )
        if math.prod(tensor.shape) and not 0 <= tensor.offset <= last < len(flat):
            raise _refusal(self.path, f"tensor {name} of shape {tensor.shape} breaks off")
        steps = [stride * dtype.itemsize for stride in tensor.strides]
        view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps)
        if tensor.dtype == "BFloat16Storage":
            return (view.astype(np.uint32) << 16).view(np.float32)
        return view.astype(np.float32 if dtype.kind == "f" else np.int64)


def _folder_of(path: Path, archive: zipfile.ZipFile) -> str:
    places = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
    if len(places) != 1:
        raise _refusal(path, f"it has {len(places)} files data.pkl, expected one")
    return places[0].removesuffix("data.pkl")


def _read(path: Path, archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > most_bytes:
        raise _refusal(path, f"{name} has {info.file_size:,} bytes, more than {most_bytes:,}")
    if info.compress_type != zipfile.ZIP_STORED:  # torch compresses nothing: that is a trap
        raise _refusal(path, f"{name} is compressed")
    return archive.read(info)


def _refusal(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path} can't be read as a checkpoint of PyTorch ({reason}); it is damaged or of another "
        "format: download it again"
    )


def _check_sizes(data: bytes) -> None:
    """Refuses programs that would make pickle reserve more memory than they are long.

    Places of its memo are counted by the program, and lengths of texts are written in it.

    Raises:
        UnpicklingError, ValueError: It does, or breaks off.
    """
    import pickletools  # only here: it takes as long to import as a checkpoint to read

    for opcode, number, _ in pickletools.genops(data):
        if opcode.name in _PUTS and (number is None or not 0 <= number <= len(data)):
            raise pickle.UnpicklingError(f"place {number} of its memo")


class _Storage:
    """A storage that a tensor lies in; its numbers are not read."""

    __slots__ = ("dtype", "key")

    def __init__(self, dtype: str, key: str) -> None:
        self.dtype, self.key = dtype, key


class _RebuildTensor:
    """In place of `torch._utils._rebuild_tensor_v2`; no file can change it."""

    __slots__ = ()

    def __call__(
        self, storage: Any, offset: Any, shape: Any, strides: Any, *_further: Any
    ) -> StoredTensor:
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, _Storage) or not all(
            type(number) is int and number >= 0 for number in numbers
        ):
            raise pickle.UnpicklingError(f"a tensor of {type(storage).__name__}, {numbers}")
        return StoredTensor(storage.key, storage.dtype, offset, tuple(shape), tuple(strides))


class _RebuildParameter:
    """In place of `torch._utils._rebuild_parameter`."""

    __slots__ = ()

    def __call__(self, data: Any, *_further: Any) -> Any:
        return data


class _Reader(pickle.Unpickler):
    """An unpickler that knows a closed list of names, and makes holders of all others."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._known: dict[str, Any] = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": _RebuildTensor(),
            "torch._utils._rebuild_parameter": _RebuildParameter(),
            "torch.Size": tuple,
            "builtins.set": set,
            "__builtin__.set": set,
        }

    def find_class(self, module: str, name: str, /) -> Any:
        origin = f"{module}.{name}"
        if origin not in self._known:
            self._known[origin] = type("Held", (Holder,), {"origin": origin})
        return self._known[origin]

    def persistent_load(self, pid: Any, /) -> _Storage:
        kind, storage, key, *_ = pid
        if kind != "storage" or not isinstance(key, str) or not issubclass(storage, Holder):
            raise pickle.UnpicklingError(f"a persistent object {kind!r}, expected a storage")
        return _Storage(storage.origin.rpartition(".")[2], key)
