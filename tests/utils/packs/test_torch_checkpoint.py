"""Checkpoints of others are data: nothing in them runs, and damaged ones are refused."""

from __future__ import annotations

import builtins
import functools
import io
import operator
import os
import pickle
import random
import subprocess
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastface.utils.errors import ModelError
from fastface.utils.packs.detector_files import is_detector
from fastface.utils.packs.torch_checkpoint import Checkpoint, Holder
from tests.backends.onnx_graphs.tiny_yolo import save, tiny_yolo


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.call


def attacks(mark: Path) -> dict[str, Any]:
    """Objects that, unpickled by pickle itself, make a file."""
    touch = f"touch {mark}"
    code = f"open({str(mark)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, touch),
        "subprocess": Calls(subprocess.call, ["touch", str(mark)]),
        "eval": Calls(eval, code),
        "exec": Calls(exec, code),
        "open": Calls(open, str(mark), "w"),
        "getattr": Calls(getattr, "", "join"),
        "methodcaller": Calls(operator.methodcaller, "touch"),
        "partial": Calls(functools.partial, os.system, touch),
        "torch.load": Calls(torch.load, str(mark)),
        "import": Calls(builtins.__import__, "antigravity"),
        "in a mapping": OrderedDict(a=[Calls(os.system, touch)]),
        "as state": Calls(Holder, state={"a": Calls(os.system, touch)}),
    }


def written(path: Path, content: Any, **files: bytes) -> Path:
    """A zip as torch saves it, with any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
        for name, data in files.items():
            archive.writestr(f"archive/data/{name}", data)
    return path


@pytest.mark.parametrize("name", attacks(Path()))
def test_nothing_in_it_runs(name: str, tmp_path: Path):
    mark = tmp_path / "mark"
    path = written(tmp_path / "face.pt", {"model": attacks(mark)[name]})
    assert "model" in Checkpoint(path).content
    assert not is_detector(path)
    assert not mark.exists()


def test_the_attacks_are_real(tmp_path: Path):
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(attacks(mark)["os.system"]))
    assert mark.exists()


def test_a_malicious_object_beside_a_real_network_is_left_alone(tmp_path: Path):
    mark = tmp_path / "mark"
    path = save(tiny_yolo(), tmp_path / "face.pt", train_args=attacks(mark)["os.system"])
    assert is_detector(path) and not mark.exists()


@pytest.mark.parametrize(
    "code",
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n}(S'a'\nI1\nub.",  # state for what rebuilds tensors
        b"ctorch._utils\n_rebuild_tensor_v2\n(N}(S'__call__'\nI1\nutb.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(I1\nI2\nI3\nI4\ntR.",  # no storage
        b"ccollections\nOrderedDict\n(I1\ntR.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"I1\nQ.",  # a persistent object that is none
        b"",
        b"Nr\xff\xff\xff\xff.",  # place 4294967295 of its memo: 64 GB
        b"\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.",  # a text of 64 GB
        b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    ],
)
def test_odd_programs_end_with_data_or_our_error(code: bytes, tmp_path: Path):
    path = tmp_path / "face.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", code)
    try:
        assert Checkpoint(path).content is not None
    except ModelError as error:
        assert str(path) in str(error) and "download it again" in str(error)
    # Whatever it was, others are read as before.
    other = save(tiny_yolo(), tmp_path / "other.pt")
    assert is_detector(other)


def test_tensors_are_what_torch_saved(tmp_path: Path):
    saved = {
        "half": torch.arange(6).half().reshape(2, 3),
        "turned": torch.rand(3, 4).t(),
        "part": torch.rand(10)[3:7],
        "brain": torch.rand(5).bfloat16(),
        "whole": torch.arange(4),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.rand(2)),
    }
    torch.save(saved, tmp_path / "t.pt")
    checkpoint = Checkpoint(tmp_path / "t.pt")
    for name, tensor in saved.items():
        got = checkpoint.array(checkpoint.content[name])
        assert np.array_equal(got, tensor.detach().to(torch.float64).numpy()), name


class TestDamaged:
    def test_tensors_that_break_off(self, tmp_path: Path):
        torch.save({"a": torch.rand(100)}, tmp_path / "t.pt")
        with zipfile.ZipFile(tmp_path / "t.pt") as whole:
            data = {name: whole.read(name) for name in whole.namelist()}
        with zipfile.ZipFile(tmp_path / "cut.pt", "w") as cut:
            for name, content in data.items():
                cut.writestr(name, content[:40] if name.endswith("data/0") else content)
        checkpoint = Checkpoint(tmp_path / "cut.pt")
        with pytest.raises(ModelError, match="breaks off"):
            checkpoint.array(checkpoint.content["a"])

    def test_what_is_compressed_is_a_trap(self, tmp_path: Path):
        with zipfile.ZipFile(tmp_path / "t.pt", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", bytes(1 << 20))
        with pytest.raises(ModelError, match="is compressed"):
            Checkpoint(tmp_path / "t.pt")

    @pytest.mark.parametrize("content", [b"", b"PK", b"<html>Not Found</html>"])
    def test_what_is_no_zip(self, tmp_path: Path, content: bytes):
        (tmp_path / "t.pt").write_bytes(content)
        with pytest.raises(ModelError, match="can't be read as a checkpoint"):
            Checkpoint(tmp_path / "t.pt")

    def test_torchs_old_format(self, tmp_path: Path):
        torch.save({"a": 1}, tmp_path / "t.pt", _use_new_zipfile_serialization=False)
        with pytest.raises(ModelError, match="can't be read as a checkpoint"):
            Checkpoint(tmp_path / "t.pt")

    def test_bits_that_flipped(self, tmp_path: Path):
        path = save(tiny_yolo(), tmp_path / "face.pt")
        with zipfile.ZipFile(path) as archive:
            name = next(each for each in archive.namelist() if each.endswith("data.pkl"))
            whole = archive.read(name)
        chance = random.Random(0)
        for _ in range(200):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr(name, bytes(data))
            (tmp_path / "odd.pt").write_bytes(buffer.getvalue())
            is_detector(tmp_path / "odd.pt")  # True, False, and no other error
