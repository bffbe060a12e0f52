"""The header reader against `onnx` and `onnxruntime`, and against what is no ONNX file."""

from __future__ import annotations

import contextlib
import inspect
import mmap
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import TensorProto

import fastface
from fastface.utils.errors import ModelError
from fastface.utils.packs.graph_header import read_graph_header

GRAPHS = {
    "one number": {"inputs": [[1]], "outputs": [[1]]},
    "static": {"inputs": [[1, 3, 112, 112]], "outputs": [[1, 512]]},
    "names": {"inputs": [["batch", 3, "?", "?"]], "outputs": [["?", 10], ["?", 4]]},
    "no names": {"inputs": [[None, 3, None, None]], "outputs": [[None, 1]] * 9},
    "two inputs": {"inputs": [[1, 3, 128, 128], [1, 512]], "outputs": [[1, 3, 128, 128]]},
    "weights as inputs": {"weights_as_inputs": True},
    "uint8": {"inputs": [[1, 3, 80, 80]], "dtype": TensorProto.UINT8},
    "float16": {"inputs": [[1, 3, 80, 80]], "dtype": TensorProto.FLOAT16},
    "node names": {"node_names": ["bn_data", "", "_minus0", *"abcdefgh"]},
}


def expected(path: Path):
    """The header by the libraries that read the whole file."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    model = onnx.load(str(path))
    values = {value.name: value for value in (*model.graph.input, *model.graph.output)}

    def tensor(name: str):
        kind = values[name].type.tensor_type
        sizes = tuple(axis.dim_value if axis.dim_value > 0 else None for axis in kind.shape.dim)
        axes = [axis.dim_value or axis.dim_param or None for axis in kind.shape.dim]
        return name, str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), sizes, axes

    # Of outputs the runtime infers more than the file says.
    assert [each.shape for each in session.get_inputs()] == [
        tensor(each.name)[-1] for each in session.get_inputs()
    ]
    return (
        [tensor(value.name) for value in session.get_inputs()],
        [tensor(value.name) for value in session.get_outputs()],
        [(node.name, node.op_type) for node in model.graph.node[:8]],
        len(model.graph.node),
        model.opset_import[0].version,
    )


def actual(path: Path):
    header = read_graph_header(path)
    return (
        [(each.name, each.dtype, each.shape, list(each.axes)) for each in header.inputs],
        [(each.name, each.dtype, each.shape, list(each.axes)) for each in header.outputs],
        list(zip(header.node_names, header.op_types, strict=True)),
        header.node_count,
        header.opset,
    )


@pytest.mark.parametrize("name", GRAPHS)
def test_reads_what_the_libraries_read(name, write_onnx, tmp_path):
    path = write_onnx(tmp_path / "model.onnx", **GRAPHS[name])
    assert actual(path) == expected(path)


@pytest.mark.parametrize("name", ["mobilefacenet.onnx", "scrfd_2.5g_bnkps.onnx"])
def test_reads_what_the_libraries_read_in_released_files(name, test_data):
    path = test_data / "models" / name
    assert actual(path) == expected(path)


def test_says_a_graph_in_one_line(write_onnx, tmp_path):
    path = write_onnx(tmp_path / "m.onnx", [[1, 3, "?", "?"]], [[1, 2]] * 4)
    shown = ", ".join(f"out{index} float32[1x2]" for index in range(3))
    assert str(read_graph_header(path)) == (
        f"inputs data0 float32[1x3x?x?] -> outputs {shown} and 1 more"
    )


def test_sizes_that_are_none_are_open_axes(tmp_path):
    graph = onnx.helper.make_graph(
        [],
        "graph",
        [onnx.helper.make_tensor_value_info("data", TensorProto.FLOAT, [0, -1, 2, "N"])],
        [onnx.helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "m.onnx")
    header = read_graph_header(tmp_path / "m.onnx")
    assert header.inputs[0].shape == (None, None, 2, None)
    assert header.outputs[0].shape == ()


def test_sees_that_a_file_was_replaced(write_onnx, tmp_path, aged):
    path = write_onnx(tmp_path / "model.onnx", [[1, 3, 112, 112]])
    first = read_graph_header(path)
    assert read_graph_header(path) is first
    write_onnx(path, [[1, 3, 1120, 112]])
    assert read_graph_header(path).inputs[0].shape == (1, 3, 1120, 112)


def big_model(path: Path, weight_bytes: int) -> Path:
    """A model whose weights are a hole of the file: they take no space on disk."""
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["data"], ["out"])],
            "graph",
            [onnx.helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])],
            [onnx.helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 512])],
        )
    )
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    name = b"\x42\x06weight"
    weight = b"\x4a" + varint(weight_bytes)
    initializer = b"\x2a" + varint(len(weight) + weight_bytes + len(name)) + weight
    with path.open("wb") as file:
        file.write(model.SerializeToString())
        file.write(b"\x3a" + varint(len(graph) + len(initializer) + weight_bytes + len(name)))
        file.write(initializer)
        file.seek(weight_bytes, 1)
        file.write(name + graph)
    return path


def varint(value: int) -> bytes:
    head = b""
    while value > 0x7F:
        head += bytes([value & 0x7F | 0x80])
        value >>= 7
    return head + bytes([value])


def test_leaves_the_weights_unread(tmp_path, monkeypatch):
    read = []

    class CountingMap(mmap.mmap):
        def __getitem__(self, key: Any, /) -> Any:
            read.append(len(range(len(self))[key]) if isinstance(key, slice) else 1)
            return super().__getitem__(key)

    path = big_model(tmp_path / "big.onnx", 250_000_000)
    monkeypatch.setattr(mmap, "mmap", CountingMap)
    assert read_graph_header(path).outputs[0].shape == (1, 512)
    assert 0 < sum(read) < 1000


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4ab1\nsize 260665334\n"
FOREIGN = {
    "empty": (b"", "is empty.*download it again"),
    "git-lfs pointer": (LFS, "a git-lfs pointer.*git lfs pull"),
    "web page": (b"\n<!DOCTYPE html><html>404", "a web page.*download the file itself"),
    "web page with a mark": (b"\xef\xbb\xbf<html lang='en'>", "a web page"),
    "access denied": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "a web page"),
    "json": (b'{"message": "Not Found"}', "a text file"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(20), "gzip archive.*unpack"),
    "safetensors": (b"\x40" + bytes(7) + b'{"a":{"dtype":"F32"}}', "safetensors.*ONNX format"),
    "pickle": (b"\x80\x02}q\x00.", "a pickle"),
    "zeros": (bytes(4096), "nothing but zeros.*download"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(30), "a damaged or foreign file.*download it again"),
    "another protobuf": (b"\x0a\x03abc\x10\x05", "no graph with an input and an output"),
    "endless number": (b"\x08" + b"\xff" * 40, "never ends"),
    "more than there is": (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "needs 9,2.* bytes"),
    "long name": (b"\x3a\x90\x4e\x5a\x8d\x4e\x0a\x8a\x4e" + b"x" * 9994, "a name at byte"),
    "no end of entries": (b"\x10\x01" * 300_000, "more than 200,000 entries"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_says_what_a_foreign_file_looks_like(name, tmp_path):
    content, message = FOREIGN[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read_graph_header(path)
    assert str(path) in str(caught.value)


def test_says_what_a_zip_is(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.onnx", "w") as archive:
        archive.writestr("det_10g.onnx", b"weights")
    with pytest.raises(ModelError, match=r"a zip archive.*unpack it"):
        read_graph_header(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.onnx", "there is no file"), ("folder", "is a folder"), ("a\0b", "can't be read")],
)
def test_says_what_is_no_file(name, message, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match=message):
        read_graph_header(tmp_path / name)


def test_says_where_a_download_broke_off(write_onnx, tmp_path):
    path = write_onnx(tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"needs [\d,]+ bytes, but only .* left; download"):
        read_graph_header(path)


def damaged(content: bytes, seed: int) -> bytes:
    dice = random.Random(seed)
    harm = dice.choice(["noise", "truncate", "flip", "flip many", "cut out", "insert"])
    if harm == "noise":
        return dice.randbytes(dice.randrange(1, 4000))
    if harm == "truncate":
        return content[: dice.randrange(len(content))]
    at = dice.randrange(len(content))
    if harm == "cut out":
        return content[:at] + content[at + dice.randrange(1, 200) :]
    if harm == "insert":
        return content[:at] + dice.randbytes(dice.randrange(1, 20)) + content[at:]
    changed = bytearray(content)
    for _ in range(1 if harm == "flip" else dice.randrange(2, 60)):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


#: Reads all files of a folder; prints how many were refused, and the most memory one took. In a
#: process of its own: whatever else runs in the tests' process would be counted too.
READ_ALL = """
import sys, tracemalloc
from pathlib import Path
from install import import_pack
import_pack("fastface")
from fastface.utils.errors import ModelError
from fastface.utils.packs.graph_header import read_graph_header

refused, most_bytes = 0, 0
tracemalloc.start()
for path in Path(sys.argv[1]).glob("*.onnx"):
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    try:
        read_graph_header(path)
    except ModelError:
        refused += 1
    most_bytes = max(most_bytes, tracemalloc.get_traced_memory()[1] - before)
print(refused, most_bytes)
"""


def test_damage_is_refused_or_harmless(write_onnx, tmp_path):
    source = write_onnx(tmp_path / "sound.onnx", [["N", 3, "?", "?"]], [["?", 4]] * 9)
    content = source.read_bytes()
    folder = tmp_path / "damaged"
    folder.mkdir()
    for seed in range(1500):
        (folder / f"{seed}.onnx").write_bytes(damaged(content, seed))
    root = Path(inspect.getfile(fastface)).parent
    # Any error other than ModelError ends it.
    command = [sys.executable, "-c", READ_ALL, str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused, most_bytes = map(int, done.stdout.split())
    assert refused > 500
    assert most_bytes < 5_000_000


def test_damage_of_released_files_is_refused_or_harmless(test_data, tmp_path):
    for name in ("mobilefacenet.onnx", "scrfd_2.5g_bnkps.onnx"):
        content = (test_data / "models" / name).read_bytes()
        for seed in range(40):
            path = tmp_path / "damaged.onnx"
            path.write_bytes(damaged(content, seed))
            with contextlib.suppress(ModelError):
                read_graph_header(path)
